"""The ONNX operators that decode weights, one node at a time, by ONNX's reference evaluator.

Before anything is computed, ONNX's shape inference checks the node against its schema, and gives
the size of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.shape_inference import infer_node_outputs

from compressor.exporters.onnx.graphs import attribute

OPERATORS = frozenset(
    (
        *("Add", "BitShift", "BitwiseAnd", "BitwiseOr", "Cast", "Concat", "ConstantOfShape"),
        *("CumSum", "DequantizeLinear", "Div", "Expand", "Flatten", "Gather", "GatherElements"),
        *("Identity", "MatMul", "Mod", "Mul", "Reshape", "ScatterElements", "Slice", "Squeeze"),
        *("Sub", "Transpose", "Unsqueeze"),
    )
)
_SAME_SINCE = 13
"""Versions after this opset only add types."""
_LIST = 64
"""The longest input that may be a shape, axes or starts."""


def compute(
    node: Any, opset: int, inputs: Mapping[str, np.ndarray], reserve: Callable[[int], None]
) -> np.ndarray:
    """The result of a node with one of `OPERATORS` and one output.

    `inputs` are by name; `reserve` is called with the bytes of the result before it is computed.
    Raises whatever ONNX raises for an invalid node.
    """
    version = onnx.defs.onnx_opset_version() if opset >= _SAME_SINCE else opset
    plain = onnx.NodeProto()
    plain.CopyFrom(node)
    plain.domain = ""
    inputs = dict(inputs)
    reserve(_result_bytes(plain, version, inputs))
    if node.op_type == "CumSum":  # the runtimes accept an axis in a vector, too
        inputs[node.input[1]] = inputs[node.input[1]].reshape(())
    elif node.op_type == "DequantizeLinear":
        _check_scales(plain, inputs, reserve)
    opsets = [helper.make_opsetid("", version)]
    function = helper.make_function("", "decode", list(inputs), plain.output, [plain], opsets)
    evaluator = ReferenceEvaluator(function, new_ops=[GatherElements, ScatterElements])
    return np.asarray(evaluator.run(None, inputs, attributes={})[0])


def _result_bytes(node: Any, version: int, inputs: Mapping[str, np.ndarray]) -> int:
    kind = helper.np_dtype_to_tensor_dtype
    types = {
        name: helper.make_tensor_type_proto(kind(array.dtype), array.shape)
        for name, array in inputs.items()
    }
    numbers = {
        name: numpy_helper.from_array(array, name)
        for name, array in inputs.items()
        if array.size <= _LIST and array.dtype in (np.int32, np.int64)
    }
    schema = onnx.defs.get_schema(node.op_type, version)
    opsets = [helper.make_opsetid("", version)]
    inferred = infer_node_outputs(schema, node, types, numbers, opset_imports=opsets)
    result = inferred[node.output[0]].tensor_type
    shape = [size.dim_value if size.HasField("dim_value") else -1 for size in result.shape.dim]
    dtype = helper.tensor_dtype_to_np_dtype(result.elem_type)
    if not result.HasField("shape") or min(shape, default=0) < 0 or dtype.hasobject:
        raise ValueError(f"a result of {dtype}, shape {shape}")
    return math.prod(shape) * dtype.itemsize


def _check_scales(
    node: Any, inputs: Mapping[str, np.ndarray], reserve: Callable[[int], None]
) -> None:
    """Refuse scales and zero points that NumPy would broadcast, and reserve repeated ones."""
    data, *others = (inputs[name] for name in node.input if name)
    axis, block = attribute(node, "axis", 1), attribute(node, "block_size", 0)
    for numbers in others:
        if block:
            reserve(block * numbers.nbytes)
        elif numbers.size != 1 and numbers.size != data.shape[axis]:
            raise ValueError("not one scale a slice")


def _reached(data: np.ndarray, indices: np.ndarray, axis: int) -> np.ndarray:
    """The part of data that indices along an axis refer to; NumPy would broadcast the others."""
    size = data.shape[axis]
    shape = list(indices.shape)
    shape[axis] = size
    if len(shape) != data.ndim or any(s > of for s, of in zip(shape, data.shape, strict=True)):
        raise ValueError("indices that do not fit the data")
    if indices.size and (int(indices.min()) < -size or int(indices.max()) >= size):
        raise IndexError(f"an index outside its dimension of {size}")
    return data[tuple(map(slice, shape))]


class GatherElements(OpRun):
    """The reference takes at most 64 rows."""

    op_domain = ""

    def _run(self, data: np.ndarray, indices: np.ndarray, axis: int = 0) -> tuple[np.ndarray]:
        return (np.take_along_axis(_reached(data, indices, axis), indices, axis),)


class ScatterElements(OpRun):
    """The reference goes value by value."""

    op_domain = ""

    def _run(
        self, data: Any, indices: Any, updates: Any, axis: int = 0, reduction: str = "none"
    ) -> tuple[np.ndarray]:
        if updates.shape != indices.shape or reduction != "none":
            raise ValueError("updates that do not fit, or a reduction")
        found = data.copy()
        np.put_along_axis(_reached(found, indices, axis), indices, updates, axis)
        return (found,)
