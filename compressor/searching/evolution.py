"""Differential Evolution over what does not separate: the widths of all layers together.

Source: Storn and Price, Differential Evolution (1997); its schemes by scipy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compressor.errors import UsageError

SCHEMES = {
    "rand/1": "rand1bin",
    "rand/2": "rand2bin",
    "best/1": "best1bin",
    "best/2": "best2bin",
}
"""Name in the literature -> strategy of scipy, all with binomial crossover."""
_NEAR = 0.15
"""standard deviation of what is drawn near a point to begin with"""


@dataclasses.dataclass(frozen=True)
class Evolution:
    """How Differential Evolution proposes: `scale` is F, `crossover` CR, `population` N.

    The first generation is drawn; `generations` follow it. Raises UsageError for a value that
    cannot be used.
    """

    scheme: str = "best/2"
    population: int = 10
    scale: float = 0.6
    crossover: float = 0.8
    generations: int = 2

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            hint = f"choose from {', '.join(SCHEMES)}"
            raise UsageError(
                "unknown scheme of Differential Evolution", value=self.scheme, hint=hint
            )
        if not 5 <= self.population <= 10_000:
            raise UsageError("the population is 5 to 10,000", value=self.population)
        if not 0 < self.scale < 2:
            raise UsageError("the scale F lies between 0 and 2", value=self.scale)
        if not 0 <= self.crossover <= 1:
            raise UsageError("the crossover rate lies in [0, 1]", value=self.crossover)
        if not 1 <= self.generations <= 10_000:
            raise UsageError("the generations are 1 to 10,000", value=self.generations)

    def describe(self) -> dict[str, Any]:
        """As a JSON object."""
        return dataclasses.asdict(self)

    def minimise(
        self,
        objective: Callable[[np.ndarray], float],
        first: Sequence[np.ndarray],
        dimensions: int,
        seed: int,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """Call `objective` with points in [0, 1]^dimensions, (dimensions,), looking for the least.

        `first` are points to begin with, at least one. Half of the population are these and others
        that are drawn near them by `seed`, cut off at the bounds, where the best often lies; the
        other half is drawn anywhere. The same seed and values give the same points. It ends early
        after a generation where it may not go on.
        """
        from scipy.optimize import differential_evolution

        generator = np.random.default_rng(seed)
        population = generator.random((self.population, dimensions))
        half = (self.population // 2, dimensions)
        near = generator.normal(0, _NEAR, half)
        near[: len(first)] = 0
        population[: len(near)] = np.clip(np.resize(first, half) + near, 0, 1)
        differential_evolution(
            objective,
            [(0.0, 1.0)] * dimensions,
            strategy=SCHEMES[self.scheme],
            maxiter=self.generations,
            init=population,
            mutation=self.scale,
            recombination=self.crossover,
            tol=0,
            polish=False,
            rng=generator,
            callback=lambda *_, **__: not may_go_on(),
        )
