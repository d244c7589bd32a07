"""Opening untrusted files, and writing files at once."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from deploy.errors import ArtifactError, RequestError
from deploy.interrupts import Uninterrupted

_CHUNK = 2**18
# A FIFO in place of a file must not hang the open.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL

_UNREADABLE = "cannot read the file"
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextlib.contextmanager
def open_regular(
    path: Path | str, most_bytes: float = math.inf, failure: str = _UNREADABLE
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


def read_regular(path: Path | str, most_bytes: int, failure: str = _UNREADABLE) -> bytes:
    """The bytes of a regular file of at most `most_bytes`; raises as `open_regular` does."""
    with open_regular(path, most_bytes, failure) as (file, size):
        # One byte more at most: a file that grows meanwhile is not read for ever. None: the system
        # has nothing to give now.
        return file.read(size + 1) or b""


def in_home(path: Path | str) -> Path:
    """A path whose ~ is the home directory; raises RequestError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        hint = "set HOME, or name another folder"
        raise RequestError("there is no home directory", value=path, hint=hint) from None


def identity(path: Path) -> tuple[int, ...]:
    """Differs once a file was replaced or written to; empty if there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _unreadable(failure: str, path: Path | str, error: Exception) -> ArtifactError:
    if isinstance(error, FileNotFoundError) and failure == _UNREADABLE:
        return ArtifactError("no such file", value=path)
    reason = getattr(error, "strerror", None) or error
    hint = "check the path and its permissions"
    return ArtifactError(failure, value=f"{path} ({reason})", hint=hint)


def _refuse_irregular(path: Path | str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise ArtifactError("not a regular file", value=f"{path} (is {kind})", hint="give a file")


def size_and_sha256(
    path: Path, most_bytes: float = math.inf, failure: str = _UNREADABLE
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
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder that only this user can enter, removed at the end; raises OSError.

    Interrupts wait while it is made and removed.
    """
    import tempfile

    folder = None
    try:
        with Uninterrupted():
            folder = tempfile.TemporaryDirectory(prefix=prefix)
        yield Path(folder.name)
    finally:
        with Uninterrupted():
            if folder is not None:
                folder.cleanup()


@contextlib.contextmanager
def atomic_paths(
    *paths: Path, mode: Sequence[int] = (), replace: bool = True
) -> Iterator[list[Path]]:
    """Temporary files beside `paths`, which take their places at the end: all of them, or none.

    Each is on the disk before the first gets its name, and they get them in this order. They keep
    the suffixes of `paths`, since writers choose a format by it. On any failure the temporary files
    are removed and `paths` are as they were. Interrupts wait for the end. `mode` are permissions,
    by default 0o666, before the umask. Raises OSError; without `replace` FileExistsError where one
    of `paths` is there.
    """
    with Uninterrupted(), contextlib.ExitStack() as stack:
        made = {path: _beside(path) for path in paths}
        for number, temporary in enumerate(made.values()):
            stack.callback(_remove, temporary)
            permissions = mode[number] if number < len(mode) else 0o666
            os.close(os.open(temporary, _NEW, permissions))
        yield list(made.values())
        for temporary in made.values():
            sync(temporary)
        with contextlib.ExitStack() as undo:
            for path, temporary in made.items():
                kept = _beside(path)
                stack.callback(_remove, kept)
                back = _undoing(path, kept, needed=len(paths) > 1)
                _place(temporary, path, replace)
                undo.callback(*back)
            for folder in {path.parent for path in paths}:
                sync(folder)
            undo.pop_all()


def _beside(path: Path) -> Path:
    """The name of a new temporary file."""
    return path.with_name(f".{path.stem}.{os.urandom(4).hex()}.tmp{path.suffix}")


def _undoing(path: Path, kept: Path, needed: bool) -> tuple[Any, ...]:
    """What gives `path` back what it is now, by a second name of it, `kept`."""
    if not os.path.lexists(path):
        return _remove, path
    if needed:
        with contextlib.suppress(OSError):  # no file, or a file system without links
            os.link(path, kept, follow_symlinks=False)
            return kept.replace, path
    return (int,)


def _place(made: Path, path: Path, replace: bool) -> None:
    if replace:
        made.replace(path)
        return
    try:
        os.link(made, path)
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        made.replace(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
