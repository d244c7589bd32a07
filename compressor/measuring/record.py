"""What was measured as a run of bench.json (compressor/runs/bench.schema.json), and that file."""

from __future__ import annotations

import contextlib
import datetime
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor._version import __version__
from compressor.errors import CheckpointError
from compressor.foundation import storage_errors, write_json
from compressor.measuring.case_process import Measured, Method
from compressor.measuring.cases import Case
from compressor.measuring.proof import FAILED, Examples
from compressor.measuring.subjects import Subject
from compressor.measuring.target import Target
from compressor.runs import (
    BENCH_SCHEMA,
    BENCH_SCHEMA_VERSION,
    check_bench,
    read_bench,
    row_fault,
)
from deploy.interrupts import Uninterrupted
from deploy.statistics import CONFIDENCE, median_interval, percentile_intervals, ratio_interval
from deploy.text import clean

Json = dict[str, Any]

_HEAD = {"schema": BENCH_SCHEMA, "schema_version": BENCH_SCHEMA_VERSION}


class RunRecord:
    """A run that grows, table by table."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        tables: Sequence[Sequence[Case]],
        examples: Examples | None,
        method: Method,
        folder: Path,
        target: Target,
    ) -> None:
        cases = [case for table in tables for case in table]
        self.rows: list[Json] = []
        self._reference: np.ndarray | None = None
        self._target = target
        self._machine: Json = target.describe()
        self._record: Json = {
            "id": f"{_now()}-{secrets.token_hex(2)}",
            "started": _now(),
            "finished": None,
            "interrupted": False,
            "compressor_version": __version__,
            "machine": self._machine,
            "settings": {
                "threads": sorted({case.threads for case in cases}),
                "batches": sorted({case.batch for case in cases}),
                "rounds": method.rounds,
                "round_seconds": method.round_seconds,
                "starts": method.starts,
                "time_limit_s": method.time_limit,
                "confidence": CONFIDENCE,
            },
            "data": None
            if examples is None
            else {
                "name": clean(examples.data.name),
                "sha256": examples.data.digest,
                "examples": examples.count,
            },
            "artefacts": [subject.describe(folder) for subject in subjects],
            "rows": [],
        }

    def add(self, table: Sequence[Measured]) -> list[Json]:
        """Add the rows of a table that is done, or as far as it was done, and return them."""
        if not self.rows:
            self._reference = table[0].classes
        for found in table:
            self._machine["gpu"] = self._machine["gpu"] or found.facts.get("device")
        rows = [_checked_row(found, table[0], self._reference) for found in table]
        self.rows += rows
        return rows

    def finish(self, *, interrupted: bool) -> None:
        """Nothing more will be measured."""
        self._record["interrupted"] = interrupted
        self._record["finished"] = None if interrupted else _now()
        self._machine["load_average"][1] = self._target.load()

    def describe(self) -> Json:
        """The run as a JSON object."""
        return self._record | {"rows": list(self.rows)}


def _checked_row(found: Measured, first: Measured, reference: np.ndarray | None) -> Json:
    """`_row`, or that it failed where the document has no room for what was measured."""
    row = _row(found, first, reference)
    fault = row_fault(row)
    if not fault:
        return row
    reason = f"what was measured cannot be: {fault}"
    return _row(Measured(found.case, status=FAILED, reason=reason), first, reference)


def _row(found: Measured, first: Measured, reference: np.ndarray | None) -> Json:
    """One row; its latency beside the first of its table, its classes beside `reference`."""
    case, facts, warm = found.case, found.facts, found.warm
    agreement = None
    if (
        found.classes is not None
        and reference is not None
        and found.classes.shape == reference.shape
    ):
        agreement = float(np.mean(found.classes == reference))
    measured = bool(found.rounds)
    both = measured and bool(first.rounds)
    return {
        "artefact": case.artefact,
        **{key: getattr(case, key) for key in ("runtime", "threads", "batch", "transfer")},
        "status": found.status,
        "reason": found.reason,
        **{key: facts.get(key) for key in ("version", "provider", "delegate", "numpy", "python")},
        "cpus": None if case.on_gpu else facts.get("cpus"),
        "fed": found.fed,
        "accuracy": None,
        **found.values,
        "examples": None if found.outcome is None else found.outcome.count,
        "agreement": agreement,
        "check": found.check,
        "import_ms": _median(found.import_ms),
        "load_ms": _median(found.load_ms),
        "first_ms": _median(found.first_ms),
        "latency_ms": _latency(found.rounds) if measured else None,
        "ratio": _rounded(ratio_interval(found.rounds, first.rounds)) if both else None,
        "throughput": _rounded(median_interval(np.array(found.streams))) if found.streams else None,
        "warmup": {"runs": warm["runs"], "settled": warm["settled"]} if warm else None,
        "timer_ns": warm.get("timer_ns"),
        "call_ns": warm.get("call_ns"),
        "arena_bytes": facts.get("arena_bytes"),
        "peak_memory_bytes": warm.get("peak_memory_bytes") or None,
        "gpu_memory_bytes": warm.get("device_memory_bytes"),
    }


def _latency(rounds: Sequence[np.ndarray]) -> Json:
    found: Json = {name: _rounded(part) for name, part in percentile_intervals(rounds).items()}
    return found | {"samples": sum(map(len, rounds)), "rounds": len(rounds)}


def _median(times: Sequence[float]) -> Json | None:
    return {"p50": _digits(float(np.median(times))), "samples": len(times)} if times else None


def _rounded(interval: dict[str, float]) -> dict[str, float]:
    return {name: _digits(value) for name, value in interval.items()}


def _digits(value: float) -> float:
    """Six significant digits: more than any clock resolves."""
    return float(f"{value:.6g}")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_runs(path: Path) -> list[Json]:
    """The runs in a bench.json, [] where there is none. Raises CheckpointError for another file."""
    if not path.exists():
        return []
    try:
        return list(read_bench(path)["runs"])
    except CheckpointError as error:
        reason = f" ({error.hint})" if error.hint else ""
        raise CheckpointError(
            error.what,
            value=f"{error.value}{reason}",
            hint="move that file away, or name another one with -o FILE",
        ) from error


def check_run(run: Json) -> None:
    """Raise CheckpointError for a run that could not be read again."""
    check_bench({**_HEAD, "runs": [run]})


def keep_run(path: Path, run: Json) -> None:
    """Append a run to a bench.json, in place of an earlier state of the same run.

    Other processes may append to the file meanwhile. Raises StorageError where it cannot be
    written, and CheckpointError where it holds something else by now, or the run is not valid.
    """
    check_run(run)
    with storage_errors(path), _locked(path.parent):
        others = [other for other in read_runs(path) if other["id"] != run["id"]]
        write_json(path, {**_HEAD, "runs": [*others, run]})


def check_writable(path: Path) -> None:
    """Raise StorageError, before anything is measured, where `path` cannot be written."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with Uninterrupted(), tempfile.TemporaryFile(dir=path.parent):
            pass


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the lock leaves no file, and goes with the process."""
    try:
        import fcntl
    except ImportError:  # no POSIX
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
