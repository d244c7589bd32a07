"""The runner's protocol, which `deploy.runner` describes: a JSON object a line in, one out."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from deploy.arrays import read_arrays
from deploy.errors import DeployError, EngineError, MissingEngineError, RequestError
from deploy.fields import Fields, FilePath, Reader, parse_json
from deploy.files import atomic_paths
from deploy.machine import peak_memory_bytes
from deploy.measurement import timer_costs
from deploy.runner import engines
from deploy.runner.engine import Engine, Rows
from deploy.vectors import CheckVectors

OPERATIONS = ("probe", "load", "predict", "check", "warm_up", "measure", "stream", "exit")

LONGEST_LINE = 2**20
"""Bytes of a request."""

MOST_ROWS = 2**24
"""Examples of a batch."""

_LARGEST_INPUTS = 4 * 2**30
_MOST_RUNS = 10**7
_READERS: dict[str, Reader] = {
    "runtime": lambda fields, key: fields.choice(key, tuple(engines.ENGINES)),
    "threads": lambda fields, key: fields.integer(key, 1, 1024),
    "batch": lambda fields, key: fields.integer(key, 1, MOST_ROWS),
    "runs": lambda fields, key: fields.integer(key, 1, _MOST_RUNS),
    "warmup": lambda fields, key: fields.integer(key, 0, _MOST_RUNS),
    "seconds": lambda fields, key: fields.number(key, 0.0, 3600.0),
}
"""The parameters of the operations whose type alone does not say how they are read."""

Answer = dict[str, Any]


class Server:
    """Answers requests, one at a time, about the artefact loaded last; `_OP` serves `op` OP."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    def serve(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        """Answer every line of `requests` with a line, until `exit` or the end."""
        while line := requests.readline(LONGEST_LINE + 1):
            over = len(line) > LONGEST_LINE
            while not line.endswith(b"\n") and (rest := requests.readline(LONGEST_LINE)):
                line = rest
            going, answer = (True, _TOO_LONG) if over else self.answer(line)
            answers.write(json.dumps(answer, allow_nan=False).encode() + b"\n")
            answers.flush()
            if not going:
                return

    def answer(self, line: bytes) -> tuple[bool, Answer]:
        """Whether to go on after this request, and its answer."""
        try:
            fields = Fields(parse_json(line, "request"), "request")
            op = fields.choice("op", OPERATIONS)
            return op != "exit", {"ok": True} | fields.make(getattr(self, f"_{op}"), _READERS)
        except DeployError as error:
            return True, _error(error)
        # A request that fails unexpectedly must not end the program.
        except Exception as error:
            return True, _error(EngineError(type(error).__name__, value=error))

    def _probe(self, runtime: str) -> Answer:
        return engines.engine_class(runtime).probe()

    def _load(
        self,
        runtime: str,
        path: FilePath,
        threads: int,
        cpus: tuple[int, ...] | None,
        graph: bool,
        reference: bool,
    ) -> Answer:
        if not Path(path).is_file():
            raise RequestError("no such file", value=path)
        self._engine = None  # two artefacts in memory would count as one's
        if cpus is not None:
            _pin(cpus)  # before the runtime starts threads, which inherit it
        self._engine = engine = engines.engine_class(runtime)(
            path, threads, graph, reference=reference
        )
        return {
            "runtime": runtime,
            "version": engine.version,
            "provider": engine.provider,
            "delegate": engine.delegate,
            "device": engine.device,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "threads": threads,
            "cpus": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
            "import_ms": engine.import_ms,
            "load_ms": engine.load_ms,
            "arena_bytes": engine.arena_bytes,
            "inputs": [dataclasses.asdict(port) for port in engine.inputs],
            "outputs": [dataclasses.asdict(port) for port in engine.outputs],
            "peak_memory_bytes": peak_memory_bytes(),
        }

    def _predict(self, inputs: FilePath, outputs: FilePath, batch: int) -> Answer:
        found = self._loaded().predict(read_arrays(inputs, _LARGEST_INPUTS), batch)
        with atomic_paths(Path(outputs)) as (made,), open(made, "wb") as file:
            np.lib.format.write_array(file, found, version=(1, 0), allow_pickle=False)
        return {"shape": list(found.shape), "peak_memory_bytes": peak_memory_bytes()}

    def _check(self, vectors: FilePath, batch: int) -> Answer:
        expected = CheckVectors.read(vectors)
        return expected.compare(self._loaded().predict(expected.inputs, batch)).describe()

    def _warm_up(self, seconds: float, batch: int, inputs: FilePath | None, copies: bool) -> Answer:
        rows = _rows(inputs, batch, copies)
        engine = self._loaded()
        return {
            **engine.warm_up(rows, seconds=seconds),
            **timer_costs(),
            "peak_memory_bytes": peak_memory_bytes(),
            "device_memory_bytes": engine.device_memory_bytes(),
        }

    def _measure(
        self, warmup: int, runs: int, batch: int, inputs: FilePath | None, copies: bool
    ) -> Answer:
        rows = _rows(inputs, batch, copies)
        engine = self._loaded()
        times = engine.measure(rows, warmup=warmup, runs=runs)
        size = engine.fixed_batch() or batch
        return {"ns": times, "batch": size, "peak_memory_bytes": peak_memory_bytes()}

    def _stream(self, runs: int, batch: int, inputs: FilePath | None, copies: bool) -> Answer:
        rows = _rows(inputs, batch, copies)
        examples, nanoseconds = self._loaded().stream(rows, runs=runs)
        return {"examples": examples, "ns": nanoseconds}

    def _exit(self) -> Answer:
        return {}

    def _loaded(self) -> Engine:
        if self._engine is None:
            raise RequestError("no artefact is loaded", hint="send load first")
        return self._engine


def _rows(inputs: FilePath | None, batch: int, copies: bool) -> Rows:
    return Rows(None if inputs is None else read_arrays(inputs, _LARGEST_INPUTS), batch, copies)


def _pin(cpus: Sequence[int]) -> None:
    """Pin this process to these processors; raises RequestError if that fails."""
    try:
        os.sched_setaffinity(0, cpus)
    except (AttributeError, OSError, ValueError, OverflowError) as error:
        raise RequestError("cannot pin the process", value=f"{list(cpus)} ({error})") from error


def _error(error: DeployError) -> Answer:
    kinds = {MissingEngineError: "missing", EngineError: "engine"}
    return {"ok": False, "kind": kinds.get(type(error), "request"), "error": str(error)}


_TOO_LONG = _error(
    RequestError("the request is too long", hint=f"send at most {LONGEST_LINE:,} bytes")
)
