"""A reader's own model and data, under the names that the pages use."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import write_quadrants


@pytest.fixture(scope="session")
def readers_files(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.keras, a small trained classifier, and its data.npz."""
    folder = tmp_path_factory.mktemp("reader")
    with np.load(write_quadrants(folder / "data.npz")) as data:
        images, labels = data["x_train"][..., None] / np.float32(255), data["y_train"]
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(4, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(images, labels, epochs=5, batch_size=32, verbose=0)
    model.save(folder / "model.keras")
    return folder


@pytest.fixture
def at_the_readers(readers_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the reader's files and nothing else."""
    folder = shutil.copytree(readers_files, tmp_path / "reader")
    monkeypatch.chdir(folder)
    return folder
