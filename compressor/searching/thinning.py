"""Single weights of a narrow model: the fewest bytes that keep the accuracy.

Weights go gradually, while the model is trained and taught by itself as it was. Each training goes
on from the smallest model that kept the accuracy, so that no training is lost: what it starts from
is pruned to less than half a training later. Zeros may grow back until then. A model that misses
the accuracy by little is trained on as it is, once, before it counts as too small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from compressor.searching.allocation import allocate, least_bytes
from compressor.searching.steps import Step
from compressor.searching.trials import Trial, Trials

EPOCHS = 10.0
"""of a training, at first"""
_LEFT, _LEFT_AFTER_LITTLE, _LITTLE = 0.15, 0.4, 2000
"""of the bytes that zeros can save: what is left of them at first, by a training of so many steps
at least, and by a shorter one"""
_RATE = 6e-3
_RAMP = 0.5
_DOWN, _UP, _CLOSE, _AGAIN = 0.75, 1.5, 0.96, 0.92
_LONGER = 1.6
"""how many times longer a training gets where a shorter one was not enough"""
_SHORTEST = 0.5
"""of a training that fills what is left of the time"""
_NOTHING = 16
"""bytes that are not worth a training"""


def first_target(kernels: Mapping[str, Any], steps: int) -> int:
    """The bytes that the kernels of a narrow model are pruned to at first, in so many steps."""
    whole, least = sum(array.size for array in kernels.values()), least_bytes(kernels)
    return round(least + (_LEFT if steps >= _LITTLE else _LEFT_AFTER_LITTLE) * (whole - least))


class Thinning:
    """Finds how few bytes one model can do with."""

    def __init__(
        self,
        trials: Trials,
        training: Callable[[Trial | None, float, float], Step],
        kernels: Callable[[Trial | None], Mapping[str, Any]],
        holds: Callable[[Trial], bool],
        is_near: Callable[[Trial], bool],
        left: Callable[[], float],
        side_by_side: int = 1,
        decided: Callable[[str, float], float] = lambda name, now: now,
    ) -> None:
        """`training` gives the step that goes on from a trial: epochs, learning rate.

        `kernels` are the arrays of a trial's model that are trained (None: of the dense one),
        `left` the seconds that trainings may still take, and `decided` as of `Strategy`.
        """
        self._trials, self._training, self._kernels = trials, training, kernels
        self._holds, self._is_near, self._left = holds, is_near, left
        self._decided = decided
        self._side_by_side = side_by_side
        self._given_up: dict[str, int] = {}

    def step(self, start: Trial | None, narrow: Trial | None, target: int, epochs: float) -> Step:
        """The step that prunes the model of `start` to so many bytes, taught by that of `narrow`.

        None is the dense model.
        """
        return {
            **self._training(start, epochs, _RATE),
            "kind": "sparse",
            "sparsity": allocate(self._kernels(start), target),
            "ramp": _RAMP,
            "teacher": len(narrow.steps) if narrow is not None else 0,
        }

    def run(
        self,
        narrow: Trial | None,
        *,
        give_up: Callable[[], bool] = lambda: False,
        most: float = math.inf,
    ) -> bool:
        """Try until time or trials are used up, or nothing is left to try.

        Nothing of more than `most` bytes is tried. Where the first target is missed, it is asked
        whether to `give_up`: another call goes on from there. Returns whether a model keeps the
        accuracy.
        """
        kernels = self._kernels(narrow)
        whole, least = sum(array.size for array in kernels.values()), least_bytes(kernels)
        whole = round(min(whole, most))
        if whole - least < _NOTHING:
            return False
        start, epochs = narrow, EPOCHS
        steps = self._training(narrow, self._fitting(narrow, epochs), _RATE)["steps"]
        target = min(first_target(kernels, steps), whole)
        held: Trial | None = None
        name = narrow.name if narrow is not None else ""
        failed, again = self._given_up.get(name, least), False

        def between(low: float, part: float) -> int:
            return round(least + part * (low - least))

        if failed > least:
            target = min(between(failed, _UP), whole)
        missed = False
        while length := self._fitting(start, epochs * (_LONGER if again else 1)):
            targets = [target]
            while len(targets) < self._side_by_side:
                targets.append(between(targets[-1], _DOWN))
            wanted = [(start, self.step(start, narrow, one, length)) for one in targets]
            before = len(self._trials.done)
            done = self._trials.train(wanted, f"{target:,} bytes of weights")
            if len(self._trials.done) == before:
                break  # limited to so few steps that a longer training is the same one
            best = min(filter(self._holds, done), key=kernel_bytes, default=None)
            if best is not None and (held is None or kernel_bytes(best) < kernel_bytes(held)):
                held = best
            elif best is None and done and not again and self._is_near(done[0]):
                start, again = done[0], True
                continue
            misses = [kernel_bytes(trial) for trial in done if not self._holds(trial)]
            smallest = math.inf if held is None else kernel_bytes(held)
            # An accuracy is not monotone: what fails above what held says nothing.
            misses += [target] if best is None else []
            failed = max((failed, *(miss for miss in misses if miss < smallest)))
            start, again = held or narrow, False
            if held is None:
                if target >= whole:
                    break
                if not missed and give_up():
                    self._given_up[name] = failed
                    break
                missed = True
                up = _UP if done and self._is_near(done[0]) else _UP * _UP
                target = min(between(max(target, failed), up), whole)
                continue
            part = math.sqrt((failed - least) / max(smallest - least, 1)) or _DOWN
            if part * part > _CLOSE or smallest - least < _NOTHING:
                epochs, failed, part = epochs * _LONGER, least, _AGAIN
            target = between(smallest, part)
            if smallest - target < 1:
                break
        return held is not None

    def has_given_up(self, narrow: Trial) -> bool:
        """Whether the first target was missed, and something else was to be tried first."""
        return narrow.name in self._given_up

    def _fitting(self, start: Trial | None, epochs: float) -> float:
        """So many epochs, fewer where time is short, 0 where there is none for another trial."""
        if not self._trials.may_go_on or self._left() <= 0:
            return 0.0
        done = [trial for trial in self._trials.done if not trial.failed]
        if not done:
            return epochs
        like = start or done[-1]
        pace = like.result["seconds"] / like.steps[-1]["steps"] * self._side_by_side
        needed = pace * self._training(start, epochs, _RATE)["steps"]
        fits = min(self._left() / max(needed, 1e-9), 1.0)
        part = math.floor(4 * fits) / 4 if fits >= _SHORTEST else 0.0
        return epochs * self._decided(f"length-{len(self._trials.done)}-{like.name}", part)


def kernel_bytes(trial: Trial) -> int:
    """About the bytes of a trial's kernels in a file, without those that are not trained."""
    return int(trial.result["kernel_bytes"] - trial.result.get("frozen_bytes", 0))
