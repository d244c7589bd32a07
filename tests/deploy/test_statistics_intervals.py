"""Intervals of what was measured: known answers, drift that cancels, and honest coverage."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.statistics import median_interval, percentile_intervals, ratio_interval


def test_percentiles_are_those_of_all_runs_and_lie_in_their_interval() -> None:
    generator = np.random.default_rng(0)
    rounds = [generator.gamma(4, 1, 50 + number) for number in range(12)]

    found = percentile_intervals(rounds)

    assert list(found) == ["p50", "p90", "p99"]
    for name, interval in found.items():
        expected = np.percentile(np.concatenate(rounds), int(name[1:]))
        assert interval["value"] == pytest.approx(expected)
        assert interval["low"] < interval["value"] < interval["high"]


def test_the_same_measurements_give_the_same_interval() -> None:
    rounds = [np.arange(10.0) * number for number in range(1, 8)]

    assert percentile_intervals(rounds) == percentile_intervals(rounds)


def test_a_drift_that_both_share_does_not_reach_the_ratio() -> None:
    generator = np.random.default_rng(1)
    drift = np.linspace(1, 10, 15)
    slow = [factor * generator.normal(2, 0.02, 100) for factor in drift]
    fast = [factor * generator.normal(1, 0.01, 100) for factor in drift]

    ratio, apart = ratio_interval(slow, fast), percentile_intervals(slow)["p50"]

    assert ratio["value"] == pytest.approx(2, abs=0.02)
    assert ratio["high"] - ratio["low"] < 0.03
    assert apart["high"] - apart["low"] > 3  # which the drift makes useless


@pytest.mark.slow
def test_the_interval_of_a_median_holds_it_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        # Rounds differ: an interval from single runs would miss most of the time.
        rounds = [generator.normal(10 + generator.normal(0, 1), 0.1, 40) for _ in range(15)]
        interval = percentile_intervals(rounds, (50,))["p50"]
        hits += interval["low"] <= 10 <= interval["high"]

    assert 0.85 < hits / 200 <= 1


def test_rounds_without_a_partner_are_left_out() -> None:
    assert ratio_interval([np.array([4.0])] * 5, [np.array([2.0])] * 3)["value"] == 2
    assert median_interval(np.array([3.0])) == {"value": 3.0, "low": 3.0, "high": 3.0}


@pytest.mark.parametrize("rounds", [[], [np.array([])]])
def test_nothing_measured_is_no_number(rounds) -> None:
    with pytest.raises(ValueError, match="no round"):
        percentile_intervals(rounds)
    with pytest.raises(ValueError, match="no round"):
        ratio_interval(rounds, rounds)
