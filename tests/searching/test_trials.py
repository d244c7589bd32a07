"""Trials in a run directory: what is done once, counted once and told when."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future
from shutil import rmtree

import numpy as np
import pytest

import compressor
from compressor.data import TrainingData
from compressor.errors import ModelError
from compressor.foundation import SilentListener
from compressor.models import objective_for
from compressor.parallel import WorkLostError
from compressor.pruning import all_kernels
from compressor.runs import RunDirectory
from compressor.searching import steps
from compressor.searching.laboratory import Done, attempted, reached
from compressor.searching.trials import Budget, Trials

RESULT = {"validation_accuracy": 0.9, "nonzeros": 5, "seconds": 10.0}


def _step(number):
    return {"kind": "train", "steps": number, "batch_size": 8, "teacher": 0}


class _Laboratory:
    """Stands in for `Laboratory`: remembers the steps that it did."""

    def __init__(self):
        self.did = []

    def do(self, task, progress=None):
        self.did.append(task.step["steps"])
        return Done(RESULT, b"model")


class _Running:
    def __init__(self, number, workers):
        self.future, self._number, self._workers = Future(), number, workers
        if number == workers.first:
            self.future.set_result(None)

    def __call__(self):
        self._workers.ended.append(self._number)
        for other in self._workers.running:
            if not other.future.done():
                other.future.set_result(None)
        return Done(RESULT, b"model")


class _Workers:
    """Stands in for `Workers`: the task of `first` steps ends before the others."""

    count = 2

    def __init__(self, first):
        self.first, self.running, self.ended = first, [], []

    def submit(self, task):
        self.running.append(_Running(task.step["steps"], self))
        return self.running[-1]


@pytest.fixture
def trials(tmp_path):
    opened = []

    def make(count=None, pool=None, seconds=None):
        if opened:
            opened.pop().__exit__(None, None, None)
        opened.append(RunDirectory(tmp_path / "run", {"kind": "search"}))
        run, laboratory = opened[0].__enter__(), _Laboratory()
        budget = Budget(seconds, count)
        dense = tmp_path / "dense.keras"
        made = Trials(run, dense, laboratory, budget, SilentListener(), pool)
        made.told = []
        made.changed = lambda: made.told.append(len(made.done))
        made.laboratory, made.budget = laboratory, budget
        return made

    yield make
    opened.pop().__exit__(None, None, None)


@pytest.mark.parametrize(
    "how", ["os.abort()", "faulthandler._sigsegv()", "os.kill(os.getpid(), 9)"]
)
def test_a_trial_that_ended_the_process_is_not_done_again(trials, how, tmp_path):
    """One that was killed is: the machine may have been switched off."""
    made = trials(2)
    (name,) = [trial.name for trial in made.train([(None, _step(1))], "")]
    rmtree(tmp_path / "run" / name)
    program = f"""
import faulthandler, os, pathlib
from compressor.searching.crashes import Crashes
with Crashes(pathlib.Path({str(tmp_path / "run")!r})).watched({name!r}):
    {how}
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode < 0

    made = trials(3)
    found = made.train([(None, _step(1)), (None, _step(2))], "")

    killed = "kill" in how
    assert made.laboratory.did == ([1, 2] if killed else [2])
    assert len(found) == (2 if killed else 1)
    assert ("error" in made.done[0].result) is not killed
    made = trials(3)
    made.train([(None, _step(1)), (None, _step(2))], "")
    assert made.laboratory.did == []


def test_a_trial_that_was_done_is_not_done_or_counted_again(trials):
    made = trials(3)

    first = made.train([(None, _step(1)), (None, _step(1)), (None, _step(2))], "")
    again = made.train([(None, _step(2)), (None, _step(1)), (None, _step(3))], "")

    assert made.laboratory.did == [1, 2, 3]
    assert [trial.name for trial in again[:2]] == [trial.name for trial in reversed(first)]
    assert len({trial.name for trial in made.done}) == len(made.done) == 3
    assert not made.may_go_on


@pytest.mark.parametrize(
    ("reason", "again"),
    [
        (WorkLostError("it took longer than 0.001 s"), True),
        (MemoryError("no memory"), True),
        (ValueError("the loss is NaN"), False),
    ],
)
def test_what_lacked_time_or_memory_is_tried_again_by_the_next_run(trials, reason, again):
    def work():
        raise reason

    failing = trials()
    failing.laboratory.do = lambda task, progress=None: attempted(work)
    assert failing.train([(None, _step(1))], "") == []
    assert str(reason) in failing.done[0].result["error"]
    assert failing.train([(None, _step(1))], "") == [] and len(failing.done) == 1

    later = trials()
    found = later.train([(None, _step(1))], "")
    assert later.laboratory.did == ([1] if again else [])
    assert [trial.result["nonzeros"] for trial in found] == ([5] if again else [])


def test_a_narrowed_model_is_charged_once(trials):
    step = {"kind": "narrow", "widths": {}, "seed": 0}
    trials().start(step, lambda: Done(RESULT, b"model"))

    made = trials(seconds=1000.0)
    for _ in range(3):
        made.start(step, lambda: Done(RESULT, b"model"))

    assert 980 < made.budget.left < 991


def test_nothing_is_told_while_trials_are_read_back(trials):
    trials().train([(None, _step(1)), (None, _step(2))], "")

    made = trials()
    made.train([(None, _step(1))], "")
    made.train([(None, _step(2))], "")
    assert made.told == []

    made.train([(None, _step(3))], "")
    assert made.told == [2, 3]


def test_trials_side_by_side_are_recorded_as_they_end_and_share_their_time(trials):
    workers = _Workers(first=2)

    made = trials(pool=workers)
    made.train([(None, _step(1)), (None, _step(2))], "")

    assert workers.ended == [2, 1]
    assert [trial.steps[-1]["steps"] for trial in made.done] == [1, 2]
    assert [trial.result["seconds"] for trial in made.done] == [5.0, 5.0]


def _trained(model, data, **more):
    step = {"steps": 60, "batch_size": 8, "learning_rate": 0.02, "dropout_scale": 1.0}
    step |= {"kind": "train", "distillation": None, "teacher": 0, "seed": 1} | more
    part = TrainingData.of(data, 24)
    steps.train(model, step, part, objective_for(model, data), None)


def test_examples_that_weigh_nothing_teach_a_narrow_model_nothing(small_net, tiny_data):
    """As they teach nothing where it is pruned."""
    labels, weights = tiny_data.y_train.copy(), np.ones(96, np.float32)
    spoilt = np.arange(96) // 4 % 2 == 0
    labels[spoilt], weights[spoilt] = 0, 0
    data = compressor.Dataset.from_arrays(
        *("spoilt", tiny_data.x_train, labels, tiny_data.x_test, tiny_data.y_test),
        sample_weights=weights,
    )
    model = small_net()

    _trained(model, data)

    part = TrainingData.of(tiny_data, 24)
    right = reached(model, part, objective_for(model, tiny_data)).row(lambda part, aim: part)
    assert right["validation_accuracy"] > 0.9


def test_a_kernel_keeps_as_many_weights_as_were_allocated(small_net, tiny_data):
    """One of which nothing is to go keeps all; the paper's rule would take one weight more."""
    model = small_net()
    names = [*all_kernels(model)]
    sizes = [kernel.nonzeros for kernel in all_kernels(model).values()]

    _trained(
        model,
        tiny_data,
        kind="sparse",
        ramp=0.5,
        sparsity={names[0]: (sizes[0] - 1 - 0.5) / sizes[0], names[1]: 0},
    )
    left = [kernel.nonzeros for kernel in all_kernels(model).values()]
    _trained(model, tiny_data, kind="sparse", ramp=0.5, sparsity=dict.fromkeys(names, 0))

    assert left == [1, sizes[1]]


def test_a_model_whose_outputs_are_no_numbers_is_refused_in_a_line(small_net, tiny_data, rejected):
    model = small_net()
    model.layers[-1].bias.assign([np.nan, 0, 0, 0])
    objective = objective_for(model, tiny_data)

    said = rejected(ModelError, reached, model, TrainingData.of(tiny_data, 24), objective)

    assert "NaN or infinite: for 24 of 24 validation examples" in said


def test_layers_that_are_not_trained_are_counted_by_themselves(small_net):
    model = small_net()
    plain = steps.describe(model)
    first = next(layer for layer in model.layers if layer.weights)
    first.trainable = False

    frozen = steps.describe(model)

    assert "frozen_bytes" not in plain
    assert frozen == plain | {"frozen_bytes": int(np.prod(first.kernel.shape))}


def test_dropout_is_scaled_by_all_kernels_those_kept_whole_too(small_net, tiny_data, monkeypatch):
    model, scales = small_net(), []
    names, sizes = [*all_kernels(model)], [k.nonzeros for k in all_kernels(model).values()]

    def fit(model, data, options, how):
        scales.append(options.dropout_scale)

    monkeypatch.setattr("compressor.pruning.rounds.fit", fit)
    _trained(model, tiny_data, kind="sparse", ramp=0.5, sparsity={names[0]: 0.9, names[1]: 0})

    density = (0.1 * sizes[0] + sizes[1]) / sum(sizes)
    assert scales == [pytest.approx(density**0.5, rel=1e-3)]
