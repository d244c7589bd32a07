"""Shrinking on random graphs with random zeros: same function, never more parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compressor.models.layers import all_layers


def _block(keras: Any, generator: np.random.Generator, x: Any, earlier: list[Any]) -> Any:
    layers = keras.layers
    filters = int(generator.integers(2, 6))
    padding = str(generator.choice(["same", "valid"]))
    alike = [t for t in earlier if t.shape[1:-1] == x.shape[1:-1]]
    equal = [t for t in alike if t.shape == x.shape]
    kind = int(generator.integers(14))
    size = 3 if x.shape[1] > 3 else 1
    activation = str(generator.choice(["linear", "relu", "sigmoid", "relu6", "tanh"]))
    bias = bool(generator.integers(2))
    if kind <= 3:
        return layers.Conv2D(filters, size, padding=padding, activation=activation, use_bias=bias)(
            x
        )
    if kind == 4:
        return layers.DepthwiseConv2D(
            size, padding=padding, depth_multiplier=int(generator.integers(1, 3)), use_bias=bias
        )(x)
    if kind == 5:
        return layers.SeparableConv2D(filters, size, padding=padding, depth_multiplier=2)(x)
    if kind == 6:
        return layers.BatchNormalization()(x)
    if kind == 7:
        return layers.ReLU(max_value=6)(x) if bias else keras.ops.relu(x)
    if kind == 8:
        pool = layers.MaxPooling2D if bias else layers.AveragePooling2D
        return pool(2, padding="same")(x)
    if kind == 9 and x.shape[1] < 9:
        return layers.ZeroPadding2D(1)(x)
    if kind == 10:
        return layers.Concatenate()([x, alike[int(generator.integers(len(alike)))]])
    if kind == 11:
        other = equal[int(generator.integers(len(equal)))]
        return layers.Add()([x, other]) if bias else keras.ops.maximum(x, other)
    if kind == 12:
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        gate = layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(gate)
        return layers.Multiply()([x, gate])
    return x + layers.Dense(x.shape[-1])(x) * 0.5


def _random_model(keras: Any, generator: np.random.Generator) -> Any:
    layers = keras.layers
    image = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2D(4, 3, name="stem")(image)
    earlier = [x]
    for _ in range(int(generator.integers(3, 8))):
        x = _block(keras, generator, x, earlier)
        earlier.append(x)
    x = layers.Flatten()(x) if generator.integers(2) else layers.GlobalMaxPooling2D()(x)
    x = layers.Dense(5, activation="relu", name="hidden")(x)
    return keras.Model(image, layers.Dense(3, name="head")(x), name="random")


def _zero_some(model: Any, generator: np.random.Generator) -> None:
    for layer in all_layers(model).values():
        for variable in layer.variables:
            value = np.array(variable.numpy())
            if variable.name.endswith("kernel"):
                for axis in (-1, -2):
                    dead = np.flatnonzero(generator.random(value.shape[axis]) < 0.4)
                    value[(..., dead, *[slice(None)] * (-1 - axis))] = 0
            elif variable.name in ("bias", "gamma"):
                value[generator.random(value.shape) < 0.5] = 0
            variable.assign(value)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_graphs_keep_their_function(keras, liven, shrunk_alike, seed) -> None:
    keras.utils.set_random_seed(seed)
    generator = np.random.default_rng(seed)
    model = _random_model(keras, generator)
    liven(model)
    _zero_some(model, generator)

    shrunk_alike(model, round_to=1 + seed % 3)
    exact = shrunk_alike(model, fold_batchnorm=False, saved=False)

    assert exact.folded == ()
    # Nothing that could go is left after one pass.
    again = shrunk_alike(exact.model, fold_batchnorm=False, saved=False)
    assert again.removed == {}
