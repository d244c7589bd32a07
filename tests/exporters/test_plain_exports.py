"""The paper's CNN, exported plainly to ONNX or TFLite and given back: as small as from Keras."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from compressor.exporters import onnx as onnx_exporter, tflite as tflite_exporter
from compressor.exporters.onnx.convert import convert
from compressor.exporters.request import Request
from compressor.foundation import quiet_tensorflow
from compressor.models.paper import paper_cnn
from compressor.shrinking import shrink

QUANTIZATIONS = {
    "onnx": ("none", "float16", "dynamic", "int8", "int4", "codebook", "ternary"),
    "tflite": ("none", "float16", "dynamic", "int8", "int4"),
}


def _plain(model: Any, kind: str) -> tuple[bytes, str]:
    """What tf2onnx, or the stock converter, makes of a model; and the name of its input."""
    if kind == "onnx":
        proto = convert(model)
        return proto.SerializeToString(), proto.graph.input[0].name
    tensorflow, _ = quiet_tensorflow.load()
    content = tensorflow.lite.TFLiteConverter.from_keras_model(model).convert()
    litert = importlib.import_module("ai_edge_litert.interpreter")
    details = litert.Interpreter(model_content=content).get_input_details()
    return bytes(content), details[0]["name"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", QUANTIZATIONS)
@pytest.mark.parametrize("sparsity", [0.0, 0.9])
def test_every_variant_is_as_small(kind: str, sparsity: float, keras: Any) -> None:
    keras.utils.set_random_seed(1)
    model = paper_cnn((28, 28, 1), 10)
    for layer in model.layers:
        if sparsity and layer.name.startswith("fc"):
            kernel = layer.kernel.numpy()
            threshold = np.quantile(np.abs(kernel), sparsity)
            layer.kernel.assign(np.where(np.abs(kernel) > threshold, kernel, 0))
    content, name = _plain(model, kind)
    exporter = {"onnx": onnx_exporter, "tflite": tflite_exporter}[kind]
    runtime = {"onnx": "onnxruntime", "tflite": "litert"}[kind]
    whole = shrink(model).model
    x = np.random.default_rng(1).random((8, 28, 28, 1), np.float32)
    for quantize in QUANTIZATIONS[kind]:
        request = Request(runtime, quantize, calibration=(x,) if quantize == "int8" else ())
        bytes_of_keras = len(exporter.export(whole, request).content)

        found = exporter.export_graph(content, request, (name,))

        assert len(found.content) <= 1.01 * bytes_of_keras, quantize
