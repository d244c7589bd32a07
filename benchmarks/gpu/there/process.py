"""A runner's process, and the time that is left."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

Facts = dict[str, Any]

_KEPT = 0.05
"""The part of the time that is kept for ending."""
# Isolated, but with the folders that this program imports from, such as that of a wheel.
_START = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
)


class RowError(Exception):
    """A row cannot be measured: the reason, in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(" ".join(reason.split()))


class OutOfTimeError(Exception):
    """The time ran out while a request was answered."""


class Clock:
    """Counts down from `minutes`, with a little kept back for ending."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes * (1 - _KEPT)

    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()


class Runner:
    """A runner's process; a context manager, which ends it.

    Every request raises RowError, or OutOfTimeError where the clock ended it; `limit` is in seconds
    for one request.
    """

    def __init__(self, package: Path, runtime: str, limit: float, clock: Clock) -> None:
        self.runtime, self._limit, self._clock = runtime, limit, clock
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        command = [sys.executable, "-I", "-c", _START, json.dumps(sys.path), str(package)]
        self._process = subprocess.Popen(
            [*command, "protocol"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,  # Ctrl-C is for this process, which ends the other
        )
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._reader.join(timeout=5)
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._stderr.close()

    def ask(self, op: str, **fields: Any) -> Facts:
        """The answer to a request."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"op": op, **fields}).encode() + b"\n")
            self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=max(min(self._limit, self._clock.left()), 0))
        except queue.Empty:
            self._process.kill()
            if self._clock.left() <= 0:
                raise OutOfTimeError from None
            raise RowError(f"{op} took more than {self._limit:g} s") from None
        if not line:
            raise RowError(f"the process ended with {self._process.wait()}{self._said()}")
        answer: Facts = json.loads(line)
        if not answer.pop("ok"):
            raise RowError(answer["error"])
        return answer

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(b"")

    def _said(self) -> str:
        """The last line that the process wrote to standard error."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        lines = [line for line in lines if line.strip()]
        return f": {lines[-1][:200]}" if lines else ""
