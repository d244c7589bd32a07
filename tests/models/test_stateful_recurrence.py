"""Stateful recurrent layers are refused in one line wherever a model is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compressor
from compressor.data import Dataset
from compressor.errors import ModelError


@pytest.fixture(scope="module")
def data() -> Dataset:
    labels = np.arange(36) % 4
    x = np.random.default_rng(0).random((36, 5, 3), np.float32)
    return Dataset.from_arrays("steps", x, labels, x[:12], labels[:12])


@pytest.fixture(params=["lstm", "bidirectional"])
def model(keras: Any, request: pytest.FixtureRequest) -> Any:
    layers = keras.layers
    keeps = layers.LSTM(4, stateful=True, name="keeps")
    layer = keeps if request.param == "lstm" else layers.Bidirectional(keeps)
    return keras.Sequential([keras.Input(batch_shape=(8, 5, 3)), layer, layers.Dense(4)])


def test_every_call_refuses_them(
    model: Any, data: Dataset, tmp_path: Path, rejected: Callable[..., str]
) -> None:
    model.save(tmp_path / "model.keras")
    calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (compressor.prune, (model, data)),
        (compressor.sensitivity, (model, data)),
        (compressor.shrink, (model,)),
        (compressor.export, (model, tmp_path / "a.tflite", data)),
        (compressor.export, (model, tmp_path / "a.onnx")),
        (compressor.evaluate, (tmp_path / "model.keras", data)),
    ]
    for function, arguments in calls:
        message = rejected(ModelError, function, *arguments)
        assert "keeps its state between batches" in message
        assert "stateful=False" in message


def test_they_can_be_looked_at(model: Any) -> None:
    assert compressor.inspect(model)["parameters"] == model.count_params()


def test_a_fixed_batch_size_alone_is_no_reason(keras: Any, data: Dataset, tmp_path: Path) -> None:
    layers = keras.layers
    keras.Sequential([keras.Input(batch_shape=(8, 5, 3)), layers.Flatten(), layers.Dense(4)]).save(
        tmp_path / "model.keras"
    )

    found = compressor.evaluate(tmp_path / "model.keras", data, batch_size=5, max_steps=1)

    assert found.images == 12
