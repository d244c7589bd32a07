"""Running the command: in this process, which is fast, or in its own, as a user does."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import filelock
import numpy as np

from compressor.commands import command_line as cli

COMMAND = Path(sys.executable).with_name("compressor")
PATIENCE = 300.0
_SET_BY_US = ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "KERAS_BACKEND")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it wrote."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        assert self.code == 0, self.stderr
        return json.loads(self.stdout)

    def refusal(self, *, after_stages: bool = False) -> str:
        """The one line of a refusal; `after_stages` allows lines of progress before it."""
        lines = self.stderr.splitlines()
        assert self.code == 2, self.stderr
        assert self.stdout == ""
        assert lines
        assert after_stages or len(lines) == 1, self.stderr
        assert [line for line in lines if line.startswith("error: ")] == [lines[-1]], self.stderr
        assert "Traceback" not in self.stderr
        return lines[-1]


class _NoNativeOutput:
    """Stands in for NativeOutput, which would take the file descriptors from pytest."""

    def hold_back(self) -> None:
        pass

    def tail(self) -> str:
        return ""


def compressor(*arguments: object) -> Outcome:
    """Run the command in this process, with `main`'s handling of errors."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(cli, "NativeOutput", _NoNativeOutput),
        mock.patch.object(sys, "argv", ["compressor", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as stopped:
            code = stopped.code
    assert isinstance(code, int)
    return Outcome(code, out.getvalue(), err.getvalue())


def environment() -> dict[str, str]:
    """The environment of a user, without what loading TensorFlow in this process set."""
    return {name: value for name, value in os.environ.items() if name not in _SET_BY_US}


def compressor_alone(
    *arguments: object, before: tuple[str, ...] = (), patience: float = PATIENCE
) -> Outcome:
    """Run the command in a process of its own, started by `before` if given."""
    done = subprocess.run(
        [*before, str(COMMAND), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=patience,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    return subprocess.Popen(
        [str(COMMAND), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def signal_when(
    process: subprocess.Popen[str], moment: Callable[[], bool], number: signal.Signals
) -> Outcome:
    """Send a signal as soon as `moment` has come; return how the process ended."""
    try:
        deadline = time.monotonic() + PATIENCE
        while not moment():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "the moment never came"
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    return Outcome(process.returncode, out, err)


@contextlib.contextmanager
def locked_by_another_process(run: Path) -> Iterator[None]:
    """Hold the lock of a run directory in another process."""
    program = (
        "import filelock, sys\n"
        "lock = filelock.FileLock(sys.argv[1])\n"
        "lock.acquire()\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(run / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        yield
        assert holder.stdin is not None
        holder.stdin.close()


def files(folder: Path) -> dict[str, str]:
    """Path -> sha256 of every file below a folder; the lock is no content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def step_times(run: Path) -> dict[str, int]:
    """Step -> when its record was written, in nanoseconds."""
    return {
        str(record.parent.relative_to(run)): record.stat().st_mtime_ns
        for record in run.rglob("record.json")
        if not record.parent.name.startswith(".")
    }


def without_times(value: Any) -> Any:
    """A JSON value without what stands under keys named prediction_time."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k != "prediction_time"}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def results_of(run: Path) -> Any:
    return json.loads((run / "results.json").read_text())


def write_quadrants(path: Path, *, seed: int = 1, size: int = 8) -> Path:
    """Write a data set of 600 + 200 noisy images whose bright quadrant is their class, 0 to 3."""
    generator = np.random.default_rng(seed)
    half = size // 2

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 4
        images = generator.integers(0, 60, (count, size, size))
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 2)
            image[half * row :, half * column :][:half, :half] += 170
        return images.astype(np.uint8), labels.astype(np.uint8)

    x_train, y_train = part(600)
    x_test, y_test = part(200)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


def once(shared: Path, name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
    """Make something once for all worker processes: a folder, and the JSON that `make` gave."""
    folder, note = shared / name, shared / f"{name}.json"
    with filelock.FileLock(shared / f"{name}.lock"):
        if not note.exists():
            folder.mkdir()
            note.write_text(json.dumps(make(folder)))
    return folder, json.loads(note.read_text())


def shared_folder(base: Path) -> Path:
    """A folder that all worker processes of this test run share; `base` is pytest's own."""
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
