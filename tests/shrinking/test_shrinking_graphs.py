"""Channels through branches: Add, Concatenate, gates, depthwise convolutions, several inputs."""

from __future__ import annotations

import numpy as np
import pytest


def _residual(keras):
    layers = keras.layers
    image = keras.Input((8, 8, 2), name="image")
    x = layers.Conv2D(6, 3, use_bias=False, name="stem")(image)
    y = layers.Conv2D(6, 3, padding="same", use_bias=False, name="branch")(x)
    y = layers.BatchNormalization(name="norm")(y)
    x = layers.Add(name="skip")([x, y])
    x = layers.ReLU(name="relu")(x)
    x = layers.BatchNormalization(name="late")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(3, name="head")(x), name="residual")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("fold", [True, False])
def test_a_residual_channel_goes_when_both_branches_are_dead(
    keras, seeded, liven, kill, shrunk_alike, fold
) -> None:
    model = _residual(keras)
    liven(model)
    kill(model.get_layer("stem"), [1, 4])
    kill(model.get_layer("branch"), [1, 2, 4])

    result = shrunk_alike(model, fold_batchnorm=fold)

    assert result.removed == {"stem": 2, "branch": 2}
    assert result.folded == (("norm",) if fold else ())
    assert list(result.kept) == ["branch"]
    assert "tied" in result.kept["branch"]


def test_a_channel_that_batch_normalization_stops_goes(
    keras, seeded, liven, unplug, shrunk_alike
) -> None:
    model = _residual(keras)
    liven(model)
    gamma = model.get_layer("late").gamma
    gamma.assign(np.where(np.arange(6) == 3, 0, gamma.numpy()))
    unplug(model.get_layer("branch"), [3])

    result = shrunk_alike(model)

    assert result.removed == {"stem": 1, "branch": 1}


def test_concatenated_channels_go_one_by_one(keras, seeded, liven, kill, shrunk_alike) -> None:
    layers = keras.layers
    image = keras.Input((6, 6, 2))
    one = layers.Conv2D(4, 3, activation="relu", name="one")(image)
    two = layers.Conv2D(5, 3, activation="sigmoid", name="two")(image)
    x = layers.Concatenate(name="both")([one, two, one])
    x = layers.Flatten()(x)
    model = keras.Model(image, layers.Dense(3, name="head")(x))
    liven(model)
    kill(model.get_layer("one"), [0], bias=0.5)
    kill(model.get_layer("two"), [1, 2], bias=0.5)

    result = shrunk_alike(model)

    assert result.removed == {"one": 1, "two": 2}
    assert result.model.get_layer("both").output.shape[-1] == 3 + 3 + 3


def test_positions_that_are_concatenated_share_channels(
    keras, seeded, liven, kill, shrunk_alike
) -> None:
    layers = keras.layers
    series = keras.Input((6, 3))
    one = layers.Conv1D(4, 2, activation="sigmoid", name="one")(series)
    two = layers.Conv1D(4, 2, activation="sigmoid", name="two")(series)
    x = layers.Concatenate(axis=1)([one, two])
    model = keras.Model(series, layers.Dense(2)(layers.GlobalMaxPooling1D()(x)))
    liven(model)
    kill(model.get_layer("one"), [0, 1, 2], bias=0.5)
    kill(model.get_layer("two"), [0], bias=0.5)
    kill(model.get_layer("two"), [1], bias=0.6)

    result = shrunk_alike(model)

    assert result.removed == {"one": 1, "two": 1}


def test_a_depthwise_block_loses_expanded_channels(
    keras, seeded, liven, kill, shrunk_alike
) -> None:
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, use_bias=False, name="stem")(image)
    y = layers.Conv2D(8, 1, use_bias=False, name="expand")(x)
    y = layers.BatchNormalization(name="expand_norm")(y)
    y = layers.ReLU(6.0)(y)
    y = layers.ZeroPadding2D(1)(y)
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, name="depthwise")(y)
    y = layers.BatchNormalization(name="depthwise_norm")(y)
    y = layers.ReLU(6.0)(y)
    y = layers.Conv2D(4, 1, name="project")(y)
    x = layers.Add()([x, y])
    model = keras.Model(image, layers.Dense(2, name="head")(layers.GlobalAveragePooling2D()(x)))
    liven(model)
    beta = model.get_layer("expand_norm").beta
    mean = model.get_layer("expand_norm").moving_mean
    beta.assign(np.where(np.arange(8) < 3, -5.0, beta.numpy()))
    mean.assign(np.where(np.arange(8) < 3, 0.0, mean.numpy()))
    kill(model.get_layer("expand"), [0, 1, 2])

    result = shrunk_alike(model)

    assert result.removed == {"expand": 3, "depthwise": 6}
    assert result.folded == ("expand_norm", "depthwise_norm")


def _gated(keras):
    layers = keras.layers
    image = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(image)
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Reshape((1, 1, 6), name="reshape")(gate)
    gate = layers.Conv2D(3, 1, activation="relu", name="squeeze")(gate)
    gate = layers.Conv2D(6, 1, activation="sigmoid", name="excite")(gate)
    x = layers.Multiply()([gate, x])
    x = layers.Reshape((-1,), name="flat")(x)
    return keras.Model(image, layers.Dense(3, name="head")(x))


def test_a_gate_loses_the_channels_of_what_it_gates(
    keras, seeded, liven, kill, unplug, shrunk_alike
) -> None:
    model = _gated(keras)
    liven(model)
    kill(model.get_layer("conv"), [0, 5])
    kill(model.get_layer("squeeze"), [1], bias=0.5)

    result = shrunk_alike(model)

    assert result.removed == {"conv": 2, "excite": 2, "squeeze": 1}
    assert result.model.get_layer("reshape").target_shape == (1, 1, 4)


@pytest.mark.slow
def test_separable_convolutions(keras, seeded, liven, kill, shrunk_alike) -> None:
    layers = keras.layers
    image = keras.Input((8, 8, 2))
    x = layers.Conv2D(5, 3, activation="sigmoid", name="first")(image)
    x = layers.SeparableConv2D(
        6, 3, depth_multiplier=2, use_bias=False, activation="relu", name="second"
    )(x)
    x = layers.SeparableConv2D(4, 3, padding="same", name="third")(x)
    model = keras.Model(image, layers.Dense(2, name="head")(layers.GlobalMaxPooling2D()(x)))
    liven(model)
    kill(model.get_layer("first"), [2], bias=0.4)
    depthwise = np.array(model.get_layer("second").depthwise_kernel.numpy())
    depthwise[:, :, 4] = 0
    model.get_layer("second").depthwise_kernel.assign(depthwise)
    kill(model.get_layer("second"), [0, 1])

    result = shrunk_alike(model)

    assert result.removed == {"first": 2, "second": 2}


def test_two_inputs_and_two_outputs(keras, seeded, liven, kill, shrunk_alike) -> None:
    layers = keras.layers
    image, series = keras.Input((6, 6, 1), name="image"), keras.Input((5,), name="series")
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu", name="conv")(image))
    y = layers.Dense(6, activation="relu", name="dense")(series)
    z = layers.Concatenate()([x, y])
    outputs = {"one": layers.Dense(2, name="one")(z), "two": layers.Dense(3, name="two")(y)}
    model = keras.Model({"image": image, "series": series}, outputs)
    liven(model)
    kill(model.get_layer("conv"), [1], bias=0.5)
    kill(model.get_layer("dense"), [2, 3], bias=0.5)
    kill(model.get_layer("two"), [0])
    generator = np.random.default_rng(0)
    inputs = {
        "image": generator.random((20, 6, 6, 1), np.float32),
        "series": generator.random((20, 5), np.float32),
    }

    result = shrunk_alike(model, inputs=inputs)

    assert result.removed == {"conv": 1, "dense": 2}
    assert result.kept == {"two": "its units are the model's outputs"}
    assert set(result.model.output) == {"one", "two"}


@pytest.mark.slow
def test_a_causal_convolution_pads(keras, seeded, liven, kill, shrunk_alike) -> None:
    layers = keras.layers
    series = keras.Input((9, 2))
    x = layers.Conv1D(5, 3, padding="causal", activation="relu", name="first")(series)
    x = layers.Conv1D(5, 3, padding="causal", activation="relu", name="second")(x)
    x = layers.Flatten()(layers.MaxPooling1D()(x))
    model = keras.Model(series, layers.Dense(2)(x))
    liven(model)
    kill(model.get_layer("first"), [0], bias=0.0)
    kill(model.get_layer("first"), [1], bias=0.5)
    kill(model.get_layer("second"), [3], bias=0.5)

    result = shrunk_alike(model)

    assert result.removed == {"first": 1, "second": 1}
    assert "'second'" in result.kept["first"]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "LayerNormalization"])
def test_layers_that_mix_channels_keep_their_inputs(
    keras, seeded, liven, kill, shrunk_alike, kind
) -> None:
    layers = keras.layers
    words = keras.Input((7,), dtype="int32")
    x = layers.Embedding(11, 4, name="words")(words)
    x = layers.Dense(5, activation="relu", name="before")(x)
    x = getattr(layers, kind)(*([] if kind.startswith("Layer") else [6]), name="mixer")(x)
    x = layers.Dense(8, activation="relu", name="after")(layers.Flatten()(x))
    model = keras.Model(words, layers.Dense(2)(x))
    liven(model)
    kill(model.get_layer("before"), [0])
    kill(model.get_layer("after"), [1, 2], bias=0.5)

    result = shrunk_alike(model)

    assert result.removed == {"after": 2}
    assert kind in result.kept["before"] and "mixer" in result.kept["before"]


def test_operations_on_tensors(keras, seeded, liven, kill, shrunk_alike) -> None:
    layers = keras.layers
    image = keras.Input((6, 6, 1))
    x = layers.Conv2D(5, 3, name="one")(image)
    y = layers.Conv2D(5, 3, name="two")(image)
    x = keras.ops.relu(x + y) * 0.5 - keras.ops.maximum(x, y)
    x = x * keras.ops.relu6(x + 3) / 6
    x = keras.ops.mean(x, axis=1)
    model = keras.Model(image, layers.Dense(2, name="head")(layers.Flatten()(x)))
    liven(model)
    kill(model.get_layer("one"), [0])
    kill(model.get_layer("two"), [0])

    result = shrunk_alike(model)

    # The mean over an axis is no operation whose channels are followed.
    assert result.removed == {}
    assert "Mean" in result.kept["one"]

    x = model.get_layer("head").input
    pooled = layers.GlobalAveragePooling2D()(model.layers[1].output + model.layers[2].output)
    other = keras.Model(image, layers.Dense(2)(keras.ops.relu(pooled) * 0.5))

    assert shrunk_alike(other).removed == {"one": 1, "two": 1}
