"""The ways in which a convolution can read its input, and store its weights."""

from __future__ import annotations

import math

from compressor.exporters.c import choosing
from compressor.exporters.c.lanes import COLUMN_INSTRUCTIONS, VECTORS, lanes_of
from compressor.exporters.c.layout import LaidOut
from compressor.exporters.c.network import Convolution
from compressor.exporters.c.planes import WIDTHS, Grouped, Placed, Planes, placed, planes_in
from compressor.exporters.c.ring import Ring
from compressor.exporters.c.weights import Stored, convolution_forms

ALIGNED = ("cortex-m0",)
"""Processors that load words from multiples of 4 bytes only."""


def planes_of(laid: LaidOut, optimize: str) -> dict[int, Planes]:
    """The planes of convolutions on hosts; those in 32 bits where that is cheaper than in rows."""
    found = {}
    for number, planes in planes_in(laid).items():
        layer = laid.layers[number]
        assert isinstance(layer, Convolution)
        stored = in_planes(laid, layer, planes)
        if isinstance(stored, Grouped):
            time = choosing.of_whole_map(stored, -(-planes.needed // WIDTHS["FOR_AVX2"]))
            forms = in_rows(laid, layer, ring_of(laid, layer, "host"), "host", ())
            mode = mode_of("host", optimize)
            least = min((choosing.cost(*form, mode) for form in forms), default=math.inf)
            if choosing.cost(stored, time, mode) > least:
                continue
        found[number] = planes
    return found


def in_planes(laid: LaidOut, layer: Convolution, planes: Planes) -> Placed:
    """The weights of a convolution that reads planes."""
    return placed(layer, planes, laid.tensors[layer.inputs[0]].zero)


def mode_of(target: str, optimize: str) -> str:
    """What the cost model weighs bytes by."""
    return "host" if target in VECTORS and optimize == "latency" else optimize


def in_rows(
    laid: LaidOut, layer: Convolution, ring: Ring, target: str, codes: tuple[str, ...]
) -> list[tuple[Stored, float]]:
    """How the weights of a convolution that reads a ring can be stored, with the instructions."""
    height, width, _ = laid.tensors[layer.output].shape
    wide = layer.pooled * width
    lanes = lanes_of(layer, wide, target)
    each = (lanes / 2 if layer.packed else lanes) * COLUMN_INSTRUCTIONS.get(target, 2)
    passes = layer.pooled * height * -(-wide // lanes)
    found = convolution_forms(layer, ring, codes)
    return [(one, choosing.instructions(one, passes, each, height)) for one in found]


def ring_of(laid: LaidOut, layer: Convolution, target: str) -> Ring:
    """The ring of a convolution."""
    _, width, channels = laid.tensors[layer.inputs[0]].shape
    _, rows, columns, _ = layer.kernel.shape
    out = laid.tensors[layer.output].shape[1] * layer.pooled
    phases = layer.stride[1]
    last = (columns - 1) * layer.dilation[1] // phases
    lanes = lanes_of(layer, out, target)
    length = max(-(-out // lanes) * lanes + last, -(-(width + layer.before[1]) // phases))
    length += length % 2
    pitch = phases * length
    margin = layer.before[1]
    shared = width + margin + (width + margin) % 2
    if phases == 1 and out + last - shared <= margin:
        pitch = min(pitch, shared)
    span = (rows - 1) * layer.dilation[0] + 1 + (layer.pooled - 1) * layer.stride[0]
    copies = 2 if layer.packed and target in ALIGNED else 1
    return Ring(span, channels, phases, length, pitch, copies)
