"""Reading IDX files, raw or gzipped.

The format, as described on the MNIST page of Y. LeCun (yann.lecun.com/exdb/mnist): two zero
bytes, one byte for the type, one for the number of dimensions, the dimensions as 4-byte
big-endian integers, then the values, big-endian, the last dimension fastest.

The reader trusts nothing in a file: sizes are Python integers, so that no product overflows; they
are checked against the size of the file before anything is read; and a gzip stream is never
unzipped more than one byte beyond what the header says.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Literal

import numpy as np

from deploy.errors import RequestError
from deploy.streams import DEFLATE_RATIO, Readable, read_up_to
from deploy.text import clean

Kind = Literal["images", "labels"]

GZIP_MAGIC = b"\x1f\x8b"
DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_BYTES = 2**30
"""The default limit of an array in memory."""

_KIND_DTYPES = {"images": ("u1", ">f4", ">f8"), "labels": ("u1", "i1", ">i2", ">i4")}
_KIND_DIMENSIONS = {"images": (3, 4), "labels": (1,)}
_HINT = "fetch the file again"


class OversizeError(RequestError):
    """An array that would need more memory than allowed."""


def decode_idx(
    file: BinaryIO,
    size: int,
    where: object,
    kind: Kind | None = None,
    limit: int = MOST_BYTES,
) -> np.ndarray:
    """The array of an open, seekable IDX file of `size` bytes; `where` names it in messages.

    The content tells raw from gzipped. The array is in the machine's byte order: uint8, int8,
    int16, int32, float32 or float64, with the shape of the header. With `kind` "images" the file
    must hold (n, h, w) or (n, h, w, c) of uint8, float32 or float64; with "labels" (n,) of
    integers. Raises RequestError: not IDX, another type or number of dimensions, empty, truncated,
    longer than its header says, damaged gzip; and OversizeError for more than `limit` bytes.
    """
    with _gzip_errors(where):
        zipped = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not zipped:
            return _decode(file, size, True, where, kind, limit)
        with gzip.GzipFile(fileobj=file, mode="rb") as stream:
            return _decode(stream, DEFLATE_RATIO * size, False, where, kind, limit)


def _decode(
    stream: Readable, room: int, exact: bool, where: object, kind: Kind | None, limit: int
) -> np.ndarray:
    """Decode a stream of `room` bytes; at most that many unless `exact`."""
    dtype, shape = _read_header(stream, where, kind)
    payload = math.prod(shape) * dtype.itemsize
    if payload == 0:
        raise RequestError(
            f"IDX file holds no {kind or 'values'}", value=f"{where} (shape {clean(shape)})"
        )
    expected = 4 + 4 * len(shape) + payload
    if room < expected:
        raise _truncated(where, expected, f"{room:,}" if exact else f"at most {room:,}")
    if exact and room > expected:
        raise _too_long(where, expected)
    if payload > limit:
        raise OversizeError(
            "IDX file is too large for the memory allowed", value=f"{where} ({payload:,} bytes)"
        )
    content = read_up_to(stream, payload)
    if len(content) < payload:
        raise _truncated(where, expected, f"{expected - payload + len(content):,}")
    # Also makes gzip check its CRC, which it does only at the end of a stream.
    if stream.read(1):
        raise _too_long(where, expected)
    values = np.frombuffer(content, dtype=dtype).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _read_header(
    stream: Readable, where: object, kind: Kind | None
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = read_up_to(stream, 4)
    if len(magic) < 4:
        raise RequestError("IDX file is truncated", value=f"{where} (has no header)", hint=_HINT)
    if magic[:2] != b"\0\0":
        raise RequestError(
            "not an IDX file",
            value=f"{where} (begins with {magic.hex()})",
            hint="an IDX file begins with two zero bytes",
        )
    code, dimensions = magic[2], magic[3]
    if code not in DTYPES:
        raise RequestError("IDX file has an unknown type code", value=f"{where} (0x{code:02x})")
    if kind and DTYPES[code] not in _KIND_DTYPES[kind]:
        name = np.dtype(DTYPES[code]).name
        allowed = ", ".join(np.dtype(d).name for d in _KIND_DTYPES[kind])
        raise RequestError(
            f"IDX file has a type that {kind} cannot have",
            value=f"{where} ({name})",
            hint=f"{kind} are {allowed}",
        )
    if dimensions not in (_KIND_DIMENSIONS[kind] if kind else range(1, 33)):
        wanted = " or ".join(map(str, _KIND_DIMENSIONS[kind])) if kind else "1 to 32"
        raise RequestError(
            f"IDX file has a wrong number of dimensions{' for ' + kind if kind else ''}",
            value=f"{where} ({dimensions})",
            hint=f"expected {wanted}",
        )
    sizes = read_up_to(stream, 4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise RequestError("IDX file is truncated", value=f"{where} (in its header)", hint=_HINT)
    return np.dtype(DTYPES[code]), struct.unpack(f">{dimensions}I", sizes)


def _truncated(where: object, expected: int, found: str) -> RequestError:
    sizes = f"header says {clean(f'{expected:,}')} bytes, it holds {found}"
    return RequestError("IDX file is truncated", value=f"{where} ({sizes})", hint=_HINT)


def _too_long(where: object, expected: int) -> RequestError:
    sizes = f"header says {expected:,} bytes, it holds more"
    return RequestError("IDX file is longer than its header says", value=f"{where} ({sizes})")


@contextlib.contextmanager
def _gzip_errors(where: object) -> Iterator[None]:
    try:
        yield
    except EOFError as error:
        raise RequestError("gzip file is truncated", value=where, hint=_HINT) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise RequestError(
            "gzip file is damaged", value=f"{where} ({error})", hint=_HINT
        ) from error
