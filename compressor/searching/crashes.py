"""Trials that end the process from inside a library, so that no exception says so.

A process that is killed, or interrupted, leaves its trial to the next run; one that TensorFlow ends
would end again with every run, at the same trial.
"""

from __future__ import annotations

import contextlib
import faulthandler
from collections.abc import Iterator
from pathlib import Path

from compressor.foundation import storage_errors

_FILE = ".crash"


class Crashes:
    """Notes in the folder of a search which trial its process ended in."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE

    def ended(self, trial: str) -> bool:
        """Whether an earlier process was ended from inside, while it did this trial last."""
        with storage_errors(self._path):
            if not self._path.is_file():
                return False
            first, *dump = self._path.read_text(errors="replace").splitlines() or [""]
        return first == trial and bool(dump)

    @contextlib.contextmanager
    def watched(self, trial: str) -> Iterator[None]:
        """Note it if a fatal signal, such as a segmentation fault, ends the process in here."""
        with storage_errors(self._path):
            self._path.write_text(f"{trial}\n")
            note = self._path.open("a")
        with note:
            faulthandler.enable(note, all_threads=False)
            try:
                yield
            finally:
                faulthandler.disable()
