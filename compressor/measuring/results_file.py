"""Keeping measurements: a file of runs, the newest last, that is never half-written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compressor.foundation import storage_errors, write_json
from compressor.runs import BENCH_SCHEMA, BENCH_SCHEMA_VERSION, read_bench


def read_runs(path: Path) -> list[dict[str, Any]]:
    """The runs of the file; none where it is not there. Raises CheckpointError for another file."""
    if not path.exists():
        return []
    runs: list[dict[str, Any]] = list(read_bench(path)["runs"])
    return runs


def keep_run(path: Path, run: dict[str, Any]) -> None:
    """Put a run at the end of the file, in the place of an earlier state of the same run.

    Other processes may append to the file meanwhile. Raises StorageError where it cannot be
    written, and CheckpointError where it holds something else by now.
    """
    with storage_errors(path), _locked(path.parent):
        others = [other for other in read_runs(path) if other["id"] != run["id"]]
        document = {"schema": BENCH_SCHEMA, "schema_version": BENCH_SCHEMA_VERSION}
        write_json(path, document | {"runs": [*others, run]})


def check_writable(path: Path) -> None:
    """Raise StorageError, before anything is measured, where `path` cannot be written."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the lock leaves no file, and goes with the process."""
    try:
        import fcntl
    except ImportError:  # no POSIX
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
