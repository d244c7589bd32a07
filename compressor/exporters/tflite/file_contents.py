"""The contents of a .tflite file, as data."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from compressor.exporters.element_types import ElementType

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Quantization:
    """How integers stand for real numbers: real = scale * (integer - zero_point)."""

    scale: np.ndarray
    """float32 (1,), or (channels,) along `dimension`"""
    zero_point: np.ndarray
    """int64, as many; or (0,) where all are zero"""
    dimension: int

    @property
    def bytes(self) -> int:
        """Of scales and zero points."""
        return self.scale.nbytes + self.zero_point.nbytes


@dataclasses.dataclass(frozen=True)
class Sparsity:
    """How the values of a sparse tensor are stored."""

    encoding: str
    """`csr`, or the shape of its blocks such as `1x16`, in which a dimension that is not cut
    counts as 1; `dense` where no level is compressed"""
    bytes: int
    """of all segments and indices"""
    stored: int
    """number of values that the tensor has in the file"""


@dataclasses.dataclass(frozen=True)
class TFLiteTensor:
    """A tensor of a subgraph."""

    name: str
    shape: Shape
    """None where a dimension is free, such as the batch"""
    type: ElementType
    data: tuple[int, int]
    """first byte in the file and number of bytes of a constant's values; (0, 0) where none"""
    quantization: Quantization | None
    sparsity: Sparsity | None
    external: bool = False
    """the values lie in another file"""

    @property
    def is_constant(self) -> bool:
        return self.data[1] > 0 or self.sparsity is not None

    @property
    def elements(self) -> int:
        """Their number; a free dimension counts as 1."""
        return math.prod(1 if size is None else size for size in self.shape)

    @property
    def bytes(self) -> int:
        """What a constant takes: values, positions, scales."""
        parts = [part.bytes for part in (self.quantization, self.sparsity) if part is not None]
        return self.data[1] + sum(parts)


@dataclasses.dataclass(frozen=True)
class TFLiteOperator:
    """An operator of a subgraph; it runs in the order of the list."""

    name: str
    """as in the schema, such as FULLY_CONNECTED; of a custom one the name it has in the file"""
    version: int
    inputs: tuple[int, ...]
    """numbers of tensors; -1 for an optional one that is not given"""
    outputs: tuple[int, ...]
    custom: bool = False


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A tensor that is decoded from constants: by TFLite Micro at every run, or at the first."""

    tensor: int
    encoding: str
    """lut, huffman or prune, or at the first run golomb"""
    bytes: int
    """of the constants"""
    values: np.ndarray
    """of the tensor's type and shape, not scaled"""


@dataclasses.dataclass(frozen=True)
class Subgraph:
    """Tensors and operators, and the indices of the tensors that are inputs and outputs."""

    tensors: tuple[TFLiteTensor, ...]
    operators: tuple[TFLiteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    decoded: tuple[Decoded, ...] = ()
    decodes: bool = False
    """whether it runs only to decode what the first subgraph reads: its constants are no weights"""


@dataclasses.dataclass(frozen=True)
class TFLiteFile:
    """What a .tflite file holds; the first subgraph is the one that runs."""

    content: bytes
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[str, ...]
    """their names; the tensors that they name exist"""
