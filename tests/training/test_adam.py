"""Keras's Adam in one kernel: the same numbers, up to rounding, and a file that any Keras loads."""

from __future__ import annotations

import numpy as np
import pytest

from compressor import training
from compressor.training.adam import make_adam
from compressor.training.loop import TrainingOptions


def trained(keras, optimizer, sparse=False):
    keras.utils.set_random_seed(3)
    first = keras.layers.Embedding(9, 4) if sparse else keras.layers.Dense(5, activation="relu")
    layers = [first, keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    generator = np.random.default_rng(0)
    x = generator.integers(0, 9, (64, 6)).astype(np.float32)
    model.fit(x, generator.integers(0, 3, 64), batch_size=16, epochs=3, shuffle=False, verbose=0)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("sparse", [False, True])
def test_it_computes_what_keras_does(keras, sparse):
    rate = keras.optimizers.schedules.CosineDecay(0.05, 12)
    found, wanted = (
        trained(keras, make(rate), sparse)
        for make in (make_adam, lambda rate: keras.optimizers.Adam(rate, name="adam"))
    )
    pairs = zip(
        found.weights + found.optimizer.variables,
        wanted.weights + wanted.optimizer.variables,
        strict=True,
    )
    for one, other in pairs:
        assert one.numpy() == pytest.approx(other.numpy(), rel=1e-3, abs=1e-5)


def test_keras_goes_over_no_variable_itself(keras, monkeypatch, small_net, tiny_data):
    """A step of `fit` updates each by one kernel."""
    calls = []
    monkeypatch.setattr(keras.optimizers.Adam, "update_step", lambda *_: calls.append(1))
    model = small_net()
    before = [weight.numpy() for weight in model.trainable_weights]
    training.fit(model, tiny_data.x_train, tiny_data.y_train, TrainingOptions(3, 20), seed=1)
    changed = [np.any(w.numpy() != b) for w, b in zip(model.trainable_weights, before, strict=True)]
    assert all(changed) and not calls


def test_stock_keras_goes_on_with_a_saved_one(keras, tmp_path):
    model = trained(keras, make_adam(0.01))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is keras.optimizers.Adam
    assert "update_step" not in vars(loaded.optimizer)
    moments = (model.optimizer._momentums[0], loaded.optimizer._momentums[0])
    assert np.array_equal(*(one.numpy() for one in moments)) and moments[0].numpy().any()
