"""The interface between `compressor.export` and the formats: the request and the file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from compressor.errors import UsageError
from compressor.exporters.conversions import Conversions
from compressor.foundation import several
from deploy.artifact_parts import StoredTensor
from deploy.fields import LONGEST_TEXT

Quantize = Literal["none", "float16", "dynamic", "int8", "int4", "codebook", "ternary"]
Optimize = Literal["size", "latency", "balanced", "ram"]
Rounding = Literal["nearest", "reconstruct"]

QUANTIZATIONS: tuple[Quantize, ...] = (
    *("none", "float16", "dynamic", "int8", "int4", "codebook", "ternary"),
)

MICRO = "tflite-micro"
"""The runtime of which files say how much memory they take."""

BALANCED = 1.1
"""How many times as long as the fastest may take what is chosen where the aim is `balanced`."""

MAX_SLOWDOWN = 1.05
"""How many times dense float32's latency the smallest variant may take by default."""

ROUNDINGS: tuple[Rounding, ...] = ("nearest", "reconstruct")
ROUNDED: tuple[Quantize, ...] = ("int8", "int4", "codebook", "ternary")
"""The quantisations whose weights can be rounded by what enters the layers."""


@dataclasses.dataclass(frozen=True)
class Request:
    """How a model is to be exported."""

    runtime: str
    """a name in `compressor.runtimes`"""
    quantize: Quantize = "none"
    optimize: Optimize = "size"
    encoding: str | None = None
    """of every tensor that it can store; None chooses for each"""
    calibration: Sequence[np.ndarray] = ()
    """one array (examples, *shape) an input, in the order of model.inputs; int8 needs them"""
    exact: bool = False
    """float16 only where it keeps every value"""
    rounding: Rounding = "nearest"
    """how weights got the values that the file can hold"""
    unrolled: int | None = None
    """TFLite: recurrent layers of at most so many steps are unrolled, longer ones are loops; None:
    what is smallest, or, for the latency, fastest by constants"""
    value_bits: int = 8
    """TFLite Micro in int8: how many bits the values of a weight have"""
    conversions: Conversions = dataclasses.field(default=Conversions(), compare=False)
    """graphs that other variants of the model began with"""
    arena: Callable[[bytes], int | None] | None = None
    """TFLite Micro: measures the bytes of the arena of a file, None where it is refused"""


@dataclasses.dataclass(frozen=True)
class EncodedTensor(StoredTensor):
    """How one constant tensor of a file is stored.

    `name` is layer/variable of the model, such as fc1/kernel, else the file's own name; `shape` is
    that in the file; `zeros` is how many of its values are zero; `encoding` (dense, csr, bitmask,
    gap8, ...) says how the positions are stored, `values` the type of the values (float32, float16,
    int8, int7, int5, int4, codebook4, ternary; int7 and int5 lie in bytes); `bytes` is what values,
    positions and scales take in the file.
    """

    @property
    def dense_bytes(self) -> int:
        """Bytes of the same tensor stored dense in float32."""
        return 4 * math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class ExportedFile:
    """A file in memory, not yet run."""

    content: bytes
    inputs: tuple[str, ...]
    """names in the file, in the order of model.inputs"""
    tensors: tuple[EncodedTensor, ...]
    """the weights of the model, the largest first"""
    needs: dict[str, int]
    """operator (TFLite) or operator set (ONNX) -> version"""
    notes: tuple[str, ...] = ()
    """for the user, a sentence each: why something was not encoded as asked, ..."""
    price: str = ""
    """a sentence: what the encodings cost in time or in bytes, by constants; empty: hardly any"""
    data: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    """files that the runtime opens with it, by their names: weights beyond 2 GB"""
    beside: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    """other files of the artefact, by their names, to be written into its folder"""
    origin: ExportedFile | None = None
    """the TFLite file that this one was generated from, whose plain kernels it is held against"""
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """what a record says of this format only"""

    @property
    def size(self) -> int:
        """Bytes of all that the runtime opens."""
        return len(self.content) + sum(map(len, self.data.values()))


def checked_labels(labels: Sequence[str] | None) -> tuple[str, ...] | None:
    """The names of the classes; raises UsageError for one that is no text, or is there twice."""
    if labels is None:
        return None
    labels = several(labels)
    for place, label in enumerate(labels):
        if not label.isprintable() or not 0 < len(label) <= LONGEST_TEXT:
            raise UsageError("a label is a printable text", value=repr(label))
        if label in labels[:place]:
            raise UsageError("two classes have one label", value=label)
    return labels
