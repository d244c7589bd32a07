"""Spearman's rho, its p-value and its interval, against known values and scipy."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections import Counter

import numpy as np
import pytest
from results_documents import make_results
from scipy import stats

from compressor.experiment import statistics
from compressor.experiment.statistics import hypothesis, spearman

SIX = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9]


def json_of(test):
    return json.dumps(test, allow_nan=False)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_order_has_rho_one_the_smallest_exact_p_and_a_cautious_interval(sign):
    test = spearman(SIX, [sign * x**3 for x in SIX])
    assert test["rho"] == sign
    assert test["p_value"] == pytest.approx(2 / math.factorial(6))
    low, high = sorted(sign * end for end in test["confidence_interval"])
    assert high == 1
    swapped = spearman(SIX, [2, 1, 3, 4, 5, 6])
    assert swapped["confidence_interval"][0] < low < swapped["rho"]
    assert test["n"] == 6
    json_of(test)


def test_known_values_of_a_text_book():
    # Two swaps in six: sum of squared differences 4, rho = 1 - 6 x 4 / (6 x 35).
    test = spearman(SIX, [2, 1, 3, 4, 6, 5])
    assert test["rho"] == pytest.approx(1 - 24 / 210)
    # The published exact two-sided probability of |rho| >= 0.886 for n = 6 is 0.033.
    assert test["p_value"] == pytest.approx(0.033, abs=0.0005)
    assert "all 720 permutations" in test["method"]


def test_interval_of_bonett_and_wright():
    test = spearman(list(range(10)), [3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    z = math.atanh(test["rho"])
    error = math.sqrt((1 + test["rho"] ** 2 / 2) / 7)
    expected = [math.tanh(z - 1.959964 * error), math.tanh(z + 1.959964 * error)]
    assert test["confidence_interval"] == pytest.approx(expected, abs=1e-6)
    assert test["reason"] is None
    wider = spearman(list(range(10)), [3, 1, 4, 0, 5, 9, 2, 6, 8, 7], confidence=0.99)
    assert wider["confidence_interval"][0] < test["confidence_interval"][0]


SHAPES = {
    "linear": lambda n: np.linspace(0, 1, n),
    "flat, then rising": lambda n: np.maximum(np.linspace(-1, 1, n), 0),
    "geometric": lambda n: np.geomspace(0.01, 1, n),
}


@pytest.mark.slow
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_interval_covers_what_it_says_from_noise_to_a_perfect_order(shape, sign):
    """The rho that is expected of a seed, in 95 % of simulated experiments, perfect ones too."""
    generator = np.random.default_rng(16)
    worst = 1.0
    for n, seeds, noise in itertools.product((5, 6, 9, 11), (1, 3, 5), (0.03, 0.05, 0.1, 0.3, 2)):
        level = sign * SHAPES[shape](n)
        expected = simulated_rho(generator, level, (5000,), noise).mean()
        found = simulated_rho(generator, level, (600, seeds), noise).mean(axis=1)
        blocks = [list(range(n))] * seeds
        covered = 0
        for rho, times in Counter(np.round(found, 12).tolist()).items():
            (low, high), _ = statistics._interval(rho, blocks, 0.95)
            assert -1 <= low <= rho <= high <= 1
            covered += times * (low <= expected <= high)
        worst = min(worst, covered / len(found))
    # Of 60 estimates, with a standard error of 0.9 points each, the lowest.
    assert worst > 0.93


def simulated_rho(generator, level, shape, noise):
    """Rho of `level`, (n,), with normal noise, for each of `shape` seeds."""
    values = level + noise * generator.normal(size=(*shape, len(level)))
    ranks = values.argsort(axis=-1).argsort(axis=-1)
    n = len(level)
    squares = np.sum((ranks - np.arange(n)) ** 2, axis=-1)
    return 1 - 6 * squares / (n * (n**2 - 1))


def test_agrees_with_scipy_for_many_rows_and_ties():
    dice = random.Random(3)
    for n in (40, 600):
        x = [dice.randrange(30) for _ in range(n)]
        y = [value + dice.randrange(200) for value in x]
        test, expected = spearman(x, y), stats.spearmanr(x, y)
        assert test["rho"] == pytest.approx(expected.statistic)
        assert test["p_value"] == pytest.approx(expected.pvalue, abs=0.01)


def test_the_same_seed_gives_the_same_p_value():
    x, y = list(range(12)), [math.sin(5 * i) for i in range(12)]
    assert spearman(x, y, seed=1) == spearman(x, y, seed=1)
    assert "random permutations" in spearman(x, y)["method"]


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (SIX, [0.5] * 6, "all values are equal"),
        ([0.5] * 6, SIX, "all proportions are equal"),
        ([1, 2, 3], [3, 1, 2], "3 rows are too few"),
        ([], [], "0 rows are too few"),
    ],
)
def test_what_has_no_order_gives_nulls_and_a_reason(x, y, reason):
    test = spearman(x, y)
    assert (test["rho"], test["p_value"], test["confidence_interval"]) == (None, None, None)
    assert reason in test["reason"]
    assert test["n"] == len(x)
    json_of(test)


@pytest.mark.parametrize(
    ("x", "y", "options"),
    [
        ([1, 2, 3, 4], [1, 2, 3], {}),
        ([1, 2, 3, 4], [1, 2, math.nan, 4], {}),
        ([1, 2, 3, 4], [1, 2, 3, 4], {"confidence": 1.0}),
        ([1, 2, 3, 4], [1, 2, 3, 4], {"groups": [0, 0]}),
    ],
)
def test_input_that_cannot_be_tested_is_refused(x, y, options):
    with pytest.raises(ValueError, match=r"length|finite|confidence"):
        spearman(x, y, **options)


def test_differences_between_seeds_do_not_hide_a_trend_within_them():
    # Within each seed a perfect trend; pooled, the levels of the seeds would drown it.
    levels = [0.0, 10.0, -20.0]
    x = SIX * 3
    y = [level + value for level in levels for value in SIX]
    blocks = [seed for seed in range(3) for _ in SIX]
    assert spearman(x, y)["rho"] < 0.5
    within = spearman(x, y, groups=blocks)
    assert within["rho"] == 1
    assert within["p_value"] < 0.001


def test_several_seeds_agree_with_pages_trend_test():
    dice = random.Random(8)
    y = [[dice.random() + 0.04 * i for i in range(6)] for _ in range(4)]
    test = spearman(
        list(range(6)) * 4,
        [value for row in y for value in row],
        groups=[seed for seed in range(4) for _ in range(6)],
    )
    page = stats.page_trend_test(y, method="exact")
    assert test["p_value"] == pytest.approx(2 * min(page.pvalue, 1 - page.pvalue), abs=0.02)
    low, high = test["confidence_interval"]
    assert -1 < low < test["rho"] < high < 1


def test_two_proportions_of_four_seeds_have_a_p_value_but_no_interval():
    test = spearman([0.5, 0.9] * 4, [2, 1] * 4, groups=[0, 0, 1, 1, 2, 2, 3, 3])
    assert test["rho"] == -1
    assert test["p_value"] == pytest.approx(2 / 2**4)
    assert test["confidence_interval"] is None
    assert "4 proportions" in test["reason"]


def test_unequal_seeds_give_a_reason():
    test = spearman([1, 2, 3, 4, 5], [1, 2, 3, 5, 4], groups=[0, 0, 0, 1, 1])
    assert test["rho"] is None
    assert "differ" in test["reason"]


def test_hypothesis_reads_size_accuracy_and_time_whatever_the_order():
    rows = make_results(seeds=3)["proportions"]
    tests = hypothesis(rows)
    assert list(tests) == ["size", "accuracy", "prediction_time"]
    assert tests["size"]["rho"] == -1
    assert tests["size"]["n"] == 18
    assert abs(tests["accuracy"]["rho"]) < 0.5
    assert tests["accuracy"]["p_value"] > 0.05
    assert hypothesis(rows[::-1]) == tests
    json_of(tests)
