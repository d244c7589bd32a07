"""The channel map: what belongs together, and what must stay."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.errors import ModelError
from compressor.shrinking import channel_map


def _axes(mapped, layer):
    return {
        (a.variable.name, a.axis): (a.role, a.channels.tolist())
        for a in mapped.axes
        if a.layer == layer
    }


def test_add_couples_two_producers(keras, residual_net) -> None:
    model = residual_net()

    mapped = channel_map(model)

    stem, inner = mapped.producers["stem"], mapped.producers["inner"]
    assert stem.dtype == np.int64
    assert stem.tolist() == inner.tolist()
    assert len(set(stem.tolist())) == 6
    assert mapped.blocked == {"head": "its units are the model's outputs"}
    assert _axes(mapped, "norm") == {
        (name, 0): ("follower", stem.tolist())
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    }
    assert _axes(mapped, "inner") == {
        ("kernel", 2): ("consumer", stem.tolist()),
        ("kernel", 3): ("producer", stem.tolist()),
        ("bias", 0): ("producer", stem.tolist()),
    }
    # The skip is 4 x 4 positions of 6 channels.
    assert _axes(mapped, "head")["kernel", 0] == ("consumer", stem.tolist() * 16)
    variables = {id(v) for v in model.variables}
    assert all(id(axis.variable) in variables for axis in mapped.axes)
    assert all(len(axis.channels) == axis.variable.shape[axis.axis] for axis in mapped.axes)


def test_concatenate_puts_ids_side_by_side(keras) -> None:
    layers = keras.layers
    image = keras.Input((4, 4, 2))
    one, two = layers.Conv2D(3, 1, name="one"), layers.Conv2D(2, 1, name="two")
    x = layers.Concatenate()([one(image), two(image)])
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = layers.SeparableConv2D(2, 1, depth_multiplier=2, name="separable")(x)
    model = keras.Model(image, layers.Flatten()(x))

    mapped = channel_map(model)

    side = [*mapped.producers["one"].tolist(), *mapped.producers["two"].tolist()]
    assert len(set(side)) == 5
    twice = np.repeat(side, 2).tolist()
    assert _axes(mapped, "depthwise") == {
        ("kernel", 2): ("follower", side),
        ("bias", 0): ("follower", twice),
    }
    separable = _axes(mapped, "separable")
    assert separable["depthwise_kernel", 2] == ("consumer", twice)
    assert separable["pointwise_kernel", 2] == ("consumer", np.repeat(twice, 2).tolist())
    assert separable["pointwise_kernel", 3][0] == "producer"


def test_a_shared_layer_unifies_its_calls(keras) -> None:
    layers = keras.layers
    vector = keras.Input((4,))
    one, two = layers.Dense(3, name="one")(vector), layers.Dense(3, name="two")(vector)
    shared = layers.Dense(5, name="shared")
    model = keras.Model(vector, layers.Dense(2)(layers.Subtract()([shared(one), shared(two)])))

    mapped = channel_map(model)

    assert mapped.producers["one"].tolist() == mapped.producers["two"].tolist()
    assert len([axis for axis in mapped.axes if axis.layer == "shared"]) == 3


def test_layers_of_nested_models_go_by_their_path(keras) -> None:
    layers = keras.layers
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="hidden")], name="inner")
    vector = keras.Input((2,))
    x, y = layers.Dense(3, name="left")(vector), layers.Dense(3, name="right")(vector)
    model = keras.Model(vector, layers.Dense(1, name="head")(inner(x) + inner(y)))

    mapped = channel_map(model)

    assert set(mapped.producers) == {"left", "right", "inner/hidden", "head"}
    assert mapped.producers["left"].tolist() == mapped.producers["right"].tolist()
    assert set(mapped.blocked) == {"head"}


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda layers, x: layers.LSTM(3, name="next")(x), ["reach LSTM 'next'", "mixes channels"]),
        (lambda layers, x: layers.Softmax(name="next")(x), ["reach Softmax 'next'"]),
        (lambda layers, x: layers.Conv1D(6, 1, groups=2, name="next")(x), ["is grouped"]),
        (lambda layers, x: layers.Reshape((2, 2, 3), name="next")(x), ["'next'", "positions"]),
        (lambda layers, x: layers.Dropout(0.5, name="next")(x, training=True), ["in training"]),
        (lambda layers, x: layers.UnitNormalization(name="next")(x), ["UnitNormalization"]),
        (lambda layers, x: layers.Activation("softmax", name="next")(x), ["Activation 'next'"]),
        (lambda layers, x: x[:, 1:], ["GetItem"]),
    ],
)
def test_the_reason_why_units_must_stay(keras, build, words) -> None:
    layers = keras.layers
    series = keras.Input((2, 4))
    x = layers.Dense(6, name="before")(series)
    x = build(layers, x)
    x = layers.Dense(3, name="between")(layers.Flatten()(x))
    model = keras.Model(series, layers.Dense(1, name="head")(x))

    reason = channel_map(model).blocked["before"]

    assert all(word in reason for word in words)
    assert "\n" not in reason
    assert "between" not in channel_map(model).blocked


def test_units_that_are_tied_to_the_inputs_stay(keras) -> None:
    vector = keras.Input((4,))
    x = keras.layers.Add()([keras.layers.Dense(4, name="tied")(vector), vector])
    model = keras.Model(vector, keras.layers.Dense(1)(x))

    assert "inputs" in channel_map(model).blocked["tied"]


def test_a_single_channel_that_gates_many_stays(keras) -> None:
    layers = keras.layers
    image = keras.Input((4, 4, 2))
    gate = layers.Conv2D(1, 1, activation="sigmoid", name="gate")(image)
    x = layers.Multiply(name="gated")([gate, layers.Conv2D(3, 1, name="conv")(image)])
    model = keras.Model(image, layers.Dense(1)(layers.Flatten()(x)))

    blocked = channel_map(model).blocked

    assert "'gated'" in blocked["gate"]
    assert "conv" not in blocked


def test_a_model_without_a_graph_is_refused(keras, rejected) -> None:
    assert "never" in rejected(ModelError, channel_map, keras.Sequential(name="never"))
