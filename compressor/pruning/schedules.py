"""Sparsity schedules of iterative and gradual pruning."""

from __future__ import annotations

import math

from compressor.errors import UsageError

# Mask updates in gradual pruning, up to twice as many: each costs about as much as a step.
UPDATES = 40


def cubic_sparsity(target: float, progress: float) -> float:
    """The sparsity at `progress` (0 to 1) of a gradual pruning that starts at 0.

    s = target (1 - (1 - progress)^3): most goes early, while much is redundant. Source: Zhu and
    Gupta, To prune, or not to prune (2017), equation 1, with initial sparsity 0.
    """
    return target * (1 - (1 - min(max(progress, 0.0), 1.0)) ** 3)


def round_sparsity(target: float, number: int, rounds: int) -> float:
    """The sparsity after round `number` (from 1) of `rounds`: each removes the same fraction.

    1 - (1 - target)^(number / rounds), as Frankle and Carbin prune iteratively (2019).
    """
    return target if number == rounds else 1 - (1 - target) ** (number / rounds)


def update_steps(steps: int, ramp: float) -> dict[int, float]:
    """The steps at which gradual pruning updates its masks: step -> progress, 0 to 1.

    The last update, at progress 1, comes after `ramp` of the `steps`; the rest only retrain.
    Raises UsageError when the ramp is shorter than one step.
    """
    end = math.floor(steps * ramp)
    if end < 1:
        hint = "give more --max-steps"
        raise UsageError("too few steps for gradual pruning", value=steps, hint=hint)
    every = max(end // UPDATES, 1)
    return {step: step / end for step in range(every, end, every)} | {end: 1.0}
