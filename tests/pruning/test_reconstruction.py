"""compressor.prune by layer-wise least squares: what it promises on models of every kind."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

import compressor
from compressor import Criterion, PruningSpec, TrainingOptions, register_criterion, training
from compressor.data import Dataset
from compressor.errors import CompressorError, UsageError
from compressor.pruning import criteria
from compressor.pruning.kernels import weights_by_key
from compressor.pruning.reconstruction import Reconstruction


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(criteria, "_CRITERIA", dict(criteria._CRITERIA))


@pytest.fixture(scope="module")
def pictures() -> Dataset:
    """96 + 40 smooth pictures of 8 x 8, float32, four classes."""
    generator = np.random.default_rng(5)

    def part(count):
        labels = np.arange(count) % 4
        coarse = generator.normal(size=(count, 3, 3))
        x = coarse.repeat(3, axis=1).repeat(3, axis=2)[:, :8, :8] + labels[:, None, None]
        return x.astype(np.float32), labels

    return Dataset.from_arrays("pictures", *part(96), *part(40))


def prune(model, data, *arguments, seed=0, **options):
    spec = PruningSpec(*arguments, **{"criterion": "reconstruct", **options})
    return compressor.prune(model, data, spec, retrain=False, seed=seed)


def outputs(model, data):
    return np.asarray(model(data.x_test.reshape(-1, *model.input_shape[1:])))


def distance(model, other, data):
    return float(np.square(outputs(model, data) - outputs(other, data)).mean())


@pytest.fixture(scope="module")
def every_kind(keras):
    """A model of many kinds of layers."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    x = image = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(x)
    x = layers.Conv2D(8, 3, strides=2, groups=2, use_bias=False, name="grouped")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(2, name="depthwise")(x)
    x = layers.SeparableConv2D(8, 2, padding="same", activation="relu", name="separable")(x)
    x = layers.Reshape((-1, 8))(x)
    x = layers.LSTM(8, return_sequences=True, name="lstm")(x)
    x = layers.GRU(8, return_sequences=True, name="gru")(x)
    x = layers.TimeDistributed(layers.Dense(8, activation="relu"), name="steps")(x)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.Conv1D(8, 2, padding="causal", name="line")(x)
    x = layers.Dense(16, activation="relu", name="dense")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(4, name="scores")(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    "granularity",
    ["weight", *(pytest.param(name, marks=pytest.mark.slow) for name in ("2:4", "1x4"))],
)
def test_outputs_change_far_less_than_by_magnitude(every_kind, pictures, granularity):
    options = {"granularity": granularity, "sparsity": None if granularity == "2:4" else 0.5}
    found = prune(every_kind, pictures, **options)
    other = prune(every_kind, pictures, criterion="magnitude", **options)
    assert [row["kept"] for row in found.layers] == [row["kept"] for row in other.layers]
    for row in found.layers:
        kernel, mask = weights_by_key(found.model)[row["layer"]].numpy(), found.masks[row["layer"]]
        assert not kernel[~mask].any() and mask.sum() == row["kept"]
        report = found.reconstruction[row["layer"]]
        assert report["error"] <= report["magnitude_error"]
        assert report["seconds"] >= 0 and report["bytes"] > 0 and report["rows"] > 0
    assert distance(found.model, every_kind, pictures) < 0.34 * distance(
        other.model, every_kind, pictures
    )


@pytest.mark.slow
def test_channels_go_whole_and_the_next_layer_makes_up_for_them(every_kind, pictures):
    options = {"granularity": "channel", "layers": ("line", "dense"), "sparsity": 0.5}
    found = prune(every_kind, pictures, **options)
    other = prune(every_kind, pictures, criterion="magnitude", **options)
    assert found.model.get_layer("dense").units == 8
    assert set(found.reconstruction) == {"dense", "scores"}
    assert distance(found.model, every_kind, pictures) < 0.34 * distance(
        other.model, every_kind, pictures
    )


@pytest.mark.sampled(1)
@pytest.mark.parametrize("options", [{"granularity": "channel"}, {"granularity": "weight"}])
def test_what_is_left_brings_the_logits_closer_together(keras, pictures, monkeypatch, options):
    layers = keras.layers
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((8, 8))
    x = layers.Flatten()(x)
    for name in ("first", "second"):
        x = layers.Dense(24, activation="relu", name=name)(x)
    model = keras.Model(inputs, layers.Dense(4, name="last")(x))
    options |= {"layers": ("first", "second"), "sparsity": 0.75}
    found = prune(model, pictures, **options)
    errors = [report["refined"] for report in found.reconstruction.values()]
    assert all(after <= before for before, after in errors) and errors[0][1] < errors[0][0]
    monkeypatch.setattr(Reconstruction, "refine", lambda _, done: done)
    plain = prune(model, pictures, **options)
    assert found.layers == plain.layers  # as many weights, no matter where
    seen = dataclasses.replace(pictures, x_test=pictures.x_train)
    assert distance(found.model, model, seen) < 0.9 * distance(plain.model, model, seen)


@pytest.mark.slow
def test_a_layer_behind_two_narrowed_ones_makes_up_for_both(keras, pictures):
    layers = keras.layers
    keras.utils.set_random_seed(2)
    x = inputs = keras.Input((8, 8))
    x = layers.Flatten()(x)
    x = [layers.Dense(12, activation="relu", name=name)(x) for name in ("left", "right")]
    model = keras.Model(inputs, layers.Dense(4, name="last")(layers.Concatenate()(x)))
    model.get_layer("last").bias.assign([5.0, 0.0, -5.0, 1.0])
    options = {"granularity": "channel", "layers": ("left", "right"), "sparsity": 0.5}
    found = prune(model, pictures, **options)
    assert found.model.get_layer("right").units == 6
    other = prune(model, pictures, criterion="magnitude", **options)
    assert distance(found.model, model, pictures) < 0.34 * distance(other.model, model, pictures)


@pytest.mark.slow
def test_coupled_layers_and_a_global_threshold(residual_net, pictures):
    model = residual_net()
    narrow = prune(model, pictures, 0.5, granularity="channel")
    assert narrow.model.get_layer("stem").filters == 3
    found = prune(model, pictures, 0.6, scope="global")
    kept, all_weights = (sum(row[key] for row in found.layers) for key in ("kept", "parameters"))
    assert kept == compressor.kept_weights(all_weights, 0.6)
    other = prune(model, pictures, 0.6, scope="global", criterion="magnitude")
    assert distance(found.model, model, pictures) < 0.34 * distance(other.model, model, pictures)


def test_one_sparsity_of_all_layers_empties_none(keras, tiny_data):
    """A layer of many weights, of which each alone matters little, was pruned away whole."""
    layers = keras.layers
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(256, activation="relu", name="hidden"),
            layers.Dense(32, activation="relu", name="next"),
            layers.Dense(4, name="scores"),
        ]
    )
    options = TrainingOptions(steps=80, batch_size=32, learning_rate=3e-3)
    training.fit(model, tiny_data.x_train, tiny_data.y_train, options, seed=0)

    found = prune(model, tiny_data, 0.99, scope="global")

    all_weights = sum(row["parameters"] for row in found.layers)
    assert sum(row["kept"] for row in found.layers) == compressor.kept_weights(all_weights, 0.99)
    assert min(row["kept"] for row in found.layers) > 10
    assert found.accuracy == found.before["accuracy"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["weight", "1x4"])
def test_what_went_in_an_earlier_round_stays_away(small_net, tiny_data, monkeypatch, granularity):
    masks = []
    run = Reconstruction.run

    def watched(self, *arguments, **options):
        done = run(self, *arguments, **options)
        masks.append({name: one.mask for name, one in done.items()})
        return done

    monkeypatch.setattr(Reconstruction, "run", watched)
    rounds = {"schedule": "iterative", "rounds": 3, "scope": "global", "granularity": granularity}
    spec = PruningSpec(0.8, criterion="reconstruct", **rounds)
    options = TrainingOptions(steps=2, batch_size=32, learning_rate=1e-3)
    compressor.prune(small_net(), tiny_data, spec, options=options, force=True)

    assert len(masks) == 3
    for earlier, later in itertools.pairwise(masks):
        for name, mask in earlier.items():
            assert not later[name][~mask].any() and later[name].sum() < mask.sum()


@pytest.mark.slow
def test_the_seed_decides(residual_net, pictures):
    first, again, other = (
        prune(residual_net(), pictures, 0.5, calibration=60, seed=seed).model.get_weights()
        for seed in (0, 0, 1)
    )
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)
    assert any((one != changed).any() for one, changed in zip(first, other, strict=True))


def test_weights_go_to_units_that_something_is_left_of(small_net, tiny_data):
    found = prune(small_net(), tiny_data, {"hidden": 0.8, "scores": 0.8}, layers=("all",))
    used = found.masks["scores"].any(axis=1)
    assert 0 < used.sum() < 10
    hidden = found.masks["hidden"]
    assert hidden[:, used].sum() > 0.8 * hidden.sum()


def test_labels_are_not_looked_at(residual_net, pictures):
    shuffled = dataclasses.replace(
        pictures, y_train=np.random.default_rng(0).permutation(pictures.y_train)
    )
    for one, other in zip(
        prune(residual_net(), pictures, 0.5, calibration=50).model.get_weights(),
        prune(residual_net(), shuffled, 0.5, calibration=50).model.get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_layers_that_cannot_be_seen_into_are_pruned_by_magnitude(keras, pictures):
    @keras.saving.register_keras_serializable("tests")
    class Odd(keras.layers.Layer):
        def call(self, x):
            return keras.ops.log(x)  # not a number for negative ones

    layers = keras.layers
    keras.utils.set_random_seed(0)
    shared = layers.Dense(6, activation="relu", name="shared")
    x = inputs = keras.Input((8, 8))
    x = shared(shared(layers.Dense(6, name="first")(layers.Flatten()(x))))
    x = Odd()(-1 - keras.ops.relu(x))
    model = keras.Model(inputs, layers.Dense(4, name="last")(x))
    found = prune(model, pictures, 0.5)
    assert "no finite inputs" in found.reconstruction["last"]["note"]
    mask = found.masks["last"]
    np.testing.assert_array_equal(
        found.model.get_layer("last").kernel.numpy(), model.get_layer("last").kernel * mask
    )
    assert np.count_nonzero(mask) == compressor.kept_weights(24, 0.5)
    assert "note" not in found.reconstruction["shared"]


@pytest.mark.slow
def test_embeddings_and_words(keras):
    generator = np.random.default_rng(0)
    x = generator.integers(0, 20, (100, 6)).astype(np.int32)
    words = Dataset.from_arrays("words", x[:80], x[:80, 0] % 2, x[80:], x[80:, 0] % 2)
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(20, 8, name="words"),
            layers.LSTM(6, name="lstm"),
            layers.Dense(2, activation="softmax", name="scores"),
        ]
    )
    found = prune(model, words, 0.5)
    assert "not known" in found.reconstruction["words"]["note"]
    assert found.reconstruction["lstm:recurrent_kernel"]["error"] < 0.5


def test_never_worse_than_magnitude(residual_net, pictures):
    """A solver that makes things worse is not believed."""
    bad = Criterion(
        "bad", criteria.get_criterion("magnitude").score, solve=lambda p: (-p.weights * 9, _all(p))
    )
    register_criterion(bad)
    found = prune(residual_net(), pictures, 0.5, criterion="bad")
    assert found.reconstruction["head"]["note"] == "by magnitude, whose error is smaller"
    by_magnitude = prune(residual_net(), pictures, 0.5, criterion="magnitude")
    np.testing.assert_array_equal(found.masks["head"], by_magnitude.masks["head"])
    for one, other in zip(found.model.get_weights(), by_magnitude.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def _all(problem):
    return problem.keep(np.abs(problem.weights), 1.0)


def _wanda(problem):
    norms = np.sqrt(np.square(problem.inputs).mean(axis=1))[..., None]
    mask = problem.keep(np.abs(problem.weights) * norms, 1.0)
    return problem.weights * mask, mask


def test_a_criterion_of_ones_own_may_return_weights(residual_net, pictures):
    register_criterion(Criterion("wanda", lambda weights, _: np.abs(weights), solve=_wanda))
    model = residual_net()
    found = prune(model, pictures, 0.5, criterion="wanda", layers=("head",))
    assert "note" not in found.reconstruction["head"]
    kernel, mask = found.model.get_layer("head").kernel.numpy(), found.masks["head"]
    np.testing.assert_array_equal(kernel, model.get_layer("head").kernel.numpy() * mask)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("solve", "said"),
    [
        (lambda p: 1 / 0, "failed to reconstruct: head (ZeroDivisionError"),
        (lambda p: (p.weights[:, :1], _all(p)), "do not have the kernel's shape: head"),
        (lambda p: (p.weights, np.ones(p.weights.shape)), "do not have the kernel's shape: head"),
        (lambda p: (p.weights, ~_all(p)), "does not keep what was asked: head"),
    ],
)
def test_solvers_that_cannot_be_used(rejected, residual_net, pictures, solve, said):
    register_criterion(Criterion("bad", lambda weights, _: np.abs(weights), solve=solve))
    assert said in rejected(
        CompressorError, prune, residual_net(), pictures, 0.45, criterion="bad", layers=("head",)
    )


def test_schedules_that_do_not_fit(rejected, small_net, tiny_data):
    said = rejected(UsageError, PruningSpec, criterion="reconstruct", schedule="gradual")
    assert said.endswith("reconstruct, gradual; choose the pruning schedule one-shot or iterative")
    said = rejected(
        UsageError, compressor.sensitivity, small_net(), tiny_data, criterion="reconstruct"
    )
    assert "reconstruct; choose magnitude or taylor" in said


@pytest.mark.slow
def test_retraining_starts_from_there(small_net, tiny_data):
    spec = PruningSpec(0.7, criterion="reconstruct", schedule="iterative", rounds=2)
    options = compressor.TrainingOptions(steps=5, learning_rate=1e-3)
    found = compressor.prune(small_net(), tiny_data, spec, options=options)
    for row in found.layers:
        kernel = weights_by_key(found.model)[row["layer"]].numpy()
        assert np.count_nonzero(kernel) == row["kept"]
        assert row["kept"] == compressor.kept_weights(row["parameters"], 0.7)
