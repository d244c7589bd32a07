"""A reader's own model and data, under the names that the pages use."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import write_quadrants
from graph_files import onnx_model
from runnable_files import tflite_bytes


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
    (folder / "found.tflite").write_bytes(tflite_bytes(model))
    onnx.save(_as_pytorch_has_it(*map(np.asarray, model.get_weights())), folder / "found.onnx")
    return folder


def _as_pytorch_has_it(
    kernel: np.ndarray, bias: np.ndarray, fc1: np.ndarray, b1: np.ndarray, *last: np.ndarray
) -> Any:
    """The network with channels first, and kernels (outputs, inputs)."""
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "conv.weight", "conv.bias"], ["c"], kernel_shape=[3, 3]),
        node("Relu", ["c"], ["r"]),
        node("Flatten", ["r"], ["f"]),
        node("Gemm", ["f", "fc1.weight", "fc1.bias"], ["h"], transB=1),
        node("Relu", ["h"], ["s"]),
        node("Gemm", ["s", "fc2.weight", "fc2.bias"], ["z"], transB=1),
        node("Softmax", ["z"], ["y"], axis=1),
    ]
    turned = fc1.reshape(6, 6, 8, -1).transpose(2, 0, 1, 3).reshape(fc1.shape)
    arrays = {
        "conv.weight": np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)),
        "conv.bias": bias,
        "fc1.weight": np.ascontiguousarray(turned.T),
        "fc1.bias": b1,
        "fc2.weight": np.ascontiguousarray(last[0].T),
        "fc2.bias": last[1],
    }
    return onnx_model(nodes, arrays, {"x": ["batch", 1, 8, 8]}, {"y": ["batch", 4]})


@pytest.fixture
def at_the_readers(readers_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the reader's files and nothing else."""
    folder = shutil.copytree(readers_files, tmp_path / "reader")
    monkeypatch.chdir(folder)
    return folder
