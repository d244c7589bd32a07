"""Maps that a packed convolution writes where the next one reads them, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

from compressor.exporters.c.layout import LaidOut
from compressor.exporters.c.network import LEAST, Convolution, Rescale
from compressor.exporters.c.planes import Planes
from compressor.exporters.c.ring import Ring

MOST_MARKED = 16
"""rows of a ring of which bits can say whether they are zero"""
_MOST_LEVEL = 127
"""that rings and planes hold"""


def into_planes(laid: LaidOut, planes: dict[int, Planes]) -> dict[int, int]:
    """Maps in 7 bits that are written into the planes of their only reader -> its position."""
    readers: dict[int, list[int]] = {}
    for number, layer in enumerate(laid.layers):
        for source in layer.inputs:
            readers.setdefault(laid.place(source), []).append(number)
    found = {}
    for number in planes:
        layer = laid.layers[number]
        assert isinstance(layer, Convolution)
        after = readers.get(layer.output, [])
        narrow = [one for one in (number, *after) if one in planes and not planes[one].wide]
        only = len(after) == 1 and narrow == [number, *after] and layer.output != laid.output
        if only and _seven_bits(layer.rescale) and laid.layers[after[0]].inputs == (layer.output,):
            found[layer.output] = after[0]
    return found


def into_rings(
    laid: LaidOut, streamed: set[int], rings: Mapping[int, Ring], uses: Mapping[int, list[int]]
) -> dict[int, int]:
    """Streamed maps in 7 bits whose rows are written into the ring of the packed convolution that
    alone reads them, neighbour by neighbour -> its position."""
    makers = {layer.output: number for number, layer in enumerate(laid.layers)}
    found = {}
    for output in streamed - laid.pixels:
        maker, reader = laid.layers[makers[output]], laid.layers[uses[output][0]]
        if not isinstance(maker, Convolution) or not isinstance(reader, Convolution):
            continue
        ring = rings.get(uses[output][0])
        if ring is None or not (maker.packed and reader.packed and _seven_bits(maker.rescale)):
            continue
        whole = ring.length >= reader.before[1] + laid.tensors[output].shape[1]
        simple = ring.phases == ring.copies == 1 and ring.rows <= MOST_MARKED
        if whole and simple and reader.inputs == (output,):
            found[output] = uses[output][0]
    return found


def _seven_bits(rescale: Rescale) -> bool:
    """Whether outputs have 7 bits from their zero on, the least of int8."""
    return rescale.low == rescale.zero == LEAST and rescale.high <= LEAST + _MOST_LEVEL
