"""Keras models as TFLite files: what is asked for, what is refused, and the size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compressor.errors import UsageError
from compressor.exporters import tflite
from compressor.exporters.request import QUANTIZATIONS, Request
from compressor.exporters.tflite import weights

TFLITE = [quantize for quantize in QUANTIZATIONS if quantize not in ("codebook", "ternary")]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(1).random((60, 40), np.float32)


@pytest.fixture(scope="module")
def pruned(keras) -> Any:
    """Build a net of three Dense layers of which a part of the weights is zero."""

    def build(sparsity: float) -> Any:
        layers = keras.layers
        keras.utils.set_random_seed(6)
        parts = [layers.Dense(64, activation="relu", name=f"hidden{i}") for i in range(2)]
        model = keras.Sequential(
            [keras.Input((40,), name="vector"), *parts, layers.Dense(5, name="head")]
        )
        generator = np.random.default_rng(2)
        for layer in model.layers:
            kernel = layer.kernel.numpy()
            layer.kernel.assign(kernel * (generator.random(kernel.shape) >= sparsity))
            layer.bias.assign(0.1 * generator.standard_normal(layer.bias.shape))
        return model

    return build


def request(quantize: str, vectors: np.ndarray, **options: Any) -> Request:
    calibration = (vectors,) if quantize == "int8" else ()
    return Request("litert", quantize, calibration=calibration, **options)  # type: ignore[arg-type]


def run(content: bytes, array: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    found = Interpreter(model_content=content, num_threads=1)
    runner = found.get_signature_runner("serving_default")
    return runner(vector=array)["scores"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("quantize", TFLITE)
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.95])
def test_a_file_is_right_and_not_larger_than_its_dense_twin(pruned, vectors, quantize, sparsity):
    model = pruned(sparsity)
    before = [variable.numpy() for variable in model.weights]
    made = tflite.export(model, request(quantize, vectors))
    dense = tflite.export(model, request(quantize, vectors, encoding="dense"))
    assert len(made.content) <= len(dense.content)
    if sparsity == 0.95 and quantize == "none":
        assert len(made.content) < 0.6 * len(dense.content)
    wanted = model(vectors).numpy()
    within = {"none": 1e-5, "float16": 2e-3, "int4": 0.3}.get(quantize, 0.05)
    for file in (made, dense):
        assert np.abs(run(file.content, vectors) - wanted).max() <= within * np.abs(wanted).max()
    for old, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_a_file_says_what_is_in_it(pruned, vectors):
    made = tflite.export(pruned(0.95), request("none", vectors))
    assert made.inputs == ("vector",)
    assert {"hidden0/kernel", "hidden1/kernel", "head/kernel", "hidden0/bias"} <= {
        tensor.name for tensor in made.tensors
    }
    sizes = [tensor.bytes for tensor in made.tensors]
    assert sizes == sorted(sizes, reverse=True) and sum(sizes) < len(made.content)
    assert made.needs["FULLY_CONNECTED"] >= 1
    assert made.notes == ()
    kernel = next(tensor for tensor in made.tensors if tensor.name == "hidden1/kernel")
    assert kernel.shape == (64, 64) and kernel.zeros > 0.9 * 64 * 64


def test_how_the_model_was_changed_is_noted(keras):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((3, 2)),
            layers.GRU(4, name="memory", dtype="mixed_float16"),
            layers.Dense(2, dtype="float32"),
        ]
    )
    made = tflite.export(model, Request("litert"))
    assert len(made.notes) == 2
    assert "float16" in made.notes[0] and "memory" in made.notes[1]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("encoding", list(weights.ENCODINGS))
def test_every_encoding_that_is_listed_gives_a_file_that_is_right(pruned, vectors, encoding):
    model = pruned(0.9)
    wanted = model(vectors).numpy()
    for quantize, within in {"none": 1e-5, "dynamic": 0.05}.items():
        made = tflite.export(model, request(quantize, vectors, encoding=encoding))
        assert np.abs(run(made.content, vectors) - wanted).max() <= within * np.abs(wanted).max()


def test_what_tflite_does_not_have_is_refused(pruned, vectors, rejected):
    model = pruned(0.5)
    codebook = rejected(UsageError, tflite.export, model, request("codebook", vectors))
    assert codebook == "TFLite has no codebook; choose --quantize int4"
    ternary = rejected(UsageError, tflite.export, model, request("ternary", vectors))
    assert ternary == "TFLite has no ternary weights; choose --quantize int4"
    other = rejected(UsageError, tflite.export, model, request("none", vectors, encoding="gap8"))
    assert "gap8" in other and "csr" in other
    assert "examples" in rejected(UsageError, tflite.export, model, Request("litert", "int8"))
