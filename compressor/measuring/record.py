"""What was measured as a JSON object: a run of bench.json (compressor/runs/bench.schema.json)."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor._version import __version__
from compressor.measuring.case_process import Measured, Method
from compressor.measuring.cases import Case
from compressor.measuring.proof import Examples
from compressor.measuring.subjects import Subject
from compressor.measuring.target import Target
from deploy.statistics import CONFIDENCE, median_interval, percentile_intervals, ratio_interval

Json = dict[str, Any]


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
                "name": examples.data.name,
                "sha256": examples.data.digest,
                "examples": examples.count,
            },
            "artefacts": [subject.describe(folder) for subject in subjects],
            "rows": [],
        }

    def add(self, table: Sequence[Measured]) -> list[Json]:
        """Add the rows of a table that is done, or as far as it was done, and return them."""
        rows = self._rows_of(table)
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

    def _rows_of(self, table: Sequence[Measured]) -> list[Json]:
        if not self.rows:
            self._reference = table[0].classes
        for found in table:
            self._machine["gpu"] = self._machine["gpu"] or found.facts.get("device")
        return [_row(found, table[0], self._reference) for found in table]


def _row(found: Measured, first: Measured, reference: np.ndarray | None) -> Json:
    """One row; its latency beside the first of its table, its classes beside `reference`."""
    case, facts, warm = found.case, found.facts, found.warm
    agreement = None
    if found.classes is not None and reference is not None:
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
        "accuracy": found.accuracy,
        "examples": None if found.classes is None else len(found.classes),
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
    """Six significant digits: more than any clock knows."""
    return float(f"{value:.6g}")


def _now() -> str:
    now = datetime.datetime.now(datetime.UTC)
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
