"""The kernels of all kinds of layers: attention, wrappers, transposed convolutions, own layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import compressor
from compressor import PruningSpec, TrainingOptions
from compressor.errors import ModelError, UsageError
from compressor.pruning import all_kernels, kept_weights
from compressor.pruning.kernels import weights_by_key
from compressor.pruning.pruner import Pruner
from compressor.report.inspection import inspect

KERNELS = {
    "many/query": (8, 2, 4),
    "many/key": (8, 2, 4),
    "many/value": (8, 2, 4),
    "many/attention_output": (2, 4, 8),
    "few/query": (8, 4, 4),
    "few/key": (8, 2, 4),
    "few/value": (8, 2, 4),
    "few/attention_output": (4, 4, 8),
    "einsum": (8, 2, 4),
    "steps": (8, 8),
    "both/forward_memory": (8, 16),
    "both/forward_memory:recurrent_kernel": (4, 16),
    "both/backward_memory": (8, 16),
    "both/backward_memory:recurrent_kernel": (4, 16),
    "up": (3, 4, 8),
    "normed": (4, 4),
    "out": (40, 4),
}


def every_kind(keras) -> Any:
    layers = keras.layers
    keras.utils.set_random_seed(4)
    rows = keras.Input((8, 8))
    x = layers.MultiHeadAttention(2, 4, name="many")(rows, rows)
    x = layers.GroupQueryAttention(4, 4, 2, name="few")(x, x)
    x = layers.EinsumDense("abc,cde->abde", (None, 2, 4), name="einsum")(x)
    x = layers.TimeDistributed(layers.Dense(8), name="steps")(layers.Reshape((8, 8))(x))
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True, name="memory"), name="both")(x)
    x = layers.Conv1DTranspose(4, 3, name="up")(x)
    x = layers.SpectralNormalization(layers.Dense(4), name="normed")(layers.PReLU(name="bend")(x))
    return keras.Model(rows, layers.Dense(4, name="out")(layers.Flatten()(x)))


@pytest.fixture(scope="module")
def built(keras):
    return every_kind(keras)


@pytest.fixture
def model(keras, built):
    weights = built.get_weights()
    yield built
    built.set_weights(weights)


@pytest.fixture(scope="module")
def rows():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(64, 8, 8)).astype(np.float32)
    return compressor.Dataset.from_arrays("rows", x, np.arange(64) % 4, x[:16], np.arange(16) % 4)


def test_every_kernel_is_found_by_a_name_of_its_own(model):
    assert {name: kernel.shape for name, kernel in all_kernels(model).items()} == KERNELS


def test_masks_hold_through_retraining(keras, rows):
    layers = keras.layers
    x = given = keras.Input((8, 8))
    x = layers.MultiHeadAttention(2, 4, name="many")(x, x)
    x = layers.TimeDistributed(layers.Dense(8), name="steps")(x)
    x = layers.Conv1DTranspose(4, 3, name="up")(x)
    x = layers.SpectralNormalization(layers.Dense(4), name="normed")(x)
    model = keras.Model(given, layers.Dense(4, name="out")(layers.Flatten()(x)))
    options = TrainingOptions(steps=3, batch_size=16, learning_rate=1e-2)
    found = compressor.prune(model, rows, PruningSpec(0.6), options=options)
    after = weights_by_key(found.model)
    assert len(found.masks) == 8 and not found.left_alone
    for name, mask in found.masks.items():
        kernel, before = after[name].numpy(), weights_by_key(model)[name].numpy()
        assert np.count_nonzero(kernel) == mask.sum() == kept_weights(mask.size, 0.6)
        assert not kernel[~mask].any()
        assert not np.array_equal(kernel[mask], before[mask])  # it was trained


INPUTS_LAST = {
    # The inputs that a kernel sums over, last, as runtimes store it.
    **dict.fromkeys(("many/query", "few/key", "einsum"), lambda k: k.reshape(8, -1).T),
    "many/attention_output": lambda k: k.reshape(8, 8).T,
    "few/attention_output": lambda k: k.reshape(16, 8).T,
    **dict.fromkeys(("steps", "both/backward_memory", "normed"), lambda k: k.T),
    "up": lambda k: k,
}


@pytest.mark.parametrize(("granularity", "most"), [("2:4", 2), ("1x4", None)])
def test_groups_run_along_what_is_summed_over(model, granularity, most):
    sparsity = None if most else 0.5
    found = Pruner(model, PruningSpec(sparsity, granularity=granularity)).prune()
    assert dict(found.left_alone) == {"bend:alpha": "pruned only where it is named"}
    for name, inputs_last in INPUTS_LAST.items():
        left = inputs_last(weights_by_key(model)[name].numpy() != 0).reshape(-1, 4).sum(axis=1)
        assert set(left) <= ({most} if most else {0, 4}), name


def test_one_threshold_over_all(model):
    found = Pruner(model, PruningSpec(0.5, scope="global")).prune()
    kept = sum(row["kept"] for row in found.rows)
    assert kept == kept_weights(sum(int(np.prod(shape)) for shape in KERNELS.values()), 0.5)
    assert len({row["threshold"] for row in found.rows}) == 1


def test_a_part_of_a_layer_has_a_sparsity_of_its_own(model):
    spec = PruningSpec({"many": 0.5, "many/query": 0.75, "both": 0.25, "both/forward_memory": 0.5})
    kept = {row["layer"]: row["kept"] for row in Pruner(model, spec).prune().rows}
    assert kept == {
        "many/query": kept_weights(64, 0.75),
        **{f"many/{part}": kept_weights(64, 0.5) for part in ("key", "value", "attention_output")},
        "both/forward_memory": kept_weights(128, 0.5),
        "both/forward_memory:recurrent_kernel": kept_weights(64, 0.5),
        "both/backward_memory": kept_weights(128, 0.25),
        "both/backward_memory:recurrent_kernel": kept_weights(64, 0.25),
    }


def test_an_unknown_part_is_answered_with_near_names(rejected, model):
    message = rejected(UsageError, Pruner, model, PruningSpec({"many/quer": 0.5}))
    assert "many/quer; did you mean many/query" in message


def test_slopes_are_pruned_where_they_are_named(model):
    alpha = weights_by_key(model)["bend:alpha"]
    alpha.assign(np.random.default_rng(1).normal(size=alpha.shape))
    found = Pruner(model, PruningSpec(0.5, layers=("bend",))).prune()
    assert list(found.masks) == ["bend:alpha"]
    assert np.count_nonzero(alpha.numpy()) == kept_weights(40, 0.5)


def test_parts_of_attention_have_no_units_to_remove(rejected, model):
    spec = PruningSpec(0.5, layers=("many",), granularity="channel")
    assert "many/query: its units cannot be told apart" in rejected(UsageError, Pruner, model, spec)
    spec = PruningSpec(0.5, layers=("both",), granularity="channel")
    assert "only Dense layers and convolutions" in rejected(UsageError, Pruner, model, spec)


@pytest.mark.slow
def test_sensitivity_and_inspect_see_them(model, rows, tmp_path):
    found = compressor.sensitivity(model, rows, sparsities=(0.5,), layers=("many", "up"))
    assert [row.layer for row in found.layers] == [*list(KERNELS)[:4], "up"]

    Pruner(model, PruningSpec(0.5)).prune()
    model.save(tmp_path / "model.keras")
    shown = inspect(tmp_path / "model.keras")
    listed = {(row["layer"], row["variable"]): row for row in shown["layers"]}
    assert listed["many/query", "kernel"]["zeros"] == 33
    assert listed["both/backward_memory", "recurrent_kernel"]["zeros"] == 33
    assert listed["many/query", "kernel"]["macs"] == 8 * 64
    assert shown["macs"] is not None


def own_layers(keras) -> Any:
    """A layer that holds others, of which Keras makes up the names, and weights of its own."""
    layers = keras.layers

    @keras.saving.register_keras_serializable("compressor-tests")
    class Mixer(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.widen = layers.Dense(12)
            self.steps = [layers.Dense(12), layers.Dense(12)]

        def build(self, shape):
            self.widen.build(shape)
            for step in self.steps:
                step.build((None, 12))
            self.narrow = self.add_weight(shape=(12, 8))
            self.positions = self.add_weight(shape=(1, 8, 8), name="positions")
            self.fixed = self.add_weight(shape=(8, 8), name="fixed", trainable=False)

        def call(self, inputs):
            x = self.widen(inputs + self.positions)
            for step in self.steps:
                x = step(x)
            return x @ self.narrow @ self.fixed

    @keras.saving.register_keras_serializable("compressor-tests")
    class Own(layers.Dense):
        pass

    rows = keras.Input((8, 8))
    x = Own(8, name="own")(Mixer(name="mixer")(rows))
    return keras.Model(rows, layers.Dense(4, name="out")(layers.Flatten()(x)))


def test_layers_of_the_user_s_own(keras, tmp_path):
    model = own_layers(keras)
    names = ["mixer", "mixer/widen", "mixer/steps_0", "mixer/steps_1", "own", "out"]
    assert list(all_kernels(model)) == names
    found = Pruner(model, PruningSpec(granularity="2:4")).prune()
    assert list(found.masks) == names
    assert found.left_alone == {"mixer:positions": "pruned only where it is named"}
    # Another process, or this one later, makes up other names.
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("mixer").widen.name != model.get_layer("mixer").widen.name
    assert list(all_kernels(again)) == names
    compressor.apply_masks(again, found.masks)


def test_the_waves_of_a_fourier_transform_are_left_alone(keras):
    layers = keras.layers
    sound = keras.Input((64, 1))
    x = layers.STFTSpectrogram(frame_length=16, frame_step=8, fft_length=16, name="waves")(sound)
    model = keras.Model(sound, layers.Dense(2, name="out")(layers.Flatten()(x)))
    found = Pruner(model, PruningSpec(0.5)).prune()
    assert list(found.masks) == ["out"]
    assert found.left_alone.keys() == {"waves:real_kernel", "waves:imag_kernel"}


def test_a_model_of_slopes_alone_has_nothing_to_prune(rejected, keras):
    model = keras.Sequential([keras.Input((4,)), keras.layers.PReLU(name="bend")])
    assert "no layer whose kernel can be pruned" in rejected(
        ModelError, Pruner, model, PruningSpec()
    )
