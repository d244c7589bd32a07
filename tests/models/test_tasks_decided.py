"""Which task each output of a model has, and by which metric it is judged."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from compressor import Goal, PruningSpec, prune, search
from compressor.data import Dataset, TrainingData
from compressor.errors import DataError, ModelError, UsageError
from compressor.models import (
    accuracies,
    asked_for,
    objective_for,
    objective_of,
    save_model,
    trained_on,
)
from compressor.models.files import load_model
from compressor.searching import session

ROWS = 48


@pytest.fixture
def points():
    """A data set of points (n, 6) with the targets that `made` gives for them."""

    def build(made: Any) -> Dataset:
        x = np.random.default_rng(3).normal(size=(2 * ROWS, 6)).astype(np.float32)
        y = made(x)
        parts = [
            {name: part[rows] for name, part in y.items()} if isinstance(y, dict) else y[rows]
            for rows in (slice(ROWS), slice(ROWS, None))
        ]
        return Dataset.from_arrays("points", x[:ROWS], parts[0], x[ROWS:], parts[1])

    return build


@pytest.fixture
def net(keras):
    """A model of 6 inputs whose output the test chooses."""

    def build(*last: Any, loss: Any = None, metrics: Any = None) -> Any:
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5), *last])
        if loss is not None:
            model.compile("sgd", loss, metrics=metrics)
        return model

    return build


def classes(x):
    return (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)


def yes_or_no(x):
    return (x[:, 0] > 0).astype(np.int64)


def one_number(x):
    return x[:, 0] - x[:, 1]


def labels(x):
    return (x[:, :3] > 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("units", "activation", "loss", "made", "task", "metric"),
    [
        (3, "softmax", "sparse_categorical_crossentropy", classes, "classification", "accuracy"),
        (3, None, "mse", classes, "classification", "accuracy"),
        (3, None, None, classes, "classification", "accuracy"),
        (1, "sigmoid", "binary_crossentropy", yes_or_no, "binary", "accuracy"),
        (1, None, "mse", one_number, "regression", "mean_absolute_error"),
        (1, None, "mse", classes, "regression", "mean_absolute_error"),
        (1, None, None, one_number, "regression", "mean_absolute_error"),
        (2, None, "mae", lambda x: x[:, :2], "regression", "mean_absolute_error"),
        (3, "sigmoid", "binary_crossentropy", labels, "multi-label", "mean_average_precision"),
        (3, "sigmoid", None, labels, "multi-label", "mean_average_precision"),
        (6, None, "mse", classes, "reconstruction", "reconstruction_error"),
        (6, "sigmoid", "binary_crossentropy", classes, "reconstruction", "reconstruction_error"),
        (6, None, None, classes, "reconstruction", "reconstruction_error"),
        (6, None, "mse", lambda x: x, "reconstruction", "reconstruction_error"),
    ],
)
def test_the_task_of_one_output(keras, net, points, units, activation, loss, made, task, metric):
    data = points(made)
    model = net(keras.layers.Dense(units, activation=activation), loss=loss)
    found = objective_for(model, data)
    (head,) = found.heads
    assert (head.name, head.task, head.metric) == ("", task, metric)
    assert found.reason.startswith(f"{task}, by its ")
    assert ("compiled loss" in found.reason) is (loss is not None)
    reached = accuracies(model, TrainingData.of(data), found)
    assert {metric, f"validation_{metric}"} <= set(reached)
    # Nothing is new in the documents of a classifier.
    plain = task in ("classification", "binary")
    assert ("heads" in reached, "task" in found.describe()) == (not plain, not plain)
    # What it is compiled with for a retraining decides nothing later.
    found.compile(model, keras.optimizers.SGD())
    assert objective_for(model, data).heads[0].metric == metric


def test_a_mask_for_each_position(keras):
    layers = keras.layers
    x = np.random.default_rng(0).random((24, 4, 4, 1)).astype(np.float32)
    masks = (x[..., 0] > 0.5).astype(np.uint8)
    image = keras.Input((4, 4, 1))
    two = keras.Model(image, layers.Conv2D(2, 1, activation="softmax")(image))
    one = keras.Model(image, layers.Conv2D(1, 1, activation="sigmoid")(image))
    one.compile("sgd", "binary_crossentropy")
    for stored in (masks, masks[..., None], np.eye(2, dtype=np.uint8)[masks]):
        data = Dataset.from_arrays("masks", x, stored, x, stored)
        (head,) = objective_for(two, data).heads
        assert (head.task, head.classes, head.metric) == ("segmentation", 2, "mean_iou")
    objective_for(two, data).compile(two, keras.optimizers.SGD())
    assert objective_for(two, data).heads[0].metric == "mean_iou"
    (head,) = objective_for(one, Dataset.from_arrays("masks", x, masks, x, masks)).heads
    assert (head.task, head.classes, head.threshold) == ("segmentation", 2, 0.5)
    # The same model on the same pictures, without masks, is an autoencoder.
    (head,) = objective_for(one, Dataset.from_arrays("pictures", x, None, x, None)).heads
    assert head.task == "reconstruction"


@pytest.mark.parametrize("named", [True, False])
def test_each_of_several_outputs_has_its_own(keras, points, named):
    x = keras.Input((6,))
    kind = keras.layers.Dense(3, activation="softmax", name="kind")(x)
    box = keras.layers.Dense(4, name="box")(x)
    model = keras.Model(x, {"kind": kind, "box": box} if named else [kind, box])
    model.compile(
        "sgd",
        {"kind": "sparse_categorical_crossentropy", "box": "mse"},
        metrics={"kind": ["accuracy"], "box": ["mae"]},
        loss_weights={"kind": 1.0, "box": 0.25},
    )
    data = points(lambda x: {"kind": classes(x), "box": x[:, :4]})
    found = objective_for(model, data, metric={"box": "box_iou"})
    heads = {head.name: head for head in found.heads}
    assert {name: head.task for name, head in heads.items()} == {
        "kind": "classification",
        "box": "regression",
    }
    assert heads["box"].shown == ("box_iou", "mean_absolute_error")
    assert [aim.weight for aim in found.aims if aim.output == "box"] == [0.25]
    reached = accuracies(model, TrainingData.of(data), found)
    scores = model.predict_on_batch(data.x_test)
    of_kind, of_box = (scores["kind"], scores["box"]) if named else scores
    assert reached["kind/accuracy"] == np.mean(of_kind.argmax(1) == data.y_test["kind"])
    error = np.abs(of_box - data.y_test["box"]).mean()
    assert reached["box/mean_absolute_error"] == pytest.approx(error, rel=1e-6)
    assert {"box/box_iou", "box/validation_box_iou", "kind/validation_accuracy"} <= set(reached)


def test_compiled_metrics_are_measured_and_the_first_one_decides(keras, net, points):
    last = keras.layers.Dense(1, activation="sigmoid")
    metrics = [keras.metrics.Recall(), "accuracy", keras.metrics.AUC(), keras.metrics.Precision()]
    metrics.append(keras.metrics.FalsePositives())
    model = net(last, loss="binary_crossentropy", metrics=metrics)
    found = objective_for(model, points(yes_or_no))
    assert found.heads[0].shown == ("recall", "accuracy", "auc", "precision")
    assert any("false_positives is not measured" in note for note in found.notes)
    assert objective_for(model, points(yes_or_no), metric="auc").heads[0].metric == "auc"
    with pytest.raises(UsageError, match="binary has no such metric: mean_iou"):
        objective_of(model, metric="mean_iou")


def test_anomalies_give_an_area_under_the_curve(keras, net, points):
    model = net(keras.layers.Dense(6), loss="mse")
    data = points(yes_or_no)
    found = objective_for(model, data)
    assert found.heads[0].shown == ("reconstruction_error", "auc")
    assert "auc" in accuracies(model, TrainingData.of(data), found)


def test_a_task_that_is_asked_for(keras, net, points):
    model = net(keras.layers.Dense(6), loss="mse")
    asked = objective_for(model, points(lambda x: x * 2), task="regression")
    assert asked.reason == "regression, as it was asked for"
    with pytest.raises(ModelError, match="binary needs one score"):
        objective_of(model, task="binary")
    with pytest.raises(UsageError, match="there is no such task: clustering; choose classifi"):
        objective_of(model, task="clustering")
    with pytest.raises(UsageError, match="an output that the model does not have: box"):
        objective_of(model, task={"box": "regression"})


@pytest.mark.parametrize(
    ("units", "made", "message"),
    [
        (4, lambda x: x[:, :3], "this model gives 4 numbers, not classes (regression): the targ"),
        (4, lambda x: classes(x) - 1, "this model gives scores of 4 classes (classification): lab"),
        (2, classes, "the data set has more classes than the model: data 3, model 2"),
    ],
)
def test_a_message_names_the_task_first(keras, net, points, units, made, message):
    with pytest.raises(DataError) as caught:
        objective_for(net(keras.layers.Dense(units), loss="mse"), points(made))
    assert str(caught.value).startswith(message)


def test_what_prune_was_given_stays_with_the_model(keras, net, points, tmp_path):
    model = net(keras.layers.Dense(1, activation="sigmoid"), loss="binary_crossentropy")
    data = points(yes_or_no)
    save_model(trained_on(model, data.digest, {"metric": "recall"}), tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")

    found = objective_for(again, data)

    assert found.heads[0].metric == "recall"
    assert found.reason.endswith(", metric recall as prune was given")
    assert objective_for(again, data, metric="auc").heads[0].metric == "auc"
    # Of another task the metric says nothing.
    asked = objective_for(again, data, task="regression")
    assert (asked.heads[0].metric, "given" in asked.reason) == ("mean_absolute_error", False)


def test_each_output_keeps_what_it_was_given(keras, points, tmp_path):
    x = keras.Input((6,))
    kind, box = (keras.layers.Dense(4, name=name)(x) for name in ("kind", "box"))
    data = points(lambda x: {"kind": classes(x), "box": x[:, :4]})
    asked = {"task": {"kind": "classification", "gone": "binary"}, "metric": {"box": "box_iou"}}
    path = tmp_path / "model.keras"
    save_model(trained_on(keras.Model(x, [kind, box]), None, asked), path)

    found = objective_for(load_model(path), data, metric={"kind": "mean_recall"})

    assert [head.metric for head in found.heads] == ["mean_recall", "box_iou"]
    assert "kind: classification, as prune was given; box: regression, by its" in found.reason
    # What a later command makes of the model is judged in the same way.
    both = {"metric": {"kind": "mean_recall", "box": "box_iou"}, "task": {"kind": "classification"}}
    assert asked_for(load_model(path), found, {"metric": {"kind": "mean_recall"}}) == both


def test_pruning_by_the_metric_of_one_output_keeps_that_of_the_other(keras, points):
    x = keras.Input((6,))
    kind, box = (keras.layers.Dense(4, name=name)(x) for name in ("kind", "box"))
    data = points(lambda x: {"kind": classes(x), "box": x[:, :4]})
    model = trained_on(keras.Model(x, [kind, box]), None, {"metric": {"box": "box_iou"}})

    pruned = prune(model, data, PruningSpec(0.5), retrain=False, metric={"kind": "mean_recall"})

    assert {head.metric for head in pruned.heads} == {"mean_recall", "box_iou"}
    found = objective_for(pruned.model, data)
    assert [head.metric for head in found.heads] == ["mean_recall", "box_iou"]


def test_a_search_takes_over_no_more_than_fits(keras, net, points, tmp_path, monkeypatch):
    """Neither a metric of another task, nor one of an output that there is not."""
    model, data = net(keras.layers.Dense(3), loss="mse"), points(labels)
    asked = {"metric": {"gone": "recall"}, "task": "regression"}
    save_model(trained_on(model, data.digest, asked), tmp_path / "model.keras")
    searches: list[Any] = []
    monkeypatch.setattr(session, "_Search", lambda *given: searches.append(given[4]) or Mock())

    search(tmp_path / "model.keras", data, Goal(), tmp_path / "run")
    search(tmp_path / "model.keras", data, Goal(), tmp_path / "other", task="multi-label")

    assert [how.asked for how in searches] == [{"task": "regression"}, {"task": "multi-label"}]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("asked", ["dancing", 7, ["recall"], {"x": 1}, {}, None])
def test_what_no_command_wrote_is_not_taken_over(keras, net, points, tmp_path, asked):
    model = net(keras.layers.Dense(1, activation="sigmoid"), loss="binary_crossentropy")
    path = tmp_path / "model.keras"
    said: dict[str, Any] = {"task": asked, "metric": "auc"}
    save_model(trained_on(model, None, said), path)

    found = objective_for(load_model(path), points(yes_or_no))
    assert (found.heads[0].task, found.heads[0].metric) == ("binary", "auc")
