"""The device program as a device has it: one file, started by a bare `python -I`."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bundles import Signer

from deploy.runner.packing import pack

OWNER = Signer(1)


def complaints(stderr: str) -> list[str]:
    """The lines of standard error, without what a runtime tells of itself."""
    return [line for line in stderr.splitlines() if not line.startswith("INFO:")]


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one line of what was refused; whatever the runtime says comes before it."""
        lines = complaints(self.stderr)
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith("error: ")
        return lines[0]


@dataclasses.dataclass(frozen=True)
class DeviceRunner:
    """A runner.pyz in which OWNER's key is pinned, or a bundle that runs itself."""

    path: Path

    @classmethod
    def write(cls, path: Path, *signers: Signer) -> DeviceRunner:
        path.write_bytes(pack([signer.public for signer in signers]))
        return cls(path)

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-I", str(self.path), *map(str, arguments)]

    def __call__(self, *arguments: object, given: bytes = b"") -> Done:
        done = subprocess.run(
            self.command(*arguments), input=given, capture_output=True, timeout=120, cwd="/"
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    @contextlib.contextmanager
    def serving(self, *arguments: object, log: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
        """The process of `serve` on a free port, and the port; `log` gets its standard error."""
        with open(log, "w") as stderr:
            process = subprocess.Popen(
                self.command("serve", *arguments, "--port", 0),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd="/",
            )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert "on http://127.0.0.1:" in line, log.read_text()
            yield process, int(line.partition("127.0.0.1:")[2].partition("/")[0])
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
