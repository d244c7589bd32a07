"""Which of several variants to take by their latencies, and why."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from compressor.exporters.checking import Checked
from compressor.exporters.request import BALANCED


@dataclasses.dataclass
class MeasuredVariants:
    """Variants that ran, each with its median latency.

    Rounding weights on training inputs takes long, so it is done only where a variant may be taken.
    """

    variants: Sequence[Checked]
    """with weights rounded to the nearest, which may not be good enough"""
    medians: np.ndarray
    """float64 (variants,), milliseconds"""
    rounded: Callable[[Checked], Checked]
    """gives a variant with the better rounding of its weights"""
    _settled: dict[int, Checked] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def by_size(self) -> list[int]:
        """The numbers of the variants, the smallest first."""
        return sorted(range(len(self.variants)), key=lambda number: self.variants[number].size)

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

    def told(self, chosen: int, limit: float) -> str:
        """Why a variant is taken for the aim `balanced`, and what the aim `size` would give.

        That takes no longer than `limit`. Empty where there was nothing to choose from.
        """
        count = len(self.variants)
        if count < 2:
            return ""
        taken = self.variants[chosen].request.quantize
        text = f"Of {count} variants {taken} is the smallest"
        smaller = self.by_size[: self.by_size.index(chosen)]
        for number in smaller:
            if self.medians[number] > limit:
                continue
            other = self.variants[number]
            other = other if other.verdict.passed else self.settled(number)
            if other.verdict.passed:
                times = self.medians[number] / self.medians[chosen]
                called: str = other.request.quantize
                called = f"a smaller one in {taken}" if called == taken else called
                return (
                    f"{text} that takes at most {BALANCED:g} times as long as the fastest; "
                    f"{called} would have {other.size:,} bytes and take "
                    f"{times:.1f} times as long: --optimize size."
                )
        link = " that passes and" if smaller else ", and"
        return f"{text}{link} takes at most {BALANCED:g} times as long as the fastest."

    def _passing(self, numbers: Iterable[int]) -> int | None:
        return next((n for n in numbers if self.settled(n).verdict.passed), None)
