"""A temporary folder on another machine with our runner in it, at the end of an ssh connection.

What runs there is `deploy.runner.workspace`, sent over the connection itself: the machine needs a
Python with numpy and the runtime, and nothing of ours. It removes the folder when the connection
ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from compressor._files import storage_errors
from compressor.errors import CheckFailedError, CompressorError, MissingRuntimeError, UsageError
from compressor.ssh import CONNECTION_LOST, SshHost, last_line

Facts = dict[str, Any]

_NO_COMMAND = 127
_LONGEST_ANSWER = 64 * 2**20
_LARGEST_FILE = 4 * 2**30
_CHUNK = 2**18
_EXIT_SECONDS = 5.0
# What runs there first: the archive comes, of as many bytes as the argument says, then requests.
_PROGRAM = """\
import os, shutil, sys, tempfile
left = int(sys.argv[1])
folder = tempfile.mkdtemp(prefix="compressor-device-")
path = os.path.join(folder, "runner.pyz")
with open(path, "wb") as file:
    while left and (chunk := os.read(0, min(left, 65536))):
        file.write(chunk)
        left -= len(chunk)
if left:
    shutil.rmtree(folder)
    sys.exit(1)
sys.path.insert(0, path)
from deploy.runner.workspace import main
sys.exit(main(folder))
"""


class RemoteWorkspace:
    """The folder on `host`, open until `close`; `archive` is the runner that goes there.

    `folder` is its path there. A request takes at most `timeout` seconds. Each raises
    CheckFailedError when the connection is cut, or nothing is answered, and UsageError where the
    device refuses; opening it raises MissingRuntimeError where there is no connection or no such
    Python.
    """

    def __init__(self, host: SshHost, archive: bytes, *, timeout: float) -> None:
        self.host, self.timeout = host, timeout
        self._answers: queue.Queue[tuple[bytes, Path | None]] = queue.Queue()
        self._opened = False
        self._stack = contextlib.ExitStack()
        with storage_errors(Path(tempfile.gettempdir())):
            made = tempfile.TemporaryDirectory(prefix="compressor-remote-")
            self._folder = Path(self._stack.enter_context(made))
            said = (self._folder / "stderr").open("w+b")
            self._stderr = self._stack.enter_context(said)
        try:
            self._process = host.start(
                # In one line, since not every shell takes more.
                host.python_command(["-c", f"exec({_PROGRAM!r})", str(len(archive))]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
            )
            assert self._process.stdout is not None
            arguments = (self._process.stdout, self._answers, self._folder)
            self._reader = threading.Thread(target=_forward, args=arguments, daemon=True)
            self._reader.start()
            self._send(archive)
            self.folder = str(self.request({"op": "machine"})["folder"])
        except BaseException:
            self.close()
            raise
        self._opened = True

    def close(self) -> None:
        """End the connection: what is there is removed."""
        process = getattr(self, "_process", None)
        if process is not None:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_EXIT_SECONDS)
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_EXIT_SECONDS)
            self._reader.join(_EXIT_SECONDS)
        self._stack.close()

    def request(self, request: Mapping[str, Any], content: Path | None = None) -> Facts:
        """Send a request, with the bytes of a file after it; its answer without `ok`."""
        return self._exchange(request, content)[0]

    def put(self, path: Path, name: str) -> str:
        """Copy a file there, as `name`; its path there."""
        size = path.stat().st_size
        return str(self.request({"op": "put", "file": name, "bytes": size}, path)["path"])

    def get(self, name: str, target: Path) -> None:
        """Move a file from there to `target`."""
        _, file = self._exchange({"op": "get", "file": name})
        if file is None:
            raise self._nonsense("no file")
        shutil.move(file, target)

    def _exchange(
        self, request: Mapping[str, Any], content: Path | None = None
    ) -> tuple[Facts, Path | None]:
        self._send(json.dumps(request).encode() + b"\n")
        if content is not None:
            with open(content, "rb") as source:
                while chunk := source.read(_CHUNK):
                    self._send(chunk)
        try:
            line, file = self._answers.get(timeout=self.timeout)
        except queue.Empty:
            raise CheckFailedError(
                "the device does not answer",
                value=f"{self.host.name}: {request['op']} took more than {self.timeout:g} s",
            ) from None
        if not line:
            raise self._lost()
        try:
            answer = json.loads(line)
            ok, said = answer.pop("ok"), str(answer.get("error", ""))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise self._nonsense(line[:80].decode(errors="replace")) from None
        if ok is not True:
            raise UsageError("the device refuses", value=f"{self.host.name}: {said}")
        return answer, file

    def _send(self, content: bytes) -> None:
        assert self._process.stdin is not None
        # Who is gone does not answer, which is seen then.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(content)
            self._process.stdin.flush()

    def _lost(self) -> CompressorError:
        """Why there are no answers any more."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_SECONDS)
        code, said = self._process.returncode, last_line(self._stderr)
        where = self.host.name + (f" ({said})" if said else "")
        if self._opened:
            return CheckFailedError("the connection to the device was cut", value=where)
        if code == CONNECTION_LOST:
            return self.host.unreachable(said)
        if code == _NO_COMMAND:
            return MissingRuntimeError(
                "there is no such Python on the device",
                value=f"{self.host.python} on {where}",
                hint="name one with --python",
            )
        return MissingRuntimeError("the device cannot run our runner", value=where)

    def _nonsense(self, what: str) -> CheckFailedError:
        return CheckFailedError(
            "the device does not keep to the protocol", value=f"{self.host.name}: {what}"
        )


def _forward(
    stream: IO[bytes], answers: queue.Queue[tuple[bytes, Path | None]], folder: Path
) -> None:
    """Queue the lines of a stream, each with the file that follows it; an empty one at its end."""
    number = 0
    with stream, contextlib.suppress(OSError, ValueError, EOFError, RecursionError):
        while line := stream.readline(_LONGEST_ANSWER):
            file = None
            count = _bytes_after(line)
            if count is not None:
                number += 1
                file = folder / str(number)
                _copy(stream, file, count)
            answers.put((line, file))
    answers.put((b"", None))


def _bytes_after(line: bytes) -> int | None:
    content = json.loads(line)
    count = content.get("bytes") if isinstance(content, dict) else None
    return count if isinstance(count, int) and 0 <= count <= _LARGEST_FILE else None


def _copy(stream: IO[bytes], path: Path, count: int) -> None:
    with open(path, "wb") as file:
        while count:
            chunk = stream.read(min(count, _CHUNK))
            if not chunk:
                raise EOFError
            file.write(chunk)
            count -= len(chunk)
