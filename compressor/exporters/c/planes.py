"""Packed convolutions of whole maps, for processors with wide registers.

A map whose channels lie in planes, row by row with margins of zeros, is one long vector: a weight
is multiplied with as many places of the output as registers hold, whatever their row, and the sums
stay there while all weights of the filter add to them. Some places are margins, whose sums nobody
reads. That takes the whole map. With a stride a channel has a plane for each phase: rows y, y + 2,
y + 4, ... and columns likewise, so that neighbours of the output read neighbours.

Where the sums of a filter do not fit 16 bits, its weights are put into groups whose sums do; those
are added up in 32 bits.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from compressor.exporters.c.layout import LaidOut
from compressor.exporters.c.network import Convolution, Tensor
from compressor.exporters.c.weights import Stored

WIDTHS = {"": 8, "FOR_AVX2": 16, "FOR_AVX512": 32}
"""Level -> lanes of a vector."""
_MOST_VECTORS = 14
"""of sums in registers, of which there are 16 at least"""
_MOST_PLACES = 2**15
"""of the planes of a map, in 16 bits each: what is larger leaves the cache"""
_STEP = 8
"""columns that are rescaled at once"""
_WIDEN = 32
"""sums of a group, in whole registers, that are added to those of the filter"""
_SPAN, _LEVELS = 2**16 - 1, 255
"""of a sum in 16 bits, and of integers of 8 bits"""


@dataclasses.dataclass(frozen=True)
class Planes:
    """The input of a convolution, and the sums of one of its filters, in 16 bits each."""

    channels: int
    rows: int
    """of a plane, with margins"""
    pitch: int
    """from one row to the next: the margin of one serves the one before, too"""
    first: int
    """where the first value of the map lies, without a stride"""
    needed: int
    """places from the first one of the output to the last one"""
    places: int
    """that are computed at most: whole registers"""
    vectors: tuple[int, ...]
    """that hold sums at the same time, at each level"""
    reach: int
    """from a place to the furthest that its sum reads"""
    wide: bool
    """whether sums are added up in 32 bits"""
    stride: tuple[int, int]

    @property
    def plane(self) -> int:
        return self.rows * self.pitch

    @property
    def channel(self) -> int:
        """Values of all planes of a channel."""
        return self.plane * self.stride[0] * self.stride[1]

    @property
    def map(self) -> int:
        """Values of the map, with those behind it that are read with the last places."""
        return max(self.channels * self.channel, self.reach + self.places)

    @property
    def totals(self) -> int:
        """From the sums in 16 bits to those in 32, which lie at multiples of 4 bytes."""
        return -(-self.places // _WIDEN) * _WIDEN + self.map % 2

    @property
    def bytes(self) -> int:
        if self.wide:
            return 2 * (self.map + self.totals) + 4 * self.totals
        # Rows are rescaled in whole steps.
        return 2 * (self.map + self.places + 2 * (self.pitch + _STEP))

    def offsets(self, layer: Convolution) -> np.ndarray:
        """What each weight reads, from the place of its sum: int64, of the kernel's shape."""
        filters, rows, columns, channels = layer.kernel.shape
        first = np.arange(filters) // (filters // layer.groups) * channels
        down, row = np.divmod(np.arange(rows) * layer.dilation[0], self.stride[0])
        across, column = np.divmod(np.arange(columns) * layer.dilation[1], self.stride[1])
        parts = (
            (first[:, None] + np.arange(channels))[:, None, None] * self.channel,
            (down * self.pitch + row * self.stride[1] * self.plane)[None, :, None, None],
            (across + column * self.plane)[None, None, :, None],
        )
        return parts[0] + parts[1] + parts[2]


@dataclasses.dataclass(frozen=True)
class Placed(Stored):
    """Of a convolution of a whole map: of each filter how many weights it has, and of each weight
    what it reads and its value."""

    filters: np.ndarray
    """uint16"""
    offsets: np.ndarray
    """uint16"""
    values: np.ndarray
    """int16"""

    @property
    def weights(self) -> int:
        return self.values.size

    @property
    def encoding(self) -> str:
        return "16-bit offsets"


@dataclasses.dataclass(frozen=True)
class Grouped(Placed):
    """The same of groups of weights: `filters` says how many weights each group has."""

    groups: np.ndarray
    """uint16: how many each filter has"""
    start: np.ndarray
    """uint16: where the sums of a group begin, so that none falls below zero"""

    @property
    def starts(self) -> np.ndarray:
        """What each filter's sums begin with, int64."""
        ends = np.append(0, np.cumsum(self.groups, dtype=np.int64))
        return np.diff(np.append(0, np.cumsum(self.start, dtype=np.int64))[ends])


def planes_in(laid: LaidOut) -> dict[int, Planes]:
    """The planes of convolutions, by position, as far as they fit the cache."""
    found = {
        number: _planes_of(layer, laid.tensors[layer.inputs[0]], laid.tensors[layer.output])
        for number, layer in enumerate(laid.layers)
        if isinstance(layer, Convolution) and (layer.stride == (1, 1) or not layer.packed)
    }
    return {number: one for number, one in found.items() if one.map <= _MOST_PLACES}


def _planes_of(layer: Convolution, source: Tensor, output: Tensor) -> Planes:
    height, width, channels = source.shape
    _, rows, columns, _ = layer.kernel.shape
    (fall, step), (above, left) = layer.stride, layer.before
    down, across = (rows - 1) * layer.dilation[0] // fall, (columns - 1) * layer.dilation[1] // step
    out_height, out_width = (layer.pooled * size for size in output.shape[:2])
    pitch = max(-(-(left + width) // step), out_width + across)
    if step == 1:
        pitch = width + max(left, out_width + across - width - left)
    tall = max(-(-(above + height) // fall), out_height + down)
    needed = (out_height - 1) * pitch + out_width
    blocks = [-(-needed // (wide * _MOST_VECTORS)) for wide in WIDTHS.values()]
    vectors = [-(-needed // (w * n)) for w, n in zip(WIDTHS.values(), blocks, strict=True)]
    places = max(w * n * v for w, n, v in zip(WIDTHS.values(), blocks, vectors, strict=True))
    reach = (channels * fall * step - 1) * tall * pitch + down * pitch + across
    first = above * pitch + left if layer.stride == (1, 1) else 0
    wide = not layer.packed
    return Planes(
        channels, tall, pitch, first, needed, places, tuple(vectors), reach, wide, layer.stride
    )


def placed(layer: Convolution, planes: Planes, zero: int) -> Placed:
    """The weights of a convolution of a map with such a zero."""
    filters = len(layer.kernel)
    offsets = np.broadcast_to(planes.offsets(layer), layer.kernel.shape).reshape(filters, -1)
    flat = layer.kernel.reshape(filters, -1)
    present = flat != 0
    if planes.wide:
        return _grouped(flat.astype(np.int16), offsets.astype(np.uint16), zero)
    counts = present.sum(axis=1).astype(np.uint16)
    return Placed(counts, offsets[present].astype(np.uint16), flat[present].astype(np.int16))


def _grouped(weights: np.ndarray, offsets: np.ndarray, zero: int) -> Grouped:
    """The weights, int16 (filters, n), in groups whose sums span 16 bits at most."""
    found = [(number, group) for number, row in enumerate(weights) for group in _groups(row)]
    values = [weights[place].astype(np.int64) for place in found]
    # What products of integers from -128 to 127, less the zero, can take away at most.
    least = [np.minimum(one * (-128 - zero), one * (127 - zero)).sum() for one in values]
    none = [np.zeros(0, np.int16)]
    return Grouped(
        np.array([len(group) for _, group in found], np.uint16),
        np.concatenate([offsets[place] for place in found] + none).astype(np.uint16),
        np.concatenate(values + none).astype(np.int16),
        np.bincount([number for number, _ in found], minlength=len(weights)).astype(np.uint16),
        (-np.array(least, np.int64)).astype(np.uint16),
    )


def _groups(weights: np.ndarray) -> list[list[int]]:
    """Where the weights of each group are: the largest that fit, and then the least."""
    sizes = np.abs(weights).tolist()
    left = np.argsort(-np.abs(weights), kind="stable")[: np.count_nonzero(weights)].tolist()
    first, end, found = 0, len(left), []
    while first < end:
        room, group = _SPAN // _LEVELS, []
        while first < end and sizes[left[first]] <= room:
            room -= sizes[left[first]]
            group.append(left[first])
            first += 1
        while first < end and sizes[left[end - 1]] <= room:
            end -= 1
            room -= sizes[left[end]]
            group.append(left[end])
        found.append(sorted(group))
    return found
