"""Pruning and shrinking models that nobody tuned the code for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import compressor
from compressor import PruningSpec, TrainingOptions
from compressor.models.preprocessing import preprocessing_of
from compressor.pruning.kernels import weights_by_key

RETRAINED = TrainingOptions(steps=80, batch_size=32, learning_rate=5e-3)
LONGER = TrainingOptions(steps=140, batch_size=32, learning_rate=1e-2)
NAMES = {"lenet": RETRAINED, "residual": LONGER, "mobile": LONGER, "two inputs": RETRAINED}
QUICK_AND_SLOW = [
    pytest.param(name, marks=pytest.mark.slow) if name in ("lenet", "mobile") else name
    for name in NAMES
]
# Each of the ten kinds is a tenth of the test images.
CLOSE = 0.05


def outputs(model: Any, data: Any) -> np.ndarray:
    return np.asarray(model(preprocessing_of(model, data.x_test)(data.x_test), training=False))


def parameters(model: Any) -> int:
    return int(model.count_params())


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
@pytest.mark.slow
def test_the_models_learn(foreign: Callable, name: str) -> None:
    assert foreign(name).accuracy > 0.85


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
@pytest.mark.slow
def test_four_fifths_of_the_weights_go_and_the_accuracy_stays(foreign: Callable, name: str) -> None:
    given = foreign(name)
    before = [w.copy() for w in given.model.get_weights()]

    # Thin depthwise kernels need the gentler way.
    schedule: Any = "gradual" if name == "mobile" else "one-shot"
    spec = PruningSpec(0.8, schedule=schedule)
    found = compressor.prune(given.model, given.data, spec, options=NAMES[name])

    assert found.accuracy > given.accuracy - CLOSE
    for row in found.layers:
        kernel = weights_by_key(found.model)[row["layer"]].numpy()
        assert np.count_nonzero(kernel) == row["kept"] == compressor.kept_weights(kernel.size, 0.8)
        assert not kernel[~found.masks[row["layer"]]].any()
    assert not found.left_alone
    for old, new in zip(before, given.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_half_of_the_channels_go_and_the_rest_learns(foreign: Callable, name: str) -> None:
    given = foreign(name)

    found = compressor.prune(
        given.model, given.data, PruningSpec(0.5, granularity="channel"), options=NAMES[name]
    )

    assert found.accuracy > given.accuracy - 2 * CLOSE
    assert parameters(found.model) < 0.6 * parameters(given.model)
    assert {row["units"] - row["units_kept"] for row in found.layers} == {
        row["units"] // 2 for row in found.layers
    }
    assert set(found.left_alone) & {"out", "head"}
    for variable in found.model.trainable_variables:
        assert variable.numpy().all() or variable.name in ("bias", "beta")


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_a_model_without_its_dead_units_computes_the_same(foreign: Callable, name: str) -> None:
    given = foreign(name)
    # Masked only: the retraining would hide a unit that was cut wrongly.
    spec = PruningSpec(0.97)
    sparse = compressor.prune(given.model, given.data, spec, retrain=False).model
    feed = preprocessing_of(sparse, given.data.x_test)
    found = compressor.shrink(sparse, feed(given.data.x_test))

    expected, after = outputs(sparse, given.data), outputs(found.model, given.data)
    np.testing.assert_allclose(after, expected, atol=1e-5 * np.abs(expected).max() + 1e-7)
    assert parameters(found.model) < parameters(sparse)
    assert found.difference <= 1e-5
