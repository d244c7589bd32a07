"""Which widths to try under a budget, by the score of what is stitched together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from compressor.searching.evolution import Evolution
from compressor.searching.structure import Structure

Cost = Literal["weights", "macs"]
_KEPT = 5
_MULTIPLE = 8
_WORST = 1e9


class Proposals:
    """Scores widths of one model, each only once."""

    def __init__(
        self,
        structure: Callable[[], Structure],
        cost: Cost,
        evolution: Evolution,
        seed: int,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self._structure, self._cost = structure, cost
        self._evolution, self._seed, self._may_go_on = evolution, seed, may_go_on
        self._scores: dict[tuple[int, ...], float] = {}

    def under(self, share: float) -> dict[str, Any]:
        """The best widths that cost at most this share of the dense model's, the best first.

        A JSON object: `candidates` (widths, score in nats, cost; none where a single channel of
        each costs more), `evaluations`, and `cut`, whether time ended before the evolution did.
        """
        structure = self._structure()
        budget = share * self._costs(structure.widths)
        seen: dict[tuple[int, ...], float] = {}

        cut = False

        def objective(point: np.ndarray) -> float:
            nonlocal cut
            widths = self._widths(point, budget)
            if self._costs(widths) > budget:
                return _WORST
            key = tuple(widths.values())
            if seen and key not in seen and not self._may_go_on():
                cut = True
                return _WORST
            if key not in self._scores:
                structure.stitch(widths)
                score = structure.fit_last()
                self._scores[key] = score if math.isfinite(score) else _WORST
            seen[key] = self._scores[key]
            return seen[key]

        try:
            # All widths in the same proportion, to begin with.
            first = [np.ones(len(structure.widths))]
            self._evolution.minimise(
                objective, first, len(structure.widths), self._seed, self._may_go_on
            )
        finally:
            structure.restore()
        best = sorted(seen.items(), key=lambda pair: (pair[1], pair[0]))[:_KEPT]
        named = [(dict(zip(structure.widths, key, strict=True)), score) for key, score in best]
        candidates = [
            {"widths": widths, "score": score, "cost": self._costs(widths)}
            for widths, score in named
        ]
        cut = cut or not self._may_go_on()
        return {"share": share, "candidates": candidates, "evaluations": len(seen), "cut": cut}

    def _costs(self, widths: Mapping[str, int]) -> int:
        structure = self._structure()
        return structure.macs(widths) if self._cost == "macs" else structure.weights(widths)

    def _widths(self, point: np.ndarray, budget: float) -> dict[str, int]:
        """The widths in the proportions of `point` that use the budget up: powers of the widths."""
        dense = self._structure().widths
        most = max(math.log(count) for count in dense.values()) or 1.0
        low, high = -most, 2 * most
        for _ in range(24):
            middle = (low + high) / 2
            if self._costs(self._narrowed(point, middle)) > budget:
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
