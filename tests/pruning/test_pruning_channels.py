"""Removing whole units: which ones, how many, and what has to go with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import compressor
from compressor import PruningSpec, TrainingOptions
from compressor.errors import UsageError
from compressor.pruning.pruner import Pruner

OPTIONS = TrainingOptions(steps=15, batch_size=32, learning_rate=0.01)


def prune(model, data, *arguments, **options):
    spec = PruningSpec(*arguments, granularity="channel", **options)
    return compressor.prune(model, data, spec, options=OPTIONS)


def units(found) -> dict[str, tuple[int, int]]:
    return {row["layer"]: (row["units"], row["units_kept"]) for row in found.layers}


def without_zeros(model) -> bool:
    return all(v.numpy().all() for v in model.trainable_variables if "kernel" in v.path)


def random_biases(model) -> None:
    generator = np.random.default_rng(3)
    for variable in model.trainable_variables:
        if variable.name in ("bias", "beta"):
            variable.assign(generator.normal(0, 0.2, variable.shape))


@pytest.fixture(scope="module")
def skips(keras):
    """A residual CNN: two convolutions joined by Add, a BatchNorm, and a Dense beyond them."""

    def build() -> Any:
        layers = keras.layers
        keras.utils.set_random_seed(4)
        image = keras.Input((8, 8, 1), name="picture")
        x = layers.Conv2D(6, 3, strides=2, padding="same", name="stem")(image)
        y = layers.BatchNormalization(momentum=0.5, name="norm")(x)
        y = layers.Conv2D(6, 3, padding="same", activation="relu", name="inner")(y)
        x = layers.Flatten(name="flat")(layers.Add(name="skip")([x, y]))
        x = layers.Dense(10, activation="relu", name="wide")(x)
        return keras.Model(image, layers.Dense(4, name="head")(x), name="skips")

    return build


@pytest.fixture(scope="module")
def mobile(keras):
    """A nested MobileNet-like CNN: depthwise and separable, ReLU6, padding, pooling; softmax."""

    def build() -> Any:
        layers = keras.layers
        keras.utils.set_random_seed(5)
        stem = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.ZeroPadding2D(1),
                layers.Conv2D(8, 3, use_bias=False, name="conv"),
                layers.BatchNormalization(momentum=0.5),
                layers.ReLU(6.0),
            ],
            name="stem",
        )
        image = keras.Input((8, 8, 1), name="picture")
        x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(stem(image))
        x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.5)(x))
        x = layers.Conv2D(12, 1, activation="relu", name="pointwise")(x)
        x = layers.SeparableConv2D(10, 3, activation="relu", name="separable")(x)
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(image, layers.Dense(4, activation="softmax", name="head")(x))

    return build


@pytest.mark.sampled(1)
@pytest.mark.parametrize("sparsity", [0.1, 0.5])
def test_as_many_units_go_as_asked_and_the_model_is_narrower(skips, tiny_data, sparsity):
    model = skips()
    found = prune(model, tiny_data, sparsity)
    expected = {
        name: (count, count - math.floor(count * sparsity))
        for name, count in (("stem", 6), ("inner", 6), ("wide", 10))
    }
    assert units(found) == expected
    conv, wide = expected["stem"][1], expected["wide"][1]
    shapes = {
        "stem": (3, 3, 1, conv),
        "inner": (3, 3, conv, conv),
        "wide": (16 * conv, wide),
        "head": (wide, 4),
    }
    for name, shape in shapes.items():
        assert tuple(found.model.get_layer(name).kernel.shape) == shape
    assert found.model.get_layer("norm").gamma.shape == (conv,)
    assert found.masks == {} and without_zeros(found.model)
    assert model.get_layer("stem").kernel.shape[-1] == 6


def test_coupled_layers_lose_the_same_units_by_the_sum_of_their_scores(skips):
    model = skips()
    random_biases(model)
    means = [
        np.abs(model.get_layer(name).kernel.numpy()).mean(axis=(0, 1, 2))
        for name in ("stem", "inner")
    ]
    order = np.argsort(sum(mean / mean.mean() for mean in means))
    found = Pruner(model, PruningSpec(0.5, granularity="channel")).prune()
    gone = sorted(order[:3])
    for name in ("stem", "inner"):
        kernel, bias = model.get_layer(name).get_weights()
        assert np.flatnonzero(~kernel.any(axis=(0, 1, 2))).tolist() == gone
        assert np.flatnonzero(bias == 0).tolist() == gone
    assert np.flatnonzero(model.get_layer("norm").gamma.numpy() == 0).tolist() == gone
    assert np.flatnonzero(~found.masks["inner"].any(axis=(0, 1, 3))).tolist() == gone


@pytest.mark.slow
def test_the_smallest_units_go_and_the_rest_computes_as_before(keras, skips, tiny_data):
    model = skips()
    random_biases(model)
    kernel, bias = model.get_layer("wide").get_weights()
    gone = np.argsort(np.abs(kernel).mean(axis=0))[:7]
    spec = PruningSpec(0.7, ("wide",), granularity="channel")
    found = compressor.prune(model, tiny_data, spec, retrain=False)

    kernel[:, gone], bias[gone] = 0, 0
    model.get_layer("wide").set_weights([kernel, bias])
    x = tiny_data.x_test[..., None].astype(np.float32) / 255
    np.testing.assert_allclose(
        found.model.predict_on_batch(x), model.predict_on_batch(x), rtol=1e-4, atol=1e-5
    )
    assert found.model.get_layer("wide").kernel.shape == (96, 3)
    assert units(found) == {"wide": (10, 3)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "gradual"},
        {"schedule": "iterative"},
        {"criterion": "taylor"},
    ],
    ids=str,
)
def test_schedules_and_criteria_end_in_the_same_widths(skips, tiny_data, options):
    found = prune(skips(), tiny_data, 0.5, **options)
    assert units(found) == {"stem": (6, 3), "inner": (6, 3), "wide": (10, 5)}
    assert found.model.get_layer("inner").kernel.shape == (3, 3, 3, 3)
    assert found.model.get_layer("head").kernel.shape == (5, 4)
    assert without_zeros(found.model)


@pytest.mark.slow
def test_a_global_threshold_takes_units_wherever_they_matter_least(skips, tiny_data):
    model = skips()
    kernel = model.get_layer("wide").kernel.numpy()
    kernel[:, :7] *= 0.01
    model.get_layer("wide").kernel.assign(kernel)
    found = prune(model, tiny_data, 7 / 16, scope="global")
    assert units(found) == {"stem": (6, 6), "inner": (6, 6), "wide": (10, 3)}


@pytest.mark.slow
def test_one_unit_always_stays(skips, mobile, tiny_data):
    for model in (skips(), mobile()):
        found = prune(model, tiny_data, 0.99)
        assert {kept for _, kept in units(found).values()} == {1}
        assert found.model.count_params() < 100
        assert np.isfinite(found.model.predict_on_batch(np.ones((1, 8, 8, 1), np.float32))).all()


@pytest.mark.slow
def test_depthwise_separable_and_nested_layers_get_narrower(mobile, tiny_data):
    model = mobile()
    found = prune(model, tiny_data, 0.5)
    assert units(found) == {
        "stem/conv": (8, 4),
        "pointwise": (12, 6),
        "separable": (10, 5),
    }
    small = found.model
    assert small.get_layer("stem").get_layer("conv").kernel.shape == (3, 3, 1, 4)
    assert small.get_layer("depthwise").weights[0].shape == (3, 3, 4, 1)
    assert [tuple(w.shape) for w in small.get_layer("separable").weights] == [
        (3, 3, 6, 1),
        (1, 1, 6, 5),
        (5,),
    ]
    assert small.get_layer("head").kernel.shape == (5, 4)
    assert small.count_params() < 0.6 * model.count_params()


@pytest.mark.slow
def test_the_outputs_of_a_model_are_left_alone_or_refused(rejected, skips, tiny_data):
    found = prune(skips(), tiny_data, 0.5)
    assert "output" in found.left_alone["head"]
    message = rejected(UsageError, prune, skips(), tiny_data, 0.5, ("head",))
    assert "cannot be pruned as channel: head: its units are the model's outputs" in message


@pytest.mark.slow
def test_layers_coupled_with_a_frozen_one_stay_whole(rejected, skips, tiny_data):
    model = skips()
    model.get_layer("stem").trainable = False
    kernel = model.get_layer("stem").kernel.numpy()
    found = prune(model, tiny_data, 0.5)
    assert units(found) == {"wide": (10, 5)}
    assert "frozen" in found.left_alone["stem"]
    assert found.left_alone["inner"] == "it is coupled with stem, which is frozen"
    np.testing.assert_array_equal(found.model.get_layer("stem").kernel.numpy(), kernel)
    assert not found.model.get_layer("stem").trainable
    message = rejected(UsageError, prune, model, tiny_data, 0.5, ("inner",))
    assert "inner: it is coupled with stem, which is frozen" in message


@pytest.mark.slow
def test_a_named_layer_takes_those_along_that_it_is_coupled_with(skips, tiny_data):
    found = prune(skips(), tiny_data, 0.5, ("inner",))
    assert units(found) == {"stem": (6, 3), "inner": (6, 3)}
    found = prune(skips(), tiny_data, {"stem": 0.25, "wide": 0.75})
    assert units(found) == {"stem": (6, 5), "inner": (6, 5), "wide": (10, 3)}


@pytest.mark.slow
def test_coupled_layers_need_one_sparsity(rejected, skips, tiny_data):
    message = rejected(UsageError, prune, skips(), tiny_data, {"stem": 0.25, "inner": 0.5})
    assert "stem=0.25, inner=0.5" in message
    found = prune(skips(), tiny_data, {"stem": 0.5, "inner": 0.5})
    assert units(found) == {"stem": (6, 3), "inner": (6, 3)}


@pytest.mark.slow
def test_layers_without_units_are_refused_by_name(rejected, keras, tiny_data):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            layers.LSTM(5, name="memory"),
            layers.Dense(6, activation="relu", name="wide"),
            layers.Dense(4, name="out"),
        ]
    )
    assert units(prune(model, tiny_data, 0.5)) == {"wide": (6, 3)}
    message = rejected(UsageError, prune, model, tiny_data, 0.5, ("memory",))
    assert "memory: only Dense layers and convolutions" in message
