"""The runner's protocol: a JSON object a line in, one out; `deploy.runner` says which."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from deploy.arrays import read_arrays
from deploy.errors import DeployError, EngineError, MissingEngineError, RequestError
from deploy.fields import Fields, parse_json
from deploy.measurement import timer_costs
from deploy.runner import engines
from deploy.runner.engine import Engine, Rows
from deploy.runner.memory import peak_memory_bytes
from deploy.vectors import CheckVectors

OPERATIONS = ("probe", "load", "predict", "check", "warm_up", "measure", "stream", "exit")

LONGEST_LINE = 2**20
"""Bytes of a request."""

MOST_ROWS = 2**24
"""Examples of a batch."""

_LARGEST_INPUTS = 4 * 2**30
_MOST_THREADS = 1024
_MOST_RUNS = 10**7
_MOST_SECONDS = 3600.0

Answer = dict[str, Any]


class Server:
    """Answers requests, one after the other, about the artefact that was loaded last."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    def serve(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        """Answer every line of `requests` with a line, until `exit` or the end."""
        while line := requests.readline(LONGEST_LINE + 1):
            over = len(line) > LONGEST_LINE
            while not line.endswith(b"\n") and (rest := requests.readline(LONGEST_LINE)):
                line = rest
            going, answer = (True, _error(_too_long())) if over else self.answer(line)
            answers.write(json.dumps(answer, allow_nan=False).encode() + b"\n")
            answers.flush()
            if not going:
                return

    def answer(self, line: bytes) -> tuple[bool, Answer]:
        """Whether to go on after this request, and its answer."""
        try:
            fields = Fields(parse_json(line, "request"), "request")
            op = fields.choice("op", OPERATIONS)
            answer = {} if op == "exit" else getattr(self, f"_{op}")(fields)
            return op != "exit", {"ok": True} | answer
        except DeployError as error:
            return True, _error(error)
        # A request that fails in a way nobody thought of must not end the program.
        except Exception as error:
            return True, _error(EngineError(type(error).__name__, value=error))

    def _probe(self, fields: Fields) -> Answer:
        runtime = fields.choice("runtime", tuple(engines.ENGINES))
        fields.done()
        return engines.engine_class(runtime).probe()

    def _load(self, fields: Fields) -> Answer:
        runtime = fields.choice("runtime", tuple(engines.ENGINES))
        path = fields.path("path")
        threads = fields.integer("threads", 1, _MOST_THREADS)
        cpus = fields.optional("cpus", fields.sizes)
        graph = fields.boolean("graph")
        fields.done()
        if not Path(path).is_file():
            raise RequestError("there is no such file", value=path)
        self._engine = None  # two artefacts in memory would count as one's
        if cpus is not None:
            _pin(cpus)  # before the runtime starts threads, which inherit it
        self._engine = engine = engines.engine_class(runtime)(path, threads, graph)
        return {
            "runtime": runtime,
            "version": engine.version,
            "provider": engine.provider,
            "delegate": engine.delegate,
            "device": engine.device,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "threads": threads,
            "cpus": _pinned(),
            "import_ms": engine.import_ms,
            "load_ms": engine.load_ms,
            "inputs": [dataclasses.asdict(port) for port in engine.inputs],
            "outputs": [dataclasses.asdict(port) for port in engine.outputs],
            "peak_memory_bytes": peak_memory_bytes(),
        }

    def _predict(self, fields: Fields) -> Answer:
        source = fields.path("inputs")
        target = fields.path("outputs")
        batch = fields.integer("batch", 1, MOST_ROWS)
        fields.done()
        outputs = self._loaded().predict(read_arrays(source, _LARGEST_INPUTS), batch)
        _write(Path(target), outputs)
        return {"shape": list(outputs.shape), "peak_memory_bytes": peak_memory_bytes()}

    def _check(self, fields: Fields) -> Answer:
        path = fields.path("vectors")
        batch = fields.integer("batch", 1, MOST_ROWS)
        fields.done()
        vectors = CheckVectors.read(path)
        return vectors.compare(self._loaded().predict(vectors.inputs, batch)).describe()

    def _warm_up(self, fields: Fields) -> Answer:
        seconds = fields.number("seconds", 0.0, _MOST_SECONDS)
        rows = _rows(fields)
        engine = self._loaded()
        found = engine.warm_up(rows, seconds=seconds)
        memory = {
            "peak_memory_bytes": peak_memory_bytes(),
            "device_memory_bytes": engine.device_memory_bytes(),
        }
        return {**found, **timer_costs(), **memory}

    def _measure(self, fields: Fields) -> Answer:
        warmup = fields.integer("warmup", 0, _MOST_RUNS)
        runs = fields.integer("runs", 1, _MOST_RUNS)
        rows = _rows(fields)
        engine = self._loaded()
        times = engine.measure(rows, warmup=warmup, runs=runs)
        size = engine.fixed_batch() or rows.batch
        return {"ns": times, "batch": size, "peak_memory_bytes": peak_memory_bytes()}

    def _stream(self, fields: Fields) -> Answer:
        runs = fields.integer("runs", 1, _MOST_RUNS)
        rows = _rows(fields)
        examples, nanoseconds = self._loaded().stream(rows, runs=runs)
        return {"examples": examples, "ns": nanoseconds}

    def _loaded(self) -> Engine:
        if self._engine is None:
            raise RequestError("no artefact is loaded", hint="send load first")
        return self._engine


def _rows(fields: Fields) -> Rows:
    """What runs are fed: the last fields of a request."""
    batch = fields.integer("batch", 1, MOST_ROWS)
    source = fields.optional("inputs", fields.path)
    copies = fields.boolean("copies")
    fields.done()
    return Rows(None if source is None else read_arrays(source, _LARGEST_INPUTS), batch, copies)


def _pin(cpus: Sequence[int]) -> None:
    """Keep this process to these processors. Raises RequestError where it cannot be."""
    try:
        os.sched_setaffinity(0, cpus)
    except (AttributeError, OSError, ValueError, OverflowError) as error:
        raise RequestError(
            "the process cannot be pinned", value=f"{list(cpus)} ({error})"
        ) from error


def _pinned() -> list[int] | None:
    """The processors that this process may use; None where that cannot be said."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _write(path: Path, array: np.ndarray) -> None:
    """Write an .npy at once: whoever sees the file sees all of it."""
    handle, name = tempfile.mkstemp(suffix=".npy", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


def _error(error: DeployError) -> Answer:
    kinds = {MissingEngineError: "missing", EngineError: "engine"}
    return {"ok": False, "kind": kinds.get(type(error), "request"), "error": str(error)}


def _too_long() -> RequestError:
    return RequestError("the request is too long", hint=f"at most {LONGEST_LINE:,} bytes")
