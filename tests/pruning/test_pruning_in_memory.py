"""compressor.prune on models as users build them: masks hold, and all else goes on working."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import compressor
from compressor import Distillation, PruningSpec, TrainingOptions
from compressor.data import Dataset
from compressor.errors import DataError, ModelError, UsageError
from compressor.pruning import kept_weights
from compressor.pruning.kernels import weights_by_key

OPTIONS = TrainingOptions(steps=30, batch_size=32, learning_rate=0.01)


def prune(model, data, *arguments, **options):
    return compressor.prune(model, data, PruningSpec(*arguments, **options), options=OPTIONS)


def assert_masked(found) -> None:
    for row in found.layers:
        kernel, mask = weights_by_key(found.model)[row["layer"]].numpy(), found.masks[row["layer"]]
        assert not kernel[~mask].any() and kernel[mask].all()
        assert np.count_nonzero(mask) == row["kept"]


def test_the_given_model_stays_as_it_is(small_net, tiny_data):
    model = small_net()
    before = [w.numpy() for w in model.weights]
    found = prune(model, tiny_data, 0.5)
    assert found.model is not model
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    assert not model.compiled and all(v.constraint is None for v in model.variables)
    assert all(v.constraint is None for v in found.model.variables)


@pytest.mark.slow
def test_what_is_said_of_the_result(small_net, tiny_data):
    found = prune(small_net(), tiny_data, 0.5)
    assert_masked(found)
    assert [row["kept"] for row in found.layers] == [kept_weights(n, 0.5) for n in (768, 48)]
    assert found.accuracy > 0.9
    x = tiny_data.x_test.astype(np.float32)[..., None] / 255
    scores = found.model.predict_on_batch(x)
    assert found.accuracy == pytest.approx((scores.argmax(1) == tiny_data.y_test).mean())
    assert 0 <= found.validation_accuracy <= 1
    assert found.objective["source"] == "inferred"


def test_without_retraining_the_rest_stays_as_it_was(small_net, tiny_data):
    model = small_net()
    found = compressor.prune(model, tiny_data, PruningSpec(0.5), retrain=False)
    for name, mask in found.masks.items():
        np.testing.assert_array_equal(
            found.model.get_layer(name).kernel.numpy(),
            np.where(mask, model.get_layer(name).kernel.numpy(), np.float32(0)),
        )


@pytest.mark.parametrize("schedule", ["gradual", "iterative"])
def test_schedules_that_retrain_cannot_do_without(rejected, small_net, tiny_data, schedule):
    spec = PruningSpec(0.5, schedule=schedule)
    message = rejected(UsageError, compressor.prune, small_net(), tiny_data, spec, retrain=False)
    assert f"{schedule} pruning retrains" in message


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["gradual", "iterative"])
def test_one_seed_gives_one_model(small_net, tiny_data, schedule):
    spec = PruningSpec(0.7, schedule=schedule, rounds=2)
    options = TrainingOptions(steps=6, batch_size=16, distillation=Distillation())
    results = [
        compressor.prune(small_net(), tiny_data, spec, options=options, seed=seed).model
        for seed in (1, 1, 2)
    ]
    first, again, other = ([w.numpy() for w in model.weights] for model in results)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("schedule", ["one-shot", "gradual"])
@pytest.mark.slow
def test_every_kind_of_kernel_stays_zero(keras, schedule):
    layers = keras.layers
    generator = np.random.default_rng(0)

    def part(count):
        tokens = generator.integers(0, 20, (count, 8)).astype(np.int32)
        return tokens, tokens[:, 0] % 3

    data = Dataset.from_arrays("tokens", *part(120), *part(30))
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Embedding(20, 6, name="words"),
            layers.LSTM(5, return_sequences=True, name="long"),
            layers.GRU(4, return_sequences=True, name="gated"),
            layers.SeparableConv1D(4, 3, name="separable"),
            layers.DepthwiseConv1D(3, name="depthwise"),
            layers.Flatten(),
            layers.Dense(3, name="out"),
        ]
    )
    found = prune(model, data, 0.6, schedule=schedule, rounds=2)
    assert_masked(found)
    sizes = {row["layer"]: row["parameters"] for row in found.layers}
    assert len(sizes) == 9
    assert {r["layer"]: r["kept"] for r in found.layers} == {
        name: kept_weights(size, 0.6) for name, size in sizes.items()
    }


@pytest.mark.sampled(1)
@pytest.mark.parametrize("schedule", ["one-shot", "gradual"])
def test_constraints_of_the_users_hold_with_the_masks(keras, small_net, tiny_data, schedule):
    model = small_net(
        kernel_constraint=keras.constraints.NonNeg(),
        last={"kernel_constraint": keras.constraints.MaxNorm(0.3)},
    )
    hidden = model.get_layer("hidden").kernel
    hidden.assign(np.abs(hidden.numpy()))
    found = prune(model, tiny_data, 0.5, schedule=schedule)
    kernel = found.model.get_layer("hidden").kernel.numpy()
    assert kernel.min() == 0 and not kernel[~found.masks["hidden"]].any()
    norms = np.linalg.norm(found.model.get_layer("scores").kernel.numpy(), axis=0)
    assert 0.2 < norms.max() <= 0.3 + 1e-5
    scores = found.model.get_layer("scores")
    assert not scores.kernel.numpy()[~found.masks["scores"]].any()
    # And the constraints that the layer had are those that it has now.
    assert type(scores.kernel.constraint).__name__ == "MaxNorm"
    assert type(scores.kernel_constraint).__name__ == "MaxNorm"


@pytest.mark.slow
def test_frozen_layers_stay_as_they_are(residual_net, tiny_data):
    model = residual_net()
    model.get_layer("stem").trainable = False
    found = prune(model, tiny_data, 0.5)
    assert found.left_alone == {"stem": "it is frozen"}
    for old, new in zip(
        model.get_layer("stem").weights, found.model.get_layer("stem").weights, strict=True
    ):
        np.testing.assert_array_equal(old.numpy(), new.numpy())
    assert_masked(found)


@pytest.fixture(scope="module")
def shared_and_nested(keras):
    """A model with a layer that is used twice, in a block that is used twice, too."""

    def build() -> Any:
        layers = keras.layers
        keras.utils.set_random_seed(6)
        inner = keras.Sequential(
            [keras.Input((16,)), layers.Dense(16, activation="relu", name="one")], name="block"
        )
        twice = layers.Dense(16, activation="relu", name="twice")
        image = keras.Input((8, 8, 1))
        x = layers.Dense(16, name="first")(layers.Flatten()(image))
        x = twice(inner(twice(inner(x))))
        return keras.Model(image, layers.Dense(4, name="out")(x))

    return build


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"granularity": "1x4"}, {"schedule": "gradual"}], ids=str)
def test_shared_and_nested_layers_have_one_mask(shared_and_nested, tiny_data, options):
    found = prune(shared_and_nested(), tiny_data, 0.5, **options)
    assert sorted(row["layer"] for row in found.layers) == ["block/one", "first", "out", "twice"]
    assert_masked(found)
    assert found.model.get_layer("block").get_layer("one").kernel.numpy().any()
    assert found.accuracy > 0.5


@pytest.mark.slow
def test_units_of_shared_and_nested_layers(shared_and_nested, tiny_data):
    model = shared_and_nested()
    found = prune(model, tiny_data, 0.5, granularity="channel")
    assert found.model.count_params() < model.count_params()
    assert found.accuracy > 0.5
    kept = {row["layer"]: row["units_kept"] for row in found.layers}
    assert kept["twice"] == 8


@pytest.mark.slow
def test_a_layer_that_is_pruned_away_is_said(keras, tiny_data):
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((8, 8)), layers.Flatten(), layers.Dense(2, name="thin"), layers.Dense(4)]
    )
    model.layers[-1].name = "gone"
    with pytest.warns(UserWarning, match="all weights of layer gone were pruned away"):
        found = prune(model, tiny_data, 0.95)
    assert found.warnings == ("all weights of layer gone were pruned away",)
    assert not found.model.get_layer("gone").kernel.numpy().any()


def test_data_that_do_not_fit_are_told_with_both_sides(rejected, small_net, keras, tiny_data):
    wide = Dataset.from_arrays("wide", *(np.zeros((8, 9, 9), np.uint8), np.arange(8) % 4) * 2)
    message = rejected(DataError, prune, small_net(), wide)
    assert "(9, 9)" in message and "(8, 8, 1)" in message
    three = keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(3)])
    message = rejected(DataError, prune, three, tiny_data)
    assert "data 4" in message and "model 3" in message


def test_models_that_cannot_be_pruned(rejected, keras, small_net, tiny_data):
    class Own(keras.Model):
        def call(self, x):
            return x

    assert "never built" in rejected(ModelError, prune, Own(name="own"), tiny_data)
    frozen = small_net()
    frozen.trainable = False
    assert "no trainable kernel" in rejected(ModelError, prune, frozen, tiny_data)
    pooled = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.AveragePooling2D(4), keras.layers.Flatten()]
    )
    assert "no layer whose kernel" in rejected(ModelError, prune, pooled, tiny_data)
