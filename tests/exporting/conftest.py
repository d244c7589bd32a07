"""A pruned model that was trained a little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compressor import TrainingOptions, training
from compressor.data import Dataset
from compressor.pruning.magnitude import magnitude_prune


@pytest.fixture(scope="session")
def pruned_file(keras: Any, tiny_data: Dataset, tmp_path_factory: Any) -> Path:
    """A wide network for `tiny_data`, nine tenths of whose weights are zero; not to be written."""
    keras.utils.set_random_seed(2)
    layers = [
        keras.Input((8, 8, 1), name="quarters"),
        keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(300, activation="relu", name="wide"),
        keras.layers.Dense(4, name="scores"),
    ]
    model = keras.Sequential(layers, name="pruned")
    options = TrainingOptions(steps=60, batch_size=32, learning_rate=3e-3)
    training.fit(model, tiny_data.x_train, tiny_data.y_train, options, seed=0)
    kernel = model.get_layer("wide").kernel
    kernel.assign(kernel.numpy() * magnitude_prune(kernel.numpy(), 0.9).mask)
    path = tmp_path_factory.mktemp("pruned") / "pruned.keras"
    model.save(path)
    return path
