"""Which of several variants to take by their latencies, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from compressor.exporters.checking import Checked
from compressor.exporters.request import BALANCED, MAX_SLOWDOWN


@dataclasses.dataclass
class MeasuredVariants:
    """Variants that ran, each with its median latency beside that of dense float32.

    Rounding weights on training inputs takes long, so it is done only where a variant may be taken.
    """

    variants: Sequence[Checked]
    """with weights rounded to the nearest, which may not be good enough"""
    medians: np.ndarray
    """float64 (variants,), milliseconds"""
    dense: float
    """the same of dense float32"""
    rounded: Callable[[Checked], Checked]
    """gives a variant with the better rounding of its weights"""

    def __post_init__(self) -> None:
        self._settled: dict[int, Checked] = {}
        self.by_size = sorted(range(len(self.variants)), key=lambda n: self.variants[n].size)
        """the numbers of the variants, the smallest first"""

    def settled(self, number: int) -> Checked:
        """The variant as it is written."""
        if number not in self._settled:
            self._settled[number] = self.rounded(self.variants[number])
        return self._settled[number]

    def fastest(self) -> int | None:
        """The number of the fastest that passes."""
        return self._passing(np.argsort(self.medians, kind="stable").tolist())

    def smallest(self, limit: float) -> int | None:
        """The number of the smallest that passes and takes no longer than `limit`."""
        return self._passing(number for number in self.by_size if self.medians[number] <= limit)

    def told(self, chosen: int) -> str:
        """Why a variant is taken for the aim `balanced`, and what the aim `size` would give."""
        text = f"Of {len(self.variants)} variants {self._named(chosen)} is the smallest"
        slow = MAX_SLOWDOWN * self.dense
        for number in self.by_size[: self.by_size.index(chosen)]:
            if self.medians[number] <= slow and self._keeps(number):
                times = self.medians[number] / self.medians[chosen]
                return (
                    f"{text} that takes at most {BALANCED:g} times as long as the fastest; "
                    f"{self._named(number)} would have {self.variants[number].size:,} bytes and "
                    f"take {times:.1f} times as long: --optimize size."
                )
        return f"{text}, and takes at most {BALANCED:g} times as long as the fastest."

    def _named(self, number: int) -> str:
        return self.variants[number].request.quantize

    def _keeps(self, number: int) -> bool:
        return self.variants[number].verdict.passed or self.settled(number).verdict.passed

    def _passing(self, numbers: Iterable[int]) -> int | None:
        return next((n for n in numbers if self.settled(n).verdict.passed), None)
