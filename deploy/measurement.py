"""Timing predictors so that the numbers can be trusted and compared."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

ROUNDS = 7
_WARMUP_ROUNDS = 1
_PERCENTILES = (50, 90, 99)

Predict = Callable[[np.ndarray], Any]


@dataclasses.dataclass(frozen=True)
class LatencyStatistics:
    """Times of several rounds over the same batches, in milliseconds.

    `total_ms` is a whole round (all batches), `batch_ms` one batch; each has the percentiles
    p50, p90 and p99 over all that was measured. `threads` is what the runtime was given.
    """

    batch_size: int
    batches: int
    rounds: int
    threads: int
    total_ms: dict[str, float]
    batch_ms: dict[str, float]

    def describe(self) -> dict[str, Any]:
        """The statistics as a JSON object."""
        return dataclasses.asdict(self)


def measure_latency(
    predictors: Mapping[str, Predict],
    batches: Sequence[np.ndarray],
    *,
    threads: int,
    rounds: int = ROUNDS,
) -> dict[str, LatencyStatistics]:
    """Time every predictor on `batches`, arrays of one shape (batch, ...).

    The predictors take turns, a round each (A B C A B C ...), so that a machine that becomes
    slower meanwhile slows all alike. One round each goes before, unmeasured, so that caches
    are warm and functions compiled; the garbage collector rests meanwhile. The clock is
    `time.perf_counter_ns`. `threads` is only noted.
    """
    times = {name: np.empty((rounds, len(batches))) for name in predictors}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(-_WARMUP_ROUNDS, rounds):
            for name, predict in predictors.items():
                for column, batch in enumerate(batches):
                    start = time.perf_counter_ns()
                    predict(batch)
                    elapsed = time.perf_counter_ns() - start
                    if turn >= 0:
                        times[name][turn, column] = elapsed / 1e6
    finally:
        if collecting:
            gc.enable()
    return {
        name: LatencyStatistics(
            batch_size=len(batches[0]),
            batches=len(batches),
            rounds=rounds,
            threads=threads,
            total_ms=_percentiles(measured.sum(axis=1)),
            batch_ms=_percentiles(measured.ravel()),
        )
        for name, measured in times.items()
    }


def _percentiles(times: np.ndarray) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(times, q)), 4) for q in _PERCENTILES}
