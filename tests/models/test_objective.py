"""The loss and the labels of a training: the model's own, or what its outputs ask for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compressor import training
from compressor.data import Dataset
from compressor.errors import ModelError
from compressor.models import accuracy_of
from compressor.models.files import load_model, save_model
from compressor.models.objective import objective_of
from compressor.training.loop import TrainingOptions

OPTIONS = TrainingOptions(steps=60, batch_size=32, learning_rate=0.01)


@pytest.fixture(scope="module")
def halves(tiny_data) -> Dataset:
    """The same images with two classes: the brightness on the left or on the right."""
    return Dataset.from_arrays(
        "halves", tiny_data.x_train, tiny_data.y_train % 2, tiny_data.x_test, tiny_data.y_test % 2
    )


@pytest.fixture
def net(keras):
    """A classifier of 8 x 8 images whose last layers, and compilation, the test chooses."""

    def build(*last: Any, **compiled: Any) -> Any:
        layers = keras.layers
        keras.utils.set_random_seed(7)
        model = keras.Sequential(
            [keras.Input((8, 8)), layers.Flatten(), layers.Dense(12, activation="relu"), *last]
        )
        if compiled:
            model.compile(**compiled)
        return model

    return build


@pytest.fixture
def reloaded(tmp_path):
    def save_and_load(model: Any) -> Any:
        save_model(model, tmp_path / "model.keras")
        return load_model(tmp_path / "model.keras")

    return save_and_load


def heads(keras):
    layers = keras.layers
    return {
        "logits": ([layers.Dense(4)], "logits"),
        "relu": ([layers.Dense(4, activation="relu")], "logits"),
        "softmax": ([layers.Dense(4, activation="softmax")], "probabilities"),
        "layer": ([layers.Dense(4), layers.Softmax()], "probabilities"),
        "activation": ([layers.Dense(4), layers.Activation("softmax")], "probabilities"),
        "nested": (
            [keras.Sequential([keras.Input((12,)), layers.Dense(4), layers.Softmax()])],
            "probabilities",
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logits", "relu", "softmax", "layer", "activation", "nested"])
def test_probabilities_and_logits_are_told_apart(keras, net, tiny_data, name):
    head, outputs = heads(keras)[name]
    model = net(*head)
    objective = objective_of(model)
    assert (objective.outputs, objective.source, objective.labels, objective.classes) == (
        *(outputs, "inferred", "index", 4),
    )
    # The loss that Keras computes is the cross-entropy of the class probabilities.
    scores = np.asarray(model(tiny_data.x_test.astype(np.float32) / 255))
    if outputs == "logits":
        scores = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    y = tiny_data.y_test
    expected = -np.log(scores[np.arange(len(y)), y]).mean()
    objective.compile(model, keras.optimizers.SGD())
    found = model.evaluate(
        tiny_data.x_test.astype(np.float32) / 255, y, verbose=0, return_dict=True
    )
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    assert found["accuracy"] == pytest.approx((scores.argmax(1) == y).mean())


def test_softmax_as_an_operation(keras):
    x = keras.Input((6,))
    scores = keras.layers.Dense(4)(x)
    assert objective_of(keras.Model(x, keras.ops.softmax(scores))).outputs == "probabilities"
    assert objective_of(keras.Model(x, keras.ops.sigmoid(scores))).outputs == "probabilities"
    assert objective_of(keras.Model(x, keras.ops.relu(scores))).outputs == "logits"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_a_binary_classifier(keras, net, halves, activation):
    model = net(keras.layers.Dense(1, activation=activation))
    objective = objective_of(model)
    assert (objective.labels, objective.classes, objective.source) == ("column", 1, "inferred")
    assert objective.describe()["loss"] == "binary_crossentropy"
    training.fit(model, halves.x_train, halves.y_train, OPTIONS, seed=1)
    assert accuracy_of(model, halves.x_test, halves.y_test) > 0.95
    scores = model.predict_on_batch(halves.x_test.astype(np.float32) / 255)[:, 0]
    assert bool(scores.min() < 0) is (activation is None)


@pytest.mark.parametrize(
    ("activation", "classes"), [(None, [0, 1, 1, 1]), ("sigmoid", [0, 0, 1, 0])]
)
def test_predictions_of_one_score(keras, activation, classes):
    scores = np.array([[-0.1], [0.2], [0.6], [0.5]], np.float32)
    x = keras.Input((2,))
    model = keras.Model(x, keras.layers.Dense(1, activation=activation)(x))
    assert objective_of(model).predictions(scores).tolist() == classes


COMPILED = {
    "sparse": ("sparse_categorical_crossentropy", "softmax", "index"),
    "categorical": ("categorical_crossentropy", "softmax", "one-hot"),
    "squared": ("mse", None, "one-hot"),
    "divergence": ("kl_divergence", "softmax", "one-hot"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("as_file", [False, True])
def test_a_compiled_loss_is_used(keras, net, reloaded, tiny_data, name, as_file):
    loss, activation, labels = COMPILED[name]
    model = net(keras.layers.Dense(4, activation=activation), loss=loss, metrics=["accuracy"])
    if as_file:
        model = reloaded(model)
    objective = objective_of(model)
    assert (objective.source, objective.labels) == ("compiled", labels)
    assert objective.describe()["loss"] in (loss, "mean_squared_error")
    heard = []
    training.fit(
        model,
        tiny_data.x_train,
        tiny_data.y_train,
        OPTIONS,
        seed=1,
        progress=lambda *report: heard.append(report),
    )
    assert accuracy_of(model, tiny_data.x_test, tiny_data.y_test) > 0.9
    # What is heard is the loss that was asked for, and the accuracy of classes.
    first = heard[0][2]
    assert 0.1 < first < {"mse": 0.6}.get(loss, 2.0)
    assert heard[-1][3] > 0.8
    assert objective_of(model).describe()["loss"] == objective.describe()["loss"]


def test_a_loss_object_keeps_its_options(keras, net, reloaded):
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.125)
    model = reloaded(net(keras.layers.Dense(4), loss=loss))
    found = objective_of(model)
    assert (found.source, found.labels) == ("compiled", "one-hot")
    assert (found.loss.from_logits, found.loss.label_smoothing) == (True, 0.125)


@pytest.mark.parametrize(
    ("loss", "activation"),
    [("binary_crossentropy", "sigmoid"), ("mse", "sigmoid"), ("mse", None), ("hinge", "tanh")],
)
@pytest.mark.slow
def test_a_compiled_binary_classifier(keras, net, halves, loss, activation):
    model = net(keras.layers.Dense(1, activation=activation), loss=loss)
    assert objective_of(model, halves).labels == "column"
    training.fit(model, halves.x_train, halves.y_train, OPTIONS, seed=1)
    assert accuracy_of(model, halves.x_test, halves.y_test) > 0.9


def own_loss(y_true, y_pred):
    return y_pred[:, 0] * 0


def own_metric(y_true, y_pred):
    return y_pred[:, 0] * 0


@pytest.mark.sampled(1)
@pytest.mark.parametrize("as_file", [False, True])
def test_a_loss_of_the_users_is_passed_over(keras, net, reloaded, tiny_data, as_file):
    model = net(keras.layers.Dense(4), loss=own_loss)
    if as_file:
        model = reloaded(model)
    objective = objective_of(model)
    assert (objective.source, objective.labels) == ("inferred", "index")
    training.fit(model, tiny_data.x_train, tiny_data.y_train, OPTIONS, seed=1)
    assert accuracy_of(model, tiny_data.x_test, tiny_data.y_test) > 0.9


@pytest.mark.sampled(1)
@pytest.mark.parametrize("as_file", [False, True])
def test_a_metric_of_the_users_does_not_cost_the_loss(keras, net, reloaded, tiny_data, as_file):
    model = net(keras.layers.Dense(4), loss="mse", metrics=["accuracy", own_metric])
    if as_file:
        model = reloaded(model)
    objective = objective_of(model)
    assert (objective.source, objective.labels) == ("compiled", "one-hot")
    training.fit(model, tiny_data.x_train, tiny_data.y_train, OPTIONS, seed=1)
    assert accuracy_of(model, tiny_data.x_test, tiny_data.y_test) > 0.9


@pytest.mark.parametrize("form", ["list", "nested", "by output"])
@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.slow
def test_compiled_metrics_survive_in_the_saved_file(
    keras, net, reloaded, tiny_data, tmp_path, form, as_file
):
    top = keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="best_two")
    metrics = {
        "list": ["accuracy", top],
        "nested": [["accuracy", top]],
        "by output": {"scores": ["accuracy", top]},
    }[form]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = net(keras.layers.Dense(4, name="scores"), loss=loss, metrics=metrics)
    if as_file:
        model = reloaded(model)
    assert objective_of(model).describe()["metrics"] == ["accuracy", "best_two"]
    training.fit(model, tiny_data.x_train, tiny_data.y_train, OPTIONS, seed=1)
    save_model(model, tmp_path / "trained.keras")

    stock = keras.saving.load_model(tmp_path / "trained.keras", compile=True)
    x = tiny_data.x_test.astype(np.float32) / 255
    found = stock.evaluate(x, tiny_data.y_test, verbose=0, return_dict=True)
    assert set(found) == {"loss", "accuracy", "best_two"}
    assert found["accuracy"] == accuracy_of(model, tiny_data.x_test, tiny_data.y_test)
    assert found["accuracy"] <= found["best_two"] <= 1


@pytest.mark.slow
def test_an_accuracy_is_counted_beside_other_metrics(keras, net, tiny_data):
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model = net(keras.layers.Dense(4), loss=loss, metrics=["mae"])
    heard = []
    training.fit(
        model,
        tiny_data.x_train,
        tiny_data.y_train,
        OPTIONS,
        seed=1,
        progress=lambda *report: heard.append(report[3]),
    )
    assert heard[-1] > 0.8
    assert set(model.get_metrics_result()) >= {"loss", "accuracy"}


def test_outputs_that_are_no_scores(rejected, keras):
    layers = keras.layers
    a = keras.Input((3, 4))
    assert "(None, 3, 2)" in rejected(ModelError, objective_of, keras.Model(a, layers.Dense(2)(a)))
    a = keras.Input((4,))
    deep = keras.Model(a, [[layers.Dense(2)(a)], [layers.Dense(2)(a)]])
    assert "lists of lists" in rejected(ModelError, objective_of, deep)
