"""Which widths to try under a budget, by the score of what is stitched together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from compressor.searching.evolution import Evolution
from compressor.searching.structure import Structure

Cost = Literal["weights", "macs"]
_KEPT, _APART = 4, 1.5
"""candidates of a share, and how many times wider one layer of each is than of any better one, or
narrower"""
_MULTIPLE = 8
_WORST = 1e9
_POWER = 0.6
_WORK = 1.5
"""For the size: a share s of the weights goes with at most s^(1 / 1.5) of the multiply-accumulates.
Weights of a first convolution are few and their products many, so that it would stay wide, and all
training slow."""


class Proposals:
    """Scores widths of one model, each only once."""

    def __init__(
        self,
        structure: Callable[[], Structure],
        cost: Cost,
        evolution: Evolution,
        seed: int,
        may_go_on: Callable[[], bool] = lambda: True,
        most: float = math.inf,
    ) -> None:
        """`most` are the seconds that the widths of one share may take, about."""
        self._structure, self._cost = structure, cost
        self._evolution, self._seed, self._may_go_on = evolution, seed, may_go_on
        self.most = most
        self._scores: dict[tuple[int, ...], float] = {}

    def under(self, share: float) -> dict[str, Any]:
        """Widths that cost at most this share of the dense model's, the first with the best score.

        A JSON object: `candidates` (widths, score in nats, cost; none where a single channel of
        each costs more); `evaluations`; `cut`, whether the time of the search ended; and
        `cut_after`, the limit in seconds, where it was the share's own that ended.
        Any two candidates differ clearly, and one has all widths to about the same power, as those
        who design networks choose: training may judge otherwise than the score, which likes wide
        layers behind narrow ones.
        """
        structure = self._structure()
        seen: dict[tuple[int, ...], float] = {}
        end = time.monotonic() + self.most
        late = False

        def may_go_on() -> bool:
            nonlocal late
            late |= time.monotonic() >= end
            return not late and self._may_go_on()

        def objective(point: np.ndarray) -> float:
            widths = self.widths(point, share)
            if self._share(widths) > share:
                return _WORST
            key = tuple(widths.values())
            if seen and key not in seen and not may_go_on():
                return _WORST
            if key not in self._scores:
                structure.stitch(widths)
                score = structure.score()
                self._scores[key] = score if math.isfinite(score) else _WORST
            seen[key] = self._scores[key]
            return seen[key]

        try:
            # All widths in the same proportion, and to about the same power, to begin with.
            first = [np.full(len(structure.widths), power) for power in (1.0, _POWER)]
            self._evolution.minimise(objective, first, len(structure.widths), self._seed, may_go_on)
        finally:
            structure.restore()
        ranked = sorted(seen.items(), key=lambda pair: (pair[1], pair[0]))
        ranked = [pair for pair in ranked if pair[1] < _WORST] or ranked
        even = tuple(self.widths(first[1], share).values())
        best = _distinct([*ranked[:1], *((w, s) for w, s in ranked if w == even), *ranked[1:]])
        named = [(dict(zip(structure.widths, key, strict=True)), score) for key, score in best]
        candidates = [
            {"widths": widths, "score": score, "cost": self._costs(widths)}
            for widths, score in named
        ]
        cut = not self._may_go_on()
        found = {"share": share, "candidates": candidates, "evaluations": len(seen), "cut": cut}
        return found | ({"cut_after": self.most} if late else {})

    def _costs(self, widths: Mapping[str, int]) -> int:
        structure = self._structure()
        return structure.macs(widths) if self._cost == "macs" else structure.weights(widths)

    def _share(self, widths: Mapping[str, int]) -> float:
        """The share of the dense model's cost that these widths use up."""
        structure = self._structure()
        work = structure.macs(widths) / structure.macs(structure.widths)
        if self._cost == "macs":
            return work
        return max(structure.weights(widths) / structure.weights(structure.widths), work**_WORK)

    def widths(self, point: np.ndarray, share: float) -> dict[str, int]:
        """The widths in the proportions of `point` that use the share up: powers of the widths."""
        dense = self._structure().widths
        most = max(math.log(count) for count in dense.values()) or 1.0
        low, high = -most, 2 * most
        for _ in range(24):
            middle = (low + high) / 2
            if self._share(self._narrowed(point, middle)) > share:
                low = middle
            else:
                high = middle
        return self._narrowed(point, high)

    def _narrowed(self, point: np.ndarray, less: float) -> dict[str, int]:
        found = {}
        for share, (name, count) in zip(point, self._structure().widths.items(), strict=True):
            width = math.exp(min(float(share) * math.log(count) - less, math.log(count)))
            multiple = _MULTIPLE if self._cost == "macs" and width >= _MULTIPLE else 1
            found[name] = min(max(round(width / multiple) * multiple, 1), count)
        return found


_Scored = tuple[tuple[int, ...], float]


def _distinct(ranked: Sequence[_Scored]) -> list[_Scored]:
    """The first of these widths, without those that are much like a better one."""
    found: list[_Scored] = []
    for widths, score in ranked:
        apart = all(
            max(max(a / b, b / a) for a, b in zip(widths, other, strict=True)) >= _APART
            for other, _ in found
        )
        if apart and len(found) < _KEPT:
            found.append((widths, score))
    return found
