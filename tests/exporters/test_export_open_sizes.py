"""Exports of models with open sizes: TFLite is fixed, ONNX open where that is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import compressor
from compressor.data import Dataset
from compressor.errors import UsageError
from deploy import quiet_onnxruntime


def conv1d(keras: Any) -> Any:
    layers = keras.layers
    steps = keras.Input((None, 3), name="steps")
    x = layers.Conv1D(6, 3, activation="relu", name="conv")(steps)
    x = layers.GlobalAveragePooling1D()(layers.MaxPooling1D()(x))
    return keras.Model(steps, layers.Dense(4, name="scores")(x))


def attention(keras: Any) -> Any:
    layers = keras.layers
    steps = keras.Input((None, 3), name="steps")
    x = layers.Add()([layers.Dense(3)(steps), layers.MultiHeadAttention(2, 4)(steps, steps)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(steps, layers.Dense(4, name="scores")(x))


def only_seven(keras: Any) -> Any:
    """Its Input says any number of steps, its weights seven."""

    class Places(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.places = self.add_weight(shape=(7, shape[-1]), name="places")

        def call(self, x: Any) -> Any:
            return x + self.places

    steps = keras.Input((None, 3), name="steps")
    x = keras.layers.GlobalAveragePooling1D()(Places()(steps))
    return keras.Model(steps, keras.layers.Dense(4, name="scores")(x))


@pytest.fixture(scope="module")
def data() -> Dataset:
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 4
    x = generator.random((60, 7, 3), np.float32)
    return Dataset.from_arrays("steps", x, labels, x[:20], labels[:20])


@pytest.mark.slow
@pytest.mark.parametrize("build", [conv1d, attention])
def test_onnx_stays_open_and_is_right_at_another_size(
    keras: Any, data: Dataset, tmp_path: Path, build: Callable[[Any], Any]
) -> None:
    model = build(keras)
    record = compressor.export(model, tmp_path / "model.onnx", data)

    session = quiet_onnxruntime.load().InferenceSession(tmp_path / "model.onnx")
    for steps in (7, 12, 31):
        x = np.random.default_rng(steps).random((2, steps, 3), np.float32)
        (scores,) = session.run(None, {"steps": x})
        np.testing.assert_allclose(scores, model(x), atol=1e-5)
    assert "right at steps 7x3 and at steps 14x3" in " ".join(record["notes"])


def test_onnx_is_fixed_where_the_graph_takes_one_size(
    keras: Any, data: Dataset, tmp_path: Path
) -> None:
    record = compressor.export(only_seven(keras), tmp_path / "model.onnx", data)

    (entry,) = onnx.load(tmp_path / "model.onnx").graph.input
    assert [size.dim_value for size in entry.type.tensor_type.shape.dim] == [0, 7, 3]
    assert "it is fixed to steps 7x3" in " ".join(record["notes"])


def test_tflite_is_fixed_to_the_size_of_the_data(
    keras: Any, data: Dataset, tmp_path: Path, rejected: Callable[..., str]
) -> None:
    model, target = conv1d(keras), tmp_path / "model.tflite"

    record = compressor.export(model, target, data)

    (port,) = compressor.inspect(target)["inputs"]
    assert port["shape"][1:] == [7, 3]
    assert "it is fixed to steps 7x3" in " ".join(record["notes"])
    other = rejected(
        UsageError, compressor.export, model, target, data, input_size=(9,), force=True
    )
    assert "the data have another size" in other


def test_without_data_the_size_is_asked_for(
    keras: Any, tmp_path: Path, rejected: Callable[..., str]
) -> None:
    model, target = conv1d(keras), tmp_path / "model.tflite"

    message = rejected(UsageError, compressor.export, model, target)
    assert "steps (None, 3); give data, or --input-size 64" in message

    compressor.export(model, target, input_size=(11,))
    assert compressor.inspect(target)["inputs"][0]["shape"][1:] == [11, 3]
