"""Reading IDX files, raw or gzipped, by the device side's reader."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from compressor.data.files import LARGEST_DATASET, open_regular, too_large, unreadable
from compressor.data.inputs import Array
from compressor.errors import DataError
from deploy.errors import RequestError
from deploy.images import idx
from deploy.images.idx import Kind


def read_idx(path: Path | str, kind: Kind | None = None, limit: int = LARGEST_DATASET) -> Array:
    """Read an IDX file, raw or gzipped (told by its content, not by its name).

    Returns the array in the byte order of the machine: uint8, int8, int16, int32, float32
    or float64, with the shape of the header. With `kind` "images" the file must hold
    (n, h, w) or (n, h, w, c) of uint8, float32 or float64; with "labels" (n,) of integers.
    Values are not looked at; `compressor.data.checks` does that.

    Raises DataError, naming the file: not a regular file, not IDX, another type or number of
    dimensions, empty, truncated, longer than its header says, damaged gzip, or more than
    `limit` bytes.
    """
    path = Path(path)
    with open_regular(path) as (file, size):
        return decode_idx(file, size, path, kind, limit)


def decode_idx(
    file: BinaryIO,
    size: int,
    where: object,
    kind: Kind | None = None,
    limit: int = LARGEST_DATASET,
) -> Array:
    """`read_idx` of an open, seekable file of `size` bytes; `where` names it in messages."""
    try:
        return idx.decode_idx(file, size, where, kind, limit)
    except idx.OversizeError as error:
        raise too_large(where) from error
    except RequestError as error:
        raise DataError(error.what, value=error.value, hint=error.hint) from error
    except OSError as error:
        raise unreadable(where, error) from error
