"""Which encodings of a weight a runtime executes right, how fast, and which of them to take.

The table is knowledge of the runtimes, measured on x86-64 with one thread (LiteRT 2.3.0 and
tflite-runtime 2.14.0, each with XNNPACK): tests run every entry. What is not in it is left out
because it is wrong or slow there:

- int8 `1x4` and `csr-kernel` of FULLY_CONNECTED compute garbage; so does version 12 with `1x16`,
  which XNNPACK takes for dense, and tflite-runtime's `1x16` with a scale for each row.
- CONV_2D and DEPTHWISE_CONV_2D read sparse weights as if they were dense.
- XNNPACK refuses to load hybrid kernels, and LiteRT's integer FULLY_CONNECTED, behind DENSIFY;
  an integer CONV_2D of 1x1 takes the same weights, and is as fast.
- DENSIFY followed by DEQUANTIZE, in front of anything but convolutions and FULLY_CONNECTED, is
  wrong and runs at every call. DENSIFY alone and DEQUANTIZE alone run once.
- DEQUANTIZE of float16 behind DENSIFY crashes tflite-runtime once an input is resized.
- DEQUANTIZE of int4 keeps LiteRT's XNNPACK away from the operator behind it; int4 in
  tflite-runtime's CONV_2D gives NaN; hybrid kernels are slower than float32 in tflite-runtime.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from compressor.exporters.request import Optimize, Quantize
from compressor.exporters.tflite.sparsity import Layout

ENCODINGS: dict[str, str] = {
    "dense": "every value, one after another",
    "csr": "non-zero values and their positions; made dense when the file is loaded",
    "blocks": "blocks of 4 or 16 values that are not all zero; made dense when the file is loaded",
    "csr-kernel": "non-zero float32 values and their positions; the kernel skips the zeros",
    "1x4": "float32 blocks of 4 along the inputs; the kernel skips blocks of zeros",
    "1x16": "int8 blocks of 16 along the inputs; the kernel skips blocks of zeros",
}
"""name -> what it is: the values of `Request.encoding` for TFLite"""

KERNEL_BLOCKS = {"csr-kernel": 1, "1x4": 4, "1x16": 16}
"""the encodings that kernels of FULLY_CONNECTED read as they are -> values a block"""

Values = Literal["float32", "float16", "int8", "int4"]
VALUE_BITS: dict[str, int] = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}

TOLERATED = 1.05
"""how much slower than dense float32 an operator may become"""

DECODABLE = 0.35
"""which fraction of a weight's values may be decoded when the file is loaded: DENSIFY takes 40 to
60 ns a value on x86-64, dense weights 3 ns, and a file is to load in 8 times the time of dense"""

SMALL = 256
"""values below which a tensor stays float32: its accuracy is worth more than its bytes"""


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to store the weights of an operator, and to compute with them."""

    encoding: str
    values: Values
    version: int | None = None
    """of the operator that reads the weights as they are stored; None where they are decoded
    first, or the operator is of an integer graph and stays"""
    per_channel: bool = False
    """whether integers have a scale for each channel"""
    time: float = 1.0
    """relative to dense float32 in the same runtime; of a kernel that skips zeros, were nothing
    skipped"""
    as_convolution: bool = False
    """whether FULLY_CONNECTED becomes a CONV_2D of 1x1, which computes the same"""

    @property
    def in_kernel(self) -> bool:
        """Whether the operator reads the encoded weights itself."""
        return self.version is not None or self.encoding in KERNEL_BLOCKS

    @property
    def sparse(self) -> bool:
        """Whether positions are stored."""
        return self.encoding != "dense"


_LOSSLESS = (Way("dense", "float32"), Way("csr", "float32"), Way("blocks", "float32"))
_DEQUANTIZED = (Way("dense", "float16"), Way("dense", "int8", per_channel=True))
_BOTH = (
    Way("csr", "float16"),
    Way("blocks", "float16"),
    Way("csr", "int8", per_channel=True),
    Way("blocks", "int8", per_channel=True),
)

DECODED: dict[str, tuple[Way, ...]] = {
    **dict.fromkeys(
        ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"), _LOSSLESS + _DEQUANTIZED + _BOTH
    ),
    **dict.fromkeys(("TRANSPOSE_CONV", "BATCH_MATMUL", "GATHER"), _LOSSLESS + _DEQUANTIZED),
}
"""Ways for any runtime: DENSIFY or DEQUANTIZE, or both, in front of the float32 operator."""

KERNELS: dict[tuple[str, str], tuple[Way, ...]] = {
    ("litert", "FULLY_CONNECTED"): (
        Way("csr-kernel", "float32", version=8, time=26.0),
        Way("1x4", "float32", version=8, time=5.6),
        Way("1x16", "int8", version=8, time=1.4),
        Way("dense", "int8", version=12, per_channel=True, time=0.27),
        Way("dense", "int4", version=12, per_channel=True, time=0.17),
    ),
    ("litert", "CONV_2D"): (
        Way("dense", "int8", version=5, per_channel=True, time=0.3),
        Way("dense", "int4", version=7, per_channel=True, time=0.97),
    ),
    ("tflite-runtime", "FULLY_CONNECTED"): (
        Way("csr-kernel", "float32", version=8, time=15.0),
        Way("1x4", "float32", version=8, time=12.0),
        Way("1x16", "int8", version=8, time=7.5),
    ),
}
"""Ways that need no decoding, in graphs of float32; hybrid where the values are integers."""


def _integers(time: float) -> tuple[Way, ...]:
    return tuple(Way(encoding, "int8", time=time) for encoding in ("dense", "csr", "blocks"))


INTEGER: dict[tuple[str, str], tuple[Way, ...]] = {
    ("litert", "FULLY_CONNECTED"): (
        Way("dense", "int8", time=0.27),
        Way("csr", "int8", time=0.29, as_convolution=True),
        Way("blocks", "int8", time=0.29, as_convolution=True),
        Way("1x16", "int8", version=8, time=5.3),
    ),
    ("litert", "CONV_2D"): _integers(0.3),
    ("tflite-runtime", "FULLY_CONNECTED"): (
        *_integers(1.4),
        Way("1x16", "int8", version=8, time=13.0),
    ),
    ("tflite-runtime", "CONV_2D"): _integers(1.5),
}
"""Ways in graphs of integers, for weights that the converter has quantised."""

PER_TENSOR_BLOCKS = ("tflite-runtime",)
"""Runtimes of which the integer `1x16` kernel takes the first row's scale for all."""

STATIC_ONLY = ("tflite-runtime",)
"""Runtimes of which XNNPACK leaves alone graphs that compute shapes, and convolutions in groups.
DEQUANTIZE behind DENSIFY runs at every call there."""

NO_SPARSE_HALVES = ("tflite-runtime",)
"""Runtimes that crash on DEQUANTIZE of float16 behind DENSIFY once an input is resized."""

_HYBRID_PATCH = 64
_INT4_PATCH, _INT4_POSITIONS = 256, 196
"""Below these, quantising the inputs, or unpacking the weights, costs a convolution more than
its integers save; measured on kernels from 1x1 to 5x5 over 7x7 to 28x28 positions."""


@dataclasses.dataclass(frozen=True)
class Operand:
    """What the choice needs to know of a weight and of the operator that reads it."""

    kind: str
    """the operator's name"""
    values: int
    """how many values the weight has"""
    integer: bool = False
    """whether it is an int8 weight of an integer graph"""
    scales: int = 1
    """how many scales an int8 weight of an integer graph has"""
    static: bool = True
    """whether the graph computes no shapes"""
    grouped: bool = False
    """of a convolution: whether a filter sees some of the input channels only"""
    patch: int = 0
    """of a convolution: values that a filter has"""
    positions: int = 0
    """of a convolution: places of one example that the filters visit; 0 where unknown"""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A way with what it costs for one weight."""

    way: Way
    bytes: int
    """of values, positions and scales in the file"""
    overhead: int
    """of the operators and tensors that are added"""
    time: float
    """relative to dense float32"""
    decoded: float = 0.0
    """the fraction of the values that DENSIFY decodes when the file is loaded"""
    layout: Layout | None = None
    """where the positions are stored; None where the weight is dense"""
    rows: int | None = None
    """FULLY_CONNECTED is computed in parts of so many rows, for narrower indices; None: at once"""


def ways(runtime: str, operand: Operand, quantize: Quantize) -> tuple[Way, ...]:
    """What `runtime` executes right for a weight, of the values that `quantize` allows.

    Dense float32 is one of them in graphs of float32, where nothing else may be right.
    """
    if operand.integer:
        found = INTEGER.get((runtime, operand.kind), (Way("dense", "int8"),))
        per_tensor = runtime in PER_TENSOR_BLOCKS and operand.scales > 1
        return tuple(way for way in found if not (per_tensor and way.encoding == "1x16"))
    allowed = {"float32"}
    if operand.values >= SMALL:
        allowed |= {
            "float16": {"float16"},
            "dynamic": {"int8"},
            "int4": {"int8", "int4"},
        }.get(quantize, set())
    found = DECODED.get(operand.kind, ()) + KERNELS.get((runtime, operand.kind), ())
    halves = runtime not in NO_SPARSE_HALVES
    delegated = runtime not in STATIC_ONLY or (operand.static and not operand.grouped)
    return tuple(
        way
        for way in found
        if way.values in allowed
        and _fits(way, operand)
        and (delegated or way.in_kernel or not way.sparse or way.values == "float32")
        and (halves or not way.sparse or way.values != "float16")
    )


def _fits(way: Way, operand: Operand) -> bool:
    if operand.kind != "CONV_2D" or way.version is None:
        return True
    if operand.grouped or operand.patch < _HYBRID_PATCH:
        return False
    if way.values == "int4":
        return operand.patch >= _INT4_PATCH and operand.positions >= _INT4_POSITIONS
    return True


def best(
    candidates: Sequence[Candidate], optimize: Optimize, encoding: str | None = None
) -> Candidate | None:
    """The smallest candidate that is not slower than dense, or the fastest; None of none.

    Neither slower to run, that is, nor much slower to load.

    With `encoding`, the best of those that have it and take fewer bytes than dense weights of the
    same type, however fast; None where there is none.
    """
    if encoding is not None and encoding != "dense":
        dense = {c.way.values: c.bytes for c in candidates if not c.way.sparse}
        candidates = [
            candidate
            for candidate in candidates
            if candidate.way.encoding == encoding
            and candidate.bytes + candidate.overhead < dense.get(candidate.way.values, np.inf)
        ]
    else:
        if encoding is not None:
            candidates = [candidate for candidate in candidates if not candidate.way.sparse]
        unchanged = [c.time for c in candidates if not c.way.sparse]
        limit = TOLERATED * max(1.0, min(unchanged, default=1.0))
        candidates = [c for c in candidates if c.time <= limit and c.decoded <= DECODABLE]
    if not candidates:
        return None
    if optimize == "latency":
        return min(candidates, key=lambda c: (round(c.time, 1), c.bytes + c.overhead))
    return min(candidates, key=lambda c: (c.bytes + c.overhead, c.time))
