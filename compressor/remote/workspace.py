"""A temporary folder with our runner on another machine, over ssh.

`deploy.runner.workspace` runs there, sent over the connection itself: the machine needs only a
Python with numpy and the runtime. It removes the folder when the connection ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compressor.errors import CheckFailedError, CompressorError, MissingRuntimeError, UsageError
from compressor.foundation import storage_errors, temporary_folder
from compressor.remote.ssh import CONNECTION_LOST, NO_COMMAND, SshHost
from compressor.remote.ssh_process import TooMuchError
from deploy.fields import LONGEST_PATH, Fields, parse_json

Facts = dict[str, Any]

_LONGEST_ANSWER = 2**20
_LARGEST_FILE = 2**30
_CHUNK = 2**16
_SLOWEST = 2**15
"""Bytes a second that a connection must carry."""
_EXIT_SECONDS = 5.0
# Runs there first: it reads the archive, of as many bytes as its argument says, then requests.
_PROGRAM = """\
import os, shutil, signal, sys, tempfile
archive, left = b"", int(sys.argv[1])
while left and (chunk := os.read(0, min(left, 65536))):
    archive += chunk
    left -= len(chunk)
if left:
    sys.exit(1)
# Until there is what removes the folder, signals wait.
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
folder = tempfile.mkdtemp(prefix="compressor-device-")
path = os.path.join(folder, "runner.pyz")
try:
    with open(path, "wb") as file:
        file.write(archive)
    sys.path.insert(0, path)
    from deploy.runner.workspace import main
except BaseException:
    shutil.rmtree(folder)
    raise
sys.exit(main(folder))
"""
# In syntax that any Python knows, so that one that is too old says so.
_GUARD = (
    "import sys; sys.version_info >= (3, 9) or sys.exit("
    "'it is Python %d.%d there, and needs Python 3.9 or newer' % sys.version_info[:2])"
)


class RemoteWorkspace:
    """The folder on `host`, open until `close`; `archive` is the runner, `folder` its path there.

    A request may take `timeout` seconds, plus its bytes at 32 KiB/s. Each raises CheckFailedError
    when the connection is cut or the answer is missing or invalid, and UsageError where the device
    refuses; opening it raises MissingRuntimeError where there is no connection or no such Python.
    """

    def __init__(self, host: SshHost, archive: bytes, *, timeout: float) -> None:
        self.host, self.timeout = host, timeout
        self._opened = False
        self._process = host.start(
            # In one line, for the sake of all shells.
            host.python_command(["-c", f"{_GUARD}; exec({_PROGRAM!r})", str(len(archive))])
        )
        try:
            with self._answering("the runner"), contextlib.suppress(BrokenPipeError):
                self._process.send(archive, self._deadline(len(archive)))
            with self.host.keeping_to_the_protocol():
                machine = Fields(self.request({"op": "machine"}), "machine")
                self.folder = machine.text("folder", longest=LONGEST_PATH)
        except BaseException:
            self.close()
            raise
        self._opened = True

    def close(self) -> None:
        """End the connection, by which the folder is removed."""
        self._process.finish(_EXIT_SECONDS)
        self._process.kill()

    def request(self, request: Mapping[str, Any], longest: int | None = None) -> Facts:
        """The answer to a request, without `ok`, in a line of at most `longest` bytes."""
        return self._exchange(request, None, longest or _LONGEST_ANSWER)

    def put(self, path: Path, name: str) -> str:
        """Copy a file there, as `name`; returns its path there."""
        size = path.stat().st_size
        answer = self._exchange({"op": "put", "file": name, "bytes": size}, path)
        with self.host.keeping_to_the_protocol():
            return Fields(answer, "answer").text("path", longest=LONGEST_PATH)

    def get(self, name: str, target: Path, most: int = _LARGEST_FILE) -> None:
        """Move a file of at most `most` bytes from there to `target`."""
        answer = self._exchange({"op": "get", "file": name}, None)
        with self.host.keeping_to_the_protocol():
            count = Fields(answer, "answer").integer("bytes", 0, most)
        with storage_errors(target), temporary_folder("compressor-got-") as made:
            whole = made / "file"
            with self._answering("get"), open(whole, "wb") as file:
                self._process.copy(file, count, self._deadline(count))
            shutil.move(whole, target)

    def _exchange(
        self, request: Mapping[str, Any], content: Path | None, longest: int = _LONGEST_ANSWER
    ) -> Facts:
        with self._answering(request["op"], longest):
            with contextlib.suppress(BrokenPipeError):  # then there is no answer, seen below
                self._send(request, content)
            line = self._process.line(longest, self._deadline(0))
            if not line:
                raise EOFError
        with self.host.keeping_to_the_protocol():
            answer = parse_json(line, "answer")
            if not Fields(answer, "answer").boolean("ok"):
                said = Fields(answer, "answer").string("error", LONGEST_PATH)
                raise UsageError("the device refuses", value=f"{self.host.name}: {said}")
        return {key: value for key, value in answer.items() if key != "ok"}

    def _send(self, request: Mapping[str, Any], content: Path | None) -> None:
        left = 0 if content is None else int(request["bytes"])
        deadline = self._deadline(left)
        self._process.send(json.dumps(request).encode() + b"\n", deadline)
        if content is None:
            return
        with open(content, "rb") as source:
            while chunk := source.read(min(left, _CHUNK)):
                self._process.send(chunk, deadline)
                left -= len(chunk)

    def _deadline(self, count: int) -> float:
        return time.monotonic() + self.timeout + count / _SLOWEST

    @contextlib.contextmanager
    def _answering(self, what: str, longest: int = _LONGEST_ANSWER) -> Iterator[None]:
        """Turn the failures of an exchange into errors of ours."""
        try:
            yield
        except TimeoutError:
            raise CheckFailedError(
                "the device does not answer",
                value=f"{self.host.name}: {what} took more than {self.timeout:g} s",
            ) from None
        except TooMuchError:
            raise self.host.nonsense(f"more than {longest:,} bytes in a line") from None
        except EOFError:
            raise self._lost() from None

    def _lost(self) -> CompressorError:
        code = self._process.finish(_EXIT_SECONDS)
        said = self._process.said
        where = self.host.name + (f" ({said})" if said else "")
        if self._opened:
            return CheckFailedError("the connection to the device was cut", value=where)
        if code == CONNECTION_LOST:
            return self.host.unreachable(said)
        if code == NO_COMMAND:
            return self.host.no_python(said)
        return MissingRuntimeError(
            "the device cannot run our runner", value=where, hint="name its Python with --python"
        )
