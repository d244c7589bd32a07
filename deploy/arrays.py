"""Arrays by name in an .npz file: written the same every time, read though nobody vouches for it.

The members are stored, not compressed, so that the same arrays give the same bytes with every
version of zlib, and so that nothing can be larger in memory than on the disk. `numpy.load` reads
such a file, too.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from deploy.errors import ArtifactError
from deploy.files import open_regular

if TYPE_CHECKING:
    import zipfile

_MOST_MEMBERS = 256
_STORED = 0
_LONGEST_NAME = 1000
_MOST_DIMENSIONS = 32


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
    try:
        return _read_array(io.BytesIO(content), "the array")
    except Exception as error:
        raise ArtifactError("the array is damaged", value=f"{where} ({error})") from error


def _decode(file: IO[bytes], size: int, where: object) -> dict[str, np.ndarray]:
    import zipfile

    try:
        with zipfile.ZipFile(file) as archive:
            return {
                member.filename[: -len(".npy")]: _read_member(archive, member)
                for member in _members(archive, size)
            }
    except OSError:
        raise
    # zipfile and numpy.lib.format let nearly every exception out on bad bytes.
    except Exception as error:
        raise ArtifactError("the arrays are damaged", value=f"{where} ({error})") from error


def _members(archive: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """The members of the archive, held against each other and against the file's size in bytes."""
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(names) > _MOST_MEMBERS or len(set(names)) < len(names):
        raise ValueError("too many members, or one twice")
    for member in members:
        name = member.filename
        if not name.endswith(".npy") or len(name) > _LONGEST_NAME or not name.isprintable():
            raise ValueError(f"no name of an array: {name!r:.80}")
        if member.flag_bits & 1 or member.compress_type != _STORED:
            raise ValueError(f"{name} is compressed or encrypted; store it with numpy.savez")
        if member.file_size != member.compress_size:
            raise ValueError(f"{name} has two sizes")
    # Entries that lie over each other would be read as often as there are entries.
    if sum(member.file_size for member in members) > size:
        raise ValueError("the members are larger than the file")
    return members


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        return _read_array(stream, member.filename)


def _read_array(stream: IO[bytes], name: str) -> np.ndarray:
    shape, fortran, dtype = _read_header(stream)
    if dtype.hasobject or dtype.kind not in "uifb" or dtype.itemsize > 8:
        raise ValueError(f"{name} is of type {dtype}")
    if len(shape) > _MOST_DIMENSIONS or min(shape, default=0) < 0:
        raise ValueError(f"{name} has an impossible shape")
    content = stream.read()  # all that is there: the end checks the CRC
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has {len(content):,} bytes for shape {shape}")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(shape)


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    # numpy warns of headers by Python 2, and Python of odd escapes in damaged ones.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("of another .npy version than 1.0")
        return np.lib.format.read_array_header_1_0(stream)
