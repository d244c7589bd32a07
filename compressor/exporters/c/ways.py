"""The ways in which a convolution can read its input, and store its weights."""

from __future__ import annotations

import math

from compressor.exporters.c import choosing
from compressor.exporters.c.costs import HOST
from compressor.exporters.c.lanes import VECTORS, lanes_of
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
        mapped = in_planes(laid, layer, planes)
        if isinstance(mapped[0], Grouped):
            forms = in_rows(laid, layer, ring_of(laid, layer, HOST), HOST, ())
            mode = mode_of(HOST, optimize)
            least = min((choosing.cost(*form, HOST, mode) for form in forms), default=math.inf)
            if choosing.cost(*mapped, HOST, mode) > least:
                continue
        found[number] = planes
    return found


def in_planes(laid: LaidOut, layer: Convolution, planes: Planes) -> tuple[Placed, choosing.Work]:
    """The weights of a convolution that reads planes, with the work of a run: of those in 32 bits
    only, since the others have no choice."""
    stored = placed(layer, planes, laid.tensors[layer.inputs[0]].zero)
    if not isinstance(stored, Grouped):
        return stored, {}
    return stored, choosing.of_whole_map(stored, -(-planes.needed // WIDTHS["FOR_AVX2"]))


def mode_of(target: str, optimize: str) -> str:
    """What the cost model weighs bytes by."""
    return "host" if target in VECTORS and optimize == "latency" else optimize


def in_rows(
    laid: LaidOut, layer: Convolution, ring: Ring, target: str, codes: tuple[str, ...]
) -> list[tuple[Stored, choosing.Work]]:
    """How the weights of a convolution that reads a ring can be stored, with the work of a run."""
    height, width, _ = laid.tensors[layer.output].shape
    wide = layer.pooled * width
    lanes = lanes_of(layer, wide, target)
    columns = lanes / 2 if layer.packed else lanes
    passes = layer.pooled * height * -(-wide // lanes)
    found = convolution_forms(layer, ring, codes)
    return [
        (one, choosing.of_convolution(one, passes, columns, height, packed=layer.packed))
        for one in found
    ]


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
