"""A .tflite or .onnx file of any origin, read as data: what it holds, not what it computes."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from compressor.errors import CheckpointError
from compressor.exporters.inspection import artifact_format, describe_content
from compressor.exporters.request import EncodedTensor, Quantize
from compressor.foundation import deploy_errors
from compressor.models import FLOAT32_BYTES
from compressor.runs import is_graph
from deploy.artifact import MOST_ARTIFACT_BYTES
from deploy.files import read_regular

Activation = Literal["softmax", "sigmoid", ""]

_PROBABILITIES: dict[str, Activation] = {
    **dict.fromkeys(("SOFTMAX", "Softmax"), "softmax"),
    **dict.fromkeys(("LOGISTIC", "Sigmoid"), "sigmoid"),
}
_PASSING = {
    *("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE", "CAST"),
    *("DequantizeLinear", "QuantizeLinear", "Reshape", "Squeeze", "Cast", "Flatten", "Identity"),
}
"""Operators that keep probabilities probabilities."""
_INTEGERS = ("int8", "uint8", "int16")
_FEW_BITS = ("int4", "uint4", "int2", "uint2")
_KERNELS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
_QUANTIZING = {"QuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"}


@dataclasses.dataclass(frozen=True)
class GraphFile:
    """A graph with its weights, all in `content`."""

    path: Path
    format: str
    content: bytes
    """of the file; with the external data of an ONNX model inside"""
    quantized: Quantize
    """what was done to its weights, as far as their types tell"""
    tensors: tuple[EncodedTensor, ...]
    needs: dict[str, int]
    """operator (TFLite) or operator set (ONNX) -> version"""
    activations: tuple[Activation, ...]
    """softmax or sigmoid of each output whose last operator that is, else empty"""

    @property
    def is_quantized(self) -> bool:
        """Whether its weights are narrower already than a quantisation would make them."""
        return self.quantized not in ("none", "float16")

    @property
    def dense_bytes(self) -> int:
        return sum(tensor.dense_bytes for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        return self.dense_bytes // FLOAT32_BYTES

    @property
    def sparsity(self) -> float | None:
        """The fraction of the kernels' values that is zero; None without kernels."""
        kernels = [tensor for tensor in self.tensors if len(tensor.shape) > 1]
        total = sum(math.prod(kernel.shape) for kernel in kernels)
        return sum(kernel.zeros for kernel in kernels) / total if total else None


def is_graph_file(model: Any) -> bool:
    """Whether this names a .tflite or .onnx file that is there."""
    return isinstance(model, (str, Path)) and is_graph(Path(model))


def read_graph_file(path: Path) -> GraphFile:
    """Read a .tflite or .onnx file that nobody vouches for; nothing in it is executed.

    Raises CheckpointError, in one line that names the file, for one that is damaged, has external
    data outside its folder, or functions that call themselves.
    """
    file_format = artifact_format(path)
    if file_format not in ("tflite", "onnx"):
        raise CheckpointError("this is neither a .tflite nor an .onnx file", value=path)
    with deploy_errors(CheckpointError):
        content = read_regular(path, MOST_ARTIFACT_BYTES)
    try:
        described = describe_content(content, file_format, path.parent)
        if file_format == "onnx" and (found := _whole(content, path.parent)):
            content = found
            described = describe_content(content, file_format, path.parent)
        graph = (_tflite if file_format == "tflite" else _onnx)(content)
    except CheckpointError as error:
        raise CheckpointError(error.what, value=f"{path}: {error.value}") from error
    tensors = tuple(_tensor(row) for row in described["layers"] if row["shape"] is not None)
    return GraphFile(
        path,
        file_format,
        content,
        _quantized(described["layers"], in_integers=graph.in_integers),
        tuple(sorted(tensors, key=lambda tensor: (-tensor.bytes, tensor.name))),
        graph.needs,
        tuple(_activation(graph, output) for output in graph.outputs),
    )


def _whole(content: bytes, folder: Path) -> bytes | None:
    """The content with its external data inside; None where there are none."""
    from compressor.exporters.onnx.merging import whole_model

    model = whole_model(content, folder)
    return None if model is None else bytes(model.SerializeToString(deterministic=True))


def _tensor(row: dict[str, Any]) -> EncodedTensor:
    name = "/".join(filter(None, (row["layer"], row["variable"])))
    shape = tuple(row["shape"])
    return EncodedTensor(
        name or "weight", shape, row["zeros"] or 0, row["storage"], row["values"], row["bytes"]
    )


def _quantized(rows: Iterable[dict[str, Any]], *, in_integers: bool) -> Quantize:
    """By the types of the kernels: none where they are float32."""
    kinds = {row["values"] for row in rows if row["shape"] is None or len(row["shape"]) > 1}
    if "ternary" in kinds:  # first: smaller tensors of such a file have 4 or 8 bits
        return "ternary"
    if "codebook4" in kinds:
        return "codebook"
    if kinds.intersection(_FEW_BITS):
        return "int4"
    if kinds.intersection(_INTEGERS):
        return "int8" if in_integers else "dynamic"
    return "float16" if "float16" in kinds else "none"


@dataclasses.dataclass(frozen=True)
class _Graph:
    outputs: tuple[Any, ...]
    made_by: dict[Any, tuple[str, Any]]
    """value -> the operator that computes it, and its first input"""
    in_integers: bool
    """whether activations are integers"""
    needs: dict[str, int]


def _activation(graph: _Graph, value: Any) -> Activation:
    seen: set[Any] = set()
    while value not in seen and value in graph.made_by:
        seen.add(value)
        operator, value = graph.made_by[value]
        if operator not in _PASSING:
            return _PROBABILITIES.get(operator, "")
    return ""


def _tflite(content: bytes) -> _Graph:
    from compressor.exporters.tflite.reading import read_tflite

    subgraphs = read_tflite(content).subgraphs
    main, needs = subgraphs[0], collections.Counter[str]()
    for operator in (operator for subgraph in subgraphs for operator in subgraph.operators):
        needs[operator.name] = max(operator.version, needs[operator.name], 1)
    made = {
        output: (operator.name, operator.inputs[0])
        for operator in main.operators
        for output in operator.outputs
        if operator.inputs
    }
    integers = any(
        operator.name in _KERNELS and main.tensors[operator.inputs[0]].type.name in _INTEGERS
        for operator in main.operators
        if operator.inputs
    )
    return _Graph(tuple(main.outputs), made, integers, dict(needs))


def _onnx(content: bytes) -> _Graph:
    import onnx

    from compressor.exporters.onnx.graphs import all_nodes

    model = onnx.load_model_from_string(content)
    graph = model.graph
    own = {function.domain for function in model.functions}
    nodes = [*all_nodes(graph), *(node for function in model.functions for node in function.node)]
    used = {node.domain for node in nodes} - own
    opsets = {one.domain: int(one.version) for one in model.opset_import if one.domain in used}
    needs = {domain or "ai.onnx": version for domain, version in opsets.items()}
    made = {
        output: (node.op_type, node.input[0])
        for node in graph.node
        for output in node.output
        if node.input
    }
    integers = any(node.op_type in _QUANTIZING for node in nodes)
    return _Graph(tuple(one.name for one in graph.output), made, integers, needs)
