"""Running artefacts in a process of their own, by the runner that goes to the device, too."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from compressor import runtimes
from compressor._files import storage_errors
from compressor.errors import CheckFailedError, CompressorError, MissingRuntimeError, UsageError
from deploy.arrays import write_arrays
from deploy.runner.packing import pack

TIMEOUT = 600.0
"""Seconds that one request may take, unless told otherwise."""

_LONGEST_ANSWER = 64 * 2**20
_TAIL = 4096
_EXIT_SECONDS = 5.0

Facts = dict[str, Any]
Stored = Mapping[str, np.ndarray] | Path
"""Arrays (n, ...) by the names of the inputs, or the .npz that `deploy.arrays` wrote of them."""


class Runner:
    """A runtime in a process of its own, for one artefact after the other.

    Use it as a context: the process is started by the first request, and killed at the end,
    whatever happens. One that crashed or was killed for its time is replaced by the next `load`.
    `threads` is what the runtime may compute with, `timeout` the seconds of one request, `cpus` the
    processors that the process is kept to.

    Every request raises MissingRuntimeError where the runtime is not there; CheckFailedError where
    it refuses or cannot run the artefact, crashes, or takes too long; UsageError where the request
    cannot be served, such as for arrays that do not fit the artefact. Raises UsageError for a
    runtime that is not known.
    """

    def __init__(
        self,
        runtime: str,
        *,
        threads: int = 1,
        timeout: float = TIMEOUT,
        cpus: Sequence[int] | None = None,
    ) -> None:
        self.runtime = runtimes.find(runtime).verified_in
        self.threads, self.timeout = threads, timeout
        self._cpus = None if cpus is None else list(cpus)
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._stderr: IO[bytes] | None = None

    def __enter__(self) -> Runner:
        with storage_errors(Path(tempfile.gettempdir())):
            self._folder = tempfile.TemporaryDirectory(prefix="compressor-runner-")
            (self._path / "runner.pyz").write_bytes(pack())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def probe(self) -> Facts:
        """Whether the runtime can run here: version, provider, device."""
        return self._request({"op": "probe", "runtime": self.runtime})

    def load(self, path: Path | str, *, graph: bool = False) -> Facts:
        """Load an artefact in the place of the one before; `graph` is to run it as a CUDA graph.

        Returns what the runtime says of it and of itself: version, provider, inputs, outputs,
        load_ms, ...; `deploy.runner` lists them.
        """
        return self._request(
            {
                "op": "load",
                "runtime": self.runtime,
                "path": str(Path(path).resolve()),
                "threads": self.threads,
                "cpus": self._cpus,
                "graph": graph,
            }
        )

    def predict(self, inputs: Stored, *, batch: int = 1) -> np.ndarray:
        """Run arrays (n, ...) by the names of the inputs, `batch` rows at once: float32 (n, k)."""
        outputs = self._path / "outputs.npy"
        source = self._write(inputs)
        self._request({"op": "predict", "inputs": source, "outputs": str(outputs), "batch": batch})
        found: np.ndarray = np.load(outputs, allow_pickle=False)
        outputs.unlink()
        return found

    def check(self, vectors: Path | str, *, batch: int = 1) -> Facts:
        """Run check vectors: passed, examples, difference, tolerance."""
        absolute = str(Path(vectors).resolve())
        return self._request({"op": "check", "vectors": absolute, "batch": batch})

    def warm_up(
        self,
        *,
        seconds: float,
        batch: int = 1,
        inputs: Stored | None = None,
        copies: bool = False,
    ) -> Facts:
        """Run until the median settles, for at most `seconds`: first_ns, runs, settled, ..."""
        return self._request(
            {"op": "warm_up", "seconds": seconds, **self._rows(batch, inputs, copies)}
        )

    def measure(
        self,
        *,
        runs: int,
        batch: int = 1,
        warmup: int = 0,
        inputs: Stored | None = None,
        copies: bool = False,
    ) -> list[int]:
        """One round: nanoseconds of each of `runs` runs of a batch, after `warmup` uncounted ones.

        `inputs` are rows, taken a batch after the other, and repeated where they are too few;
        without them random ones are run. Without `copies` inputs and outputs stay in the runtime's
        memory.
        """
        answer = self._request(
            {
                "op": "measure",
                "warmup": warmup,
                "runs": runs,
                **self._rows(batch, inputs, copies),
            }
        )
        times: list[int] = answer["ns"]
        return times

    def stream(
        self,
        *,
        runs: int,
        batch: int = 1,
        inputs: Stored | None = None,
        copies: bool = False,
    ) -> tuple[int, int]:
        """Run batch after batch, fed as in `measure`: how many examples, and nanoseconds in all."""
        answer = self._request({"op": "stream", "runs": runs, **self._rows(batch, inputs, copies)})
        return answer["examples"], answer["ns"]

    def _rows(self, batch: int, inputs: Stored | None, copies: bool) -> Facts:
        source = None if inputs is None else self._write(inputs)
        return {"batch": batch, "inputs": source, "copies": copies}

    def pause(self) -> None:
        """Stop the process, so that its threads do not spin while others are measured."""
        self._signal("SIGSTOP")

    def resume(self) -> None:
        """Let a process go on that was paused."""
        self._signal("SIGCONT")

    def _signal(self, name: str) -> None:
        if self._process is not None and hasattr(signal, name):
            self._process.send_signal(getattr(signal, name))

    @property
    def _path(self) -> Path:
        if self._folder is None:
            raise RuntimeError("a Runner is used in a with statement")
        return Path(self._folder.name)

    def _write(self, inputs: Stored) -> str:
        """The file of the inputs, written unless they are in one."""
        if isinstance(inputs, Path):
            return str(inputs.resolve())
        path = self._path / "inputs.npz"
        with storage_errors(path), open(path, "wb") as file:
            write_arrays(file, inputs)
        return str(path)

    def _request(self, request: Mapping[str, Any]) -> Facts:
        """Send a request, and give its answer without `ok`."""
        process = self._process or self._start()
        assert process.stdin is not None
        try:
            # The process may be gone: then there is no answer, either.
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            answer = self._parse(self._answers.get(timeout=self.timeout))
        except queue.Empty:
            self._stop()
            raise CheckFailedError(
                "the runtime does not answer",
                value=f"{self.runtime}: {request['op']} took more than {self.timeout:g} s",
            ) from None
        except BaseException:  # Ctrl-C, too: a late answer would be taken for the next one's
            self._stop()
            raise
        if not answer.pop("ok"):
            raise self._error(answer)
        return answer

    def _parse(self, line: bytes) -> Facts:
        """The answer in a line, which is empty where the process has ended."""
        if not line:
            raise self._crash()
        try:
            answer = json.loads(line)
            if answer["ok"] is True or (
                answer["ok"] is False and answer["kind"] and answer["error"]
            ):
                return dict(answer)
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        raise CheckFailedError(
            "the runner does not keep to its protocol",
            value=f"{self.runtime}: {line[:80].decode(errors='replace')}",
        )

    def _error(self, answer: Facts) -> CompressorError:
        kind, message = answer["kind"], f"{self.runtime}: {answer['error']}"
        if kind == "missing":
            return MissingRuntimeError("the runtime is not there", value=message)
        if kind == "engine":
            return CheckFailedError("the runtime cannot run the artefact", value=message)
        return UsageError("the runtime cannot do that", value=message)

    def _crash(self) -> CheckFailedError:
        """What the process died of."""
        assert self._process is not None and self._stderr is not None
        try:
            code = self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            return CheckFailedError("the runtime closed its output and went on", value=self.runtime)
        cause = _signal_name(-code) if code < 0 else f"exit code {code}"
        hint = "memory may have run out" if code == -signal.SIGKILL else ""
        return CheckFailedError(
            "the runtime crashed", value=f"{self.runtime}: {cause}{self._said()}", hint=hint
        )

    def _said(self) -> str:
        """The last line of what the process wrote to standard error."""
        assert self._stderr is not None
        size = self._stderr.seek(0, 2)
        self._stderr.seek(max(size - _TAIL, 0))
        lines = self._stderr.read().decode(errors="replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        return f" ({lines[-1][:200]})" if lines else ""

    def _start(self) -> subprocess.Popen[bytes]:
        python = runtimes.python_of(self.runtime)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _stop
        self._answers = queue.Queue()
        try:
            process = subprocess.Popen(
                # -I: neither the user's variables nor this folder's modules reach the runtime.
                [python, "-I", str(self._path / "runner.pyz")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                # Ctrl-C is for this process, which ends the other itself.
                start_new_session=True,
            )
        except OSError as error:
            self._stop()
            raise MissingRuntimeError(
                "the runtime cannot be started", value=f"{python} ({error.strerror})"
            ) from error
        assert process.stdout is not None
        threading.Thread(target=_forward, args=(process.stdout, self._answers), daemon=True).start()
        self._process = process
        return process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the system itself
                process.wait(_EXIT_SECONDS)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            # The thread sees the end of the output now, and closes it.
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None


def _forward(stream: IO[bytes], answers: queue.Queue[bytes]) -> None:
    """Queue the lines of a stream, and an empty one at its end."""
    with stream:
        while line := stream.readline(_LONGEST_ANSWER):
            answers.put(line)
    answers.put(b"")


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
