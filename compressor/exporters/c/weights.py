"""How the weights of a layer are stored, and what each way costs.

Convolutions have an offset into a row of the ring for every weight. Where most weights count, all
filters share one table of offsets, and zeros are stored as well (`dense`); else only weights that
are not zero are stored, each with its own offset of one or two bytes. Fully connected layers have,
for a sparse one, the gap before every weight in a byte; a longer gap takes a weight of zero.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from compressor.exporters.c.network import Convolution, Dense
from compressor.exporters.c.plan import Ring

_LONGEST_GAP = 255
_OFFSET_TIME = 1.25
"""of a weight that loads its own offset, in the time of one that does not"""


@dataclasses.dataclass(frozen=True)
class Taps:
    """The weights of a convolution: `counts` of them for each row of each filter, with offsets.

    Where it is `dense`, `offsets` are those of one row of every filter, and there are no counts.
    """

    dense: bool
    offsets: np.ndarray
    """uint8 or uint16"""
    counts: np.ndarray
    """uint8 or uint16 (filters * rows,)"""
    values: np.ndarray
    """int8"""

    @property
    def bytes(self) -> int:
        return self.offsets.nbytes + self.counts.nbytes + self.values.nbytes


@dataclasses.dataclass(frozen=True)
class Gaps:
    """The weights of a sparse fully connected layer."""

    counts: np.ndarray
    """uint16 (units,)"""
    gaps: np.ndarray
    """uint8"""
    values: np.ndarray
    """int8"""

    @property
    def bytes(self) -> int:
        return self.counts.nbytes + self.gaps.nbytes + self.values.nbytes


def taps_of(layer: Convolution, ring: Ring, optimize: str) -> Taps | None:
    """The cheaper of dense and sparse storage; None where no offset fits 16 bits.

    For the size by bytes, for the latency by the number of weights that are multiplied.
    """
    filters, rows, columns, channels = layer.kernel.shape
    kernel = layer.kernel.transpose(0, 1, 3, 2)
    across = np.arange(columns) * layer.dilation[1]
    places = across // ring.phases
    columns_at = (across % ring.phases) * ring.length + places
    if ring.copies > 1:  # a word at an odd column is read from the second copy
        columns_at += (places % 2) * (ring.phases * ring.length - 1)
    offsets = (np.arange(channels)[:, None] * ring.plane + columns_at) // ring.copies
    if offsets.max() > np.iinfo(np.uint16).max:
        return None
    dense = Taps(True, _narrow(offsets.reshape(-1)), np.zeros(0, np.uint8), kernel.reshape(-1))
    flat = kernel.reshape(filters * rows, channels * columns)
    present = flat != 0
    sparse = Taps(
        False,
        _narrow(np.broadcast_to(offsets.reshape(-1), flat.shape)[present]),
        _narrow(present.sum(axis=1)),
        flat[present],
    )
    if layer.packed:
        return sparse
    if optimize == "latency":
        return sparse if _OFFSET_TIME * present.sum() < present.size else dense
    return sparse if sparse.bytes < dense.bytes else dense


def gaps_of(layer: Dense, optimize: str) -> Gaps | None:
    """Sparse storage, where it is cheaper than dense; else None."""
    counts, gaps, values = [], [], []
    for row in layer.kernel:
        places = np.flatnonzero(row)
        steps = np.diff(places, prepend=0)
        extra = np.maximum(steps - 1, 0) // _LONGEST_GAP
        for step, more, value in zip(steps.tolist(), extra.tolist(), row[places], strict=True):
            gaps += [_LONGEST_GAP] * more
            values += [0] * more
            gaps.append(step - _LONGEST_GAP * more)
            values.append(int(value))
        counts.append(len(places) + int(extra.sum()))
    if max(counts, default=0) > np.iinfo(np.uint16).max:
        return None
    found = Gaps(np.array(counts, np.uint16), np.array(gaps, np.uint8), np.array(values, np.int8))
    if optimize == "latency":
        return found if _OFFSET_TIME * len(values) < layer.kernel.size else None
    return found if found.bytes < layer.kernel.size else None


def _narrow(values: np.ndarray) -> np.ndarray:
    """Unsigned integers in one byte each, or in two."""
    small = values.max(initial=0) <= np.iinfo(np.uint8).max
    return values.astype(np.uint8 if small else np.uint16)
