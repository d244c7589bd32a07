"""The values that chains of constants in an ONNX graph come to, computed within a budget.

This is how a compressed weight is looked at without a runtime, and how an export is checked by
something other than the runtime that it is for. Only operators that decode weights are computed,
and no value before its size is known to be within the limit.
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
"""Bytes of one value: at least so many are allowed, and so many for each byte of the file."""
_VALUE_CEILING = 2**30
"""Bytes that one value may take at most, however large the file."""
_TOTAL = 2**6
"""How many times as much all values together may take."""
_TOTAL_CEILING = 2**34
"""Bytes that all values together may take at most, which bounds the time."""
_LIVE = 2
"""How many values of the largest size may be kept at once."""
_NODES = 2**15
"""How many nodes are computed for a file at most: each takes half a millisecond, however small."""


class NotDecodedError(CheckpointError):
    """A weight that cannot be computed here, of a file that may well be right."""


class Evaluator:
    """Computes chains of constants; all its work together is bounded by the size of the file.

    `constants` are the checked TensorProto and SparseTensorProto messages by name, `opset` is the
    version of the standard operators, `size` the bytes of the file.
    """

    def __init__(self, constants: Mapping[str, Any], opset: int, size: int) -> None:
        self._constants = constants
        self._opset = opset
        self._nodes_left = _NODES
        self._limit = min(max(_VALUE_FLOOR, _VALUE_RATIO * size), _VALUE_CEILING)
        self._left = min(_TOTAL * self._limit, _TOTAL_CEILING)

    def value(self, wanted: ConstantValue) -> np.ndarray:
        """The value, as an array.

        Raises NotDecodedError for an operator that is not known here, for external data, and for
        values beyond the limit; CheckpointError for inputs that an operator does not take.
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
        if not known or any(is_external(part.t) for part in node.attribute):
            raise NotDecodedError(
                "the weight cannot be decoded here", value=f"operator {node.op_type}"
            )
        try:
            with np.errstate(all="ignore"):
                return compute(node, self._opset, inputs, self._spend)
        except (CheckpointError, MemoryError):
            raise
        except Exception:  # ONNX raises errors of many kinds
            raise damaged_onnx(
                f"node {node.name[:80]!r}: inputs that {node.op_type} does not take"
            ) from None

    def _spend(self, size: int) -> None:
        self._left -= size
        if size > self._limit or self._left < 0:
            raise self._too_large(f"{size} bytes")

    def _too_large(self, value: str) -> NotDecodedError:
        return NotDecodedError("the weights are too large to be decoded here", value=value)
