"""Small .tflite and .onnx classifiers as programs of other people write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from artifact_files import tflite_bytes
from onnx import TensorProto, helper, numpy_helper


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    """float32, about as large as those of a trained layer."""
    generator = np.random.default_rng((seed, *shape))
    fan = int(np.prod(shape[1:])) or 1
    return (generator.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)


def onnx_model(
    nodes: Sequence[Any],
    arrays: Mapping[str, np.ndarray],
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Sequence[Any]],
    *,
    opset: int = 18,
    types: Mapping[str, int] | None = None,
    **options: Any,
) -> Any:
    """An onnx.ModelProto; inputs and outputs are float32 unless `types` say otherwise."""
    types = types or {}

    def info(ports: Mapping[str, Sequence[Any]]) -> list[Any]:
        kinds = {name: types.get(name, TensorProto.FLOAT) for name in ports}
        return [helper.make_tensor_value_info(n, kinds[n], shape) for n, shape in ports.items()]

    initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", info(inputs), info(outputs), initializers)
    opsets = [helper.make_opsetid("", opset), *options.pop("opsets", ())]
    options.setdefault("ir_version", 8)
    return helper.make_model(graph, opset_imports=opsets, **options)


def dense_onnx(path: Path, *, sparsity: float = 0.0, hidden: int = 64) -> Path:
    """Write Gemm (transB, as PyTorch has it), Relu, Gemm, Softmax of 32 numbers; five classes."""
    first, last = weights(hidden, 32), weights(5, hidden)
    if sparsity:
        first[np.abs(first) < np.quantile(np.abs(first), sparsity)] = 0
    nodes = [
        helper.make_node("Gemm", ["x", "fc1.weight", "fc1.bias"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "fc2.weight", "fc2.bias"], ["z"], transB=1),
        helper.make_node("Softmax", ["z"], ["probabilities"], axis=1),
    ]
    arrays = {
        "fc1.weight": first,
        "fc1.bias": weights(hidden, seed=1),
        "fc2.weight": last,
        "fc2.bias": weights(5, seed=1),
    }
    model = onnx_model(nodes, arrays, {"x": ["N", 32]}, {"probabilities": ["N", 5]})
    onnx.save(model, path)
    return path


def gray_onnx(path: Path) -> Path:
    """Write two convolutions, Flatten and Gemm of images (1, 6, 6); five classes."""
    arrays = {"a": weights(16, 1, 3, 3), "b": weights(16, 16, 1, 1), "w": weights(5, 16 * 16)}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["a1"]),
        helper.make_node("Relu", ["a1"], ["a2"]),
        helper.make_node("Conv", ["a2", "b"], ["b1"]),
        helper.make_node("Relu", ["b1"], ["b2"]),
        helper.make_node("Flatten", ["b2"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["y"], transB=1),
    ]
    onnx.save(onnx_model(nodes, arrays, {"x": ["N", 1, 6, 6]}, {"y": ["N", 5]}), path)
    return path


def dense_tflite(path: Path, *, sparsity: float = 0.0, hidden: int = 64) -> Path:
    """Write FULLY_CONNECTED with ReLU twice, and SOFTMAX: 32 numbers, five classes."""
    first, last = weights(hidden, 32), weights(5, hidden)
    if sparsity:
        first[np.abs(first) < np.quantile(np.abs(first), sparsity)] = 0
    model = schema.ModelT()
    model.version, model.description = 3, "made elsewhere"
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = "main", [], []
    model.subgraphs = [graph]

    def tensor(name: str, shape: Sequence[int], values: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape = name, list(shape)
        if values is None:
            made.shapeSignature = [-1, *shape[1:]]
        else:
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)
            made.buffer = len(model.buffers) - 1
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(code: int, inputs: list[int], output: int, options: Any) -> None:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, inputs, [output]
        name = type(options).__name__.removesuffix("T")
        made.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        made.builtinOptions = options
        graph.operators.append(made)

    x = tensor("serving_default_x:0", [1, 32])
    w1, b1 = tensor("net/fc1/MatMul", first.shape, first), tensor("b1", [hidden], weights(hidden))
    h = tensor("net/fc1/Relu;net/fc1/BiasAdd", [1, hidden])
    w2, b2 = tensor("net/fc2/MatMul", last.shape, last), tensor("b2", [5], weights(5))
    z, y = tensor("z", [1, 5]), tensor("StatefulPartitionedCall:0", [1, 5])
    relu = schema.FullyConnectedOptionsT()
    relu.fusedActivationFunction = schema.ActivationFunctionType.RELU
    operator(0, [x, w1, b1], h, relu)
    operator(0, [h, w2, b2], z, schema.FullyConnectedOptionsT())
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    operator(1, [z], y, softmax)
    graph.inputs, graph.outputs = [x], [y]
    model.operatorCodes = []
    for name in ("FULLY_CONNECTED", "SOFTMAX"):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = 1
        model.operatorCodes.append(code)
    path.write_bytes(tflite_bytes(model))
    return path


WRITERS = {"onnx": dense_onnx, "tflite": dense_tflite}
"""format -> what writes a small classifier of 32 numbers"""
