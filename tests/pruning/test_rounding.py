"""Rounding the weights of a model on its inputs."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.pruning import Rounding, all_kernels
from compressor.pruning.reconstruction_inputs import Calibration


@pytest.fixture(scope="module")
def model(keras):
    keras.utils.set_random_seed(2)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            layers.Conv2D(8, 3, groups=2, activation="relu", name="grouped"),
            layers.DepthwiseConv2D(3, use_bias=False, name="depthwise"),
            layers.Conv2DTranspose(3, 2, name="transposed"),
            layers.Flatten(),
            layers.Dense(5, name="scores"),
        ]
    )


@pytest.fixture(scope="module")
def calibration():
    x = np.random.default_rng(0).normal(size=(64, 6, 6, 4)).astype("float32")
    return Calibration([lambda: x[:32], lambda: x[32:]], lambda outputs: outputs, 0)


def test_a_model_is_rounded_and_gets_its_weights_back(model, calibration):
    kernels = all_kernels(model)
    before = [value.copy() for value in model.get_weights()]
    values = dict.fromkeys(kernels, "int4") | {"scores": "codebook4"}
    with Rounding(model, kernels, calibration).applied(values) as done:
        assert set(done) == set(kernels)
        for name in ("grouped", "depthwise"):
            assert not done[name].reason and done[name].error < done[name].nearest_error
            kernel = kernels[name].numpy()
            rows = np.moveaxis(kernel, -1 if name == "grouped" else -2, 0).reshape(8, -1)
            assert all(len(np.unique(row.round(5))) <= 15 for row in rows)
        assert len(np.unique(kernels["scores"].numpy())) <= 16
        assert done["transposed"].reason == "what it multiplies is not known"
    for value, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, same)


def test_inputs_that_are_no_numbers(model):
    kernels = all_kernels(model)
    nan = np.full((4, 6, 6, 4), np.nan, "float32")
    work = Rounding(model, kernels, Calibration([lambda: nan], lambda outputs: outputs, 0))
    before = model.get_weights()
    with work.applied(dict.fromkeys(kernels, "int4")) as done:
        assert all(one.reason for one in done.values())
        for value, same in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(value, same)
