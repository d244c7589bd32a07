"""The kernels of an ONNX model that can be pruned, by the axes that operators sum over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from compressor.exporters.onnx import graphs
from compressor.exporters.onnx.foreign import standard_form
from compressor.exporters.onnx.weights import initializers_of
from compressor.models import KernelAxes

_NO_AXES = KernelAxes((), ())


def open_model(content: bytes) -> Any:
    """The model to change, in the form of `foreign.standard_form`."""
    return standard_form(content)[0]


def kernels_of(model: Any) -> dict[str, tuple[np.ndarray, KernelAxes]]:
    """Name -> float32 values and axes of each constant that operators multiply with."""
    found = {}
    for dtype in (np.float32, np.float16):
        for name, values, users in initializers_of(model.graph, dtype):
            axes = {_axes(node, position, values) for node, position in users}
            if len(axes) == 1 and (known := axes.pop()) is not None and values.size:
                found[name] = values.astype(np.float32), known
    return found


def store(model: Any, kernels: Mapping[str, np.ndarray]) -> None:
    """Give kernels other values, in the type that they have."""
    constants = graphs.constants(model.graph)
    for name, values in kernels.items():
        dtype = graphs.array_of(constants[name]).dtype
        constants[name].CopyFrom(graphs.tensor(name, values.astype(dtype)))


def write(model: Any) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def _axes(node: Any, position: int, values: np.ndarray) -> KernelAxes | None:
    """The axes of inputs and outputs; none where no axis is summed over; None: it is no kernel."""
    kind, last = node.op_type, values.ndim - 1
    if values.ndim < 2:
        return None
    if kind == "MatMul":
        inputs, outputs = (last - 1, last) if position == 1 else (last, last - 1)
        return KernelAxes((inputs,), (outputs,))
    if kind == "Gemm" and position == 1:
        turned = graphs.attribute(node, "transB", 0)
        return KernelAxes((1,), (0,)) if turned else KernelAxes((0,), (1,))
    if kind == "Conv" and position == 1:
        return _NO_AXES if values.shape[1] == 1 else KernelAxes((1,), (0,))
    if kind == "ConvTranspose" and position == 1:
        return KernelAxes((0,), (1,))
    if kind in ("LSTM", "GRU", "RNN") and position in (1, 2):
        return KernelAxes((2,), (1,))
    return None
