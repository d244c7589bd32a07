r"""Measuring on a device over ssh: a temporary folder there, and a runner that works in it.

`compressor bench --host` starts this with the device's Python, at the other end of an ssh
connection. It reads JSON objects from standard input, one a line, each followed by `bytes` bytes if
it has that field, and answers each with a line, `{"ok": true, ...}` or `{"ok": false, "error": ONE
LINE}`. However the connection ends, the runner is then killed and the folder removed.

{"op": "machine"} -> folder, machine (as `deploy.machine` describes it), governor, load_average,
    cores (the processors that may be used, in a list for each core)
{"op": "put", "file": NAME, "bytes": COUNT} and the bytes -> path of the file in the folder
{"op": "get", "file": NAME} -> bytes, and after the line that many bytes; the file is removed
{"op": "start"} -> starts the runner (`deploy.runner.protocol`), ending the one before
{"op": "ask", "request": OBJECT} -> answer (the runner's, a text), or, if it ended instead: ended
    (its exit code, -N for signal N; null if it still runs without output), said (the last line that
    it wrote to standard error)
{"op": "signal", "signal": "SIGSTOP" or "SIGCONT"}
{"op": "install", "folder": FOLDER, "force": BOOL} -> installs the archive that this came in,
    compiled for this Python, as the runner of FOLDER, unless one with other keys is there: path,
    bytes, keys, before (the keys of the runner it replaces, or null), lacks (what this Python lacks
    and a runner needs)
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal as signals
import subprocess
import sys
from pathlib import Path
from typing import Any

from deploy.errors import BundleError, DeployError, RequestError
from deploy.fields import Fields, Reader, parse_json
from deploy.interrupts import Uninterrupted, unwind_when_terminated

OPERATIONS = ("machine", "put", "get", "start", "ask", "signal", "install")

Answer = dict[str, Any]

_CHUNK = 2**16
_LONGEST_LINE = 2**21
_LARGEST_FILE = 4 * 2**30
_READERS: dict[str, Reader] = {
    "bytes": lambda fields, key: fields.integer(key, 0, _LARGEST_FILE),
    "request": Fields.object,
    "signal": lambda fields, key: fields.choice(key, ("SIGSTOP", "SIGCONT")),
}
_TAIL = 4096
_NEEDED = {
    "numpy": ("numpy",),
    "a runtime (ai-edge-litert, tflite-runtime or onnxruntime)": (
        *("ai_edge_litert", "tflite_runtime", "onnxruntime"),
    ),
}
_EXIT_SECONDS = 5.0


class _EndedError(Exception):
    """The connection has ended."""


class _Stream:
    """Lines and bytes from a file descriptor; raises _EndedError if it ends too early."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._held = b""

    def fill(self) -> bool:
        """Take what has arrived; False at the end."""
        chunk = os.read(self.handle, _CHUNK)
        self._held += chunk
        return bool(chunk)

    def has_line(self) -> bool:
        return b"\n" in self._held

    def line(self) -> bytes:
        while not self.has_line():
            if len(self._held) > _LONGEST_LINE or not self.fill():
                raise _EndedError
        found, _, self._held = self._held.partition(b"\n")
        return found

    def copy(self, file: Any, count: int) -> None:
        while count:
            if not self._held and not self.fill():
                raise _EndedError
            part, self._held = self._held[:count], self._held[count:]
            file.write(part)
            count -= len(part)


class Workspace:
    """A folder with the archive `runner.pyz`, controlled from standard input."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._archive = folder / "runner.pyz"
        self._requests = _Stream(0)
        self._runner: subprocess.Popen[bytes] | None = None
        self._answers = _Stream(-1)

    def serve(self) -> None:
        """Answer until the connection ends; then remove the folder."""
        with contextlib.suppress(KeyboardInterrupt):
            try:
                unwind_when_terminated()
                if hasattr(signals, "pthread_sigmask"):  # as the program that made the folder says
                    signals.pthread_sigmask(signals.SIG_SETMASK, ())
                with contextlib.suppress(_EndedError, BrokenPipeError):
                    while True:
                        self._answer(self._requests.line())
            finally:
                with Uninterrupted():
                    self._stop()
                    shutil.rmtree(self._folder, ignore_errors=True)

    def _answer(self, line: bytes) -> None:
        try:
            fields = Fields(parse_json(line, "request"), "request")
            op = fields.choice("op", OPERATIONS)
            answer = {"ok": True, **fields.make(getattr(self, f"_{op}"), _READERS)}
        except (DeployError, OSError) as error:
            answer = {"ok": False, "error": str(DeployError.of(error))}
        sent = answer.pop("file", None)
        _write(json.dumps(answer).encode() + b"\n")
        if sent is not None:
            with open(sent, "rb") as file:
                while chunk := file.read(_CHUNK):
                    _write(chunk)
            Path(sent).unlink()

    def _machine(self) -> Answer:
        from deploy.machine import describe_machine, governor, load_average, usable_cores

        return {
            "folder": str(self._folder),
            "machine": describe_machine(),
            "governor": governor(),
            "load_average": load_average(),
            "cores": usable_cores(),
        }

    def _put(self, file: str, bytes: int) -> Answer:
        path = self._path(file)
        try:
            with open(path, "wb") as written:
                self._requests.copy(written, bytes)
        except OSError as error:  # the bytes still to come would be taken for requests
            said = str(DeployError("cannot store a file", value=error))
            _write(json.dumps({"ok": False, "error": said}).encode() + b"\n")
            raise _EndedError from error
        return {"path": str(path)}

    def _get(self, file: str) -> Answer:
        path = self._path(file)
        return {"bytes": path.stat().st_size, "file": str(path)}

    def _start(self) -> Answer:
        self._stop()
        with open(self._folder / "stderr", "wb") as stderr:
            self._runner = subprocess.Popen(
                [sys.executable, "-I", str(self._archive), "protocol"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                # The temporary files of a runtime are removed with the folder.
                env={**os.environ, "TMPDIR": str(self._folder)},
                start_new_session=True,
            )
        assert self._runner.stdout is not None
        self._answers = _Stream(self._runner.stdout.fileno())
        return {}

    def _ask(self, request: dict[str, Any]) -> Answer:
        runner = self._runner
        if runner is None:
            raise RequestError("no runner is started", hint="send start first")
        assert runner.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then there is no answer, either
            runner.stdin.write(json.dumps(request).encode() + b"\n")
            runner.stdin.flush()
        watched = [self._requests.handle, self._answers.handle]
        while not self._answers.has_line():
            ready = select.select(watched, [], [])[0]
            if self._requests.handle in ready and not self._requests.fill():
                raise _EndedError
            if self._answers.handle in ready and not self._answers.fill():
                return self._ended(runner)
        return {"answer": self._answers.line().decode(errors="replace")}

    def _ended(self, runner: subprocess.Popen[bytes]) -> Answer:
        try:
            code: int | None = runner.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        said = (self._folder / "stderr").read_bytes()[-_TAIL:].decode(errors="replace")
        lines = [line.strip() for line in said.split("\n") if line.strip()]
        return {"ended": code, "said": lines[-1][:200] if lines else ""}

    def _signal(self, signal: str) -> Answer:
        if self._runner is not None and hasattr(signals, signal):
            self._runner.send_signal(getattr(signals, signal))
        return {}

    def _install(self, folder: str, force: bool) -> Answer:
        from deploy.container import MOST_BYTES
        from deploy.files import atomic_paths, in_home, read_regular
        from deploy.runner.commands.compile import compiled
        from deploy.store import RUNNER

        target = in_home(folder) / RUNNER
        keys, before = _keys_of(self._archive), _keys_of(target)
        if before is not None and before != keys and not force:
            raise BundleError(
                "a runner that trusts other keys is installed",
                value=f"{target} trusts {', '.join(before) or 'none'}",
                hint="--force replaces it",
            )
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        archive = compiled(read_regular(self._archive, MOST_BYTES))
        with atomic_paths(target) as (made,):
            made.write_bytes(archive)
        return {
            "path": str(target.resolve()),
            "bytes": len(archive),
            "keys": keys,
            "before": before,
            "lacks": _lacking(),
        }

    def _path(self, name: str) -> Path:
        if not name.replace(".", "").replace("-", "").isalnum() or name.startswith("."):
            raise RequestError("not a file name", value=name)
        return self._folder / name

    def _stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is None:
            return
        runner.kill()  # one that is stopped by SIGSTOP, too
        with contextlib.suppress(subprocess.TimeoutExpired):
            runner.wait(_EXIT_SECONDS)
        assert runner.stdin is not None and runner.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            runner.stdin.close()
        runner.stdout.close()


def _lacking() -> list[str]:
    from importlib.util import find_spec

    return [
        what
        for what, modules in _NEEDED.items()
        if not any(find_spec(module) is not None for module in modules)
    ]


def _keys_of(archive: Path) -> list[str] | None:
    """The identifiers of the keys pinned in a runner; None if there is no runner."""
    import hashlib

    from deploy.container import read_container
    from deploy.files import read_regular
    from deploy.signing import PINNED_KEYS

    if not archive.exists():
        return None
    try:
        listed = read_container(read_regular(archive, _LARGEST_FILE)).get(f"deploy/{PINNED_KEYS}")
        texts = json.loads(listed)["keys"] if listed else []
        return sorted(hashlib.sha256(bytes.fromhex(text)).hexdigest()[:16] for text in texts)
    except (DeployError, ValueError, KeyError, TypeError):
        return ["an unknown key"]


def _write(content: bytes) -> None:
    while content:
        content = content[os.write(1, content) :]


def main(folder: str) -> int:
    """Serve in `folder`, which is removed at the end; returns the exit code."""
    Workspace(Path(folder)).serve()
    return 0
