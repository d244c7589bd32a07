"""How the weights of a layer are stored.

- dense: all weights. The filters of a convolution share the offsets into a row of the ring.
- taps, of a convolution: only weights that are not zero, each behind its offset of 1 or 2 bytes.
- listed, of a fully connected layer on hosts: each behind the number of the input it multiplies.
- gaps, of a fully connected layer: only those, each with the gap before it, in 2 bytes or in 1.
- coded: only those, in Rice code.

`choosing` says which is taken.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from compressor.exporters.c.coding import Coded, bits_of, coded, with_fillers
from compressor.exporters.c.network import Convolution, Dense
from compressor.exporters.c.ring import Ring

_LONGEST_GAP, _MOST_SHARED = 255, 5
"""the longest gap in a byte, and the most bits of a value that shares one with its gap"""
_FEW_HOLES = 0.1
"""of the rows of filters: so few without a weight get one of zero, and no row is asked for some"""
_WIDEST = np.iinfo(np.uint16).max


@dataclasses.dataclass(frozen=True)
class Stored:
    """The weights of a layer as they lie in memory."""

    @property
    def bytes(self) -> int:
        return sum(
            value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray)
        ) + sum(value.bytes for value in vars(self).values() if isinstance(value, Coded))

    @property
    def weights(self) -> int:
        """How many are multiplied."""
        raise NotImplementedError

    @property
    def encoding(self) -> str:
        """What it is called."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class DenseWeights(Stored):
    """All weights of a layer."""

    values: np.ndarray
    """int8"""
    offsets: np.ndarray | None = None
    """uint8 or uint16, of a row of any filter of a convolution"""

    @property
    def weights(self) -> int:
        return self.values.size

    @property
    def encoding(self) -> str:
        return "dense"


@dataclasses.dataclass(frozen=True)
class Taps(Stored):
    """Of a convolution: for each row of each filter the number of weights, in `head` bytes, and of
    each weight its offset and value, in `size` bytes."""

    head: int
    size: int
    taps: np.ndarray
    """uint8"""
    count: int
    full: bool
    """whether every row of a filter has one"""

    @property
    def weights(self) -> int:
        return self.count

    @property
    def encoding(self) -> str:
        return f"{8 * (self.size - 1)}-bit offsets"


@dataclasses.dataclass(frozen=True)
class Gaps(Stored):
    """Of a fully connected layer: the gap and the value of each weight, in a byte each, or in one:
    the value in the highest `bits`."""

    gaps: np.ndarray
    """uint8"""
    bits: int = 8

    @property
    def weights(self) -> int:
        return self.gaps.size // (2 if self.bits == 8 else 1) - 1

    @property
    def encoding(self) -> str:
        if self.bits == 8:
            return "8-bit gaps"
        return f"{8 - self.bits}-bit gaps, {self.bits}-bit values"


@dataclasses.dataclass(frozen=True)
class Listed(Stored):
    """Of a fully connected layer: how many fours of weights each unit has, and of each weight the
    input that it multiplies and its value."""

    fours: np.ndarray
    """uint16 (units,)"""
    inputs: np.ndarray
    """uint16"""
    values: np.ndarray
    """int8"""

    @property
    def weights(self) -> int:
        return self.values.size

    @property
    def encoding(self) -> str:
        return "16-bit inputs"


@dataclasses.dataclass(frozen=True)
class CodedWeights(Stored):
    """Weights that are decoded while the layer is computed."""

    code: Coded
    head: int = 1
    """as of `Taps`, into which a filter is decoded"""
    space: int = 0
    """bytes of a decoded filter of a convolution"""
    offsets: np.ndarray | None = None
    """as of dense weights"""

    @property
    def weights(self) -> int:
        return self.code.weights

    @property
    def encoding(self) -> str:
        values = f"{self.code.width}-bit values" if self.code.width else "Huffman"
        return f"Rice, {values}"


def convolution_forms(layer: Convolution, ring: Ring, codes: tuple[str, ...]) -> list[Stored]:
    """The ways to store a convolution: none where offsets, or their number, exceed 16 bits."""
    filters, rows, columns, channels = layer.kernel.shape
    offsets = ring.offsets(channels, columns, layer.dilation[1]).reshape(-1)
    if max(int(offsets.max()), len(offsets)) > _WIDEST:
        return []
    flat = layer.kernel.transpose(0, 1, 3, 2).reshape(filters * rows, channels * columns)
    present = flat != 0
    holes = ~present.any(axis=1)
    if layer.packed and holes.mean() < _FEW_HOLES:
        present[holes, 0] = True
    counts, table = _narrow(present.sum(axis=1)), _narrow(offsets)
    own = _narrow(np.broadcast_to(offsets, flat.shape)[present])
    records = np.column_stack([_bytes(own), flat[present].view(np.uint8)])
    parts = zip(_bytes(counts), np.split(records, np.cumsum(counts)), strict=False)
    taps = np.concatenate([one.reshape(-1) for row in parts for one in row])
    full = bool(counts.all())
    found: list[Stored] = [Taps(counts.itemsize, records.shape[1], taps, len(records), full)]
    if not layer.packed:
        found.append(DenseWeights(flat.reshape(-1), table))
    return found + [_decoded(coded(flat, code), filters, rows, table) for code in codes]


def _decoded(code: Coded, filters: int, rows: int, table: np.ndarray) -> CodedWeights:
    """A convolution in code, which is decoded filter by filter with its weights of zero."""
    counts = np.bincount(code.places // len(table), minlength=filters * rows)
    head = _narrow(counts).itemsize
    most = int(counts.reshape(filters, rows).sum(axis=1).max())
    return CodedWeights(code, head, rows * head + most * (1 + table.itemsize), table)


def dense_forms(layer: Dense, rows: int, codes: tuple[str, ...]) -> list[Stored]:
    """The ways to store a fully connected layer whose input comes in so many rows."""
    units = len(layer.kernel)
    kernel = layer.kernel.reshape(units, rows, -1).swapaxes(0, 1)
    found: list[Stored] = [DenseWeights(np.ascontiguousarray(kernel).reshape(-1)), _gaps(kernel, 8)]
    bits = bits_of(kernel)
    if bits <= _MOST_SHARED:
        found.append(_gaps(kernel, bits))
    return found + [CodedWeights(coded(kernel, code)) for code in codes]


def listed(layer: Dense) -> list[Listed]:
    """A fully connected layer as lists, where 16 bits number its inputs."""
    present = layer.kernel != 0
    fours = -(-present.sum(axis=1) // 4)
    if layer.kernel.shape[1] > _WIDEST:
        return []
    # A weight of zero fills up the last four.
    unit, source = np.nonzero(present)
    counts = present.sum(axis=1)
    starts = 4 * (np.cumsum(fours) - fours)
    places = starts[unit] + np.arange(len(unit)) - (np.cumsum(counts) - counts)[unit]
    inputs, values = np.zeros(4 * fours.sum(), np.uint16), np.zeros(4 * fours.sum(), np.int8)
    inputs[places], values[places] = source, layer.kernel[present]
    return [Listed(fours.astype(np.uint16), inputs, values)]


def _gaps(kernel: np.ndarray, bits: int) -> Gaps:
    longest = _LONGEST_GAP if bits == 8 else 2 ** (8 - bits) - 1
    flat = kernel.reshape(-1)
    places = np.flatnonzero(flat)
    # Behind the last weight stands a gap that leads out of the layer.
    steps = np.diff(np.append(places, flat.size), prepend=0)
    values = np.append(flat[places].astype(np.int64), 0)
    gaps, found = with_fillers(steps, values, longest)
    if bits == 8:
        return Gaps(np.column_stack([gaps, found & 255]).astype(np.uint8).reshape(-1))
    return Gaps(((found << (8 - bits) & 255) | gaps).astype(np.uint8), bits)


def _bytes(values: np.ndarray) -> np.ndarray:
    """Unsigned integers as bytes, the lowest first: uint8 (n, bytes)."""
    little = values.astype(values.dtype.newbyteorder("<"))
    return little.view(np.uint8).reshape(len(values), values.itemsize)


def _narrow(values: np.ndarray) -> np.ndarray:
    """Unsigned integers in one byte each, or in two."""
    small = values.max(initial=0) <= np.iinfo(np.uint8).max
    return values.astype(np.uint8 if small else np.uint16)
