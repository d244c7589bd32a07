"""The one clock: what times calls, on the host and on the device, and how the times are kept."""

from __future__ import annotations

import dataclasses
import functools
import gc
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

ROUNDS = 7
_WARMUP_ROUNDS = 1
_PERCENTILES = (50, 90, 99)
_WINDOW_RUNS = 10
_WINDOW_NS = 50_000_000
_SETTLED = 0.02
_TIMER_RUNS = 1000

Predict = Callable[[np.ndarray], Any]
Call = Callable[[], Any]


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
    are warm and functions compiled. `threads` is only noted.
    """
    times: dict[str, list[list[int]]] = {name: [] for name in predictors}
    for _ in range(_WARMUP_ROUNDS + rounds):
        for name, predict in predictors.items():
            times[name].append(timed(functools.partial(predict, batch) for batch in batches))
    return {
        name: LatencyStatistics(
            batch_size=len(batches[0]),
            batches=len(batches),
            rounds=rounds,
            threads=threads,
            total_ms=_percentiles(measured.sum(axis=1)),
            batch_ms=_percentiles(measured.ravel()),
        )
        for name, taken in times.items()
        for measured in [np.array(taken[_WARMUP_ROUNDS:]) / 1e6]
    }


def timed(calls: Iterable[Call]) -> list[int]:
    """Nanoseconds of each call, by `time.perf_counter_ns`, with the garbage collector off."""
    clock = time.perf_counter_ns
    collecting = gc.isenabled()
    gc.disable()
    try:
        times = []
        for call in calls:
            start = clock()
            call()
            times.append(clock() - start)
        return times
    finally:
        if collecting:
            gc.enable()


def timer_costs() -> dict[str, float]:
    """What is in every measured time, and not the runtime's: medians, in nanoseconds.

    `timer_ns` is the clock alone, `call_ns` the clock and a Python call that does nothing.
    """
    clock = time.perf_counter_ns
    alone = []
    for _ in range(_TIMER_RUNS):
        start = clock()
        alone.append(clock() - start)
    nothing = itertools.repeat(lambda: None, _TIMER_RUNS)
    return {"timer_ns": float(np.median(alone)), "call_ns": float(np.median(timed(nothing)))}


def settle(call: Call, seconds: float) -> dict[str, Any]:
    """Call until the median of the times settles, for at most `seconds`.

    It has settled when the medians of two consecutive windows differ by at most 2 %; a window is
    of 10 calls at least, and of 50 ms. Returns `first_ns` (of the first call), `runs`, `settled`
    and `median_ns`.
    """
    start = time.perf_counter()
    times = timed([call])
    first, before, settled = times[0], 0.0, False

    def late() -> bool:
        return time.perf_counter() - start >= seconds

    while not settled and not late():
        window: list[int] = []
        while not late() and (len(window) < _WINDOW_RUNS or sum(window) < _WINDOW_NS):
            # One by one where ten would take longer than a window.
            runs = _WINDOW_RUNS if first < _WINDOW_NS / _WINDOW_RUNS else 1
            window += timed(itertools.repeat(call, runs))
        times += window
        if len(window) >= _WINDOW_RUNS:
            median = float(np.median(window))
            settled = bool(before) and abs(median - before) <= _SETTLED * before
            before = median
    return {
        "first_ns": first,
        "runs": len(times),
        "settled": settled,
        "median_ns": float(before or np.median(times)),
    }


def _percentiles(times: np.ndarray) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(times, q)), 4) for q in _PERCENTILES}
