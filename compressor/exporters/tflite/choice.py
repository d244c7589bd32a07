"""Which encodings of a weight a runtime executes correctly, how fast, and which to choose.

The tables were measured on x86-64 with one thread (LiteRT 2.3.0 and tflite-runtime 2.14.0, each
with XNNPACK); tests run every entry. What is missing is wrong or slow in that runtime:

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
import math
from collections.abc import Sequence
from typing import Literal

from compressor.exporters.request import BALANCED, Optimize, Quantize
from compressor.exporters.tflite.sparsity import Layout

ENCODINGS: dict[str, str] = {
    "dense": "every value, one after another",
    "csr": "non-zero values and their positions; made dense when the file is loaded",
    "blocks": "blocks of 4 or 16 values that are not all zero; made dense when the file is loaded",
    "golomb": "non-zero integers and their distances in Golomb codes; made dense at the first run",
    "csr-kernel": "non-zero float32 values and their positions; the kernel skips the zeros",
    "1x4": "float32 blocks of 4 along the inputs; the kernel skips blocks of zeros",
    "1x16": "int8 blocks of 16 along the inputs; the kernel skips blocks of zeros",
}
"""the values of `Request.encoding` for TFLite -> what they mean"""

KERNEL_BLOCKS = {"csr-kernel": 1, "1x4": 4, "1x16": 16}
"""the encodings that kernels of FULLY_CONNECTED read as they are -> values a block"""

Values = Literal["float32", "float16", "int8", "int4"]
VALUE_BITS: dict[str, int] = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}

TOLERATED = 1.05
"""how much slower than dense float32 an operator may become"""

PRECISION = 0.05
"""of dense float32's time: what differs by less is as fast, as far as these constants tell"""

WINDOWS_SAVE = 0.1
"""which fraction of a weight's bytes windows have to save where size is not all that counts. They
take longer than their `time` says: measured in turns on one x86-64, the paper's CNN at 90 % took
1.12 times as long with them in float32, and in int8 1.3 times at batch 1 and 1.6 at 32 (on another
1.07 and 1.03), for 0.5 and 1.4 % fewer bytes. Of a small network they save a quarter, and there is
little to be slow."""

DECODABLE = 0.35
"""which fraction of a weight's values may be decoded when the file is loaded: DENSIFY takes 40 to
60 ns a value on x86-64, dense weights 3 ns, and a file is to load in 8 times the time of dense"""

GOLOMB_DECODING = 0.7
"""of the time of DENSIFY: what a value in Golomb code takes at the first run, 20 to 35 ns"""

LARGE, SMALLER_TIME = 2**18, 1.05
"""values below which a weight in Golomb code takes as long as dense float32, which then comes from
a cache: a variable is copied at every run"""

SMALL = {"float16": 64, "int8": 64, "int4": 256}
"""type -> values below which a tensor does not get it: its accuracy is worth more than its bytes"""


@dataclasses.dataclass(frozen=True)
class WeightEncoding:
    """How the weights of an operator are stored, and what computes with them."""

    name: str
    """a key of `ENCODINGS`"""
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
        return self.version is not None or self.name in KERNEL_BLOCKS

    @property
    def sparse(self) -> bool:
        """Whether positions are stored."""
        return self.name != "dense"


def _encodings(
    *names: str, values: Values, per_channel: bool = False, time: float = 1.0
) -> tuple[WeightEncoding, ...]:
    return tuple(WeightEncoding(n, values, per_channel=per_channel, time=time) for n in names)


_LOSSLESS = _encodings("dense", "csr", "blocks", values="float32")
_DEQUANTIZED = (
    *_encodings("dense", values="float16"),
    *_encodings("dense", values="int8", per_channel=True),
)
_BOTH = (
    *_encodings("csr", "blocks", values="float16"),
    *_encodings("csr", "blocks", values="int8", per_channel=True),
)

DECODED: dict[str, tuple[WeightEncoding, ...]] = {
    **dict.fromkeys(
        ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"), _LOSSLESS + _DEQUANTIZED + _BOTH
    ),
    **dict.fromkeys(
        ("TRANSPOSE_CONV", "CONV_3D", "CONV_3D_TRANSPOSE", "BATCH_MATMUL", "GATHER"),
        _LOSSLESS + _DEQUANTIZED,
    ),
}
"""For any runtime: DENSIFY or DEQUANTIZE, or both, in front of the float32 operator."""

KERNELS: dict[tuple[str, str], tuple[WeightEncoding, ...]] = {
    ("litert", "FULLY_CONNECTED"): (
        WeightEncoding("csr-kernel", "float32", version=8, time=26.0),
        WeightEncoding("1x4", "float32", version=8, time=5.6),
        WeightEncoding("1x16", "int8", version=8, time=1.4),
        WeightEncoding("dense", "int8", version=12, per_channel=True, time=0.27),
        WeightEncoding("dense", "int4", version=12, per_channel=True, time=0.17),
        WeightEncoding("golomb", "int8", version=12, per_channel=True, time=0.65),
        WeightEncoding("golomb", "int4", version=12, per_channel=True, time=0.65),
    ),
    ("litert", "CONV_2D"): (
        WeightEncoding("dense", "int8", version=5, per_channel=True, time=0.3),
        WeightEncoding("dense", "int4", version=7, per_channel=True, time=0.97),
    ),
    ("tflite-runtime", "FULLY_CONNECTED"): (
        WeightEncoding("csr-kernel", "float32", version=8, time=15.0),
        WeightEncoding("1x4", "float32", version=8, time=12.0),
        WeightEncoding("1x16", "int8", version=8, time=7.5),
    ),
}
"""Encodings that need no decoding, in float32 graphs; hybrid where the values are integers."""

INTEGER: dict[tuple[str, str], tuple[WeightEncoding, ...]] = {
    ("litert", "FULLY_CONNECTED"): (
        WeightEncoding("dense", "int8", time=0.27),
        WeightEncoding("csr", "int8", time=0.29, as_convolution=True),
        WeightEncoding("blocks", "int8", time=0.29, as_convolution=True),
        WeightEncoding("1x16", "int8", version=8, time=5.3),
    ),
    ("litert", "CONV_2D"): _encodings("dense", "csr", "blocks", values="int8", time=0.3),
    ("tflite-runtime", "FULLY_CONNECTED"): (
        *_encodings("dense", "csr", "blocks", values="int8", time=1.4),
        WeightEncoding("1x16", "int8", version=8, time=13.0),
    ),
    ("tflite-runtime", "CONV_2D"): _encodings("dense", "csr", "blocks", values="int8", time=1.5),
}
"""Encodings in integer graphs, for weights that the converter has quantised."""

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
    """What the choice needs to know of a weight and of the operator that reads it.

    `integer`: an int8 weight of an integer graph, with so many `scales`. `static`: the graph
    computes no shapes. Of a convolution: `grouped` where a filter sees only some input channels,
    `patch` the values of a filter, `positions` its outputs per example and channel, 0 if unknown.
    """

    kind: str
    """the operator's name"""
    values: int
    """how many values the weight has"""
    integer: bool = False
    scales: int = 1
    static: bool = True
    grouped: bool = False
    patch: int = 0
    positions: int = 0


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An encoding with what it costs for one weight."""

    encoding: WeightEncoding
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
    window: int | None = None
    """FULLY_CONNECTED becomes a convolution over so many positions, which share the inputs: the
    index of a weight is that within its position; None: it stays, or has one position"""

    @property
    def added(self) -> int:
        """Bytes that it adds to the file."""
        return self.bytes + self.overhead


def encodings_for(runtime: str, operand: Operand, quantize: Quantize) -> tuple[WeightEncoding, ...]:
    """The encodings of a weight that `runtime` executes correctly and `quantize` allows.

    In float32 graphs of the operators listed, dense float32 is always one of them.
    """
    if operand.integer:
        found = INTEGER.get((runtime, operand.kind), (WeightEncoding("dense", "int8"),))
        per_tensor = runtime in PER_TENSOR_BLOCKS and operand.scales > 1
        return tuple(encoding for encoding in found if not (per_tensor and encoding.name == "1x16"))
    types = {"float16": ("float16",), "dynamic": ("int8",), "int4": ("int8", "int4")}
    smaller = types.get(quantize, ())
    allowed = {"float32", *(values for values in smaller if operand.values >= SMALL[values])}
    found = DECODED.get(operand.kind, ()) + KERNELS.get((runtime, operand.kind), ())
    halves = runtime not in NO_SPARSE_HALVES
    delegated = runtime not in STATIC_ONLY or (operand.static and not operand.grouped)
    return tuple(
        encoding
        for encoding in found
        if encoding.values in allowed
        and _fits(encoding, operand)
        and (delegated or encoding.in_kernel or not encoding.sparse or encoding.values == "float32")
        and (halves or not encoding.sparse or encoding.values != "float16")
    )


def _fits(encoding: WeightEncoding, operand: Operand) -> bool:
    if operand.kind != "CONV_2D" or encoding.version is None:
        return True
    if operand.grouped or operand.patch < _HYBRID_PATCH:
        return False
    if encoding.values == "int4":
        return operand.patch >= _INT4_PATCH and operand.positions >= _INT4_POSITIONS
    return True


def best(
    candidates: Sequence[Candidate], optimize: Optimize, encoding: str | None = None
) -> Candidate | None:
    """The smallest candidate that is no slower to run than dense, nor much slower to load.

    With `optimize` "latency" the fastest, with "balanced" the smallest that takes at most
    `BALANCED` times as long as the fastest, and windows only where they save `WINDOWS_SAVE`. With
    `encoding`, the best of those with that encoding and fewer bytes than dense weights of the same
    type, however slow. None if there is none.
    """
    if encoding is not None and encoding != "dense":
        dense = {c.encoding.values: c.bytes for c in candidates if not c.encoding.sparse}
        candidates = [
            c
            for c in candidates
            if c.encoding.name == encoding and c.added < dense.get(c.encoding.values, math.inf)
        ]
    else:
        if encoding is not None:
            candidates = [c for c in candidates if not c.encoding.sparse]
        unchanged = [c.time for c in candidates if not c.encoding.sparse]
        limit = TOLERATED * max(1.0, min(unchanged, default=1.0))
        candidates = [c for c in candidates if c.time <= limit and c.decoded <= DECODABLE]
        if optimize == "balanced":
            longest = _longest(candidates)
            candidates = [c for c in candidates if c.time <= longest]
    if optimize == "latency":
        # In batches a convolution with one output takes longer than FULLY_CONNECTED.
        return min(
            candidates,
            key=lambda c: (round(c.time, 1), c.window is not None, c.added),
            default=None,
        )
    if optimize == "balanced":
        whole = min((c.added for c in candidates if c.window is None), default=math.inf)
        most = (1 - WINDOWS_SAVE) * whole
        candidates = [c for c in candidates if c.window is None or c.added <= most]
    return min(candidates, key=lambda c: (c.added, c.time), default=None)


def _longest(candidates: Sequence[Candidate]) -> float:
    """The longest time that is nearly that of the fastest.

    The fastest is dense, as the stock converter stores weights, or takes hardly more bytes than the
    smallest: a kernel that skips zeros may be faster, and take three times as many.
    """
    most = BALANCED * min((c.added for c in candidates), default=0)
    times = [c.time for c in candidates if not c.encoding.sparse or c.added <= most]
    fastest = min(times, default=math.inf)
    return max(BALANCED * fastest, fastest + PRECISION)
