"""The fewest bytes that keep the accuracy, on made-up trainings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compressor.searching import thinning
from compressor.searching.thinning import Thinning
from compressor.searching.trials import Trial

NARROW = Trial(
    "narrow", ({"kind": "narrow"}, {"kind": "train", "steps": 40}), Path(), {"seconds": 40.0}
)
STEPS = 10
"""of an epoch"""


class _Trials:
    """Stands in for `Trials`; the accuracy is what `judge` says of bytes and steps so far."""

    def __init__(self, judge, most=30, seconds=0.0, frozen=0):
        self.frozen = frozen
        self.done, self._judge, self._most, self._seconds = [], judge, most, seconds
        self.spent = 0.0

    @property
    def may_go_on(self):
        return len(self.done) < self._most

    def train(self, wanted, title):
        found = []
        for start, step in wanted:
            size = round(1000 * (1 - step["sparsity"]["all"]))
            steps = (*start.steps, step)
            trained = sum(one["steps"] for one in steps if one.get("sparsity") == step["sparsity"])
            self.spent += self._seconds * step["steps"]
            result = {
                "kernel_bytes": size + self.frozen,
                "frozen_bytes": self.frozen,
                "validation_accuracy": self._judge(size, trained),
                "seconds": self._seconds * step["steps"],
            }
            found.append(Trial(f"{len(self.done)}", steps, Path(), result))
            self.done.append(found[-1])
        return found


@pytest.fixture
def thin(monkeypatch):
    """What is tried, as (start, bytes, steps), and the trials."""
    monkeypatch.setattr(thinning, "allocate", lambda kernels, most: {"all": 1 - most / 1000})
    monkeypatch.setattr(thinning, "least_bytes", lambda kernels: 0)

    def run(trials, seconds=float("inf")):
        Thinning(
            trials,
            lambda start, epochs, rate: {"steps": round(epochs * STEPS)},
            lambda start: {"all": np.zeros(1000)},
            lambda trial: trial.result["validation_accuracy"] >= 0.99,
            lambda trial: trial.result["validation_accuracy"] >= 0.98,
            lambda: seconds - trials.spent,
        ).run(NARROW)
        return [(len(t.steps), t.result["kernel_bytes"], t.steps[-1]["steps"]) for t in trials.done]

    return run


def test_each_training_goes_on_from_the_smallest_that_kept_the_accuracy(thin):
    trials = _Trials(lambda size, steps: 0.995 if size >= 60 else 0.5)

    thin(trials)

    held = NARROW
    for trial in trials.done:
        assert trial.steps[:-1] == held.steps
        assert trial.steps[-1]["teacher"] == len(NARROW.steps)
        if trial.result["validation_accuracy"] >= 0.99:
            held = trial
    assert 60 <= held.result["kernel_bytes"] <= 63


def test_lengths_are_those_that_were_decided_first(monkeypatch):
    """A command that goes on has lost no time, and would find more of it."""
    monkeypatch.setattr(thinning, "allocate", lambda kernels, most: {"all": 1 - most / 1000})
    monkeypatch.setattr(thinning, "least_bytes", lambda kernels: 0)
    decided = {}

    def lengths(seconds):
        trials = _Trials(lambda size, steps: 0.995 if size >= 60 else 0.5, seconds=1.0)
        Thinning(
            trials,
            lambda start, epochs, rate: {"steps": round(epochs * STEPS)},
            lambda start: {"all": np.zeros(1000)},
            lambda trial: trial.result["validation_accuracy"] >= 0.99,
            lambda trial: False,
            lambda: seconds - trials.spent,
            decided=decided.setdefault,
        ).run(NARROW)
        return [trial.steps[-1]["steps"] for trial in trials.done]

    first = lengths(280.0)

    assert first[-1] < first[0] and lengths(290.0) == first


@pytest.mark.parametrize("least", [60, 700])
def test_layers_that_are_not_trained_do_not_count(thin, least):
    def judge(size, steps):
        return 0.995 if size >= least else 0.5

    without = thin(_Trials(judge))
    beside = thin(_Trials(judge, frozen=50_000))

    assert [(start, size - 50_000, steps) for start, size, steps in beside] == without


def test_what_misses_by_little_is_trained_on_once_before_it_counts_as_too_small(thin):
    enough = 20 * STEPS
    trials = _Trials(
        lambda size, steps: 0.995 if size >= 100 or (size >= 80 and steps > enough) else 0.985
    )

    tried = thin(trials)

    again = [n for n in range(1, len(tried)) if tried[n][1] == tried[n - 1][1]]
    assert again and all(tried[n][2] > tried[n - 1][2] for n in again)
    assert all(tried[n][0] == tried[n - 1][0] + 1 for n in again)
    held = [t for t in trials.done if t.result["validation_accuracy"] >= 0.99]
    assert 80 <= min(t.result["kernel_bytes"] for t in held) < 100
    assert not any(n + 1 in again for n in again)


def test_where_nothing_holds_more_is_kept_up_to_the_whole_model(thin):
    sizes = [size for _, size, _ in thin(_Trials(lambda size, steps: 0.5))]

    assert sizes == sorted(sizes) and sizes[-1] == 1000


def test_what_misses_by_far_is_followed_by_far_more(thin):
    """What misses by little is trained on once, and half more follows."""
    far = [size for _, size, _ in thin(_Trials(lambda size, steps: 0.5))]
    little = [size for _, size, _ in thin(_Trials(lambda size, steps: 0.985))]

    assert far[:3] == [400, 900, 1000]
    assert little[:3] == [400, 400, 600]


def test_a_short_training_begins_with_more_weights(monkeypatch):
    monkeypatch.setattr(thinning, "least_bytes", lambda kernels: 0)
    kernels = {"all": np.zeros(1000)}

    assert thinning.first_target(kernels, 1999) == 400
    assert thinning.first_target(kernels, 2000) == 150


def test_the_last_training_fills_the_time_and_none_begins_that_would_not_fit(thin):
    trials = _Trials(lambda size, steps: 0.995, seconds=1.0)

    tried = thin(trials, seconds=275.0)

    assert [steps for *_, steps in tried] == [100, 100, 75]
    assert trials.spent <= 275
