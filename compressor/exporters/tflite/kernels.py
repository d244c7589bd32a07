"""The kernels of a TFLite graph that can be pruned, by the axes that operators sum over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.foreign import standard_form, weight_names
from compressor.exporters.tflite.weight import encodable_weights
from compressor.models import KernelAxes

_AXES = {
    "FULLY_CONNECTED": KernelAxes((1,), (0,)),
    "CONV_2D": KernelAxes((3,), (0,)),
    "TRANSPOSE_CONV": KernelAxes((3,), (0,)),
    "CONV_3D": KernelAxes((3,), (4,)),
    "DEPTHWISE_CONV_2D": KernelAxes((), ()),
    "BATCH_MATMUL": KernelAxes((), ()),
}
"""operator -> the axes of its weight, none where no axis is summed over, or it depends"""


def open_model(content: bytes) -> Any:
    """The model to change, in the form of `foreign.standard_form`."""
    return standard_form(content)


def kernels_of(model: Any) -> dict[str, tuple[np.ndarray, KernelAxes]]:
    """Name -> float32 values and axes of each constant that operators multiply with."""
    return {name: (values, axes) for name, (values, axes, _, _) in _found(model).items()}


def store(model: Any, kernels: Mapping[str, np.ndarray]) -> None:
    """Give kernels other values."""
    found = _found(model)
    for name, values in kernels.items():
        _, _, subgraph, index = found[name]
        graphs.set_constant(model, index, values.astype(np.float32), subgraph=subgraph)


def write(model: Any) -> bytes:
    return graphs.write_graph(model)


def _found(model: Any) -> dict[str, tuple[np.ndarray, KernelAxes, int, int]]:
    """Name -> values, axes, number of the subgraph, and index of the tensor."""
    found = {}
    names = weight_names(model)
    for number, view in enumerate(graphs.views(model)):
        for weight in encodable_weights(view):
            axes = _AXES.get(weight.operand.kind)
            if axes is not None and weight.values.dtype == np.float32:
                name = names[number].get(weight.index, f"tensor {weight.index}")
                found[name] = weight.values, axes, number, weight.index
    return found
