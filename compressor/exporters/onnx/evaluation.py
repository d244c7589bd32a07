"""The values of chains of constants in an ONNX graph, computed within a budget.

This shows compressed weights without a runtime, and checks an export independently of its runtime.
Only operators that decode weights are computed, and only once the size of the result is known to
be within the limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import numpy_helper

from compressor.errors import CheckpointError
from compressor.exporters.onnx.constant_chains import ConstantValue
from compressor.exporters.onnx.tensor_reading import (
    TYPES,
    damaged_onnx,
    is_external,
    sparse_positions,
)

_VALUE_FLOOR, _VALUE_RATIO = 2**25, 2**9
"""Limit of one value in bytes: at least the floor, and so many for each byte of the file."""
_VALUE_CEILING = 2**30
_TOTAL, _TOTAL_CEILING = 2**6, 2**34
"""All values together may take so many times the limit of one, up to the ceiling in bytes, which
bounds the time."""
_LIVE = 2
"""How many values of the largest size may be kept at once."""
_NODES = 2**15
"""Limit of the nodes computed for a file: each takes half a millisecond, however small."""


class NotDecodedError(CheckpointError):
    """A weight that cannot be computed here, of a file that may well be correct."""


class Evaluator:
    """Computes chains of constants; its work is bounded by the `size` of the file in bytes.

    `constants` are the checked TensorProto and SparseTensorProto messages by name, `opset` is the
    version of the standard operators.
    """

    def __init__(self, constants: Mapping[str, Any], opset: int, size: int) -> None:
        self._constants = constants
        self._opset = opset
        self._nodes_left = _NODES
        self._limit = min(max(_VALUE_FLOOR, _VALUE_RATIO * size), _VALUE_CEILING)
        self._left = min(_TOTAL * self._limit, _TOTAL_CEILING)

    def value(self, wanted: ConstantValue) -> np.ndarray:
        """The value as an array.

        Raises NotDecodedError for an unknown operator, external data, and values beyond the limit;
        CheckpointError for inputs that an operator does not accept.
        """
        self._nodes_left -= len(wanted.nodes)
        if self._nodes_left < 0:
            raise self._too_large(f"more than {_NODES} nodes")
        last_use = {name: i for i, node in enumerate(wanted.nodes) for name in node.input}
        values: dict[str, np.ndarray] = {}
        for i, node in enumerate(wanted.nodes):
            inputs = {name: self._input(name, values) for name in node.input if name}
            values[node.output[0]] = self._run(node, inputs)
            if sum(value.nbytes for value in values.values()) > _LIVE * self._limit:
                raise self._too_large("values that are kept together")
            for name in node.input:
                if last_use[name] == i and name != wanted.name:
                    values.pop(name, None)
        return self._input(wanted.name, values)

    def _input(self, name: str, values: dict[str, np.ndarray]) -> np.ndarray:
        if name not in values:
            if name not in self._constants:
                raise damaged_onnx(f"{name[:80]!r} is not computed by the nodes above it")
            values[name] = self._constant(self._constants[name])
        return values[name]

    def _constant(self, proto: Any) -> np.ndarray:
        sparse = hasattr(proto, "indices")
        kind = (proto.values if sparse else proto).data_type
        if is_external(proto) or not TYPES[kind].dtype:
            raise NotDecodedError("the weight has no values in the file", value=TYPES[kind].name)
        if not sparse:
            array = np.asarray(numpy_helper.to_array(proto))
            self._spend(array.nbytes)
            return array.view(np.uint8) != 0 if array.dtype == np.bool_ else array
        values = np.asarray(numpy_helper.to_array(proto.values))
        shape = tuple(proto.dims)
        self._spend(int(np.prod(shape)) * values.itemsize)
        dense = np.zeros(shape, values.dtype)
        if values.size:
            dense.reshape(-1)[sparse_positions(proto)] = values
        return dense

    def _run(self, node: Any, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        from compressor.exporters.onnx.operations import OPERATORS, compute

        known = node.op_type in OPERATORS and len(node.output) == 1
        # With a vector its work is bounded by the size of the other.
        if node.op_type == "MatMul":
            known = known and len(node.input) == 2 and inputs[node.input[1]].ndim == 1
        if not known or any(is_external(part.t) for part in node.attribute):
            operator = f"operator {node.op_type}"
            raise NotDecodedError("the weight cannot be decoded here", value=operator)
        try:
            with np.errstate(all="ignore"):
                return compute(node, self._opset, inputs, self._spend)
        except (CheckpointError, MemoryError):
            raise
        except Exception:  # ONNX raises errors of many kinds
            reason = f"inputs that {node.op_type} does not take"
            raise damaged_onnx(f"node {node.name[:80]!r}: {reason}") from None

    def _spend(self, size: int) -> None:
        self._left -= size
        if size > self._limit or self._left < 0:
            raise self._too_large(f"{size} bytes")

    def _too_large(self, value: str) -> NotDecodedError:
        return NotDecodedError("the weights are too large to be decoded here", value=value)
