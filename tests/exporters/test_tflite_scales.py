"""One scale for a weight of int8 graphs: what it saves, and what it may not cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor.exporters.request import Request
from compressor.exporters.tflite import export
from compressor.exporters.tflite.reading import read_tflite
from tests.support.stock_runtimes import run_artefact


@pytest.fixture(scope="module")
def examples() -> np.ndarray:
    return np.random.default_rng(4).random((96, 96), np.float32)


def narrow_net(keras, spread: float = 1.0) -> Any:
    """Many units of few inputs; `spread` is how much larger the first row of each kernel is."""
    keras.utils.set_random_seed(3)
    layers, generator = keras.layers, np.random.default_rng(5)
    entry = keras.Input((96,), name="frames")
    x = layers.Dense(128, activation="relu", name="wide")(entry)
    heads = [layers.Dense(128, name=name)(x) for name in ("left", "right")]
    model = keras.Model(entry, layers.Concatenate()(heads))
    for layer in model.layers:
        if layer.weights:
            kernel = generator.uniform(-1, 1, layer.kernel.shape) / 8
            kernel[:, 0] *= spread
            layer.kernel.assign(kernel)
            layer.bias.assign(generator.uniform(-1, 1, layer.bias.shape))
    return model


def int8_file(folder: Path, model: Any, *examples: np.ndarray) -> Path:
    path = folder / "int8.tflite"
    request = Request("litert", quantize="int8", calibration=examples)
    path.write_bytes(export(model, request).content)
    return path


def scales_of(path: Path) -> dict[str, int]:
    tensors = read_tflite(path.read_bytes()).subgraphs[0].tensors
    return {
        tensor.name: len(tensor.quantization.scale)
        for tensor in tensors
        if tensor.name and tensor.quantization is not None and len(tensor.shape or ()) == 2
    }


def test_scales_take_no_noteworthy_part_of_an_int8_file(keras, examples, tmp_path):
    model = narrow_net(keras, spread=3.0)
    path = int8_file(tmp_path, model, examples)
    kernels = sum(layer.kernel.numpy().size for layer in model.layers if layer.weights)
    biases = 4 * sum(layer.bias.numpy().size for layer in model.layers if layer.weights)
    assert kernels + biases < path.stat().st_size < kernels + biases + 2400
    wanted = np.asarray(model(examples))
    error = run_artefact(path, {"frames": examples}) - wanted
    assert np.sqrt(np.mean(error**2)) < 0.02 * np.std(wanted)
    # What the rounding of all inputs, which are positive, adds to an output is taken off its bias.
    assert np.abs(error.mean(axis=0)).mean() < 0.004 * np.std(wanted)


def test_rows_of_very_different_size_keep_their_scales(keras, examples, tmp_path):
    found = scales_of(int8_file(tmp_path, narrow_net(keras, spread=50.0), examples))
    assert found["wide/kernel"] == found["left/kernel"] == found["right/kernel"] == 128


def test_a_layer_that_is_called_twice_is_right(keras, examples, tmp_path):
    keras.utils.set_random_seed(6)
    layers = keras.layers
    pair = [keras.Input((96,), name=name) for name in ("one", "other")]
    shared = layers.Dense(128, activation="relu", name="shared")
    model = keras.Model(pair, layers.Subtract()([shared(entry) for entry in pair]))
    given = [examples, 3 * examples[::-1]]
    path = int8_file(tmp_path, model, *given)
    found = run_artefact(path, dict(zip(("one", "other"), given, strict=True)))
    wanted = np.asarray(model(given))
    assert np.abs(found - wanted).max() < 0.04 * np.abs(wanted).max()


def test_pruned_layers_profit_most(keras, examples, tmp_path):
    model = narrow_net(keras)
    generator = np.random.default_rng(7)
    for layer in model.layers:
        if layer.weights:
            layer.kernel.assign(layer.kernel * (generator.random(layer.kernel.shape) < 0.05))
    path = int8_file(tmp_path, model, examples)
    wanted = np.asarray(model(examples))
    error = run_artefact(path, {"frames": examples}) - wanted
    assert np.sqrt(np.mean(error**2)) < 0.03 * np.std(wanted)
    nonzeros = sum(np.count_nonzero(layer.kernel) for layer in model.layers if layer.weights)
    assert path.stat().st_size < 2 * nonzeros + 4 * 3 * 128 + 4800


def test_filters_of_one_size_share_a_scale_and_others_keep_theirs(keras, tmp_path):
    keras.utils.set_random_seed(8)
    generator = np.random.default_rng(9)
    images = generator.random((24, 9, 9, 3), np.float32)
    model = keras.Sequential([keras.Input((9, 9, 3), name="image"), keras.layers.Conv2D(32, 3)])
    (layer,) = model.layers
    kernel = generator.choice([-1, 1], layer.kernel.shape) * generator.uniform(
        0.3, 1, (3, 3, 3, 32)
    )
    sizes = []
    for spread in (1.0, 30.0):
        kernel[..., 0] *= spread
        layer.kernel.assign(kernel)
        path = int8_file(tmp_path, model, images)
        right = model(images).numpy()
        found = run_artefact(path, {"image": images})
        assert np.abs(found - right).max() < 0.02 * np.abs(right).max()
        sizes.append(path.stat().st_size)
    assert sizes[1] - sizes[0] > 31 * 14
