"""The seam between `compressor.export` and the formats: what is asked for, and what comes out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from deploy.artifact_parts import StoredTensor

Quantize = Literal["none", "float16", "dynamic", "int8", "int4", "codebook"]
Optimize = Literal["size", "latency"]

QUANTIZATIONS: tuple[Quantize, ...] = ("none", "float16", "dynamic", "int8", "int4", "codebook")

REJECTED = ".rejected"
"""What the name of a file that did not pass is followed by."""


@dataclasses.dataclass(frozen=True)
class Request:
    """How a model is to be exported."""

    runtime: str
    """the runtime that the file is for: a name in `compressor.runtimes`"""
    quantize: Quantize = "none"
    optimize: Optimize = "size"
    encoding: str | None = None
    """of every tensor that can be stored so; None chooses for each"""
    calibration: Sequence[np.ndarray] = ()
    """one array (examples, *shape) an input of the model, in their order, as the model takes them;
    empty where there are none, and then int8 is refused"""


@dataclasses.dataclass(frozen=True)
class EncodedTensor(StoredTensor):
    """How one constant tensor of a file is stored, as its description says it.

    `name` is the layer and variable of the model, such as fc1/kernel, else the file's own name;
    `shape` is that in the file; `zeros` is how many of its values are zero; `encoding` is how the
    positions are stored (dense, csr, bitmask, gap8, ...), `values` the type of the values (float32,
    float16, int8, int4, codebook4); `bytes` is what values, positions and scales take in the file,
    the container's own excepted.
    """

    @property
    def dense_bytes(self) -> int:
        """Bytes of the same tensor stored dense in float32."""
        return 4 * math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """A file in memory, and what is known of it without running it."""

    content: bytes
    inputs: tuple[str, ...]
    """names in the file of the model's inputs, in the order of model.inputs"""
    tensors: tuple[EncodedTensor, ...]
    """every constant tensor that is a weight of the model, the largest first"""
    needs: dict[str, int]
    """operators with their versions (TFLite), or operator sets with theirs (ONNX)"""
    notes: tuple[str, ...] = ()
    """what the user should know, a sentence each: why something was not encoded as asked, ..."""
