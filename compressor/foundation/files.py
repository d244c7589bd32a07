"""Writing files so that nothing is ever half-written, and hashing them."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.errors import CheckpointError, RunDirectoryError, StorageError
from compressor.foundation.device_errors import deploy_errors
from deploy import files
from deploy.fields import check_levels
from deploy.files import read_regular, size_and_sha256
from deploy.interrupts import Uninterrupted

LOCK = ".lock"
_FULL = ("No space left on device", "Disk quota exceeded", "File too large")
_NO_JSON = "cannot read the JSON file"
_MAX_JSON_BYTES = 64 * 2**20


@contextlib.contextmanager
def storage_errors(path: Path | None = None) -> Iterator[None]:
    """Turn an operating-system error met while writing `path` into one line.

    By default it is the folder for temporary files. h5py and zipfile wrap a full disk in errors of
    their own, so the chain is searched.
    """
    if path is None:
        with Uninterrupted():  # the first time Python writes a file to each folder that may do
            path = Path(tempfile.gettempdir())
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause: BaseException | None = error
        while cause is not None and not (isinstance(cause, OSError) and cause.errno):
            cause = cause.__cause__ or cause.__context__
        reason = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else ""
        if not reason:
            reason = next((text for text in _FULL if text in str(error)), "")
        if not reason:
            raise
        room = "free some space or choose another folder"
        hint = room if reason in _FULL else "choose another folder"
        raise StorageError(
            f"cannot write, {reason}", value=path, hint=f"{hint}; what was finished is kept"
        ) from error


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder, removed at the end; raises StorageError where none can be made.

    Interrupts wait while it is made and removed.
    """
    with contextlib.ExitStack() as stack:
        with storage_errors():
            folder = stack.enter_context(files.temporary_folder(prefix))
        yield folder


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success fsync it and rename it over `path`.

    As `atomic_paths` does for several files.
    """
    with atomic_paths(path) as (temporary,):
        yield temporary


@contextlib.contextmanager
def atomic_paths(
    *paths: Path, mode: Sequence[int] = (), replace: bool = True
) -> Iterator[list[Path]]:
    """Give temporary paths beside `paths`, which take their places at the end: all, or none.

    As `deploy.files.atomic_paths` does it, in folders that are made. Interrupts wait for the end.
    Raises StorageError when the disk is full or a folder cannot be written.
    """
    paths = tuple(map(Path, paths))
    with storage_errors(paths[0]):
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_paths(*paths, mode=mode, replace=replace) as temporaries:
            yield temporaries


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write several files at once: all the old ones or all the new ones, never a part."""
    with atomic_paths(*contents) as temporaries:
        for temporary, content in zip(temporaries, contents.values(), strict=True):
            temporary.write_bytes(content)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` at once: the old file or the new one, never a part."""
    write_files({path: content})


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text to `path` at once."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` as `json_text`."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Indented JSON; NaN is refused, since JSON has none."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def read_json(path: Path, *, largest: int = _MAX_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object of at most `largest` bytes, or raise CheckpointError in one line."""
    with deploy_errors(CheckpointError):
        text = read_regular(path, largest, _NO_JSON)
    try:
        content = json.loads(text)
        check_levels(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(_NO_JSON, value=f"{path} ({error})") from error
    if not isinstance(content, dict):
        raise CheckpointError("JSON file holds no object", value=path)
    return content


def sha256(path: Path) -> str:
    """The sha256 of a regular file, as 64 hex digits; raises CheckpointError."""
    with deploy_errors(CheckpointError):
        return size_and_sha256(path)[1]


def lock_folder(folder: Path, taken: str, hint: str) -> Any:
    """Lock `folder` for this process by its `.lock`; the caller releases what is returned.

    The system releases it when the process dies. Raises RunDirectoryError, saying `taken` and
    `hint`, when another process holds it.
    """
    filelock = importlib.import_module("filelock")
    lock = filelock.FileLock(folder / LOCK)
    try:
        with storage_errors(folder):
            lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise RunDirectoryError(taken, value=folder, hint=hint) from error
    return lock
