"""What a search tries, and in which order.

Narrow structures come first: a few budgets, each with the widths that Differential Evolution finds
for it, retrained by successive halving (Jamieson and Talwalkar, 2016). For the size, single weights
then go from the best of them, gradually and distilled, down to the fewest that keep the accuracy:
the number falls as long as the goal holds, and is then closed in between what held and what did
not, in ever longer trainings. For the latency, where single zeros hardly count, the widths
themselves are closed in so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from compressor.importing import load_model
from compressor.pruning.kernels import all_kernels
from compressor.searching.allocation import lamp
from compressor.searching.laboratory import Done
from compressor.searching.steps import Step
from compressor.searching.trials import Budget, Trial, Trials
from compressor.training import derive_seed

SHARES = (1 / 16, 1 / 48, 1 / 128)
"""Of the dense model's weights, or multiply-accumulates: what is tried first."""
_WIDER = (1 / 6, 1 / 2.5)
"""What is tried where those come nowhere near the accuracy, before the dense model itself."""
_NEAR = 1.5
"""times the error that is allowed: what a longer training may make up for"""
BATCH = 128
_NARROW_EPOCHS, _SPARSE_EPOCHS = 6.0, 10.0
_LONGER = 8.0
"""epochs of the narrow model that single weights are taken from"""
_LEAST_STEPS = 430
"""of an epoch: as many as MNIST's has; a smaller data set is gone through more often"""
_PLANNED_EPOCHS = 55
"""of narrow models, in the shortest search that does all it should"""
_TRAINED_PART = 0.5
"""of the time budget that those are to take"""
_FIRST_PART = 0.2
"""of the time budget that the first trainings may take, if they were of the dense model"""
_NARROW_RATE, _SPARSE_RATE = 4e-3, 6e-3
_DISTILLATION = {"weight": 0.7, "temperature": 3.0}
_RAMP = 0.5
_DENSITY = 0.08
"""of a narrow model's weights that are left at first"""
_DOWN, _UP, _CLOSE = 0.72, 1.5, 1.07
_IDLE = 3
"""shares in a row that are rounded to widths that were tried: nothing is left to try"""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the trials, beside the model and the data."""

    minimize: Literal["size", "latency"]
    floor: float
    """validation accuracy that is accepted"""
    epoch: int
    """batches in a pass over the training examples"""
    weights: int
    """of the dense model's kernels"""
    seed: int
    most_steps: int | None = None
    """of a training"""
    pace: float = 0.0
    """seconds that a step of training the dense model takes, about; 0: not known"""


class Strategy:
    """Does the trials of one search."""

    def __init__(
        self,
        trials: Trials,
        budget: Budget,
        settings: Settings,
        propose: Callable[[float], dict[str, Any]] | None,
        narrow: Callable[[Step], Done],
        side_by_side: int = 1,
    ) -> None:
        """`propose` gives the widths for a share (None: no channel can go), `narrow` the model."""
        self._trials, self._budget, self._settings = trials, budget, settings
        self._propose, self._narrow = propose, narrow
        self._side_by_side = side_by_side
        self._stretch = 1.0

    def run(self) -> None:
        """Try until time or trials are used up, or nothing is left to try."""
        if self._propose is None:
            self._fit_first(_SPARSE_EPOCHS)
            self._close_in(None)
        elif self._settings.minimize == "latency":
            self._fit_first(_NARROW_EPOCHS)
            self._close_in_widths()
        else:
            self._fit_first(len(SHARES))
            best = self._halved()[:1]
            longer = self._trained(best, _LONGER, "narrow")
            self._close_in(min((*best, *longer), key=_loss, default=None))

    def holds(self, trial: Trial) -> bool:
        """Whether a trial keeps the accuracy."""
        return not trial.failed and trial.result["validation_accuracy"] >= self._settings.floor

    def _may_go_on(self, estimate: float = 0.0) -> bool:
        return self._trials.may_go_on and self._budget.left_for_trials > estimate

    # Narrow structures.

    def _halved(self) -> list[Trial]:
        """The narrow models that are left, the best first; none if none is near the accuracy."""
        started = [trial for share in SHARES for trial in self._started(share)]
        first = self._trained(started, 1.0, "narrow")
        self._find_stretch(first)
        second = self._trained(_promising(first), 3.0, "narrow") or first
        for share in _WIDER:
            if not any(map(self._is_near, second)):
                second = self._trained(self._started(share), 4.0, "narrow") or second
        second = [trial for trial in second if self._is_near(trial)]
        if len(second) <= 1 or not self._may_go_on():
            return sorted(second, key=_loss)
        kept = round(_DENSITY * min(map(_size, second)))
        pruned = self._trials.train(
            [(trial, self._sparse(trial, kept, 4.0)) for trial in second], f"{kept:,} weights"
        )
        losses = {trial.parent: _loss(trial) for trial in pruned}
        return sorted(second, key=lambda trial: losses.get(trial.name, math.inf))

    def _is_near(self, trial: Trial) -> bool:
        allowed = 1 - self._settings.floor
        return 1 - trial.result["validation_accuracy"] <= _NEAR * allowed

    def _started(self, share: float) -> list[Trial]:
        """The best structure at this share of the cost, not trained."""
        if not self._may_go_on():
            return []
        assert self._propose is not None
        candidates = self._propose(share)["candidates"]
        if not candidates:
            return []
        widths = candidates[0]["widths"]
        step = {"kind": "narrow", "widths": widths, "seed": self._settings.seed}
        trial = self._trials.start(step, lambda: self._narrow(step))
        return [] if trial.failed else [trial]

    def _trained(self, trials: Sequence[Trial], epochs: float, title: str) -> list[Trial]:
        if not self._may_go_on():
            return []
        dense = self._settings.weights
        shares = [(trial, trial.result["weights"] / dense) for trial in trials]
        return self._trials.train(
            [
                (trial, self._training(trial, epochs, _NARROW_RATE, share))
                for trial, share in shares
            ],
            title,
        )

    def _fit_first(self, epochs: float) -> None:
        """Shorten the first trainings, of so many epochs, where a slow model takes all the time."""
        if self._budget.seconds is not None:
            needed = epochs * max(self._settings.epoch, _LEAST_STEPS) * self._settings.pace
            self._stretch = min(_FIRST_PART * self._budget.seconds / max(needed, 1e-9), 1.0)

    def _find_stretch(self, trials: Sequence[Trial]) -> None:
        """Lengthen or shorten trainings, so that those that should be done fit the time."""
        if self._budget.seconds is None or not trials:
            return
        epoch = max(self._settings.epoch, _LEAST_STEPS)
        paces = (t.result["seconds"] / t.steps[-1]["steps"] for t in trials)
        pace = epoch * min(paces)
        fit = _TRAINED_PART * self._budget.seconds / max(_PLANNED_EPOCHS * pace, 1e-9)
        # More time goes into longer trainings and into more of them.
        self._stretch = min(math.sqrt(fit), 4.0) if fit > 1 else max(fit, 0.25)

    # Single weights.

    def _close_in(self, narrow: Trial | None) -> None:
        """Find the fewest weights that keep the accuracy, from the model of one trial."""
        weights = self._weights_of(narrow)
        epochs, kept = _SPARSE_EPOCHS, round(_DENSITY * weights)
        held, failed = math.inf, 0.0
        tried: set[tuple[int, float]] = set()
        while self._may_go_on(self._last_seconds()) and (kept, epochs) not in tried:
            tried.add((kept, epochs))
            targets = [kept]
            while len(targets) < self._side_by_side:
                targets.append(max(round(targets[-1] * _DOWN), 1))
            wanted = [(narrow, self._sparse(narrow, target, epochs)) for target in targets]
            before = len(self._trials.done)
            done = self._trials.train(wanted, f"{kept:,} weights")
            if len(self._trials.done) == before:
                return  # limited to so few steps that a longer training is the same one
            if not done:
                if not self._trials.may_go_on:
                    return
                failed = max(failed, kept)
            for trial in done:
                nonzeros = trial.result["nonzeros"]
                if self.holds(trial):
                    held = min(held, nonzeros)
                else:
                    failed = max(failed, nonzeros if nonzeros < held else 0.0)
            if failed >= held:
                failed = 0.0  # an accuracy is not monotone
            if held == math.inf:
                if kept >= 0.95 * weights:
                    return
                kept = min(round(max(kept, failed) * _UP), weights)
            elif failed == 0.0:
                kept = round(held * _DOWN)
            else:
                kept = round(math.sqrt(held * failed))
            if held / max(failed, 1.0) < _CLOSE or kept < 8:
                epochs, failed, kept = epochs * 1.6, 0.0, round(held * 0.9)

    def _weights_of(self, trial: Trial | None) -> int:
        return sum(array.size for array in self._kernels_of(trial).values())

    def _kernels_of(self, trial: Trial | None) -> dict[str, Any]:
        kernels = all_kernels(load_model(self._trials.model_of(trial)))
        return {name: k.numpy() for name, k in kernels.items() if k.variable.trainable}

    def _sparse(self, trial: Trial | None, kept: int, epochs: float) -> Step:
        sparsity = lamp(self._kernels_of(trial), kept)
        step = dict(self._training(trial, epochs, _SPARSE_RATE, 1.0))
        teacher = len(trial.steps) if trial is not None else 0
        return step | {
            "kind": "sparse",
            "sparsity": sparsity,
            "ramp": _RAMP,
            "teacher": teacher,
        }

    # Widths alone.

    def _close_in_widths(self) -> None:
        """Find the least multiply-accumulates that keep the accuracy."""
        held, failed, share, epochs = math.inf, 0.0, SHARES[0], _NARROW_EPOCHS
        idle = 0
        while self._may_go_on(self._last_seconds()) and share < 1 and idle < _IDLE:
            before = len(self._trials.done)
            done = self._trained(self._started(share), epochs, f"{100 * share:.2g} % of the work")
            idle = idle + 1 if len(self._trials.done) == before else 0
            if before == 0:
                self._find_stretch(done)
            if done and self.holds(done[0]):
                held = share
            else:
                failed = share
            if failed >= held:
                return
            if failed and held / failed < _CLOSE:
                epochs, failed = 1.6 * epochs, 0.0
            if held == math.inf:
                share *= 3
            else:
                share = math.sqrt(held * failed) if failed else held / 3

    def _training(self, trial: Trial | None, epochs: float, rate: float, density: float) -> Step:
        settings = self._settings
        steps = max(round(epochs * self._stretch * max(settings.epoch, _LEAST_STEPS)), 2)
        parent = trial.steps if trial is not None else ()
        return {
            "kind": "train",
            "steps": min(steps, settings.most_steps or steps),
            "batch_size": BATCH,
            "learning_rate": rate,
            "dropout_scale": min(math.sqrt(density), 1.0),
            "distillation": _DISTILLATION,
            "teacher": 0,
            "seed": derive_seed(settings.seed, f"search {len(parent)}"),
        }

    def _last_seconds(self) -> float:
        """How long the next trials may take: trials record their part of the time they shared."""
        if not self._trials.done:
            return 0.0
        seconds: float = self._trials.done[-1].result["seconds"]
        return seconds * self._side_by_side


def _loss(trial: Trial) -> float:
    return float(trial.result["validation_loss"])


def _size(trial: Trial) -> int:
    return int(trial.result["weights"])


def _promising(trials: Sequence[Trial]) -> list[Trial]:
    """The two smallest whose error is at most twice the least; if there are fewer, by error."""
    errors = {trial.name: 1 - trial.result["validation_accuracy"] for trial in trials}
    least = min(errors.values(), default=0.0)
    close = [trial for trial in trials if errors[trial.name] <= 2 * least]
    others = sorted((t for t in trials if t not in close), key=lambda t: errors[t.name])
    return [*sorted(close, key=_size), *others][:2]
