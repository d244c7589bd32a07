"""Opening untrusted files, and writing files at once."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from deploy.errors import ArtifactError

_CHUNK = 2**18
# A FIFO in place of a file must not hang the open.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextlib.contextmanager
def open_regular(
    path: Path | str, most_bytes: float = math.inf, failure: str = "cannot read the file"
) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file of at most `most_bytes` for reading: the file, and its size.

    Raises ArtifactError if it is missing, not a regular file (reading a FIFO, a socket or a device
    may never end), too large, or, with the words `failure`, cannot be read.
    """
    try:
        # Asked before the open, since opening a device may do something, and again after
        # it, since the name may have been given to another file in between.
        _refuse_irregular(path, Path(path).stat().st_mode)
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _unreadable(failure, path, error) from error
    try:
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _refuse_irregular(path, status.st_mode)
            if status.st_size > most_bytes:
                raise ArtifactError(
                    "the file is too large",
                    value=f"{path} has {status.st_size:,} bytes, at most {most_bytes:,}",
                )
            yield file, status.st_size
    except OSError as error:
        raise _unreadable(failure, path, error) from error


def read_regular(path: Path | str, most_bytes: int, failure: str = "cannot read the file") -> bytes:
    """The bytes of a regular file of at most `most_bytes`; raises as `open_regular` does."""
    with open_regular(path, most_bytes, failure) as (file, size):
        # One byte more at most: a file that grows meanwhile is not read for ever. None: the system
        # has nothing to give now.
        return file.read(size + 1) or b""


def identity(path: Path) -> tuple[int, ...]:
    """Differs once a file was replaced or written to; empty if there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _unreadable(failure: str, path: Path | str, error: Exception) -> ArtifactError:
    reason = getattr(error, "strerror", None) or error
    hint = "check the path and its permissions"
    return ArtifactError(failure, value=f"{path} ({reason})", hint=hint)


def _refuse_irregular(path: Path | str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise ArtifactError("not a regular file", value=f"{path} (is {kind})", hint="give a file")


def size_and_sha256(
    path: Path, most_bytes: float = math.inf, failure: str = "cannot read the file"
) -> tuple[int, str]:
    """The size of a regular file, and its sha256 as 64 hex digits.

    Raises as `open_regular` does, and ArtifactError for a file that grows meanwhile.
    """
    digest = hashlib.sha256()
    with open_regular(path, most_bytes, failure) as (file, size):
        left = size
        while chunk := file.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise ArtifactError("the file changes while it is read", value=path)
            digest.update(chunk)
        return size - left, digest.hexdigest()


@contextlib.contextmanager
def written_at_once(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` at the end, on the disk; raises OSError."""
    made = path.with_name(f".{path.name}.new")
    try:
        with open(made, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
