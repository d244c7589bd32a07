"""Writing one weight into a graph: encoded, and decoded again in front of its operators."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.sparsity import Layout, pack

_DEQUANTIZE_VERSIONS = {"float16": 3, "int8": 2}
_DEQUANTIZE_PER_CHANNEL = 5

SCALE_BYTES = 12
"""of one channel in a file: a float32 scale and an int64 zero point"""


@dataclasses.dataclass(frozen=True)
class EncodedWeight:
    """A weight as a file stores it."""

    values: np.ndarray
    """float32, float16 or int8, of the weight's shape; int8 within -7..7 where `four_bits`"""
    layout: Layout | None = None
    """where its positions are stored; None where it is dense"""
    scale: np.ndarray | None = None
    """float32 (channels,), of integers that are symmetric around 0"""
    axis: int | None = None
    """the axis of the channels; None where there is one scale"""
    four_bits: bool = False

    def rows(self, first: int, last: int) -> EncodedWeight:
        scale = self.scale
        if scale is not None and self.axis == 0 and len(scale) > 1:
            scale = scale[first:last]
        return dataclasses.replace(self, values=self.values[first:last], scale=scale)

    def quantization(self) -> Any:
        """The QuantizationParametersT of symmetric integers; None for floats."""
        if self.scale is None:
            return None
        return graphs.schema().QuantizationParametersT(
            scale=np.asarray(self.scale, np.float32),
            zeroPoint=np.zeros(len(self.scale), np.int64),
            quantizedDimension=self.axis or 0,
        )


def store(graph: Any, index: int, encoded: EncodedWeight) -> None:
    """Make tensor `index` the encoded weight; nothing decodes it yet."""
    values, sparsity = encoded.values, None
    if encoded.layout is not None:
        values, sparsity = pack(encoded.values, encoded.layout)
    tensor = graphs.main(graph).tensors[index]
    graphs.set_constant(graph, index, values, four_bits=encoded.four_bits)
    tensor.shape = np.asarray(encoded.values.shape, np.int32)
    tensor.sparsity = sparsity
    tensor.quantization = encoded.quantization()


def add_decoding(graph: Any, index: int, encoded: EncodedWeight, *, integers: bool = False) -> int:
    """Add what decodes the stored tensor `index`, and return the index of the decoded one.

    DENSIFY where it is sparse, then DEQUANTIZE to float32 where it is not of that type, unless
    its user takes the `integers`. Both are put in front of all operators.
    """
    tensors = graphs.main(graph).tensors
    shape = encoded.values.shape
    added = []
    if encoded.layout is not None:
        dtype, quantization = encoded.values.dtype, encoded.quantization()
        dense = graphs.add_tensor(graph, None, shape, dtype, quantization=quantization)
        # The runtimes read the scales of the tensor that DENSIFY gives; once is enough.
        tensors[index].quantization = None
        added.append(("DENSIFY", 1, index, dense))
        index = dense
    if encoded.values.dtype != np.float32 and not integers:
        version = _DEQUANTIZE_VERSIONS[encoded.values.dtype.name]
        if encoded.scale is not None and len(encoded.scale) > 1:
            version = _DEQUANTIZE_PER_CHANNEL
        floats = graphs.add_tensor(graph, None, shape, np.float32)
        added.append(("DEQUANTIZE", version, index, floats))
        index = floats
    for operator, version, source, target in reversed(added):
        graphs.add_operator(graph, operator, [source], [target], version=version)
    return index
