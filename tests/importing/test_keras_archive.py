"""A .keras file that Keras 2.12 to 2.15 or tf_keras wrote: translated as an .h5 file is."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from old_models import bad_lambda, separable

from compressor.errors import ModelError
from compressor.importing import load_model
from compressor.models import objective_of


@pytest.fixture
def old(keras: Any, tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """Such a file, inputs, and what its model gives for them."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2), name="picture"),
            layers.DepthwiseConv2D(3, padding="same", name="depth"),
            layers.BatchNormalization(name="norm"),
            layers.LeakyReLU(negative_slope=0.25, name="leaky"),
            layers.Flatten(name="flat"),
            layers.Dense(3, activation="softmax", name="scores"),
        ]
    )
    config, weights = separable()
    model.set_weights([values for arrays in weights.values() for _, values in arrays])
    model.save(tmp_path / "new.keras")
    config |= {"module": "keras.src.engine.functional", "registered_name": "Functional"}
    config["compile_config"] = {"loss": "categorical_crossentropy", "metrics": ["accuracy"]}
    x = np.random.default_rng(0).random((4, 6, 6, 2), np.float32)
    return swapped(tmp_path / "new.keras", config), x, model.predict_on_batch(x)


def swapped(path: Path, config: Any) -> Path:
    """The file with another configuration, of Keras 2."""
    made = path.with_name("old.keras")
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(made, "w") as after:
        after.writestr("config.json", json.dumps(config))
        after.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        after.writestr("model.weights.h5", before.read("model.weights.h5"))
    return made


def test_it_computes_the_same(old: Any) -> None:
    path, x, expected = old

    loaded = load_model(path)

    np.testing.assert_allclose(loaded.predict_on_batch(x), expected, atol=1e-6)
    assert objective_of(loaded).source == "compiled"


def test_code_and_sizes(old: Any, tmp_path: Path, rejected: Any) -> None:
    config = separable()[0]
    layers = config["config"]["layers"]
    whole = {**config, "config": {**config["config"], "layers": [*layers, bad_lambda()[0]]}}
    assert "Lambda code" in rejected(ModelError, load_model, swapped(tmp_path / "new.keras", whole))
    huge = json.loads(json.dumps(config).replace('"units": 3', '"units": 900000000'))
    message = rejected(ModelError, load_model, swapped(tmp_path / "new.keras", huge))
    assert "asks for more weights than its file holds" in message
    metadata = tmp_path / "old.keras"
    with zipfile.ZipFile(metadata, "a") as archive:
        archive.comment = b"odd"
    rejected(ModelError, load_model, metadata)
