"""Small ONNX classifiers with the layers of other exporters, sets of operators from 7 up."""

from __future__ import annotations

from typing import Any

import numpy as np
from graph_files import onnx_model, weights
from onnx import helper

node = helper.make_node
OUT = {"y": ["N", 5]}
FLAT = {"x": ["N", 32]}
IMAGE = {"x": ["N", 3, 8, 8]}


def floats(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: weights(*shape) for name, shape in shapes.items()}


def head(value: str, features: int, *, name: str = "y") -> tuple[list[Any], dict[str, Any]]:
    """Global pooling and a layer of five classes behind an image of `features` channels."""
    nodes = [
        node("GlobalAveragePool", [value], ["pooled"]),
        node("Flatten", ["pooled"], ["flat"]),
        node("Gemm", ["flat", "head.weight", "head.bias"], [name], transB=1),
    ]
    return nodes, {"head.weight": weights(5, features), "head.bias": weights(5)}


def initializers_as_inputs() -> Any:
    """Format 3, as MXNet and the first PyTorch exporters write it."""
    arrays = floats(w=(64, 32), b=(64,), v=(5, 64), c=(5,))
    nodes = [
        node("Gemm", ["x", "w", "b"], ["h"], transB=1),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "v", "c"], ["y"], transB=1),
    ]
    shapes = {name: array.shape for name, array in arrays.items()}
    return onnx_model(nodes, arrays, {**FLAT, **shapes}, OUT, opset=7, ir_version=3)


def convolution_with_bias() -> Any:
    nodes, arrays = head("r", 16)
    first = [
        node("Conv", ["x", "conv.weight", "conv.bias"], ["h"], pads=[1, 1, 1, 1]),
        node("Relu", ["h"], ["r"]),
    ]
    arrays |= {"conv.weight": weights(16, 3, 3, 3), "conv.bias": weights(16)}
    return onnx_model([*first, *nodes], arrays, IMAGE, OUT, opset=11)


def batch_normalization(opset: int = 9) -> Any:
    nodes, arrays = head("r", 16)
    first = [
        node("Conv", ["x", "conv.weight"], ["h"], kernel_shape=[3, 3], strides=[2, 2]),
        node("BatchNormalization", ["h", "s", "b", "m", "v"], ["n"], epsilon=1e-3),
        node("Relu", ["n"], ["r"]),
    ]
    arrays |= {"conv.weight": weights(16, 3, 3, 3), "s": weights(16) + 1, "b": weights(16, seed=2)}
    arrays |= {"m": weights(16, seed=3), "v": np.abs(weights(16, seed=4)) + 0.5}
    return onnx_model([*first, *nodes], arrays, IMAGE, OUT, opset=opset)


def depthwise() -> Any:
    nodes, arrays = head("r", 24)
    first = [
        node("Conv", ["x", "a"], ["h"]),
        node("Clip", ["h", "zero", "six"], ["c"]),
        node("Conv", ["c", "d"], ["r"], group=24, pads=[1, 1, 1, 1]),
    ]
    arrays |= {"a": weights(24, 3, 1, 1), "d": weights(24, 1, 3, 3)}
    arrays |= {"zero": np.float32(0), "six": np.float32(6)}
    return onnx_model([*first, *nodes], arrays, IMAGE, OUT, opset=12)


def resize() -> Any:
    nodes, arrays = head("r", 3)
    first = [node("Resize", ["x", "", "scales"], ["r"], mode="nearest")]
    arrays |= {"scales": np.array([1, 1, 2, 2], np.float32)}
    return onnx_model([*first, *nodes], arrays, IMAGE, OUT, opset=13)


def upsample() -> Any:
    nodes, arrays = head("r", 3)
    first = [node("Upsample", ["x", "scales"], ["r"], mode="nearest")]
    arrays |= {"scales": np.array([1, 1, 2, 2], np.float32)}
    return onnx_model([*first, *nodes], arrays, IMAGE, OUT, opset=9)


def einsum() -> Any:
    nodes = [node("Einsum", ["x", "w"], ["h"], equation="ni,io->no"), node("Relu", ["h"], ["r"])]
    nodes.append(node("MatMul", ["r", "v"], ["y"]))
    return onnx_model(nodes, floats(w=(32, 48), v=(48, 5)), FLAT, OUT, opset=13)


def layer_normalization() -> Any:
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("LayerNormalization", ["h", "s", "b"], ["n"], axis=-1),
        node("Gelu", ["n"], ["g"], approximate="tanh"),
        node("MatMul", ["g", "v"], ["y"]),
    ]
    arrays = floats(w=(32, 64), s=(64,), b=(64,), v=(64, 5))
    return onnx_model(nodes, arrays, FLAT, OUT, opset=20, ir_version=9)


def recurrent(kind: str, gates: int) -> Any:
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node(kind, ["t", "w", "r", "b"], ["", "last"], hidden_size=16),
        node("Squeeze", ["last", "first"], ["h"]),
        node("Gemm", ["h", "v", "c"], ["y"], transB=1),
    ]
    arrays = floats(
        w=(1, 16 * gates, 8), r=(1, 16 * gates, 16), b=(1, 32 * gates), v=(5, 16), c=(5,)
    )
    arrays["first"] = np.array([0])
    return onnx_model(nodes, arrays, {"x": ["N", 6, 8]}, OUT, opset=14)
