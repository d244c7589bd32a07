"""Values of the wrong kind are refused in one line when they are given, not when they are used."""

from __future__ import annotations

import json

import numpy as np
import pytest

import compressor
from compressor import Distillation, PruningSpec, TrainingOptions, make_plan
from compressor.errors import UsageError


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rounds": 2.5}, "whole number between 1 and 100: 2.5"),
        ({"rounds": "3"}, "whole number between 1 and 100: '3'"),
        ({"rounds": True}, "whole number between 1 and 100: True"),
        ({"calibration": "5"}, "a whole number, at least 1: '5'"),
        ({"calibration": 1.5}, "a whole number, at least 1: 1.5"),
        ({"ramp": "0.5"}, "at most 1: '0.5'"),
        ({"granularity": None}, "unknown granularity: None"),
        ({"granularity": "2:4", "sparsity": "0.5"}, "2:4 fixes the sparsity"),
        ({"criterion": None}, "unknown criterion: None"),
        ({"criterion": ["magnitude"]}, "unknown criterion"),
        ({"layers": 3}, "a layer is given by its name: 3"),
        ({"layers": ["fc1", None]}, "a layer is given by its name: None"),
        ({"sparsity": {"a": "x"}, "scope": "global"}, "a global threshold takes one sparsity"),
        ({"sparsity": {"a": "x"}}, "sparsity must be at least 0 and below 1: x"),
    ],
    ids=str,
)
def test_a_pruning(rejected, given, said):
    assert said in rejected(UsageError, PruningSpec, **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": 2.5}, "number of steps must be a whole number, at least 1: 2.5"),
        ({"steps": "3"}, "number of steps must be a whole number, at least 1: '3'"),
        ({"steps": True}, "number of steps must be a whole number, at least 1: True"),
        ({"batch_size": 2.0}, "batch size must be a whole number, at least 1: 2.0"),
        ({"rewind": 2.5}, "at least 1 step: 2.5"),
        ({"rewind": True}, "at least 1 step: True"),
        ({"learning_rate": "1"}, "between 0 and 10: '1'"),
        ({"dropout_scale": "1"}, "the scale of dropout"),
        ({"distillation": True}, "unknown distillation: True; give compressor.Distillation()"),
        ({"class_weight": {0: "x"}}, "between 0 and 1,000,000: 'x'"),
        ({"class_weight": {"0": 1.0}}, "a class is a number from 0: '0'"),
    ],
    ids=str,
)
def test_a_training(rejected, given, said):
    assert said in rejected(UsageError, TrainingOptions, **{"steps": 3, **given})


def test_a_distillation(rejected):
    assert "weight of distillation" in rejected(UsageError, Distillation, "0.3")
    assert "temperature" in rejected(UsageError, Distillation, temperature=None)


@pytest.mark.parametrize(
    "given",
    [{"steps": 2.5}, {"epochs": "1"}, {"seeds": ["a"]}, {"distillation": True}],
    ids=str,
)
def test_a_plan(rejected, tiny_data, given):
    assert rejected(UsageError, make_plan, tiny_data, **given)


def test_a_call(rejected, small_net, tiny_data):
    assert "seed" in rejected(
        UsageError, compressor.prune, small_net(), tiny_data, PruningSpec(0.5), seed=1.5
    )
    found = rejected(UsageError, compressor.sensitivity, small_net(), tiny_data, images=2.5)
    assert found.endswith("a whole number, at least 1: 2.5")


def test_numbers_of_numpy_are_numbers(tiny_data):
    """And become JSON, in the records of runs."""
    spec = PruningSpec(
        np.float32(0.5), rounds=np.int64(2), ramp=np.float32(0.5), calibration=np.uint8(9)
    )
    options = TrainingOptions(
        np.uint8(200),
        np.uint8(200),
        np.float32(0.01),
        distillation=Distillation(np.float32(0.5)),
        class_weight={np.int64(0): np.float32(2)},
    )
    assert options.images == 40_000
    json.dumps([spec.describe(), options.describe()])
    plan = make_plan(tiny_data, seeds=np.arange(2), steps=np.int64(3))
    json.dumps([plan.seeds, plan.training.describe()])


@pytest.mark.parametrize("given", [{"preset": ["quick"]}, {"sparsities": [[0.5]]}], ids=str)
def test_lists_in_place_of_values(rejected, tiny_data, given):
    rejected(UsageError, make_plan, tiny_data, **given)
