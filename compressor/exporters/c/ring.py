"""Rows of the input of a convolution, as it reads them."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Ring:
    """Rows of the input of a convolution as 16-bit integers, without their zero, with margins.

    A row holds for each channel `phases` parts of `length` values: part p has the columns p, p +
    phases, p + 2 phases, ..., so that a window that moves by `phases` columns reads neighbours.
    `pitch` lies from one channel to the next; it is less than a channel's values where the zeros
    before the next one serve as those behind this one.
    """

    rows: int
    channels: int
    phases: int
    length: int
    pitch: int
    copies: int = 1
    """2: a second copy lies one column to the left, so that words at odd columns are aligned"""

    @property
    def part(self) -> int:
        """Values of a copy of a row."""
        return (self.channels - 1) * self.pitch + self.phases * self.length

    @property
    def row(self) -> int:
        return self.copies * self.part

    @property
    def bytes(self) -> int:
        return 2 * self.rows * self.row

    def offsets(self, channels: int, columns: int, dilation: int) -> np.ndarray:
        """Where the taps of a row of a filter lie in a row: int64 (channels, columns).

        In words of two values where there are two copies.
        """
        across = np.arange(columns) * dilation
        places = across // self.phases
        found = (across % self.phases) * self.length + places
        if self.copies > 1:  # a word at an odd column is read from the second copy
            found += (places % 2) * (self.part - 1)
        offsets: np.ndarray = (np.arange(channels)[:, None] * self.pitch + found) // self.copies
        return offsets
