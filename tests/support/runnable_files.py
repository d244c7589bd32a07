"""Small TFLite and ONNX files that runtimes execute, made by other people's tools."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from compressor.foundation import quiet_tensorflow


def tflite_bytes(model: Any, calibration: np.ndarray | None = None) -> bytes:
    """`model` by the stock converter; with `calibration` (n, ...) int8 throughout, inputs too."""
    tensorflow, _ = quiet_tensorflow.load()
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
    if calibration is not None:
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row[None]] for row in calibration)
        converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tensorflow.int8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content: bytes = converter.convert()
    return content


def write_onnx(path: Path, *, batch: int | str = "batch") -> tuple[np.ndarray, np.ndarray]:
    """Write scores = tokens' rows of a table + image @ kernel; gives (table, kernel), float32.

    Inputs: image, float (batch, 6); tokens, int64 (batch,). Output: scores (batch, 4).
    """
    onnx = importlib.import_module("onnx")
    make, types = onnx.helper, onnx.TensorProto
    generator = np.random.default_rng(8)
    table = generator.standard_normal((5, 4)).astype(np.float32)
    kernel = generator.standard_normal((6, 4)).astype(np.float32)
    graph = make.make_graph(
        [
            make.make_node("Gather", ["table", "tokens"], ["rows"]),
            make.make_node("MatMul", ["image", "kernel"], ["product"]),
            make.make_node("Add", ["rows", "product"], ["scores"]),
        ],
        "tokens_and_image",
        [
            make.make_tensor_value_info("image", types.FLOAT, [batch, 6]),
            make.make_tensor_value_info("tokens", types.INT64, [batch]),
        ],
        [make.make_tensor_value_info("scores", types.FLOAT, [batch, 4])],
        [
            onnx.numpy_helper.from_array(array, name)
            for name, array in (("table", table), ("kernel", kernel))
        ],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
    return table, kernel
