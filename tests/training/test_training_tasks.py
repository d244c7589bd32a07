"""Training for targets that are not one class a row, and examples that count unequally."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from compressor import training
from compressor.data import Dataset
from compressor.errors import DataError, UsageError
from compressor.models import objective_of
from compressor.training import TrainingOptions
from compressor.training.distillation import Distillation

OPTIONS = TrainingOptions(steps=150, batch_size=32, learning_rate=0.1)


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(5).normal(size=(320, 5)).astype(np.float32)


def one(keras, *last: Any, loss: Any = None, width: Any = 5) -> Any:
    keras.utils.set_random_seed(3)
    shape = width if isinstance(width, tuple) else (width,)
    model = keras.Sequential([keras.Input(shape), *last])
    if loss is not None:
        model.compile("sgd", loss)
    return model


def rare_recall(model, x, labels):
    said = model.predict_on_batch(x)[:, 0] > 0.5
    return said[labels == 1].mean()


@pytest.mark.slow
def test_balanced_classes_find_a_rare_one(keras, points):
    chance = 1 / (1 + np.exp(3.2 - 1.5 * points[:, 0]))
    labels = (np.random.default_rng(0).random(320) < chance).astype(np.int64)
    assert 0.02 < labels.mean() < 0.12
    found = {}
    for weight in (None, "balanced", {1: 20.0}):
        last = keras.layers.Dense(1, activation="sigmoid")
        model = one(keras, last, loss="binary_crossentropy")
        options = dataclasses.replace(OPTIONS, class_weight=weight)
        training.fit(model, points, labels, options, seed=1)
        found[str(weight)] = rare_recall(model, points, labels)
    plain, *weighted = found.values()
    assert plain < 0.4
    assert min(weighted) > 0.6
    described = [TrainingOptions(1, class_weight=w).describe() for w in (None, {1: 2.0, 0: 1.0})]
    assert "class_weight" not in described[0]
    assert described[1]["class_weight"] == {"0": 1.0, "1": 2.0}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("distil", [False, True])
def test_examples_that_weigh_nothing_teach_nothing(keras, points, distil):
    y = points[:, 0] - points[:, 1]
    spoilt, weights = y.copy(), np.ones(len(y), np.float32)
    spoilt[::2], weights[::2] = 9.0, 0.0
    model = one(keras, keras.layers.Dense(1), loss="mse")
    options = dataclasses.replace(OPTIONS, distillation=Distillation(0.5) if distil else None)
    teacher = spoilt[:, None] if distil else None
    training.fit(model, points, spoilt, options, seed=1, sample_weights=weights, teacher=teacher)
    assert np.abs(model.predict_on_batch(points)[:, 0] - y).mean() < 0.3


def test_a_student_of_numbers_follows_its_teacher(keras, points):
    teacher = points[:, 2:3] * 2
    model = one(keras, keras.layers.Dense(1), loss="mse")
    options = dataclasses.replace(OPTIONS, distillation=Distillation(1.0))
    wrong = np.full(len(points), 9.0, np.float32)
    training.fit(model, points, wrong, options, seed=1, teacher=teacher)
    assert np.abs(model.predict_on_batch(points) - teacher).mean() < 0.3
    assert model.loss == "mse"  # what stock Keras knows


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
def test_several_outputs_learn_together(keras, points, named):
    keras.utils.set_random_seed(3)
    x = keras.Input((5,))
    kind = keras.layers.Dense(2, name="kind")(x)
    size = keras.layers.Dense(1, name="size")(x)
    model = keras.Model(x, {"kind": kind, "size": size} if named else [kind, size])
    y = {"kind": (points[:, 0] > 0).astype(np.int64), "size": points[:, 1] * 3}
    training.fit(model, points, y, OPTIONS, seed=1)
    made = model.predict_on_batch(points)
    of_kind, of_size = (made["kind"], made["size"]) if named else made
    assert (of_kind.argmax(1) == y["kind"]).mean() > 0.95
    assert np.abs(of_size[:, 0] - y["size"]).mean() < 0.3
    with pytest.raises(DataError, match="not the outputs of the model: data colour"):
        training.fit(model, points, {"colour": y["kind"]}, OPTIONS, seed=1)


@pytest.mark.slow
def test_an_autoencoder_learns_its_inputs_whatever_the_labels(keras, points):
    model = one(keras, keras.layers.Dense(5), loss="mse")
    training.fit(model, points, np.arange(320) % 5, OPTIONS, seed=1)
    assert np.square(model.predict_on_batch(points) - points).mean() < 0.05
    training.fit(model, points, None, OPTIONS, seed=1)
    assert np.square(model.predict_on_batch(points) - points).mean() < 0.05


def test_bytes_are_reconstructed_as_they_are_fed(keras):
    x = np.random.default_rng(0).integers(0, 256, (64, 5)).astype(np.uint8)
    model = one(keras, keras.layers.Dense(5), loss="mse")
    training.fit(model, x, None, OPTIONS, seed=1)
    assert np.square(model.predict_on_batch(x / np.float32(255)) - x / 255).mean() < 0.05


def test_class_weights_that_cannot_be_used(keras, points):
    model = one(keras, keras.layers.Dense(1), loss="mse")
    options = dataclasses.replace(OPTIONS, class_weight="balanced")
    with pytest.raises(UsageError, match="class weights are for classes: the task is regression"):
        training.fit(model, points, points[:, 0], options, seed=1)
    two = one(keras, keras.layers.Dense(2))
    options = dataclasses.replace(OPTIONS, class_weight={2: 1.0})
    with pytest.raises(UsageError, match="a class that the model does not have: 2; its classes"):
        training.fit(two, points, np.arange(320) % 2, options, seed=1)
    with pytest.raises(UsageError, match="must lie between 0 and 1,000,000: -1"):
        TrainingOptions(1, class_weight={0: -1})
    with pytest.raises(UsageError, match="class weights are not known: often"):
        TrainingOptions(1, class_weight="often")


def test_sample_weights_of_a_data_set_reach_the_retraining(keras, points):
    import compressor

    labels = (points[:, 0] > 0).astype(np.int64)
    spoilt, weights = labels.copy(), np.ones(320, np.float32)
    spoilt[::2], weights[::2] = 1, 0
    data = Dataset.from_arrays("d", points, spoilt, points, labels, sample_weights=weights)
    model = one(keras, keras.layers.Dense(2))
    assert objective_of(model, data).heads[0].task == "classification"
    spec = compressor.PruningSpec(0.2)
    pruned = compressor.prune(model, data, spec, options=OPTIONS, validation=20, force=True)
    assert pruned.accuracy > 0.9


@pytest.mark.slow
def test_classes_of_masks_may_be_weighed_while_a_teacher_teaches(keras):
    pictures = np.random.default_rng(0).random((32, 3, 3, 1)).astype(np.float32)
    masks = (pictures[..., 0] > 0.8).astype(np.uint8)
    model = one(keras, keras.layers.Conv2D(2, 1), width=(3, 3, 1))
    teacher = np.stack([1 - masks, masks], -1).reshape(32, -1).astype(np.float32) * 9
    options = dataclasses.replace(OPTIONS, class_weight="balanced", distillation=Distillation())

    training.fit(model, pictures, masks, options, seed=0, teacher=teacher)

    said = model.predict_on_batch(pictures).argmax(-1)
    assert said[masks == 1].mean() > 0.9
