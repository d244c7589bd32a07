"""Metrics of every task, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deploy import tasks
from deploy.tasks import (
    METRICS,
    TASKS,
    Head,
    area_under_curve,
    average_precision,
    class_recalls,
    losses,
    part_key,
    read_heads,
)


def _head(task: str, shape: tuple[int, ...], *shown: str, threshold: float | None = None) -> Head:
    return Head("", task, shape, threshold=threshold, shown=shown)


def test_every_task_has_a_default_metric_of_its_own():
    for task in TASKS:
        assert tasks.default_metric(task) in tasks.metrics_of(task)


def test_binary_heads_count_by_their_threshold():
    head = _head("binary", (1,), "recall", "precision", "auc", threshold=0.5)
    outputs = np.array([[0.9], [0.2], [0.6], [0.4]])
    found = head.values(outputs, np.array([1, 0, 0, 1]))
    assert found == {"accuracy": 0.5, "recall": 0.5, "precision": 0.5, "auc": 0.75}


def test_the_area_under_the_curve_takes_ties_as_half_and_one_class_as_nothing():
    assert area_under_curve(np.array([1.0, 1, 0, 2]), np.array([0, 1, 0, 1])) == 0.875
    assert math.isnan(area_under_curve(np.ones(3), np.zeros(3)))
    head = _head("binary", (1,), "auc", threshold=0.5)
    assert "auc" not in head.values(np.ones((3, 1)), np.zeros(3, int))


def test_average_precision_is_that_of_the_steps_of_recall():
    # As scikit-learn's documentation works it out: 0.5 * 1 + 0.5 * 2 / 3.
    found = average_precision(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
    assert found == pytest.approx(0.8333333)


def test_segmentation_counts_the_classes_that_are_there():
    head = _head("segmentation", (1, 4, 3), "accuracy")
    outputs = np.eye(3)[np.array([[0, 0, 1, 1]])][None]  # (1, 1, 4, 3): classes 0 0 1 1
    found = head.values(outputs, np.array([[[0, 1, 1, 1]]]))
    assert found["mean_iou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["accuracy"] == 0.75


def test_numbers_have_errors_and_boxes_an_overlap():
    head = _head("regression", (4,), "box_iou", "mean_squared_error")
    found = head.values(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2]]))
    assert found["box_iou"] == pytest.approx(1 / 3)
    assert found["mean_absolute_error"] == pytest.approx(0.5)
    assert found["mean_squared_error"] == pytest.approx(0.5)


def test_an_autoencoder_finds_anomalies_by_its_error():
    head = _head("reconstruction", (2,), "auc")
    inputs, outputs = np.zeros((3, 2)), np.array([[0.1, 0], [0.2, 0.2], [1, 1]])
    found = head.values(outputs, inputs, np.array([0, 0, 1]))
    assert found["auc"] == 1.0
    assert found["reconstruction_error"] == pytest.approx((0.005 + 0.04 + 1) / 3)
    assert "auc" not in head.values(outputs, inputs)


def test_a_metric_knows_what_is_worse():
    accuracy, error = METRICS["accuracy"], METRICS["mean_absolute_error"]
    assert accuracy.loss(0.99, 0.98) == pytest.approx(0.01)
    assert error.loss(2.0, 2.1) == pytest.approx(0.05)
    assert accuracy.better(0.9, 0.8)
    assert error.better(0.1, 0.2)
    assert (accuracy.text(0.9913), error.text(0.42134)) == ("99.13 %", "0.4213")


def test_rows_of_several_outputs_are_taken_apart():
    heads = (_head("classification", (3,)), _head("regression", (2, 2)))
    first, second = tasks.columns(heads, np.arange(14).reshape(2, 7))
    assert first.tolist() == [[0, 1, 2], [7, 8, 9]]
    assert second.tolist() == [[3, 4, 5, 6], [10, 11, 12, 13]]


def test_each_class_has_a_recall():
    found = class_recalls(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), 3)
    assert found[:2].tolist() == pytest.approx([2 / 3, 1.0])
    assert math.isnan(found[2])


def test_the_recall_of_each_class_and_label():
    binary = Head("", "binary", (1,), 2, 0.5)
    recalls, counts = binary.recalls(np.array([[0.9], [0.2], [0.8]]), np.array([1, 1, 0]))
    assert (recalls.tolist(), counts.tolist()) == ([0.0, 0.5], [1, 2])
    labels = Head("", "multi-label", (2,), 2, 0.5)
    made, wanted = np.array([[0.9, 0.1], [0.2, 0.7]]), np.array([[1, 0], [1, 0]])
    recalls, counts = labels.recalls(made, wanted)
    assert (recalls[0], np.isnan(recalls[1]), counts.tolist()) == (0.5, True, [2, 0])
    assert Head("", "regression", (2,)).recalls(made, wanted) is None


def test_what_a_document_lost_by_the_metrics_that_decide():
    heads = (
        Head("kind", "classification", (3,), 3),
        Head("box", "regression", (4,), metric="mean_absolute_error", shown=("box_iou",)),
    )
    assert read_heads([head.describe() for head in heads]) == heads
    before = {"kind/accuracy": 0.9, "box/mean_absolute_error": 2.0, "box/validation_box_iou": 1.0}
    after = {"kind/accuracy": 0.88, "box/mean_absolute_error": 2.2}
    found = losses(heads, before, after)
    assert found == pytest.approx({"kind/accuracy": 0.02, "box/mean_absolute_error": 0.1})
    assert losses(heads, before, after, "validation_") == {}
    assert part_key("box/box_iou", "validation_") in before
    assert losses(read_heads(None), {"accuracy": 0.5}, {"accuracy": 0.75}) == {"accuracy": -0.25}


def test_what_has_no_value_is_judged_by_the_default_metric_of_its_task():
    head = _head("reconstruction", (2,), "auc", "reconstruction_error")
    asked = Head("", "reconstruction", (2,), metric="auc", shown=head.shown)
    before, after = {"reconstruction_error": 0.1}, {"reconstruction_error": 0.2}
    assert asked.deciding(before).metric == "reconstruction_error"
    assert asked.deciding({"auc": 0.9}) is asked
    assert tasks.losses([asked], before, after) == {"auc": pytest.approx(1.0)}


def test_what_a_mask_ignores_counts_nowhere():
    shown = ("mean_iou", "accuracy")
    head = Head("", "segmentation", (1, 4, 3), 3, shown=shown, ignored=255)
    outputs = np.eye(3)[np.array([[0, 0, 1, 2]])][None]
    known, edged = np.array([[[0, 1, 1, 1]]]), np.array([[[0, 1, 1, 255]]], np.uint8)
    cut = Head("", "segmentation", (1, 3, 3), 3, shown=shown)
    expected = cut.values(outputs[:, :, :3], known[..., :3])
    assert head.values(outputs, edged) == expected != head.values(outputs, known)
    recalls, counts = head.recalls(outputs, edged)
    assert (recalls[:2].tolist(), counts.tolist()) == ([1.0, 0.5], [1, 2, 0])
    assert head.values(outputs, np.full((1, 1, 4), 255)) == {}
    assert read_heads([head.describe()]) == (head,)
    assert "ignored" not in cut.describe()
