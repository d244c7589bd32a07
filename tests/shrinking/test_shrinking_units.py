"""Which units go: dense layers and convolutions in a row."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.errors import CheckFailedError, DataError, ModelError, UsageError
from compressor.models.batches import largest_difference
from compressor.shrinking import edits, shrink


def _dead_units(kernels: list[np.ndarray]) -> list[int]:
    """Units without a non-zero way in or out, by layer, found one at a time."""
    kernels = [kernel.copy() for kernel in kernels]
    gone = [np.zeros(kernel.shape[1], bool) for kernel in kernels[:-1]]
    changed = True
    while changed:
        changed = False
        for number, dead in enumerate(gone):
            into, out = kernels[number], kernels[number + 1]
            found = ~dead & (~into.any(axis=0) | ~out.any(axis=1))
            into[:, found] = 0
            out[found] = 0
            dead |= found
            changed = changed or bool(found.any())
    return [int(dead.sum()) for dead in gone]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("seed", range(3))
def test_a_pruned_mlp_loses_exactly_its_dead_units(keras, liven, shrunk_alike, seed) -> None:
    layers = keras.layers
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((9,)),
            layers.Dense(20, activation="tanh", name="first"),
            layers.Dense(16, activation="sigmoid", name="second"),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(12, activation="relu", name="third"),
            layers.Dense(4, activation="softmax", name="last"),
        ],
        name="mlp",
    )
    liven(model)
    generator = np.random.default_rng(seed)
    names = ["first", "second", "third", "last"]
    kernels = []
    for name in names:
        kernel = model.get_layer(name).kernel
        kernels.append(np.where(generator.random(kernel.shape) < 0.85, 0, kernel.numpy()))
        kernel.assign(kernels[-1])
    dead = _dead_units(kernels)
    assert min(dead) > 0

    result = shrunk_alike(model)

    assert result.removed == dict(zip(names, dead, strict=False))
    units = [result.model.get_layer(name).units for name in names]
    assert units == [20 - dead[0], 16 - dead[1], 12 - dead[2], 4]
    assert type(result.model) is keras.Sequential
    assert result.kept.keys() <= {"last"}


def _image_net(keras, **options):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(2, padding="same"),
            layers.Conv2D(8, 3, name="conv2", **{"activation": "relu", **options}),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(16, activation="relu", name="fc1"),
            layers.Dense(4, name="fc2"),
        ],
        name="image_net",
    )


def test_channels_go_through_pooling_and_flatten(
    keras, seeded, liven, kill, unplug, shrunk_alike
) -> None:
    model = _image_net(keras, padding="same")
    liven(model)
    kill(model.get_layer("conv1"), [0, 4])
    kill(model.get_layer("conv2"), [1, 2], bias=0.5)
    unplug(model.get_layer("conv2"), [3])
    unplug(model.get_layer("fc1"), [i for i in range(32) if i % 8 in (5, 7)])
    kill(model.get_layer("fc1"), range(3), bias=0.25)
    unplug(model.get_layer("fc2"), [10, 11])

    result = shrunk_alike(model)

    assert result.removed == {"conv1": 3, "conv2": 4, "fc1": 5}
    assert result.kept == {}
    assert result.model.get_layer("fc1").kernel.shape == (4 * 4, 11)


@pytest.mark.slow
def test_nothing_is_removed_from_a_live_model(keras, seeded, liven, shrunk_alike) -> None:
    model = _image_net(keras)
    liven(model)

    result = shrunk_alike(model, round_to=8)

    assert (result.removed, result.folded, result.kept) == ({}, (), {})
    assert result.difference == 0
    for old, new in zip(model.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_constant_is_folded_into_a_layer_without_bias(
    keras, seeded, liven, kill, shrunk_alike
) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(5, 3, activation="sigmoid", name="first"),
            layers.Conv2D(4, 3, use_bias=False, name="second"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, use_bias=False, name="last"),
        ]
    )
    liven(model)
    kill(model.get_layer("first"), [0, 3], bias=0.7)

    result = shrunk_alike(model)

    assert result.removed == {"first": 2}
    assert result.model.get_layer("second").use_bias
    assert not result.model.get_layer("last").use_bias


@pytest.mark.sampled(1)
@pytest.mark.parametrize("padding", ["same", "zeros"])
def test_a_constant_before_a_border_stays(
    keras, seeded, liven, kill, shrunk_alike, padding
) -> None:
    layers = keras.layers
    border = [layers.ZeroPadding2D(1, name="border")] if padding == "zeros" else []
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(5, 3, activation="sigmoid", name="first"),
            *border,
            layers.Conv2D(4, 3, padding="valid" if border else "same", name="second"),
            layers.Flatten(),
            layers.Dense(3, name="last"),
        ]
    )
    liven(model)
    kill(model.get_layer("first"), [0, 3], bias=0.7)

    result = shrunk_alike(model)

    assert result.removed == {}
    assert list(result.kept) == ["first"]
    assert ("'border'" if border else "'second'") in result.kept["first"]
    assert "non-zero constant" in result.kept["first"]


def test_one_unit_of_a_dead_layer_stays(keras, seeded, liven, unplug, shrunk_alike) -> None:
    model = _image_net(keras)
    liven(model)
    unplug(model.get_layer("fc2"), range(16))

    result = shrunk_alike(model)

    assert result.removed == {"conv1": 5, "conv2": 7, "fc1": 15}
    assert set(result.kept) == {"conv1", "conv2", "fc1", "fc2"}
    assert "at least one" in result.kept["fc1"]
    assert "outputs" in result.kept["fc2"]


def test_widths_are_rounded_up_to_a_multiple(keras, seeded, liven, kill, shrunk_alike) -> None:
    model = _image_net(keras)
    liven(model)
    kill(model.get_layer("conv1"), [0])
    kill(model.get_layer("conv2"), [1, 2], bias=1.0)
    kill(model.get_layer("fc1"), range(7), bias=1.0)

    result = shrunk_alike(model, round_to=4)

    # conv1: 5 of 6 would be needed, and 6 is less than 8; conv2: 6 of 8; fc1: 9 of 16.
    assert result.removed == {"fc1": 4}
    assert result.model.get_layer("fc1").units == 12
    assert all("multiple of 4" in reason for reason in result.kept.values())
    assert set(result.kept) == {"conv1", "conv2", "fc1"}


def test_a_constant_that_stays_for_the_width_is_not_folded(
    keras, seeded, liven, kill, shrunk_alike
) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(4, activation="sigmoid", name="hidden"),
            layers.Dense(3, use_bias=False, name="last"),
        ]
    )
    liven(model)
    kill(model.get_layer("hidden"), [1], bias=0.7)

    result = shrunk_alike(model, round_to=2)

    assert result.removed == {}
    assert not result.model.get_layer("last").use_bias
    for old, new in zip(model.get_weights(), result.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("round_to", [0, -8, 1.5, True])
def test_a_width_must_be_a_whole_number(keras, rejected, small_net, round_to) -> None:
    assert str(round_to) in rejected(UsageError, shrink, small_net(), round_to=round_to)


def test_a_wrong_fold_is_refused(keras, seeded, liven, kill, monkeypatch, rejected) -> None:
    model = _image_net(keras)
    liven(model)
    kill(model.get_layer("fc1"), [2], bias=3.0)
    right = edits.folded_bias
    monkeypatch.setattr(
        edits, "folded_bias", lambda *a: None if (b := right(*a)) is None else b * 1.01
    )

    message = rejected(CheckFailedError, shrink, model)

    assert "difference 0.0" in message
    assert "of the output's scale" in message


def test_outputs_that_are_no_numbers_are_refused(keras, seeded, rejected) -> None:
    model = _image_net(keras)
    bias = model.get_layer("fc1").bias
    bias.assign(np.full(bias.shape, np.nan))

    assert "nan" in rejected(CheckFailedError, shrink, model)


def test_the_tolerance_is_the_users(keras, seeded, liven, kill, rejected) -> None:
    model = _image_net(keras)
    liven(model)
    kill(model.get_layer("fc1"), [1, 5, 9], bias=1.0)

    assert 0 < shrink(model).difference < 1e-5
    assert "1e-12" in rejected(CheckFailedError, shrink, model, tolerance=1e-12)


def test_the_difference_is_relative_to_each_outputs_scale(keras) -> None:
    def scales(small: float, large: float):
        vector = keras.Input((2,))
        outputs = [keras.layers.Rescaling(factor)(vector) for factor in (small, large)]
        return keras.Model(vector, outputs)

    inputs = np.array([[1.0, 0.5], [-2.0, 1.0]] * 200, np.float32)

    found = largest_difference(scales(1e-4, 1e4), scales(1.1e-4, 1e4), inputs)

    assert found == pytest.approx(0.1, rel=1e-4)
    assert largest_difference(scales(0.0, 1.0), scales(0.0, 1.0), inputs) == 0
    assert largest_difference(scales(0.0, 1.0), scales(0.5, 1.0), inputs) > 0.1


def test_inputs_must_fit(keras, small_net, rejected) -> None:
    model = small_net()

    assert "(3, 5)" in rejected(DataError, shrink, model, np.zeros((3, 5), np.float32))
    rejected(DataError, shrink, model, np.zeros((0, 8, 8, 1), np.float32))
    rejected(DataError, shrink, model, np.float32(1))


def test_only_models_whose_graph_is_known(keras, rejected) -> None:
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    assert "Own" in rejected(ModelError, shrink, Own(name="mine"))
    unbuilt = keras.Sequential([keras.layers.Dense(2)], name="unbuilt")
    assert "unbuilt" in rejected(ModelError, shrink, unbuilt)
