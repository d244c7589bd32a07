"""Killing units, and checking what every shrinking must hold to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from compressor.models.batches import random_inputs
from compressor.models.files import load_model
from compressor.models.layers import all_layers
from compressor.shrinking import Shrunk, shrink

TOLERANCE = 1e-5


@pytest.fixture
def seeded(keras) -> np.random.Generator:
    """A generator for this test, with Keras seeded too."""
    keras.utils.set_random_seed(11)
    return np.random.default_rng(11)


@pytest.fixture(scope="session")
def kill() -> Callable[..., None]:
    """Zero all weights before some units of a layer, and set their biases."""

    def apply(layer: Any, units: Iterable[int], bias: float = 0.0) -> None:
        chosen = list(units)
        for variable in layer.variables:
            value = np.array(variable.numpy())
            if variable.name == "bias":
                value[chosen] = bias
            elif variable.name != "depthwise_kernel":
                value[..., chosen] = 0
            variable.assign(value)

    return apply


@pytest.fixture(scope="session")
def unplug() -> Callable[..., None]:
    """Zero all weights behind some inputs of a Dense layer or a convolution."""

    def apply(layer: Any, inputs: Iterable[int]) -> None:
        kernel = np.array(layer.kernel.numpy())
        kernel[..., list(inputs), :] = 0
        layer.kernel.assign(kernel)

    return apply


@pytest.fixture(scope="session")
def liven() -> Callable[[Any], None]:
    """Give biases and BatchNormalization values as after training, so that nothing is trivial."""

    def apply(model: Any) -> None:
        generator = np.random.default_rng(2)
        for layer in all_layers(model).values():
            for variable in layer.variables:
                if variable.name in ("bias", "beta", "moving_mean"):
                    variable.assign(generator.normal(0, 0.3, variable.shape))
                elif variable.name in ("gamma", "moving_variance"):
                    variable.assign(generator.uniform(0.5, 1.5, variable.shape))

    return apply


@pytest.fixture
def shrunk_alike(keras, tmp_path) -> Callable[..., Shrunk]:
    """Shrink, and check what always holds: same outputs, also when stock Keras loads the file."""

    def outputs(model: Any, inputs: Any) -> list[np.ndarray]:
        return [np.asarray(o) for o in keras.tree.flatten(model(inputs, training=False))]

    def ends(model: Any) -> list[Any]:
        inputs = [tensor._keras_history.operation.name for tensor in model.inputs]
        return [inputs, getattr(model, "output_names", None), model.output_shape]

    def check(model: Any, *, saved: bool = True, **options: Any) -> Shrunk:
        weights = [np.array(w) for w in model.get_weights()]
        inputs = random_inputs(model, samples=16, seed=7)
        before = outputs(model, inputs)
        result = shrink(model, **options)

        models = [result.model]
        if saved:
            result.model.save(tmp_path / "shrunk.keras")
            models.append(load_model(tmp_path / "shrunk.keras"))
        for one in models:
            for expected, found in zip(before, outputs(one, inputs), strict=True):
                assert found.shape == expected.shape
                assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()
            assert one.name == model.name
            assert ends(one) == ends(model)
        assert result.difference <= TOLERANCE
        assert result.model.count_params() <= model.count_params()
        gone = set(all_layers(model)) - set(all_layers(result.model))
        assert gone == set(result.folded)
        for old, new in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        return result

    return check
