"""Pruning models with classes and functions of the user's own, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from own_models import KINDS, subclassed, without_config

import compressor
from compressor.data import Dataset
from compressor.errors import ModelError

OPTIONS = compressor.TrainingOptions(steps=2, batch_size=16)
HALF = compressor.PruningSpec(sparsity=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["subclassed", "own_sequential", "own_parts"])
def test_their_kernels_are_pruned_and_retrained(keras: Any, tiny_data: Dataset, kind: str) -> None:
    model = KINDS[kind](keras)
    before = [np.array(values) for values in model.get_weights()]

    pruned = compressor.prune(model, tiny_data, HALF, options=OPTIONS)

    assert type(pruned.model) is type(model)
    assert pruned.model is not model
    assert {*pruned.masks} >= {"hidden", "scores"}
    for name, mask in pruned.masks.items():
        kernel = pruned.model.get_layer(name).kernel.numpy()
        assert not kernel[~mask].any()
        assert kernel[mask].any()
    for values, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(values, kept)
    scores = pruned.model.predict(np.zeros((2, 8, 8, 1), np.float32), verbose=0)
    assert scores.shape == (2, 4)
    assert pruned.model.compiled


def test_channels_of_a_subclassed_model_are_refused(
    keras: Any, tiny_data: Dataset, rejected: Callable[..., str]
) -> None:
    spec = compressor.PruningSpec(sparsity=0.5, granularity="channel")

    message = rejected(ModelError, compressor.prune, subclassed(keras), tiny_data, spec)

    assert "channels needs the graph" in message
    assert "(Net)" in message


def test_a_model_that_cannot_be_copied_is_refused(
    keras: Any, tiny_data: Dataset, rejected: Callable[..., str]
) -> None:
    message = rejected(ModelError, compressor.prune, without_config(keras), tiny_data, HALF)

    assert "get_config" in message


def test_a_configuration_that_forgets_an_argument_is_refused(
    keras: Any, tiny_data: Dataset, rejected: Callable[..., str]
) -> None:
    class Times(keras.layers.Layer):
        def __init__(self, factor: float = 1.0, **options: Any) -> None:
            super().__init__(**options)
            self.factor = factor

        def call(self, x: Any) -> Any:
            return x * self.factor

        def get_config(self) -> dict[str, Any]:
            return {"name": self.name}

    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(4), Times(5.0), layers.Softmax()]
    )

    message = rejected(ModelError, compressor.prune, model, tiny_data, HALF)

    assert "does not compute what the model does" in message


def test_sensitivity_names_the_layers_of_the_model(keras: Any, tiny_data: Dataset) -> None:
    for build in KINDS.values():
        model = build(keras)
        before = [np.array(values) for values in model.get_weights()]

        found = compressor.sensitivity(model, tiny_data, sparsities=[0.5])

        assert "scores" in {row.layer for row in found.layers}
        for values, kept in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(values, kept)
