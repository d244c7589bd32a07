"""Layers whose configuration or precision is out of the ordinary."""

from __future__ import annotations

import numpy as np
import pytest

from compressor import shrink
from compressor.errors import ModelError
from compressor.models.batches import largest_difference


def without_units(layer, *units):
    """Make units of a layer dead: nothing comes in, and nothing is added."""
    layer.kernel.assign(
        np.where(np.isin(np.arange(layer.kernel.shape[-1]), units), 0, layer.kernel)
    )
    layer.bias.assign(np.where(np.isin(np.arange(layer.bias.shape[0]), units), 0, layer.bias))


def inputs(*shape):
    """Zeros, small, negative and large numbers."""
    random = np.random.default_rng(3).normal(size=(8, *shape))
    return np.stack([random * scale for scale in (0, 1, -1, 1e3)]).reshape(-1, *shape).astype("f4")


def test_initializers_that_hold_arrays(keras):
    layers, constant = keras.layers, keras.initializers.Constant
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(8, "relu", bias_initializer=constant(np.arange(1.0, 9)), name="h"),
            layers.BatchNormalization(gamma_initializer=constant(np.arange(8.0) + 1)),
            layers.Dense(3, kernel_initializer=constant(np.ones((8, 3))), name="out"),
        ]
    )
    without_units(model.get_layer("h"), 1, 4)
    found = shrink(model, inputs(8), fold_batchnorm=False)
    assert found.removed == {"h": 2}
    assert largest_difference(model, found.model, inputs(8)) <= 1e-5


def test_a_scale_for_each_channel_is_a_barrier(keras):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(4, 3, name="c1"),
            layers.Rescaling([1.0, 2.0, 3.0, 4.0], name="scale"),
            layers.Conv2D(6, 3, name="c2"),
            layers.Flatten(),
            layers.Dense(3, name="out"),
        ]
    )
    without_units(model.get_layer("c1"), 0)
    without_units(model.get_layer("c2"), 5)
    found = shrink(model, inputs(6, 6, 1))
    assert found.removed == {"c2": 1}
    assert "scale" in found.kept["c1"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_float16", "mixed_bfloat16"])
def test_half_precision(keras, policy):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, name="c", dtype=policy),
            layers.BatchNormalization(dtype=policy),
            layers.ReLU(dtype=policy),
            layers.Flatten(dtype=policy),
            layers.Dense(16, "sigmoid", name="h", dtype=policy),
            layers.Dense(3, name="out", dtype=policy),
        ]
    )
    without_units(model.get_layer("c"), 2)
    without_units(model.get_layer("h"), 3, 7)  # sigmoid(0) is folded into the next bias
    found = shrink(model)
    assert found.removed == {"c": 1, "h": 2}
    assert found.model.get_layer("h").compute_dtype == model.get_layer("h").compute_dtype


def test_a_lambda_of_a_model_in_memory_stays(keras):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(6, "relu", name="h"),
            layers.Dense(5, name="g"),
            layers.Lambda(lambda x: x * 2, output_shape=(5,), name="twice"),
            layers.Dense(3, name="out"),
        ]
    )
    without_units(model.get_layer("h"), 0)
    found = shrink(model, inputs(8))
    assert found.removed == {"h": 1}


def test_a_model_that_is_frozen_but_for_one_layer(keras):
    layers = keras.layers
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(4, "relu", name="a")], name="inner")
    model = keras.Sequential([keras.Input((8,)), inner, layers.Dense(3, name="out")])
    model.trainable = False
    model.get_layer("out").trainable = True
    found = shrink(model, inputs(8)).model
    assert (found.trainable, found.get_layer("inner").trainable) == (False, False)
    assert not found.get_layer("inner").get_layer("a").trainable
    assert found.get_layer("out").trainable


def test_a_path_is_no_model(rejected):
    assert "shrink_file" in rejected(ModelError, shrink, "model.keras")
