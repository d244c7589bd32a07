"""What repeated measurements say: percentiles and ratios, with intervals of confidence.

Runs of one round follow each other and share what the machine did meanwhile, so they are not
independent, and an interval drawn from single runs would be far too narrow. The bootstrap therefore
draws whole rounds (a cluster bootstrap: Davison and Hinkley, "Bootstrap Methods and their
Application", 1997, section 3.8; percentile intervals, section 5.3.1). The generator's seed is
fixed: the same measurements give the same intervals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 1000
_SEED = 0

Rounds = Sequence[np.ndarray]
"""The measurements of each round, one-dimensional, in any unit; rounds may differ in length."""
Interval = dict[str, float]
"""{"value", "low", "high"}: an estimate, and the ends of its interval of confidence."""


def percentile_intervals(
    rounds: Rounds, percentiles: Sequence[int] = (50, 90, 99)
) -> dict[str, Interval]:
    """Percentiles over all runs of all rounds, {"p50": {"value", "low", "high"}, ...}.

    One round gives intervals of no width: nothing is known of how rounds differ. Raises ValueError
    where there is no measurement.
    """
    kept = _kept(rounds)
    found = np.percentile(np.concatenate(kept), percentiles)
    drawn = np.array(
        [
            np.percentile(np.concatenate([kept[number] for number in chosen]), percentiles)
            for chosen in _draws(len(kept))
        ]
    )
    return {
        f"p{percentile}": _interval(float(found[column]), drawn[:, column])
        for column, percentile in enumerate(percentiles)
    }


def ratio_interval(rounds_a: Rounds, rounds_b: Rounds) -> Interval:
    """How many times as large A is as B: the median over the rounds of the ratio of their medians.

    Round i of A was measured next to round i of B, so that each ratio compares what the machine
    did at one time. Where one side has fewer rounds, the rest is left out. Raises ValueError where
    there is no pair.
    """
    ratios = np.array(
        [
            np.median(a) / max(float(np.median(b)), 1e-12)
            for a, b in zip(rounds_a, rounds_b)  # noqa: B905 - Python 3.9
            if len(a) and len(b)
        ]
    )
    return median_interval(ratios)


def median_interval(values: np.ndarray) -> Interval:
    """The median of one value a round. Raises ValueError where there is none."""
    values = np.asarray(values, np.float64)
    if not values.size:
        raise ValueError("no round was measured")
    drawn = np.median(values[_draws(len(values))], axis=1)
    return _interval(float(np.median(values)), drawn)


def _kept(rounds: Rounds) -> list[np.ndarray]:
    kept = [np.asarray(values, np.float64) for values in rounds if len(values)]
    if not kept:
        raise ValueError("no round was measured")
    return kept


def _draws(count: int) -> np.ndarray:
    """Numbers of rounds drawn with replacement, (resamples, count)."""
    generator = np.random.default_rng(_SEED)
    return generator.integers(0, count, (RESAMPLES if count > 1 else 1, count))


def _interval(value: float, drawn: np.ndarray) -> Interval:
    ends = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(drawn, (ends, 100 - ends))
    # Percentiles of few draws may miss the estimate by rounding.
    return {"value": value, "low": min(float(low), value), "high": max(float(high), value)}
