"""Arrays by name in an .npz file: written the same every time, read though nobody vouches for it.

The members are stored, not compressed, so that the same arrays give the same bytes with every
version of zlib, and so that nothing can be larger in memory than on the disk. `numpy.load` reads
such a file, too.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from deploy.archive import STORED, damage, open_archive
from deploy.errors import ArtifactError
from deploy.files import open_regular
from deploy.streams import read_up_to
from deploy.text import clean

_MOST_MEMBERS = 256
_MOST_DIMENSIONS = 32
_SUFFIX = ".npy"
_VERSIONS = ((1, 0), (2, 0))
_WHAT = "file of arrays"
AGAIN = "write it again with numpy.savez"


def write_arrays(stream: IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file, in the order of `arrays`; the same arrays give the same bytes."""
    import zipfile

    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            # The time, the system and the rights would differ from one machine to the next.
            member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            member.create_system, member.external_attr = 3, 0o644 << 16
            with archive.open(member, "w", force_zip64=True) as file:
                little = np.asarray(array, order="C")
                little = little.astype(little.dtype.newbyteorder("<"), copy=False)
                np.lib.format.write_array(file, little, version=(1, 0), allow_pickle=False)


def read_arrays(path: Path | str, most_bytes: int) -> dict[str, np.ndarray]:
    """All arrays of numbers or bools, by name, C-contiguous, of a file of at most `most_bytes`.

    Nothing is unpickled, unpacked, or allocated that the file does not hold. Raises ArtifactError,
    in one line, for a file that is missing, damaged, too large, compressed, or holds anything else.
    """
    with open_regular(path, most_bytes) as (file, size):
        return _decode(file, size, path)


def decode_arrays(content: bytes, where: object) -> dict[str, np.ndarray]:
    """`read_arrays` of the bytes of such a file; `where` names them in messages."""
    return _decode(io.BytesIO(content), len(content), where)


def decode_array(content: bytes, where: object) -> np.ndarray:
    """The array of numbers or bools of an .npy file, C-contiguous; raises as `read_arrays` does."""
    return _read(io.BytesIO(content), len(content), "the array", where)


def read_array_file(path: Path | str, most_bytes: int) -> np.ndarray:
    """`decode_array` of a file of at most `most_bytes`, which is in memory once."""
    with open_regular(path, most_bytes) as (file, size):
        return _read(file, size, "the array", path)


def read_array(
    stream: IO[bytes],
    size: int,
    what: str,
    where: object,
    check_type: Callable[[np.dtype[Any], str], None],
    versions: Collection[tuple[int, int]] = _VERSIONS,
) -> np.ndarray:
    """The array of an .npy file of `size` bytes, as it is stored, C-contiguous.

    Nothing is unpickled, and nothing is allocated before header and `size` agree. `what` and
    `where` begin and end messages. `check_type` is called with the type, and `where`: it raises for
    one that is not wanted. Raises ArtifactError, in one line.
    """
    with damage(f"{what} is damaged", where, AGAIN):
        shape, fortran, dtype = _read_header(stream, versions, what, where)
    check_type(dtype, str(where))
    with damage(f"{what} is damaged", where, AGAIN):
        if len(shape) > _MOST_DIMENSIONS or min(shape, default=0) < 0:
            value = f"{where} is {clean(shape)}"
            raise ArtifactError("array has an impossible shape", value=value)
        payload, declared = math.prod(shape) * dtype.itemsize, size - stream.tell()
        if payload != declared:
            value = f"{where} (shape {clean(shape)} of {dtype}, but {declared:,} bytes)"
            raise ArtifactError(f"{what} contradicts itself", value=value)
        content = read_up_to(stream, payload)
        if len(content) < payload or stream.read(1):  # the last read checks the checksum
            raise ArtifactError(f"{what} is truncated", value=where)
        array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
        return np.ascontiguousarray(array).reshape(shape)


def _decode(file: IO[bytes], size: int, where: object) -> dict[str, np.ndarray]:
    with open_archive(file, _WHAT, where, AGAIN, _MOST_MEMBERS) as archive:
        archive.check_names()
        archive.check(archive.members, (STORED,))
        # Entries that lie over each other would be read as often as there are entries.
        if archive.unpacked > size:
            raise ArtifactError(f"{_WHAT} is smaller than its members", value=where)
        arrays = {}
        for member in archive.members:
            name = member.filename
            if not name.endswith(_SUFFIX):
                raise ArtifactError(f"{_WHAT} has another member", value=f"{name} in {where}")
            with archive.open(member) as stream:
                found = _read(stream, member.file_size, _WHAT, f"{name} in {where}")
            arrays[name[: -len(_SUFFIX)]] = found
    return arrays


def _read(stream: IO[bytes], size: int, what: str, where: object) -> np.ndarray:
    array = read_array(stream, size, what, where, _check_type, _VERSIONS[:1])
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_type(dtype: np.dtype[Any], where: str) -> None:
    if dtype.hasobject or dtype.kind not in "uifb" or dtype.itemsize > 8:
        raise ArtifactError("array has a type that cannot be used", value=f"{where} is {dtype}")


def _read_header(
    stream: IO[bytes], versions: Collection[tuple[int, int]], what: str, where: object
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    # numpy warns of headers written by Python 2, and Python of odd escapes in damaged ones;
    # neither is news to the user: a header can be read, or it cannot.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        version = np.lib.format.read_magic(stream)
        if version not in versions:
            # 3.0 exists for field names in Unicode, which no array of numbers has.
            raise ArtifactError(
                f"{what} holds a structured array, or none",
                value=f"{where} (.npy version {version[0]}.{version[1]})",
                hint=AGAIN,
            )
        try:
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(stream)
            return np.lib.format.read_array_header_2_0(stream)
        except MemoryError as error:
            # A header has 10,000 characters at most: the parser met too deep a nesting.
            raise ValueError("header is nested too deeply") from error
