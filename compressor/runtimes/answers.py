"""What a runner answers, read field by field: it may run on a device that is broken, or hostile.

An answer has exactly the fields that `deploy.runner` lists, of the types and within the bounds of
what was asked. Texts are made fit for a terminal and a page here, once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deploy.arrays import read_array_file
from deploy.artifact_parts import DTYPES
from deploy.errors import ArtifactError
from deploy.fields import LONGEST_PATH, LONGEST_TEXT, Fields, parse_json
from deploy.text import clean

Facts = dict[str, Any]
Request = Mapping[str, Any]

_LONGEST_LINE = 2**20
_LONGEST_NUMBER = 20
_LARGEST_ARRAY = 2**30
_LONGEST_HEADER = 2**12
_LONGEST_MS = 1e12
_LONGEST_NS = 10**17
_MOST_CPUS = 2**16
_MOST_PORTS = 1000
_ZERO_POINTS = (-(2**31), 2**31)


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A request that was not served: `kind` is missing, engine or request; `error` is one line."""

    kind: str
    error: str


def longest_line(request: Request) -> int:
    """Bytes of the longest answer to a request; parsed, it may take a hundred times as many."""
    return _LONGEST_LINE + _LONGEST_NUMBER * int(request.get("runs", 0))


def read_answer(line: bytes, request: Request) -> Facts | Refusal:
    """The fields of an answer without `ok`, or why there are none.

    Raises ArtifactError for anything else.
    """
    fields = Fields(parse_json(line, "answer"), "answer")
    found: Facts | Refusal
    if fields.boolean("ok"):
        found = _READERS[request["op"]](fields, request)
    else:
        kind = fields.choice("kind", ("missing", "engine", "request"))
        found = Refusal(kind, _words(fields, "error", LONGEST_PATH))
    fields.done()
    return found


def largest_array(shape: tuple[int, ...]) -> int:
    """Bytes of the file of a float32 array; raises ArtifactError for more than 1 GiB."""
    # Python's integers do not overflow, as those of numpy do.
    size = 4
    for length in shape:
        size *= length
    if size > _LARGEST_ARRAY:
        raise ArtifactError("the outputs are too large", value=f"shape {list(shape)}")
    return size + _LONGEST_HEADER


def read_outputs(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 array of this shape in an .npy file; raises ArtifactError for anything else."""
    found = read_array_file(path, largest_array(shape))
    if found.dtype != np.float32 or found.shape != shape:
        value = f"{found.dtype} {list(found.shape)}, the answer says float32 {list(shape)}"
        raise ArtifactError("the outputs are not those of the answer", value=value)
    return found


def _words(fields: Fields, key: str, longest: int = LONGEST_TEXT) -> str:
    return clean(fields.string(key, longest), longest)


def _maybe(fields: Fields, key: str) -> str | None:
    return fields.optional(key, lambda _: _words(fields, key))


def _probe(answer: Fields, _: Request) -> Facts:
    return {
        "version": _words(answer, "version"),
        "provider": _maybe(answer, "provider"),
        "device": _maybe_one(answer, "device", _device),
    }


def _load(answer: Fields, request: Request) -> Facts:
    return {
        "runtime": answer.choice("runtime", (request["runtime"],)),
        **_probe(answer, request),
        "delegate": _maybe_one(answer, "delegate", _delegate),
        "numpy": _words(answer, "numpy"),
        "python": _words(answer, "python"),
        "threads": answer.integer("threads", request["threads"], request["threads"]),
        "cpus": answer.optional("cpus", lambda _: _cpus(answer)),
        "import_ms": answer.number("import_ms", 0.0, _LONGEST_MS),
        "load_ms": answer.number("load_ms", 0.0, _LONGEST_MS),
        # Runners of earlier versions, on devices, do not say it.
        "arena_bytes": answer.optional("arena_bytes", answer.integer)
        if answer.has("arena_bytes")
        else None,
        "inputs": list(answer.objects("inputs", _port, _MOST_PORTS)),
        "outputs": list(answer.objects("outputs", _port, _MOST_PORTS)),
        "peak_memory_bytes": answer.integer("peak_memory_bytes"),
    }


def _predict(answer: Fields, _: Request) -> Facts:
    return {
        "shape": answer.sizes("shape"),
        "peak_memory_bytes": answer.integer("peak_memory_bytes"),
    }


def _check(answer: Fields, _: Request) -> Facts:
    passed, tolerance = answer.boolean("passed"), answer.number("tolerance", 0.0)
    difference = answer.optional("difference", answer.number, 0.0)
    if passed != (difference is not None and difference <= tolerance):
        raise ArtifactError("answer.passed contradicts the difference", value=difference)
    return {
        "passed": passed,
        "examples": answer.integer("examples", 1),
        "difference": difference,
        "tolerance": tolerance,
    }


def _warm_up(answer: Fields, _: Request) -> Facts:
    return {
        "first_ns": answer.integer("first_ns", 1, _LONGEST_NS),
        "runs": answer.integer("runs", 1),
        "settled": answer.boolean("settled"),
        "median_ns": answer.number("median_ns", 0.0, _LONGEST_NS),
        "timer_ns": answer.number("timer_ns", 0.0, _LONGEST_MS),
        "call_ns": answer.number("call_ns", 0.0, _LONGEST_MS),
        "peak_memory_bytes": answer.integer("peak_memory_bytes"),
        "device_memory_bytes": answer.optional("device_memory_bytes", answer.integer),
    }


def _measure(answer: Fields, request: Request) -> Facts:
    runs = request["runs"]
    times = answer.integers("ns", runs, 1, _LONGEST_NS)
    if len(times) != runs:
        raise ArtifactError("answer.ns is of another number of runs", value=len(times))
    return {
        "ns": times,
        "batch": answer.integer("batch", 1),
        "peak_memory_bytes": answer.integer("peak_memory_bytes"),
    }


def _stream(answer: Fields, request: Request) -> Facts:
    found = {
        "examples": answer.integer("examples", 1),
        "ns": answer.integer("ns", 1, _LONGEST_NS),
    }
    # An artefact of a fixed batch runs with that one.
    if found["examples"] % request["runs"]:
        raise ArtifactError("answer.examples are no batches", value=found["examples"])
    return found


def _maybe_one(fields: Fields, key: str, read: Callable[[Fields], Facts]) -> Facts | None:
    return fields.optional(key, lambda _: fields.one(key, read))


def _cpus(answer: Fields) -> list[int]:
    return answer.integers("cpus", _MOST_CPUS, 0, _MOST_CPUS)


def _device(fields: Fields) -> Facts:
    return {
        "name": _words(fields, "name"),
        "driver": _maybe(fields, "driver"),
        "memory_bytes": fields.optional("memory_bytes", fields.integer),
        **{key: _maybe(fields, key) for key in ("compute_capability", "cuda", "cudnn")},
    }


def _delegate(fields: Fields) -> Facts:
    return {
        "name": _words(fields, "name"),
        "nodes": fields.integer("nodes"),
        "of": fields.integer("of"),
    }


def _port(fields: Fields) -> Facts:
    return {
        # As it is, since inputs are given by it: the names in a file may be any.
        "name": fields.string("name"),
        "shape": list(fields.shape("shape")),
        "dtype": fields.choice("dtype", DTYPES),
        "scale": fields.optional("scale", fields.number, 0.0),
        "zero_point": fields.optional("zero_point", fields.integer, *_ZERO_POINTS),
    }


_READERS: dict[str, Callable[[Fields, Request], Facts]] = {
    **{"probe": _probe, "load": _load, "predict": _predict, "check": _check},
    **{"warm_up": _warm_up, "measure": _measure, "stream": _stream},
}
