"""Reading .npz files: a zip of .npy arrays.

The format of the arrays is that of `numpy.lib.format`. `numpy.load` allocates what a header
asks for, so the headers are read and held against the zip directory here first; nothing is
ever unpickled.
"""

from __future__ import annotations

import contextlib
import math
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from compressor.data.checks import check_images_dtype, check_labels_dtype
from compressor.data.files import LARGEST_DATASET, open_regular, short, too_large
from compressor.data.inputs import Array, Inputs, listed
from compressor.data.members import KEYS, dataset_members
from compressor.errors import DataError
from deploy.streams import DEFLATE_RATIO, read_up_to

# What numpy.savez and numpy.savez_compressed write. zipfile unpacks bzip2 and LZMA without
# a bound on the memory of one step.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_MOST_DIMENSIONS = 32

CheckType = Callable[[str, np.dtype[Any], str], None]
"""Takes the array's name, its dtype and where it is; raises DataError for a dtype not wanted."""

Choose = Callable[[Sequence[str]], Sequence[str]]
"""Takes the names that an .npz file has, and gives those to read."""


def read_npz(path: Path | str) -> tuple[Inputs, Array, Inputs, Array]:
    """Read x_train, y_train, x_test and y_test from an .npz file; other members are left.

    x_train and x_test are one array each, or several by name (`dataset_members`). Arrays come
    as stored, C-contiguous; `compressor.data.checks` looks at the values.
    Raises DataError, naming the file: not a regular file, not a zip, a missing or ambiguous
    array, encrypted, packed other than by deflate, Python objects or another type that
    cannot be used, sizes that contradict each other, damaged, or over 4 GiB in all.
    """
    path = Path(path)
    chosen: dict[str, dict[str, str]] = {}

    def choose(names: Sequence[str]) -> list[str]:
        chosen.update(dataset_members(names, path))
        return [member for part in chosen.values() for member in part.values()]

    arrays = read_arrays(path, _check_dataset_type, choose)
    for key, array in arrays.items():
        if array.size == 0:
            raise DataError(
                "array is empty", value=f"{short(key)} in {path} has shape {array.shape}"
            )
    x_train, y_train, x_test, y_test = (
        {name: arrays[member] for name, member in chosen[key].items()} for key in KEYS
    )
    return _inputs(x_train), y_train[""], _inputs(x_test), y_test[""]


def read_arrays(
    path: Path, check_type: CheckType, choose: Choose | None = None
) -> dict[str, Array]:
    """Read the arrays that `choose` names, or all, from an .npz file that nobody vouches for.

    Arrays come as stored, C-contiguous. Raises DataError as `read_npz` does.
    """
    with open_regular(path) as (file, _size), _open_zip(file, path) as archive:
        there: dict[str, list[zipfile.ZipInfo]] = {}
        for member in archive.infolist():
            if not member.filename.endswith("/"):  # is_dir() fails for an empty name
                there.setdefault(member.filename.removesuffix(".npy"), []).append(member)
        keys = list(there) if choose is None else choose(list(there))
        members = [_find(there, key, keys, path) for key in keys]
        if sum(member.file_size for member in members) > LARGEST_DATASET:
            raise too_large(path)
        for key, member in zip(keys, members, strict=True):
            _check_member(member, f"{short(key)} in {path}")
        return {
            key: _read_member(archive, member, key, check_type, f"{short(key)} in {path}")
            for key, member in zip(keys, members, strict=True)
        }


def _inputs(arrays: dict[str, Array]) -> Inputs:
    return arrays.get("", arrays)


def _check_dataset_type(key: str, dtype: np.dtype[Any], where: str) -> None:
    (check_images_dtype if key.startswith("x") else check_labels_dtype)(dtype, where)


@contextlib.contextmanager
def _damage(what: str, where: object) -> Iterator[None]:
    """Turn whatever zipfile, zlib or numpy.lib.format raise on bad bytes into one line.

    They document BadZipFile and ValueError, but let struct, zlib, Unicode, syntax, recursion
    and other errors through, another set in each version; hence `Exception`.
    """
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        reason = short(f"{type(error).__name__}: {error}")
        raise DataError(
            what, value=f"{where} ({reason})", hint="write the file again with numpy.savez"
        ) from error


def _open_zip(file: BinaryIO, path: Path) -> zipfile.ZipFile:
    with _damage("not a readable .npz file", path):
        return zipfile.ZipFile(file)


def _find(
    there: dict[str, list[zipfile.ZipInfo]], key: str, keys: Sequence[str], path: Path
) -> zipfile.ZipInfo:
    found = there.get(key, [])
    if len(found) > 1:
        raise DataError(".npz file has an array twice", value=f"{short(key)} in {path}")
    if not found:
        raise DataError(
            f".npz file lacks {listed(k for k in keys if k not in there)}",
            value=f"{path} (has {listed(there)})",
            hint=f"save it with {listed(keys)}",
        )
    return found[0]


def _check_member(member: zipfile.ZipInfo, where: str) -> None:
    if member.flag_bits & _ENCRYPTED:
        raise DataError(".npz file is encrypted", value=where, hint="save it without a password")
    if member.compress_type not in _COMPRESSIONS:
        raise DataError(
            ".npz file is packed by a method that is not supported",
            value=f"{where} (method {member.compress_type})",
            hint="write it with numpy.savez or numpy.savez_compressed",
        )
    ratio = DEFLATE_RATIO if member.compress_type == zipfile.ZIP_DEFLATED else 1
    if member.file_size > ratio * member.compress_size:
        raise DataError(
            ".npz file contradicts itself",
            value=f"{where} ({member.compress_size:,} bytes cannot hold {member.file_size:,})",
        )


def _read_member(
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    key: str,
    check_type: CheckType,
    where: str,
) -> Array:
    with _damage(".npz file is damaged", where), archive.open(member) as stream:
        shape, fortran, dtype = _read_header(stream, where)
        check_type(key, dtype, where)
        if len(shape) > _MOST_DIMENSIONS or min(shape, default=0) < 0:
            raise DataError("array has an impossible shape", value=f"{where} is {short(shape)}")
        payload = math.prod(shape) * dtype.itemsize
        declared = member.file_size - stream.tell()
        if payload != declared:
            raise DataError(
                ".npz file contradicts itself",
                value=f"{where} (shape {short(shape)} of {dtype}, but {declared:,} bytes)",
            )
        content = read_up_to(stream, payload)
        if len(content) < payload or stream.read(1):  # the last read checks the CRC
            raise DataError(".npz file is truncated", value=where)
        array = np.frombuffer(content, dtype=dtype)
        return np.ascontiguousarray(array.reshape(shape, order="F" if fortran else "C"))


def _read_header(stream: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    # numpy warns of headers written by Python 2, and Python of odd escapes in damaged ones;
    # neither is news to the user: a header can be read, or it cannot.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        version = np.lib.format.read_magic(stream)
        try:
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(stream)
            if version == (2, 0):
                return np.lib.format.read_array_header_2_0(stream)
        except MemoryError as error:
            # A header has 10,000 characters at most: the parser met too deep a nesting.
            raise ValueError("header is nested too deeply") from error
    # 3.0 exists for field names in Unicode, which no array of numbers has.
    raise DataError(
        ".npz file holds a structured array, or none",
        value=f"{where} (.npy version {version[0]}.{version[1]})",
        hint="write it again with numpy.savez",
    )
