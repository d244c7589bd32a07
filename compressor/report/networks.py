"""The networks of a run as the report needs them: layers with their shapes, kernels as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressor.errors import ModelError
from compressor.runs import is_graph


@dataclass(frozen=True)
class LayerSummary:
    """A layer of a network, in the order in which it runs."""

    name: str
    kind: str
    """its class, such as Conv2D"""
    shape: tuple[int | None, ...] | None
    """of its output, without the batch; None where it is not known"""
    parameters: int
    nonzeros: int


@dataclass(frozen=True)
class KernelValues:
    """The values of one kernel."""

    name: str
    kind: str
    """the class of its layer"""
    values: np.ndarray
    """(..., inputs, outputs) where `is_matrix`, else as the layer keeps them"""
    is_matrix: bool

    @property
    def left(self) -> np.ndarray:
        """Where a weight is not zero: bool, of the kernel's shape."""
        return self.values != 0

    @property
    def density(self) -> float:
        """The fraction of the weights that is not zero."""
        return float(np.count_nonzero(self.values)) / max(self.values.size, 1)

    def connections(self) -> np.ndarray:
        """The fraction of weights left between each input and each output: (inputs, outputs).

        A dense kernel has one weight there, 0 or 1; a convolution its window. The last two axes
        count as inputs and outputs even where they are not.
        """
        left = self.left if self.values.ndim > 1 else self.left[:, None]
        return left.reshape(-1, *left.shape[-2:]).mean(axis=0, dtype=np.float32)


@dataclass(frozen=True)
class Network:
    """A model of the run."""

    title: str
    """what the report calls it, such as `90 % pruned`"""
    layers: Sequence[LayerSummary]
    kernels: Sequence[KernelValues]

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def nonzeros(self) -> int:
        return sum(layer.nonzeros for layer in self.layers)


def read_network(path: Path, title: str) -> Network:
    """Read the model file at `path`, in Keras's safe mode; raises ModelError in one line.

    Of a .tflite or .onnx file the layers are its weights, in the order of their bytes.
    """
    from compressor.importing import load_model
    from compressor.pruning import all_kernels

    if is_graph(path):
        return _graph_network(path, title)
    model = load_model(path)
    kernels = [
        KernelValues(k.name, type(k.layer).__name__, k.as_matrix(k.numpy()), k.is_matrix)
        for k in all_kernels(model).values()
    ]
    return Network(title, _layers(model), kernels)


def _graph_network(path: Path, title: str) -> Network:
    from compressor.exporters.graphs.file import read_graph_file
    from compressor.exporters.graphs.pruning import kernels_module
    from compressor.pruning.bare_kernels import wrapped

    graph = read_graph_file(path)
    kind = kernels_module(graph.format)
    kernels = wrapped(kind.kernels_of(kind.open_model(graph.content)))
    layers = [
        LayerSummary(tensor.name, tensor.values, None, size, size - tensor.zeros)
        for tensor in graph.tensors
        if (size := math.prod(tensor.shape))
    ]
    found = [
        KernelValues(name, "weight", kernel.as_matrix(kernel.variable), kernel.is_matrix)
        for name, kernel in kernels.items()
    ]
    return Network(title, layers, found)


def _layers(model: Any) -> list[LayerSummary]:
    """The layers in the order of their first calls; as the model lists them if it is no graph."""
    from compressor.models import all_layers, trace

    by_path = all_layers(model)
    try:
        calls = trace(model).calls
    except ModelError:
        return [_layer(name, layer, None) for name, layer in by_path.items()]
    found: dict[str, LayerSummary] = {}
    for call in calls:
        if call.layer is not None and call.path not in found:
            found[call.path] = _layer(call.path, call.layer, call.output_shapes[0][1:])
    inputs = [
        LayerSummary(tensor.name, "InputLayer", tuple(tensor.shape[1:]), 0, 0)
        for tensor in model.inputs
    ]
    missed = ((n, layer) for n, layer in by_path.items() if n not in found and layer.weights)
    return [*inputs, *found.values(), *(_layer(name, layer, None) for name, layer in missed)]


def _layer(name: str, layer: Any, shape: tuple[int | None, ...] | None) -> LayerSummary:
    from compressor.models import is_weight

    arrays = [variable.numpy() for variable in getattr(layer, "weights", []) if is_weight(variable)]
    return LayerSummary(
        name,
        type(layer).__name__,
        shape,
        sum(math.prod(array.shape) for array in arrays),
        sum(int(np.count_nonzero(array)) for array in arrays),
    )
