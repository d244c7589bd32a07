"""The process of a runner: on this machine, or on another one over ssh."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from compressor.errors import CompressorError, MissingRuntimeError, UsageError
from compressor.remote import RemoteWorkspace, SshHost, last_line
from compressor.runtimes import registry
from deploy.runner.packing import pack

_LONGEST_ANSWER = 64 * 2**20
_EXIT_SECONDS = 5.0
_TAIL = 4096


class EndedError(Exception):
    """It ended with `code`, None where it only closed its output; `said` is its last error line."""

    def __init__(self, code: int | None, said: str) -> None:
        super().__init__(said)
        self.code, self.said = code, said


class RunnerProcess(Protocol):
    """One process at a time that speaks the protocol, and the files that it sees."""

    def start(self, runtime: str) -> None:
        """Start it. Raises MissingRuntimeError."""

    def ask(self, request: Mapping[str, Any], timeout: float) -> bytes:
        """The line of its answer. Raises EndedError, and TimeoutError after `timeout` seconds."""

    def stop(self) -> None: ...

    def signal(self, name: str) -> None:
        """Send it a signal, if it runs and its system has that."""

    def place(self, path: Path, *, rewritten: bool = False) -> str:
        """The path at which it sees a local file, which may be `rewritten` since."""

    def output(self, name: str) -> str:
        """The path, for it, of a file that it is to write."""

    def take(self, name: str, target: Path) -> None:
        """Move a file that it wrote to `target`, on this machine."""

    def close(self) -> None:
        """Kill it, and leave nothing behind."""


class LocalProcess:
    """A process of this machine; archive and outputs are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._archive = folder / "runner.pyz"
        self._archive.write_bytes(pack())
        self.process: subprocess.Popen[bytes] | None = None
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._stderr: IO[bytes] | None = None

    def start(self, runtime: str) -> None:
        python = registry.python_of(runtime)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self._answers = queue.Queue()
        try:
            process = subprocess.Popen(
                # -I: no environment variables, no modules of the current folder.
                [python, "-I", str(self._archive), "protocol"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                # Ctrl-C goes to this process only, which stops the other itself.
                start_new_session=True,
            )
        except OSError as error:
            self.stop()
            raise MissingRuntimeError(
                "the runtime cannot be started", value=f"{python} ({error.strerror})"
            ) from error
        assert process.stdout is not None
        threading.Thread(target=_forward, args=(process.stdout, self._answers), daemon=True).start()
        self.process = process

    def ask(self, request: Mapping[str, Any], timeout: float) -> bytes:
        assert self.process is not None and self.process.stdin is not None
        # If the process is gone, there is no answer either.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        try:
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        if not line:
            raise self._ended()
        return line

    def _ended(self) -> EndedError:
        assert self.process is not None and self._stderr is not None
        try:
            code: int | None = self.process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        self._stderr.seek(max(self._stderr.seek(0, 2) - _TAIL, 0))
        return EndedError(code, last_line(self._stderr.read()))

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            assert process.stdin is not None
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel
                process.wait(_EXIT_SECONDS)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            # The thread sees the end of the output now, and closes it.
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None

    def signal(self, name: str) -> None:
        if self.process is not None and hasattr(signal, name):
            self.process.send_signal(getattr(signal, name))

    def place(self, path: Path, *, rewritten: bool = False) -> str:
        return str(path.resolve())

    def output(self, name: str) -> str:
        return str(self._folder / name)

    def take(self, name: str, target: Path) -> None:
        shutil.move(self._folder / name, target)

    def close(self) -> None:
        self.stop()


class RemoteProcess:
    """A process of another machine, in a temporary folder there, over its own connection.

    A cut connection raises CheckFailedError once; the next start connects again.
    """

    def __init__(self, host: SshHost, timeout: float) -> None:
        self._host, self._timeout = host, timeout
        self._space: RemoteWorkspace | None = None
        self._placed: dict[Path, str] = {}

    def start(self, runtime: str) -> None:
        self._asked({"op": "start"})

    def ask(self, request: Mapping[str, Any], timeout: float) -> bytes:
        answer = self._asked({"op": "ask", "request": request})
        if "answer" in answer:
            return str(answer["answer"]).encode()
        code = answer.get("ended")
        raise EndedError(code if isinstance(code, int) else None, str(answer.get("said", ""))[:200])

    def stop(self) -> None:
        """End the connection, since it may not answer any more."""
        self.close()

    def signal(self, name: str) -> None:
        if self._space is not None:
            self._asked({"op": "signal", "signal": name})

    def place(self, path: Path, *, rewritten: bool = False) -> str:
        known = path.resolve()
        if not known.is_file():
            raise UsageError("there is no such file", value=path)
        if rewritten or known not in self._placed:
            number = list(self._placed).index(known) if known in self._placed else len(self._placed)
            with self._closing():
                self._placed[known] = self._opened().put(path, f"file-{number}{path.suffix}")
        return self._placed[known]

    def output(self, name: str) -> str:
        return self._opened().folder + "/" + name

    def take(self, name: str, target: Path) -> None:
        with self._closing():
            self._opened().get(name, target)

    def close(self) -> None:
        space, self._space = self._space, None
        self._placed.clear()
        if space is not None:
            space.close()

    def _asked(self, request: Mapping[str, Any]) -> dict[str, Any]:
        with self._closing():
            return self._opened().request(request)

    def _opened(self) -> RemoteWorkspace:
        if self._space is None:
            self._space = RemoteWorkspace(self._host, pack(), timeout=self._timeout)
        return self._space

    @contextlib.contextmanager
    def _closing(self) -> Iterator[None]:
        """Drop the connection after an error: a late answer would be taken for the next."""
        try:
            yield
        except (CompressorError, KeyboardInterrupt):
            self.close()
            raise


def _forward(stream: IO[bytes], answers: queue.Queue[bytes]) -> None:
    """Queue the lines of a stream, then an empty one."""
    with stream:
        while line := stream.readline(_LONGEST_ANSWER):
            answers.put(line)
    answers.put(b"")
