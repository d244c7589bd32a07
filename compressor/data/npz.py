"""Reading .npz files: a zip of .npy arrays.

`numpy.load` allocates what a header asks for, so `deploy.arrays` holds the headers against the zip
directory first; nothing is ever unpickled.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.checks import check_images_dtype, check_labels_dtype
from compressor.data.files import LARGEST_DATASET, open_regular, too_large
from compressor.data.inputs import Array, listed
from compressor.data.members import KEYS, dataset_members
from compressor.errors import DataError
from compressor.foundation import deploy_errors
from deploy.archive import open_archive
from deploy.arrays import AGAIN, read_array
from deploy.text import clean

_WHAT = ".npz file"
_OTHERS = ", or name its own keys with --x and --y"

CheckType = Callable[[str, np.dtype[Any], str], None]
"""Takes the array's name, its dtype and where it is; raises DataError for a dtype not wanted."""

Choose = Callable[[Sequence[str]], Sequence[str]]
"""Takes the names that an .npz file has, and gives those to read."""


def read_npz(path: Path | str, x: Sequence[str] = (), y: Sequence[str] = ()) -> dict[str, Any]:
    """Read x_train, y_train, x_test and y_test from an .npz file; other members are left.

    Each is one array, or several by name, found by `dataset_members`; what the file does not have
    is None, and so is w_train, the sample weights. Arrays come as stored,
    C-contiguous; `compressor.data.checks` looks at the values.
    Raises DataError, naming the file: not a regular file, not a zip, a missing or ambiguous
    array, encrypted, packed other than by deflate, Python objects or another type that
    cannot be used, sizes that contradict each other, damaged, or over 4 GiB in all.
    """
    path = Path(path)
    chosen: dict[str, dict[str, str]] = {}

    def choose(names: Sequence[str]) -> list[str]:
        chosen.update(dataset_members(names, path, x, y))
        return [member for part in chosen.values() for member in part.values()]

    arrays = read_arrays(path, _check_dataset_type, choose)
    for key, array in arrays.items():
        if array.size == 0:
            raise DataError(
                "array is empty", value=f"{clean(key)} in {path} has shape {array.shape}"
            )
    return arranged(chosen, arrays)


def arranged(chosen: Mapping[str, Mapping[str, str]], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of `dataset_members` by key; None for a key without any."""
    found = {key: {name: arrays[member] for name, member in chosen[key].items()} for key in chosen}
    return {
        key: found[key].get("", found[key]) if found.get(key) else None
        for key in (*KEYS, "w_train")
    }


def read_arrays(
    path: Path, check_type: CheckType, choose: Choose | None = None
) -> dict[str, Array]:
    """Read the arrays that `choose` names, or all, from an .npz file that nobody vouches for.

    Arrays come as stored, C-contiguous. Raises DataError as `read_npz` does.
    """
    with (
        deploy_errors(DataError),
        open_regular(path) as (file, _size),
        open_archive(file, _WHAT, path, AGAIN) as archive,
    ):
        there: dict[str, list[zipfile.ZipInfo]] = {}
        for member in archive.members:
            there.setdefault(member.filename.removesuffix(".npy"), []).append(member)
        keys = list(there) if choose is None else choose(list(there))
        members = {key: _find(there, key, keys, path) for key in keys}
        if sum(member.file_size for member in members.values()) > LARGEST_DATASET:
            raise too_large(path)
        archive.check(members.values())
        arrays = {}
        for key, member in members.items():
            check = functools.partial(check_type, key)
            with archive.open(member) as stream:
                where = f"{clean(key)} in {path}"
                arrays[key] = read_array(stream, member.file_size, _WHAT, where, check)
        return arrays


def _check_dataset_type(key: str, dtype: np.dtype[Any], where: str) -> None:
    # Whether an array under another key is of inputs is not known yet.
    (check_images_dtype if key.startswith("x") else check_labels_dtype)(dtype, where)


def _find(
    there: dict[str, list[zipfile.ZipInfo]], key: str, keys: Sequence[str], path: Path
) -> zipfile.ZipInfo:
    found = there.get(key, [])
    if len(found) > 1:
        raise DataError(".npz file has an array twice", value=f"{clean(key)} in {path}")
    if not found:
        raise DataError(
            f".npz file lacks {listed(k for k in keys if k not in there)}",
            value=f"{path} (has {listed(there)})",
            hint=f"save it with {listed(keys)}" + (_OTHERS if "x_train" in keys else ""),
        )
    return found[0]
