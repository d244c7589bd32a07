"""Opening and reading files that nobody vouches for."""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from compressor.errors import DataError
from deploy.streams import DEFLATE_RATIO, Readable, printable, read_up_to, short

__all__ = [
    "DEFLATE_RATIO",
    "LARGEST_DATASET",
    "Readable",
    "gzip_errors",
    "open_regular",
    "printable",
    "read_up_to",
    "short",
    "too_large",
    "unreadable",
]

LARGEST_DATASET = 4 * 2**30
"""Bytes that the arrays of one data set may have in memory, all together."""

# O_NONBLOCK: a FIFO put in the place of a file must not hang the open.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file for reading; give it and its size in bytes.

    Raises DataError when `path` is missing, unreadable, or a directory, FIFO, socket or
    device (reading one of these may never end).
    """
    try:
        # Asked before the open, since opening a device may do something, and again after
        # it, since the name may have been given to another file in between.
        _refuse_irregular(path, path.stat().st_mode)
        file = os.fdopen(os.open(path, _FLAGS), "rb")
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    with file:
        status = os.fstat(file.fileno())
        _refuse_irregular(path, status.st_mode)
        yield file, status.st_size


@contextlib.contextmanager
def gzip_errors(where: object, hint: str) -> Iterator[None]:
    """Turn what reading a (gzipped) stream raises into one DataError line about `where`."""
    try:
        yield
    except EOFError as error:
        raise DataError("gzip file is truncated", value=where, hint=hint) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError("gzip file is damaged", value=f"{where} ({error})", hint=hint) from error
    except OSError as error:
        raise unreadable(where, error) from error


def unreadable(where: object, error: Exception) -> DataError:
    """The line about a file or directory that the operating system does not let us read."""
    reason = error.strerror if isinstance(error, OSError) else None
    return DataError(
        "cannot read the data set",
        value=f"{printable(where)} ({reason or error})",
        hint="check the path and its permissions",
    )


def too_large(where: object) -> DataError:
    """The line about a data set over the cap."""
    return DataError(
        f"data set is larger than {LARGEST_DATASET // 2**30} GiB in memory",
        value=where,
        hint="use fewer or smaller images",
    )


def _refuse_irregular(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    kind = kinds.get(stat.S_IFMT(mode), "something else")
    raise DataError("not a regular file", value=f"{path} (is {kind})", hint="give a file")
