"""What a model keeps besides its function."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.errors import ModelError
from compressor.models.batches import random_inputs
from compressor.pruning import apply_masks
from compressor.shrinking import shrink


@pytest.mark.slow
def test_layers_keep_their_settings(keras, seeded, liven, kill, shrunk_alike) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2), name="image"),
            layers.Rescaling(2.0, offset=-1.0, name="rescale"),
            layers.Conv2D(6, 3, name="conv", kernel_regularizer="l2", kernel_constraint="non_neg"),
            layers.LeakyReLU(negative_slope=0.3, name="leaky"),
            layers.SpatialDropout2D(0.25, seed=5, name="drop"),
            layers.Flatten(name="flat"),
            layers.Dense(8, activation=layers.LeakyReLU(), name="dense"),
            layers.Dense(2, name="head"),
        ],
        name="settings",
    )
    liven(model)
    kill(model.get_layer("conv"), [0, 1], bias=-0.5)
    kill(model.get_layer("dense"), [0], bias=-0.5)
    model.get_layer("conv").trainable = False

    shrunk = shrunk_alike(model).model

    conv, old = shrunk.get_layer("conv"), model.get_layer("conv").get_config()
    assert conv.get_config() == {**old, "filters": 4}
    assert not conv.trainable
    assert not conv.kernel.trainable
    assert shrunk.get_layer("dense").trainable
    assert shrunk.get_layer("drop").rate == 0.25
    assert shrunk.get_layer("leaky").negative_slope == 0.3
    assert [layer.name for layer in shrunk.layers] == [layer.name for layer in model.layers]
    shrunk.compile("sgd", "mse")
    shrunk.fit(np.ones((4, 6, 6, 2)), np.ones((4, 2)), verbose=0)


def test_a_frozen_nested_model_stays_frozen(keras, seeded, liven, shrunk_alike) -> None:
    layers = keras.layers
    base_in = keras.Input((5,))
    base = keras.Model(base_in, layers.Dense(4, activation="relu")(base_in), name="base")
    base.trainable = False
    vector = keras.Input((5,), name="vector")
    model = keras.Model(vector, layers.Dense(2, name="head")(base(vector, training=False)))
    liven(model)

    shrunk = shrunk_alike(model).model

    assert not shrunk.get_layer("base").trainable
    names = [v.path.split("/")[-2:] for v in shrunk.trainable_variables]
    assert names == [["head", "kernel"], ["head", "bias"]]


def test_masks_on_variables_do_not_disturb(keras, seeded, small_net, shrunk_alike) -> None:
    model = small_net()
    mask = np.ones((64, 12), bool)
    mask[:, :5] = False
    apply_masks(model, {"hidden": mask})

    assert shrunk_alike(model).removed == {"hidden": 5}


def test_states_of_preprocessing_layers_come_along(
    keras, seeded, liven, kill, shrunk_alike
) -> None:
    layers = keras.layers
    norm = layers.Normalization(name="norm")
    norm.adapt(seeded.normal(5, 3, (50, 4)).astype(np.float32))
    model = keras.Sequential(
        [keras.Input((4,)), norm, layers.Dense(5, activation="relu", name="dense"), layers.Dense(2)]
    )
    liven(model)
    kill(model.get_layer("dense"), [2], bias=0.1)

    assert shrunk_alike(model).removed == {"dense": 1}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_other_dtypes(keras, seeded, liven, kill, policy) -> None:
    layers = keras.layers
    vector = keras.Input((6,))
    x = layers.Dense(8, activation="relu", dtype=policy, name="dense")(vector)
    model = keras.Model(vector, layers.Dense(2, dtype="float32", name="head")(x))
    liven(model)
    kill(model.get_layer("dense"), [1, 2])

    result = shrink(model)

    assert result.removed == {"dense": 2}
    dense = result.model.get_layer("dense")
    assert dense.dtype_policy.name == policy
    assert dense.kernel.dtype == model.get_layer("dense").kernel.dtype


def test_a_layer_of_the_users_stays_whole(keras, seeded, liven, kill, shrunk_alike) -> None:
    class Dense(keras.layers.Dense):
        """Named as a stock layer, but its own."""

        def call(self, inputs):
            return super().call(inputs) + keras.ops.sum(inputs, axis=-1, keepdims=True)

    vector = keras.Input((4,))
    x = keras.layers.Dense(5, name="before")(vector)
    x = keras.layers.Dense(6, name="after")(Dense(3, name="own")(x))
    model = keras.Model(vector, keras.layers.Dense(2)(x))
    liven(model)
    kill(model.get_layer("before"), [0])
    kill(model.get_layer("after"), [0])

    result = shrunk_alike(model, saved=False)

    assert result.removed == {"after": 1}
    assert "'own'" in result.kept["before"]


def test_a_layer_that_cannot_be_made_again_is_refused(keras, seeded, rejected) -> None:
    class Picky(keras.layers.Layer):
        def __init__(self, secret):
            super().__init__(name="picky")
            self.secret = secret

        def call(self, inputs):
            return inputs

        def get_config(self):
            return {"name": self.name}

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), Picky(4)])

    assert "picky" in rejected(ModelError, shrink, model)


def test_inputs_that_are_made_up_fit_every_kind(keras) -> None:
    layers = keras.layers
    words = keras.Input((3,), name="words")
    flags = keras.Input((None, 2), dtype="bool", name="flags")
    one = keras.Input(batch_shape=(2, 4), name="one")
    x = layers.Embedding(7, 2)(words)
    model = keras.Model(
        {"words": words, "flags": flags, "one": one},
        [x, keras.ops.cast(flags, "float32"), layers.Dense(1)(one)],
    )

    made = random_inputs(model, samples=50)

    assert made["words"].shape == (50, 3)
    assert set(np.unique(made["words"])) == set(range(7))
    assert made["flags"].shape == (50, 8, 2) and made["flags"].dtype == np.bool_
    assert made["one"].shape == (2, 4) and made["one"].dtype == np.float32
