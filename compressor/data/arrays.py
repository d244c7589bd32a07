"""Arrays of a checkpoint: written under any name, read though nobody vouches for them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.npz import read_arrays
from compressor.errors import CheckpointError, DataError


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a compressed .npz, as `numpy.savez_compressed` does; a name may also be `file`."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file of numbers and bools, by name.

    Nothing is unpickled, and nothing is allocated that the file cannot fill. Raises
    CheckpointError, in one line, for a file that is damaged or holds anything else.
    """
    try:
        return read_arrays(path, _check_type)
    except DataError as error:
        raise CheckpointError(error.what, value=error.value) from error


def _check_type(key: str, dtype: np.dtype[Any], where: str) -> None:
    if dtype.hasobject or dtype.kind not in "uifb":
        raise DataError("array has a type that cannot be used", value=f"{where} is {dtype.kind}")
