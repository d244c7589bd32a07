"""Reading .npy files; what is large stays on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data import stored
from compressor.data.files import open_regular
from compressor.data.found import Asked, Found, found_in
from compressor.data.members import dataset_members
from compressor.data.npz import arranged
from compressor.data.stored import Spool, StoredRows, storable
from compressor.errors import DataError
from compressor.foundation import deploy_errors
from deploy.arrays import AGAIN, read_array
from deploy.text import clean

MAGIC = b"\x93NUMPY"
_WHAT = ".npy file"


def read_npy(files: Sequence[Path], asked: Asked, x: tuple[str, ...] = ()) -> Found:
    """Read the arrays of a data set, each a .npy file, whose names without suffix are the keys.

    They are those of an .npz file (`dataset_members`); `x` is the key of inputs where none is asked
    for. Files over 256 MiB are mapped into memory, not read. Raises DataError as `read_npz` does.
    """
    asked.only("an .npy file", "x", "y")
    folder = files[0].parent
    there = {path.stem: path for path in files}
    there |= {_stem(name): folder / f"{_stem(name)}.npy" for name in (*asked.x, *asked.y)}
    x, y = (tuple(map(_stem, keys)) for keys in (asked.x or x, asked.y))
    chosen = dataset_members(list(there), folder, x, y)
    arrays = {}
    for key in (member for part in chosen.values() for member in part.values()):
        if key not in there or not there[key].exists():
            raise DataError(f"the folder lacks {clean(key)}.npy", value=folder)
        arrays[key] = _open(there[key])
    name = folder.resolve().name if len(files) > 1 else files[0].stem
    return found_in(arranged(chosen, arrays), name, folder)


def _stem(name: str) -> str:
    return name.removesuffix(".npy")


def _open(path: Path) -> Any:
    with open_regular(path) as (file, size), deploy_errors(DataError):
        if size <= stored.MOST_IN_MEMORY:
            return read_array(file, size, _WHAT, str(path), lambda dtype, where: None)
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise DataError(".npy file is damaged", value=f"{path} ({error})", hint=AGAIN) from error
    final = mapped.dtype in (np.uint8, np.int32, np.float32) and mapped.flags.c_contiguous
    if mapped.ndim and final:
        return StoredRows(path, mapped.dtype, mapped.shape, offset=mapped.offset)
    if not mapped.ndim:
        raise DataError("an array of the data set is one number", value=path)
    spool, step = Spool(), max(2**25 // max(mapped[:1].nbytes, 1), 1)
    for start in range(0, len(mapped), step):
        spool.append({"": storable(mapped[start : start + step], str(path), path.stem)})
    return spool.finish()[""]
