"""Models that are no classifiers, pruned in memory; nobody wrote the code for these."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import compressor
from compressor import PruningSpec, TrainingOptions, training
from compressor.data import Dataset
from compressor.errors import UsageError
from compressor.models import objective_of
from compressor.training import gradient_function

STEPS = TrainingOptions(steps=60, batch_size=32, learning_rate=0.01)


def split(x: np.ndarray, y: Any) -> Dataset:
    half = len(x) * 2 // 3
    if isinstance(y, dict):
        train, test = (
            {k: v[part] for k, v in y.items()} for part in (slice(half), slice(half, None))
        )
    else:
        train, test = (None, None) if y is None else (y[:half], y[half:])
    return Dataset.from_arrays("made", x[:half], train, x[half:], test)


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(7).normal(size=(360, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def pictures():
    """Pictures (n, 8, 8, 1) of a bright square, and where it is."""
    generator = np.random.default_rng(2)
    x = generator.random((150, 8, 8, 1)).astype(np.float32) * 0.3
    masks = np.zeros((150, 8, 8), np.uint8)
    for number, (row, column) in enumerate(generator.integers(0, 5, (150, 2))):
        masks[number, row : row + 4, column : column + 4] = 1
    x[masks == 1] += 0.6
    return x, masks


@pytest.fixture
def trained(keras):
    def train(model: Any, data: Dataset, steps: int = 120) -> Any:
        options = TrainingOptions(steps=steps, batch_size=32, learning_rate=0.01)
        training.fit(model, data.x_train, data.y_train, options, seed=0)
        return model

    return train


def hidden(keras, x: Any, units: int = 24) -> Any:
    return keras.layers.Dense(units, activation="relu")(x)


def unet(keras) -> Any:
    """Of two levels."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    x = keras.Input((8, 8, 1))
    fine = layers.Conv2D(6, 3, padding="same", activation="relu", name="fine")(x)
    coarse = layers.MaxPooling2D()(fine)
    coarse = layers.Conv2D(8, 3, padding="same", activation="relu", name="coarse")(coarse)
    joined = layers.Concatenate()([layers.UpSampling2D()(coarse), fine])
    model = keras.Model(x, layers.Conv2D(2, 1, activation="softmax", name="mask")(joined))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", ["regression", "autoencoder", "multi-label"])
def test_what_one_output_gives_is_judged_by_its_own_metric(keras, points, trained, name):
    keras.utils.set_random_seed(1)
    layers, x = keras.layers, keras.Input((6,))
    last, loss, y, key = {
        "regression": (
            layers.Dense(1),
            "mse",
            np.abs(points[:, 0]) - points[:, 1],
            "mean_absolute_error",
        ),
        "autoencoder": (layers.Dense(6), "mse", None, "reconstruction_error"),
        "multi-label": (
            layers.Dense(3, activation="sigmoid"),
            "binary_crossentropy",
            (points[:, :3] > 0).astype(np.uint8),
            "mean_average_precision",
        ),
    }[name]
    model = keras.Model(x, last(hidden(keras, x)))
    model.compile("adam", loss)
    data = split(points, y)
    trained(model, data)
    alone = compressor.prune(model, data, PruningSpec(0.7), retrain=False)
    again = compressor.prune(model, data, PruningSpec(0.7), options=STEPS)
    metric = again.heads[0].decides
    assert (again.heads[0].metric, again.accuracy) == (key, None)
    assert metric.better(again.values[key], alone.values[key])
    assert again.before == alone.before
    assert f"validation_{key}" in again.values
    kernels = [layer.kernel.numpy() for layer in again.model.layers if hasattr(layer, "kernel")]
    assert np.mean([np.mean(kernel == 0) for kernel in kernels]) > 0.6


@pytest.mark.slow
def test_masks(keras, pictures, trained):
    data = split(*pictures)
    model = trained(unet(keras), data)
    found = compressor.prune(model, data, PruningSpec(0.5), options=STEPS)
    assert found.before["mean_iou"] > 0.8
    assert found.values["mean_iou"] > found.before["mean_iou"] - 0.1
    assert found.model.output_shape == (None, 8, 8, 2)


@pytest.mark.slow
def test_channels_of_a_model_of_masks(keras, pictures, trained):
    data = split(*pictures)
    model = trained(unet(keras), data)
    narrow = compressor.prune(
        model, data, PruningSpec(0.5, ("fine", "coarse"), "channel"), options=STEPS
    )
    assert narrow.model.get_layer("coarse").filters == 4
    assert narrow.values["mean_iou"] > 0.7


@pytest.mark.slow
def test_reconstruction_looks_at_all_outputs(keras, points, trained):
    keras.utils.set_random_seed(1)
    x = keras.Input((6,))
    inside = hidden(keras, x)
    kind = keras.layers.Dense(2, name="kind")(inside)
    size = keras.layers.Dense(2, name="size")(inside)
    model = keras.Model(x, {"kind": kind, "size": size})
    y = {"kind": (points[:, 0] > 0).astype(np.int64), "size": 50 * points[:, 1:3]}
    data = split(points, y)
    trained(model, data, 250)
    spec = PruningSpec(0.6, criterion="reconstruct", calibration=64)
    found = compressor.prune(model, data, spec, retrain=False).values
    plain = compressor.prune(model, data, PruningSpec(0.6), retrain=False).values
    assert found["kind/accuracy"] >= plain["kind/accuracy"]
    assert found["size/mean_absolute_error"] < plain["size/mean_absolute_error"]


@pytest.mark.parametrize("named", [True, False])
def test_the_gradient_is_that_of_all_losses_by_their_weights(keras, points, named):
    x = keras.Input((6,))
    kind, size = keras.layers.Dense(2, name="kind")(x), keras.layers.Dense(3, name="size")(x)
    model = keras.Model(x, {"kind": kind, "size": size} if named else [kind, size])
    logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", {"kind": logits, "size": "mse"}, loss_weights={"kind": 2, "size": 0.5})
    y = {"kind": (points[:, 0] > 0).astype(np.int64), "size": points[:, :3]}
    kernels = [model.get_layer(name).kernel for name in ("kind", "size")]
    found = gradient_function(model, kernels, points, y, objective_of(model, split(points, y)))()
    (of_kind, bias), (of_size, shift) = (model.get_layer(n).get_weights() for n in ("kind", "size"))
    scores = np.exp(points @ of_kind + bias)
    error = scores / scores.sum(axis=1, keepdims=True) - np.eye(2)[y["kind"]]
    np.testing.assert_allclose(found[0], 2 * points.T @ error / 360, atol=1e-5)
    error = points @ of_size + shift - y["size"]
    np.testing.assert_allclose(found[1], 0.5 * points.T @ error * 2 / 3 / 360, atol=1e-5)


def test_sensitivity_by_the_metric_that_decides(keras, points, trained):
    keras.utils.set_random_seed(1)
    x = keras.Input((6,))
    model = keras.Model(x, keras.layers.Dense(1, name="last")(hidden(keras, x)))
    model.compile("adam", "mse", metrics=["mae"])
    data = split(points, points[:, 0] - points[:, 1])
    found = compressor.sensitivity(trained(model, data), data, sparsities=[0.2, 0.9])
    described = found.describe()
    assert "dense_accuracy" not in described
    assert described["heads"][0]["metric"] == "mean_absolute_error"
    for row in described["layers"]:
        low, high = (one["mean_absolute_error"] for one in row["measurements"])
        assert described["dense_mean_absolute_error"] < high
        assert low < high
        assert row["highest_sparsity"] in (None, 0.2)
    from compressor.report import sensitivity_text

    text = sensitivity_text(described)
    assert "dense mean absolute error" in text
    assert "costs at most 1 % of mean absolute error" in text
    measured = compressor.sensitivity(model, data, sparsities=[0.2], metric="mean_squared_error")
    assert measured.heads[0].metric == "mean_squared_error"


@pytest.mark.slow
def test_a_model_that_knows_nothing_is_not_retrained(keras, points, refusing):
    keras.utils.set_random_seed(1)
    x = keras.Input((6,))
    model = keras.Model(x, keras.layers.Dense(1)(hidden(keras, x)))
    model.compile("adam", "mse")
    data = split(points, 9 + points[:, 0])
    with pytest.raises(UsageError, match="regression: the model is no better than the mean"):
        compressor.prune(model, data, options=STEPS)
    compressor.prune(model, data, PruningSpec(0.2), options=STEPS, force=True)
    compressor.prune(model, data, PruningSpec(0.2), retrain=False)  # nothing is trained
