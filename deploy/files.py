"""Opening files that nobody vouches for."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from deploy.errors import ArtifactError

_CHUNK = 2**18
# A FIFO put in the place of a file must not hang the open.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@contextlib.contextmanager
def open_regular(path: Path | str, most_bytes: int) -> Iterator[tuple[IO[bytes], int]]:
    """Open a regular file of at most `most_bytes` for reading: the file, and its size.

    Raises ArtifactError, in one line, where it is missing, no regular file, too large, or cannot
    be read meanwhile.
    """
    try:
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ArtifactError("not a regular file", value=path)
            if status.st_size > most_bytes:
                raise ArtifactError(
                    "the file has too many bytes",
                    value=f"{path} has {status.st_size:,}, at most {most_bytes:,}",
                )
            yield file, status.st_size
    except OSError as error:
        raise ArtifactError(
            "cannot read the file", value=f"{path} ({error.strerror or error})"
        ) from error


def read_regular(path: Path | str, most_bytes: int) -> bytes:
    """All bytes of a regular file of at most `most_bytes`; raises as `open_regular` does."""
    with open_regular(path, most_bytes) as (file, size):
        # One more than there were: a file that grows meanwhile is not read for ever.
        return file.read(size + 1)


def identity(path: Path) -> tuple[int, ...]:
    """What is another where a file was replaced or written to; empty where there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def size_and_sha256(path: Path) -> tuple[int, str]:
    """The bytes of a file, and its sha256 as 64 hex digits; raises OSError."""
    size, digest = 0, hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            digest.update(chunk)
    return size, digest.hexdigest()


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
