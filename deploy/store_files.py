"""Files of a bundle store: writes that survive a power cut, a lock that ends with its process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deploy.errors import StaleError
from deploy.files import size_and_sha256

_CHUNK = 2**18


def append(part: Path, size: int, offset: int, read: Callable[[int], bytes]) -> int:
    """Append to the `offset` bytes of a file that have arrived; returns how many there are then.

    `read` ends with b"", or after `size` bytes in all. What arrived is kept even after an error; an
    empty file is not. Raises StaleError if another number of bytes has arrived.
    """
    with open(part, "ab") as file:
        have = file.tell()
        if have > size:
            file.truncate(0)
            have = 0
        try:
            if offset != have:
                raise StaleError(
                    "the copy must continue elsewhere", value=f"at {have}, not {offset}"
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
    return version.is_file() and size_and_sha256(version)[1] == sha256


def lock_file(path: Path) -> int | None:
    """Open and lock a file; None if another process has it, or it was removed meanwhile."""
    import fcntl

    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_held(path, handle):
            return handle
    except BlockingIOError:
        pass
    os.close(handle)
    return None


def is_held(lock: Path, handle: int) -> bool:
    """Whether `handle`, which is locked, still is this file: it may have been moved away."""
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False


def remove_empty(place: Path, folders: Sequence[str], lock: str) -> None:
    """Remove a folder that holds only empty `folders` and the lock, which is held."""
    for folder in folders:
        with contextlib.suppress(OSError):
            (place / folder).rmdir()
    with contextlib.suppress(OSError):
        if [path.name for path in place.iterdir()] == [lock]:
            (place / lock).unlink()
            place.rmdir()
