"""What passes as the same function where outputs are no classes, or several."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from compressor.exporters.parity import judge
from compressor.exporters.reference import Reference
from compressor.models import Objective
from compressor.models.aims import Aim
from compressor.models.preprocessing import InputScaling, Preprocessing
from deploy.tasks import CLASSIFICATION, RECONSTRUCTION, REGRESSION, SEGMENTATION, Head

_COUNT = 400


def _reference(heads: list[Head], scores: np.ndarray, targets: Any, x: Any = None) -> Reference:
    aims = [
        Aim(head, head.name, None, (), "index", "logits" if head.classes else "numbers")
        for head in heads
    ]
    x = np.zeros((_COUNT, 3), np.float32) if x is None else x
    rule = InputScaling("x", x.shape[1:], "float32", 1.0, "as stored")
    feed = Preprocessing((rule,), ("",), (x.shape[1:],), None)
    return Reference(x, feed, scores, targets, Objective(tuple(aims), "inferred"))


@pytest.fixture
def two() -> Reference:
    """A class and a box of as many numbers; one label in ten is wrong, boxes are 0.05 off."""
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(_COUNT, 4)).astype(np.float32)
    boxes = generator.random((_COUNT, 4)).astype(np.float32)
    labels = scores.argmax(axis=1)
    labels[::10] = (labels[::10] + 1) % 4
    targets = {"kind": labels, "box": boxes + 0.05 * generator.choice([-1, 1], boxes.shape)}
    heads = [Head("kind", CLASSIFICATION, (4,), 4), Head("box", REGRESSION, (4,))]
    return _reference(heads, np.concatenate([scores, boxes], axis=1), targets)


@pytest.fixture
def numbers() -> Reference:
    """Prices that are 1 off on average."""
    generator = np.random.default_rng(1)
    prices = (100 + 10 * generator.normal(size=(_COUNT, 1))).astype(np.float32)
    targets = prices + generator.choice([-1, 1], prices.shape).astype(np.float32)
    return _reference([Head("", REGRESSION, (1,))], prices, targets)


def test_the_same_outputs_pass_and_every_head_is_measured(two: Reference) -> None:
    verdict = judge(two.scores, two, "none")

    assert verdict.passed, verdict.reason
    described = verdict.describe()
    assert described["kind/accuracy"] == described["kind/reference_accuracy"] == 0.9
    assert described["box/mean_absolute_error"] == pytest.approx(0.05, abs=1e-4)
    assert [head["name"] for head in described["heads"]] == ["kind", "box"]
    assert described["agreement"] == 1


def test_heads_in_another_order_do_not_pass(two: Reference) -> None:
    swapped = np.concatenate([two.scores[:, 4:], two.scores[:, :4]], axis=1)

    verdict = judge(swapped, two, "int8")

    assert not verdict.passed and "of kind" in verdict.reason


def test_a_metric_without_a_value_leaves_the_choice_to_another() -> None:
    """No example to choose on is an anomaly, so that there is no AUC."""
    inputs = np.random.default_rng(3).normal(size=(_COUNT, 3)).astype(np.float32)
    head = Head("", RECONSTRUCTION, (3,), metric="auc", shown=("auc", "reconstruction_error"))
    made = inputs + np.float32(0.05)
    reference = _reference([head], made, np.zeros(_COUNT, np.int64), inputs)

    spoiled = judge(made + np.float32(0.2), reference, "int8", max_drop=0.01)

    assert "AUC" in " ".join(reference.notes) or "curve" in " ".join(reference.notes)
    assert not spoiled.passed and "reconstruction error" in spoiled.reason
    assert judge(made, reference, "int8", max_drop=0.01).passed


def test_a_class_that_loses_its_recall_is_named() -> None:
    labels = (np.arange(_COUNT) % 20 == 0).astype(np.int64)
    scores = np.where(labels[:, None] == [0, 1], 1.0, 0.0).astype(np.float32)
    reference = _reference([Head("", CLASSIFICATION, (2,), 2)], scores, labels)
    worse = scores.copy()
    worse[np.flatnonzero(labels)[:4]] = [1, 0]

    found = reference.class_notes(worse)

    assert len(found) == 1 and found[0].startswith("Class 1 loses most: its recall is 80.00 %")
    assert reference.class_notes(scores) == ()
    assert reference.class_notes(worse, ["no", "yes"])[0].startswith("Class 1 (yes) loses most")


@pytest.mark.parametrize("head", ["kind", "box"])
def test_one_head_of_garbage_does_not_pass(two: Reference, head: str) -> None:
    generator = np.random.default_rng(2)
    scores = two.scores.copy()
    part = slice(0, 4) if head == "kind" else slice(4, 8)
    scores[:, part] = generator.permutation(scores[:, part])

    verdict = judge(scores, two, "int8")

    assert not verdict.passed and f"of {head}" in verdict.reason
    blind = dataclasses.replace(two, made_up=True)
    assert not judge(scores, blind, "int8").passed


def test_an_error_may_rise_by_a_part_of_itself(numbers: Reference) -> None:
    away = np.sign(numbers.scores - numbers.labels).astype(np.float32)

    assert judge(numbers.scores + 0.02 * away, numbers, "int8").passed
    verdict = judge(numbers.scores + 0.05 * away, numbers, "int8")
    assert not verdict.passed
    assert verdict.reason == ("mean absolute error 1.05 against the model's 1; 3 % more is allowed")
    assert judge(numbers.scores + 0.05 * away, numbers, "int8", max_drop=0.06).passed
    assert judge(numbers.scores - 0.05 * away, numbers, "int8").passed


def test_an_error_as_large_is_not_enough(numbers: Reference) -> None:
    """A model that says nothing is no better than a file that says something else."""
    targets = np.full_like(numbers.labels, 100.0)
    targets[::2] = 300.0
    poor = dataclasses.replace(numbers, labels=targets)
    other = numbers.scores[::-1].copy()

    verdict = judge(other, poor, "int8")

    assert not verdict.passed and "of their spread" in verdict.reason


def test_the_mean_iou_may_fall_by_half_a_point() -> None:
    generator = np.random.default_rng(3)
    masks = generator.integers(0, 3, (40, 8, 8))
    scores = np.eye(3, dtype=np.float32)[masks].reshape(40, -1)
    x = np.zeros((40, 3), np.float32)
    reference = _reference([Head("", SEGMENTATION, (8, 8, 3), 3)], scores, masks, x)
    wrong = scores.reshape(40, 8, 8, 3).copy()
    wrong[:2] = np.roll(wrong[:2], 1, axis=3)

    assert judge(scores, reference, "int8").passed
    verdict = judge(wrong.reshape(40, -1), reference, "int8")
    assert not verdict.passed and "mean IoU 90" in verdict.reason
    assert judge(wrong.reshape(40, -1), reference, "int8", max_drop=0.1).passed


def test_a_reconstruction_is_held_against_its_inputs_without_targets() -> None:
    x = np.random.default_rng(4).normal(size=(100, 6)).astype(np.float32)
    heads = [Head("", RECONSTRUCTION, (6,), shown=("reconstruction_error", "auc"))]
    anomalies = (np.arange(100) < 20).astype(np.int64)
    scores = x + np.where(anomalies, 1.0, 0.1)[:, None].astype(np.float32)

    found = judge(scores, _reference(heads, scores, None, x), "none")
    labelled = judge(scores, _reference(heads, scores, anomalies, x), "none").describe()

    assert found.passed and found.describe()["reconstruction_error"] == pytest.approx(0.208)
    assert labelled["auc"] == labelled["reference_auc"] == 1


def test_without_an_anomaly_outputs_must_still_be_the_models() -> None:
    x = np.random.default_rng(5).normal(size=(100, 6)).astype(np.float32)
    heads = [Head("", RECONSTRUCTION, (6,), metric="auc")]
    reference = _reference(heads, 0.9 * x, None, x)

    assert judge(0.9 * x, reference, "int8").passed
    assert "of their spread" in judge(0 * x, reference, "int8").reason
