"""Running artefacts in a separate process, with the runner that also runs on the device."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.errors import CheckFailedError, CompressorError, MissingRuntimeError, UsageError
from compressor.foundation import storage_errors, temporary_folder
from compressor.remote import SshHost
from compressor.runtimes import registry
from compressor.runtimes.answers import (
    Facts,
    Refusal,
    largest_array,
    longest_line,
    read_answer,
    read_outputs,
)
from compressor.runtimes.processes import EndedError, LocalProcess, RemoteProcess, RunnerProcess
from deploy.arrays import write_arrays
from deploy.errors import DeployError

TIMEOUT = 600.0
"""Seconds that a request may take by default."""

_OUTPUTS = "outputs.npy"
_SHOWN = 80
_MISSING, _ERROR = 3, "error: "
"""Exit code of a runner that lacks something, and how its error line begins."""

Stored = Mapping[str, np.ndarray] | Path
"""Arrays (n, ...) by input name, or an .npz of them written by `deploy.arrays`."""


class Runner:
    """A runtime in a process of its own, for one artefact after the other; a context manager.

    The process is started by the first request, and killed on exit. One that crashed or timed out
    is replaced by the next `load`. `threads` are the runtime's, `timeout` is in seconds for one
    request, `cpus` are the processors that the process is pinned to. With a `host` the process is
    there, and files are copied to and from a temporary folder there.

    Every request raises MissingRuntimeError where the runtime is not installed; CheckFailedError
    where it refuses or cannot run the artefact, crashes, or takes too long; UsageError where the
    request cannot be served, such as for arrays that do not fit the artefact. Raises UsageError for
    an unknown runtime.
    """

    def __init__(
        self,
        runtime: str,
        *,
        threads: int = 1,
        timeout: float = TIMEOUT,
        cpus: Sequence[int] | None = None,
        host: SshHost | None = None,
    ) -> None:
        self.runtime = registry.find(runtime).verified_in
        self.threads, self.timeout = threads, timeout
        self._cpus = None if cpus is None else list(cpus)
        self._host = host
        self._process: RunnerProcess | None = None
        self._started = False
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Runner:
        with storage_errors(), contextlib.ExitStack() as stack:
            self._path = stack.enter_context(temporary_folder("compressor-runner-"))
            if self._host is None:
                self._process = LocalProcess(self._path)
            else:
                self._process = RemoteProcess(self._host, self.timeout)
            stack.callback(self._process.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._started, self._process = False, None
        self._stack.close()

    def probe(self) -> Facts:
        """Whether the runtime can run here: version, provider, device."""
        return self._request({"op": "probe", "runtime": self.runtime})

    def load(self, path: Path | str, *, graph: bool = False, reference: bool = False) -> Facts:
        """Load an artefact in place of the one before; `graph` runs it as a CUDA graph.

        As a `reference` it runs as written, in the runtime's plain kernels: without delegate,
        fusion or any other optimisation.

        Returns version, provider, inputs, outputs, load_ms, ...; `deploy.runner` lists them.
        """
        return self._request(
            {
                "op": "load",
                "runtime": self.runtime,
                "path": self._place.place(Path(path)),
                "threads": self.threads,
                "cpus": self._cpus,
                "graph": graph,
                "reference": reference,
            }
        )

    def predict(self, inputs: Stored, *, batch: int = 1) -> np.ndarray:
        """The outputs of all rows, `batch` at once: float32 (n, k)."""
        outputs = self._path / "predicted.npy"
        source, written = self._write(inputs), self._place.output(_OUTPUTS)
        request = {"op": "predict", "inputs": source, "outputs": written, "batch": batch}
        shape = self._request(request)["shape"]
        rows = None if isinstance(inputs, Path) else {len(array) for array in inputs.values()}
        try:
            if rows is not None and set(shape[:1]) != rows:
                raise DeployError("the outputs are of another number of rows", value=shape)
            self._place.take(_OUTPUTS, outputs, largest_array(shape))
            return read_outputs(outputs, shape)
        except (DeployError, OSError) as error:
            self._stop()
            raise self._broken(error) from None
        finally:
            outputs.unlink(missing_ok=True)

    def check(self, vectors: Path | str, *, batch: int = 1) -> Facts:
        """Run check vectors: passed, examples, difference, tolerance."""
        placed = self._place.place(Path(vectors))
        return self._request({"op": "check", "vectors": placed, "batch": batch})

    def warm_up(
        self,
        *,
        seconds: float,
        batch: int = 1,
        inputs: Stored | None = None,
        copies: bool = False,
    ) -> Facts:
        """Run until the median settles, for at most `seconds`: first_ns, runs, settled, ..."""
        rows = self._rows(batch, inputs, copies)
        return self._request({"op": "warm_up", "seconds": seconds, **rows})

    def measure(
        self,
        *,
        runs: int,
        batch: int = 1,
        warmup: int = 0,
        inputs: Stored | None = None,
        copies: bool = False,
    ) -> list[int]:
        """Nanoseconds of each of `runs` runs of a batch, after `warmup` uncounted ones.

        `inputs` are fed batch by batch, and repeated where they are too few; random ones by
        default. Without `copies` inputs and outputs stay in the runtime's memory.
        """
        rows = self._rows(batch, inputs, copies)
        answer = self._request({"op": "measure", "warmup": warmup, "runs": runs, **rows})
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
        """Run batch after batch, fed as in `measure`: the number of examples, and nanoseconds."""
        answer = self._request({"op": "stream", "runs": runs, **self._rows(batch, inputs, copies)})
        return answer["examples"], answer["ns"]

    def _rows(self, batch: int, inputs: Stored | None, copies: bool) -> Facts:
        source = None if inputs is None else self._write(inputs)
        return {"batch": batch, "inputs": source, "copies": copies}

    def pause(self) -> None:
        """Stop the process, so that its threads do not spin while others are timed."""
        self._signal("SIGSTOP")

    def resume(self) -> None:
        self._signal("SIGCONT")

    def _signal(self, name: str) -> None:
        if self._started:
            self._place.signal(name)

    @property
    def _place(self) -> RunnerProcess:
        if self._process is None:
            raise RuntimeError("a Runner is used in a with statement")
        return self._process

    def _write(self, inputs: Stored) -> str:
        if isinstance(inputs, Path):
            return self._place.place(inputs)
        path = self._path / "inputs.npz"
        with storage_errors(path), open(path, "wb") as file:
            write_arrays(file, inputs)
        return self._place.place(path, rewritten=True)

    def _request(self, request: Mapping[str, Any]) -> Facts:
        """The answer to a request, checked field by field (`compressor.runtimes.answers`)."""
        line = b""
        try:
            if not self._started:
                self._place.start(self.runtime)
                self._started = True
            line = self._place.ask(request, self.timeout, longest_line(request))
            answer = read_answer(line, request)
        except TimeoutError:
            self._stop()
            raise CheckFailedError(
                "the runtime does not answer",
                value=f"{self.runtime}: {request['op']} took more than {self.timeout:g} s",
            ) from None
        except EndedError as ended:
            self._stop()
            raise self._crash(ended) from None
        except DeployError as error:
            self._stop()
            raise self._broken(error, line) from None
        except BaseException:  # Ctrl-C, too: a late answer would be taken for the next one's
            self._stop()
            raise
        if isinstance(answer, Refusal):
            raise self._refused(answer)
        return answer

    def _broken(self, error: DeployError | OSError, line: bytes = b"") -> CheckFailedError:
        what = "the runner does not keep to its protocol"
        said = line[:_SHOWN].decode(errors="replace")
        value = f"{self.runtime}: {said} ({error})" if said else f"{self.runtime}: {error}"
        return CheckFailedError(what, value=value)

    def _refused(self, refusal: Refusal) -> CompressorError:
        message = f"{self.runtime}: {refusal.error}"
        if refusal.kind == "missing":
            return MissingRuntimeError("the runtime is not there", value=message)
        if refusal.kind == "engine":
            return CheckFailedError("the runtime cannot run the artefact", value=message)
        return UsageError("the runtime cannot do that", value=message)

    def _crash(self, ended: EndedError) -> CompressorError:
        code = ended.code
        if code == _MISSING and ended.said.startswith(_ERROR):  # numpy, without which it has no say
            said = ended.said[len(_ERROR) :]
            return MissingRuntimeError("the runtime is not there", value=f"{self.runtime}: {said}")
        if code is None:
            return CheckFailedError("the runtime closed its output and went on", value=self.runtime)
        cause = _signal_name(-code) if code < 0 else f"exit code {code}"
        said = f" ({ended.said})" if ended.said else ""
        hint = "memory may have run out" if code == -signal.SIGKILL else ""
        return CheckFailedError(
            "the runtime crashed", value=f"{self.runtime}: {cause}{said}", hint=hint
        )

    def _stop(self) -> None:
        self._started = False
        if self._process is not None:
            self._process.stop()


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
