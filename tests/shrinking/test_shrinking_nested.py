"""Nested models, and layers and models that are used at several places."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.models.layers import all_layers


def _encoder(keras, name, width=3):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 6, width), name=f"{name}_in"),
            layers.Conv2D(5, 3, use_bias=False, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
        ],
        name=name,
    )


def test_a_nested_model_is_shrunk_inside_and_out(keras, seeded, liven, kill, shrunk_alike) -> None:
    layers = keras.layers
    image = keras.Input((6, 6, 1), name="image")
    x = layers.Conv2D(4, 1, activation="relu", name="stem")(image)
    encoder = _encoder(keras, "encoder", 4)
    middle_in = keras.Input((6, 6, 4), name="middle_in")
    middle = keras.Model(middle_in, encoder(middle_in), name="middle")
    x = layers.Flatten(name="flat")(middle(x, training=False))
    model = keras.Model(image, layers.Dense(2, name="head")(x), name="outer")
    liven(model)
    kill(model.get_layer("stem"), [0], bias=0.5)
    kill(encoder.get_layer("conv"), [1, 2])

    result = shrunk_alike(model)

    assert result.removed == {"stem": 1, "middle/encoder/conv": 2}
    assert result.folded == ("middle/encoder/norm",)
    inner = result.model.get_layer("middle").get_layer("encoder")
    assert type(inner) is keras.Sequential
    assert inner.input_shape == (None, 6, 6, 3)
    assert set(all_layers(result.model)) == set(all_layers(model)) - {"middle/encoder/norm"}


@pytest.mark.slow
def test_a_nested_model_at_two_places_keeps_what_either_needs(
    keras, seeded, liven, kill, shrunk_alike
) -> None:
    layers = keras.layers
    image = keras.Input((6, 6, 1))
    one = layers.Conv2D(4, 1, activation="sigmoid", name="one")(image)
    two = layers.Conv2D(4, 1, activation="sigmoid", name="two")(image)
    encoder = _encoder(keras, "encoder", 4)
    x, y = layers.Flatten()(encoder(one)), layers.Flatten()(encoder(two))
    model = keras.Model(image, [layers.Dense(2, name="a")(x), layers.Dense(2, name="b")(y)])
    liven(model)
    kill(model.get_layer("one"), [0, 1], bias=0.5)
    kill(model.get_layer("one"), [2], bias=0.5)
    # The same constant at both places, another one, and none.
    kill(model.get_layer("two"), [0], bias=0.5)
    kill(model.get_layer("two"), [1], bias=0.9)
    kill(encoder.get_layer("conv"), [4])
    for name in ("a", "b"):
        kernel = np.array(model.get_layer(name).kernel.numpy())
        kernel.reshape(16, 5, 2)[:, 3 if name == "a" else slice(2, 4)] = 0
        model.get_layer(name).kernel.assign(kernel)

    result = shrunk_alike(model)

    assert result.removed == {"one": 1, "two": 1, "encoder/conv": 2}
    assert set(result.kept) == {"one", "two"}
    assert "encoder/conv" in result.kept["one"]


@pytest.mark.slow
def test_a_nested_model_without_weights_fits_both_of_its_places(
    keras, seeded, liven, kill, shrunk_alike
) -> None:
    layers = keras.layers
    tail = keras.Sequential([keras.Input((4, 4, 3)), layers.ReLU(), layers.Flatten()], name="tail")
    image = keras.Input((6, 6, 1))
    one = tail(layers.Conv2D(3, 3, name="one")(image))
    two = tail(layers.Conv2D(3, 3, name="two")(image))
    model = keras.Model(image, layers.Dense(2)(layers.Concatenate()([one, two])))
    liven(model)
    kill(model.get_layer("one"), [0, 1])
    kill(model.get_layer("two"), [0])

    result = shrunk_alike(model)

    assert result.removed == {"one": 1, "two": 1}


def test_a_shared_layer_keeps_what_any_call_needs(
    keras, seeded, liven, kill, unplug, shrunk_alike
) -> None:
    layers = keras.layers
    left, right = keras.Input((5,), name="left"), keras.Input((5,), name="right")
    shared = layers.Dense(8, activation="relu", name="shared")
    relu = layers.ReLU(name="relu")
    x, y = relu(shared(left)), relu(shared(right))
    a, b = layers.Dense(2, name="a")(x), layers.Dense(2, name="b")(y)
    model = keras.Model([left, right], [a, b])
    liven(model)
    unplug(model.get_layer("a"), [0, 1, 2])
    unplug(model.get_layer("b"), [2, 3])
    kill(shared, [7], bias=0.5)

    result = shrunk_alike(model)

    assert result.removed == {"shared": 2}
    assert result.model.get_layer("shared").units == 6


def test_a_layer_applied_to_its_own_output(keras, seeded, liven, kill, shrunk_alike) -> None:
    layers = keras.layers
    vector = keras.Input((4,))
    turn = layers.Dense(6, activation="tanh", name="turn")
    x = layers.Dense(6, activation="tanh", name="first")(vector)
    x = turn(turn(x))
    model = keras.Model(vector, layers.Dense(2)(x))
    liven(model)
    kill(model.get_layer("first"), [1, 2])
    kill(turn, [1], bias=0.0)
    kill(turn, [2], bias=0.5)

    result = shrunk_alike(model)

    assert result.removed == {"first": 1, "turn": 1}


def test_one_layer_in_two_models(keras, seeded, liven, kill, shrunk_alike) -> None:
    layers = keras.layers
    shared = layers.Dense(6, activation="relu", name="shared")
    inner = keras.Sequential([keras.Input((4,)), shared], name="inner")
    vector = keras.Input((4,))
    model = keras.Model(vector, layers.Dense(2)(layers.Add()([inner(vector), shared(vector)])))
    liven(model)
    kill(shared, [1, 2], bias=0.5)

    result = shrunk_alike(model, saved=False)

    assert result.removed == {"inner/shared": 2}
    again = result.model.get_layer("inner").get_layer("shared")
    assert again is result.model.get_layer("shared")
