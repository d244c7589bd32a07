"""Transposed convolutions, EinsumDense, layers at every step of time, slopes."""

from __future__ import annotations

import numpy as np
import pytest

import compressor
from compressor.pruning.pruner import Pruner


def bend(layer, seed=3):
    layer.alpha.assign(np.random.default_rng(seed).normal(size=layer.alpha.shape))


def kill_transposed(layer, units, bias):
    kernel, values = layer.kernel.numpy(), layer.bias.numpy()
    kernel[..., units, :] = 0
    values[units] = bias
    layer.kernel.assign(kernel)
    layer.bias.assign(values)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("bias", [0.0, 0.5, -0.5])
def test_transposed_convolutions(keras, seeded, liven, shrunk_alike, strides, bias) -> None:
    layers = keras.layers
    image = keras.Input((4, 5, 2))
    x = layers.Conv2DTranspose(6, 3, strides=strides, name="up")(image)
    x = layers.PReLU(shared_axes=[1, 2], name="bend")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2DTranspose(4, 3, name="further")(x)
    model = keras.Model(image, layers.Dense(2, name="out")(layers.Flatten()(x)))
    liven(model)
    bend(model.get_layer("bend"))
    kill_transposed(model.get_layer("up"), [1, 4], bias)
    for name in ("beta", "moving_mean"):
        getattr(model.get_layer("norm"), name).assign(np.zeros(6))
    kill_transposed(model.get_layer("further"), [0], 0.3)

    result = shrunk_alike(model)

    assert result.folded == ("norm",)
    assert result.removed == ({"up": 2, "further": 1} if bias == 0 else {"further": 1})
    if bias:
        # Its windows overlap less at the border, where a constant adds less.
        assert "padded convolution Conv2DTranspose 'further'" in result.kept["up"]
    assert result.model.get_layer("bend").alpha.shape[-1] == result.model.get_layer("up").filters


def test_slopes_that_differ_by_position(keras, seeded, liven, kill, shrunk_alike) -> None:
    layers = keras.layers
    series = keras.Input((6, 3))
    x = layers.PReLU(name="bend")(layers.Conv1D(5, 3, name="c")(series))
    model = keras.Model(series, layers.Dense(2, name="out")(layers.Flatten()(x)))
    liven(model)
    bend(model.get_layer("bend"))
    kill(model.get_layer("c"), [0], bias=-0.5)
    kill(model.get_layer("c"), [1], bias=0.5)
    kill(model.get_layer("c"), [2])

    result = shrunk_alike(model)

    assert result.removed == {"c": 2}
    assert "PReLU 'bend', which has other slopes at other positions" in result.kept["c"]


def test_one_slope_for_all(keras, seeded, liven, kill, shrunk_alike) -> None:
    layers = keras.layers
    series = keras.Input((6, 3))
    x = layers.PReLU(shared_axes=[1, 2], name="bend")(layers.Conv1D(5, 3, name="c")(series))
    model = keras.Model(series, layers.Dense(2, name="out")(layers.Flatten()(x)))
    liven(model)
    bend(model.get_layer("bend"))
    kill(model.get_layer("c"), [0, 3], bias=-0.5)

    assert shrunk_alike(model).removed == {"c": 2}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", ["EinsumDense", "TimeDistributed"])
def test_a_dense_layer_in_other_clothes(keras, seeded, liven, kill, shrunk_alike, kind) -> None:
    layers = keras.layers

    def dense(units, bias, name):
        activation = "relu" if bias else None
        if kind == "EinsumDense":
            axes = "d" if bias else None
            return layers.EinsumDense(
                "abc,cd->abd", (5, units), activation, bias_axes=axes, name=name
            )
        inner = layers.Dense(units, activation, use_bias=bias)
        return layers.TimeDistributed(inner, name=name)

    rows = keras.Input((5, 4))
    x = dense(6, True, "one")(rows)
    # It gets a bias, of what the dead units of `one` add, and takes in the normalisation.
    x = layers.BatchNormalization(name="norm")(dense(7, False, "two")(x))
    x = dense(3, True, "three")(layers.ReLU()(x))
    model = keras.Model(rows, layers.Dense(2, name="out")(layers.Flatten()(x)))
    liven(model)
    for variable in model.get_layer("one").variables:
        variable.assign(variable.numpy() * 1.5)
    kill(model.get_layer("one"), [0, 5], bias=0.5)
    kill(model.get_layer("two"), [2])

    result = shrunk_alike(model)

    assert result.removed == {"one": 2, "two": 1}
    assert result.folded == ("norm",)
    assert [tuple(v.shape) for v in result.model.get_layer("two").variables] == [(4, 6), (6,)]


@pytest.mark.slow
def test_a_convolution_at_every_step(keras, seeded, liven, kill, shrunk_alike) -> None:
    layers = keras.layers
    frames = keras.Input((3, 6, 6, 1))
    first = layers.Conv2D(
        5, 3, activation="relu", bias_initializer=keras.initializers.Constant(np.arange(5.0))
    )
    x = layers.TimeDistributed(first, name="first")(frames)
    x = layers.TimeDistributed(layers.Conv2D(4, 3), name="second")(x)
    model = keras.Model(frames, layers.Dense(2, name="out")(layers.Flatten()(x)))
    liven(model)
    kill(model.get_layer("first"), [1, 2], bias=0.5)

    assert shrunk_alike(model).removed == {"first": 2}


def test_an_einsum_over_several_axes_keeps_its_inputs(
    keras, seeded, liven, kill, shrunk_alike
) -> None:
    layers = keras.layers
    rows = keras.Input((5, 4))
    x = layers.Dense(6, name="before")(rows)
    x = layers.EinsumDense("abc,cde->abde", (5, 2, 3), name="heads")(x)
    model = keras.Model(rows, layers.Dense(2, name="out")(layers.Flatten()(x)))
    liven(model)
    kill(model.get_layer("before"), [1])

    result = shrunk_alike(model)

    assert result.removed == {} and "EinsumDense 'heads'" in result.kept["before"]


def test_their_channels_are_pruned(keras) -> None:
    layers = keras.layers
    series = keras.Input((6, 3))
    x = layers.Conv1DTranspose(8, 3, activation="relu", name="up")(series)
    x = layers.PReLU(shared_axes=[1], name="bend")(x)
    x = layers.EinsumDense("...x,xy->...y", 6, "relu", bias_axes="y", name="einsum")(x)
    x = layers.TimeDistributed(layers.Dense(4, "relu"), name="steps")(x)
    model = keras.Model(series, layers.Dense(2, name="out")(layers.Flatten()(x)))
    weakest = int(np.abs(model.get_layer("up").kernel.numpy()).mean(axis=(0, 2)).argmin())

    found = Pruner(model, compressor.PruningSpec(0.5, granularity="channel")).prune()
    small = compressor.shrink(model)

    assert {row["layer"]: row["units_kept"] for row in found.rows} == {
        "up": 4,
        "einsum": 3,
        "steps": 2,
    }
    assert not model.get_layer("up").kernel.numpy()[:, weakest].any()
    assert small.removed == {"up": 4, "einsum": 3, "steps": 2}
    assert small.model.get_layer("bend").alpha.shape[-1] == 4


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", ["AdaptiveMaxPooling1D", "AdaptiveAveragePooling1D"])
def test_adaptive_pooling(keras, seeded, liven, kill, shrunk_alike, kind) -> None:
    layers = keras.layers
    series = keras.Input((7, 3))
    x = getattr(layers, kind)(2)(layers.Conv1D(5, 3, activation="relu", name="c")(series))
    model = keras.Model(series, layers.Dense(2, name="out")(layers.Flatten()(x)))
    liven(model)
    kill(model.get_layer("c"), [1, 3], bias=0.5)

    assert shrunk_alike(model).removed == {"c": 2}
