"""A trained network of coupled layers, and what a sensitivity looks like."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compressor.training.loop import TrainingOptions, fit


@pytest.fixture(scope="package")
def trained(residual_net: Callable[[], Any], tiny_data: Any) -> Any:
    """`residual_net`, trained a little; not to be changed."""
    model = residual_net()
    options = TrainingOptions(15, batch_size=32, learning_rate=0.004)
    fit(model, tiny_data.x_train, tiny_data.y_train, options, seed=1)
    return model


@pytest.fixture(scope="session")
def described_of() -> Callable[..., dict[str, Any]]:
    """What `Sensitivity.describe` gives for so many layers; deeper ones lose less."""

    def make(layers: int, sparsities: tuple[float, ...] = (0.2, 0.5, 0.9)) -> dict[str, Any]:
        def measurement(sparsity: float, number: int) -> dict[str, float]:
            accuracy = 0.98 - 0.9 * sparsity**4 / (1 + number)
            return {"target_sparsity": sparsity, "sparsity": sparsity, "accuracy": accuracy}

        rows = [
            {
                "layer": f"layer_{number}",
                "layers": [f"layer_{number}"],
                "parameters": 1000 * (number + 1),
                "measurements": [measurement(sparsity, number) for sparsity in sparsities],
                "highest_sparsity": 0.2,
            }
            for number in range(layers)
        ]
        return copy.deepcopy(
            {
                "model": "net.keras",
                "granularity": "weight",
                "criterion": "magnitude",
                "examples": 1000,
                "tolerance": 0.01,
                "dense_accuracy": 0.98,
                "layers": rows,
                "left_alone": {},
            }
        )

    return make


@pytest.fixture
def weights_of() -> Callable[[Any], list[np.ndarray]]:
    return lambda model: [np.array(value) for value in model.get_weights()]
