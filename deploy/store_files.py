"""Files of a store of bundles: what survives a power cut, and a lock that goes with its process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deploy.errors import RequestError
from deploy.files import size_and_sha256

_CHUNK = 2**18


def append(part: Path, size: int, offset: int, read: Callable[[int], bytes]) -> int:
    """Add to the `offset` bytes of a file that have arrived; how many of `size` there are then.

    `read` ends with b"". What came is kept, also where an error ends it; a file of no bytes is not.
    Raises RequestError where another number has arrived.
    """
    with open(part, "ab") as file:
        have = file.tell()
        if have > size:
            file.truncate(0)
            have = 0
        try:
            if offset != have:
                raise RequestError(
                    "the copy goes on from another byte", value=f"{offset}, not {have}"
                )
            return have + _copy(read, file, size - have)
        finally:
            file.flush()
            os.fsync(file.fileno())
            if not file.tell():
                part.unlink()


def _copy(read: Callable[[int], bytes], file: Any, count: int) -> int:
    done = 0
    while done < count and (chunk := read(min(count - done, _CHUNK))):
        file.write(chunk)
        done += len(chunk)
    return done


def is_whole(version: Path, sha256: str) -> bool:
    """Whether a file is there, and has this sha256."""
    return version.is_file() and size_and_sha256(version)[1] == sha256


def lock_file(path: Path) -> int | None:
    """The file, open and locked; None where another process has it, or it was removed since."""
    import fcntl

    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return None
    if _take(fcntl, handle) and _is_file_of(handle, path):
        return handle
    os.close(handle)
    return None


def _take(fcntl: Any, handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file_of(handle: int, path: Path) -> bool:
    """Whether an open file is the one that has this path now."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, for its owner only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def remove_empty(place: Path, folders: Sequence[str], lock: str) -> None:
    """Remove a folder in which there are only empty `folders`, and the lock, which is held."""
    for folder in folders:
        with contextlib.suppress(OSError):
            (place / folder).rmdir()
    with contextlib.suppress(OSError):
        if [path.name for path in place.iterdir()] == [lock]:
            (place / lock).unlink()
            place.rmdir()
