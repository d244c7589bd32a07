"""The process of a runner: on this machine, or on another one over ssh."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from compressor.errors import CompressorError, MissingRuntimeError, UsageError
from compressor.remote import RemoteWorkspace, SshHost, SshProcess, TooMuchError
from compressor.runtimes import registry
from deploy.errors import ArtifactError
from deploy.fields import Fields
from deploy.interrupts import Uninterrupted
from deploy.runner.packing import pack
from deploy.text import clean

_EXIT_SECONDS = 5.0
_LONGEST_SAID = 200
_MOST_CODE = 2**32


class EndedError(Exception):
    """It ended with `code`, None where it only closed its output; `said` is its last error line."""

    def __init__(self, code: int | None, said: str) -> None:
        super().__init__(said)
        self.code, self.said = code, said


class RunnerProcess(Protocol):
    """One process at a time that speaks the protocol, and the files that it sees."""

    def start(self, runtime: str) -> None:
        """Start it. Raises MissingRuntimeError."""

    def ask(self, request: Mapping[str, Any], timeout: float, longest: int) -> bytes:
        """The line of its answer, of `longest` bytes.

        Raises EndedError, TimeoutError after `timeout` seconds, and ArtifactError for a longer one.
        """

    def stop(self) -> None: ...

    def signal(self, name: str) -> None:
        """Send it a signal, if it runs and its system has that."""

    def place(self, path: Path, *, rewritten: bool = False) -> str:
        """The path at which it sees a local file, which may be `rewritten` since."""

    def output(self, name: str) -> str:
        """The path, for it, of a file that it is to write."""

    def take(self, name: str, target: Path, most: int) -> None:
        """Move a file that it wrote, of `most` bytes, to `target`, on this machine."""

    def close(self) -> None:
        """Kill it, and leave nothing behind."""


class LocalProcess:
    """A process of this machine; archive and outputs are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._archive = folder / "runner.pyz"
        self._archive.write_bytes(pack())
        self.process: SshProcess | None = None

    def start(self, runtime: str) -> None:
        python = registry.python_of(runtime)
        # Killed, it cannot remove the temporary files of its runtime.
        variables = {**os.environ, "TMPDIR": str(self._folder)}
        try:
            # -I: no environment variables, no modules of the current folder.
            command = [python, "-I", str(self._archive), "protocol"]
            self.process = SshProcess(command, variables=variables)
        except OSError as error:
            raise MissingRuntimeError(
                "the runtime cannot be started", value=f"{python} ({error.strerror})"
            ) from error

    def ask(self, request: Mapping[str, Any], timeout: float, longest: int) -> bytes:
        assert self.process is not None
        deadline = time.monotonic() + timeout
        # If the process is gone, there is no answer either.
        with contextlib.suppress(BrokenPipeError):
            self.process.send(json.dumps(request).encode() + b"\n", deadline)
        try:
            line = self.process.line(longest, deadline)
        except TooMuchError:
            raise ArtifactError("an answer is too long", value=f"over {longest:,} bytes") from None
        if not line:
            raise self._ended()
        return line

    def _ended(self) -> EndedError:
        assert self.process is not None
        self.process.hear(_EXIT_SECONDS)
        return EndedError(self.process.code(_EXIT_SECONDS), self.process.said)

    def stop(self) -> None:
        # One that is stopped (SIGSTOP) would never end by itself.
        with Uninterrupted():
            process, self.process = self.process, None
            if process is not None:
                process.kill()

    def signal(self, name: str) -> None:
        if self.process is not None and hasattr(signal, name):
            self.process.signal(getattr(signal, name))

    def place(self, path: Path, *, rewritten: bool = False) -> str:
        full = path.resolve()
        name = str(full)
        if os.fsencode(full) != name.encode(errors="replace"):
            # Runtimes in C++ take names for UTF-8, whatever the locale says.
            name = str(self._folder / f"named-{secrets.token_hex(8)}{full.suffix}")
            Path(name).symlink_to(full)
        return name

    def output(self, name: str) -> str:
        return str(self._folder / name)

    def take(self, name: str, target: Path, most: int) -> None:
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

    def ask(self, request: Mapping[str, Any], timeout: float, longest: int) -> bytes:
        asked = {"op": "ask", "request": request}
        answer = Fields(self._asked(asked, 2 * longest), "answer")
        if answer.has("answer"):
            return answer.string("answer", longest).encode()
        code = answer.optional("ended", answer.integer, -_MOST_CODE, _MOST_CODE)
        raise EndedError(code, clean(answer.string("said"), _LONGEST_SAID))

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

    def take(self, name: str, target: Path, most: int) -> None:
        with self._closing():
            self._opened().get(name, target, most)

    def close(self) -> None:
        space, self._space = self._space, None
        self._placed.clear()
        if space is not None:
            space.close()

    def _asked(self, request: Mapping[str, Any], longest: int | None = None) -> dict[str, Any]:
        with self._closing():
            return self._opened().request(request, longest)

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
