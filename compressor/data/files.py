"""Opening and reading files that nobody vouches for."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from compressor.errors import DataError
from compressor.foundation import deploy_errors
from deploy import files

LARGEST_DATASET = 4 * 2**30
"""Bytes that the arrays of one data set may have in memory, all together."""

_UNREADABLE = "cannot read the data set"


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file for reading; give it and its size in bytes.

    Raises DataError when `path` is missing, unreadable, or not a regular file.
    """
    with deploy_errors(DataError), files.open_regular(path, failure=_UNREADABLE) as opened:
        yield opened


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
        _UNREADABLE,
        value=f"{where} ({reason or error})",
        hint="check the path and its permissions",
    )


def too_large(where: object) -> DataError:
    """The line about a data set over the cap."""
    return DataError(
        f"data set is larger than {LARGEST_DATASET // 2**30} GiB in memory",
        value=where,
        hint="use fewer or smaller images",
    )
