"""What a search tries, and in which order.

Narrow structures come first: a few budgets, each with the widths that Differential Evolution finds
for it, retrained by successive halving (Jamieson and Talwalkar, 2016). Wide ones follow only where
none comes near the accuracy: what is narrow is trained in a fraction of the time. For the size,
single weights then go from the best of them, see `thinning`. For the latency, where single zeros
hardly count, the widths themselves are closed in between what held and what did not, in ever longer
trainings.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from compressor.importing import load_model
from compressor.pruning.kernels import all_kernels
from compressor.searching import thinning
from compressor.searching.laboratory import Done
from compressor.searching.steps import Step
from compressor.searching.thinning import Thinning
from compressor.searching.trials import Budget, Trial, Trials
from compressor.training import derive_seed

SHARES = (1 / 48, 1 / 128)
"""Of the dense model's weights: what is tried first for the size."""
_WIDER = (1 / 16, 1 / 6, 1 / 2.5)
"""What is tried where those come nowhere near the accuracy, before the dense model itself."""
_FIRST_WORK = 1 / 16
"""of the dense model's multiply-accumulates: what is tried first for the latency"""
_NEAR, _SPARE = 1.5, 0.8
"""times the error that is allowed: what a longer training may make up for, and what pruning may
take up"""
BATCH = 128
_CANDIDATES = 3
"""of a share"""
_FIRST_EPOCHS, _SECOND_EPOCHS, _NARROW_EPOCHS = 1.0, 3.0, 6.0
_LEAST_STEPS = 430
"""of an epoch: as many as MNIST's has; a smaller data set is gone through more often"""
_PLANNED_EPOCHS = 55
"""of narrow models, in the shortest search that does all it should"""
_TRAINED_PART = 0.5
"""of the time budget that those are to take"""
_FIRST_PART = 0.2
"""of the time budget that the first trainings may take, if they were of the dense model"""
_NARROW_RATE = 4e-3
_DISTILLATION = {"weight": 0.7, "temperature": 3.0}
_CLOSE = 1.07
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
        self._thinning = Thinning(
            trials,
            lambda trial, epochs, rate: self._training(trial, epochs, rate, 1.0),
            self._kernels_of,
            self.holds,
            self._is_near,
            lambda: budget.left_for_trials,
            side_by_side,
        )

    def run(self) -> None:
        """Try until time or trials are used up, or nothing is left to try."""
        if self._propose is None:
            self._fit_first(thinning.EPOCHS)
            self._thinning.run(None)
        elif self._settings.minimize == "latency":
            self._fit_first(_NARROW_EPOCHS)
            self._close_in_widths()
        else:
            self._fit_first(_FIRST_EPOCHS * _CANDIDATES * len(SHARES))
            best = self._halved()
            longer = self._trained([best], _NARROW_EPOCHS, "narrow") if best else []
            for share in _WIDER:
                # What does not hold before it is pruned hardly does so afterwards.
                if best is not None and not any(map(self.holds, longer)):
                    wider = self._started(share)
                    longer += self._trained(wider, _FIRST_EPOCHS + _SECOND_EPOCHS, "narrow")
            order = {trial.name: (not self.holds(trial), _loss(trial)) for trial in longer}
            self._thinning.run(min(longer, key=lambda trial: order[trial.name], default=best))

    def holds(self, trial: Trial) -> bool:
        """Whether a trial keeps the accuracy."""
        return not trial.failed and trial.result["validation_accuracy"] >= self._settings.floor

    def _may_go_on(self, estimate: float = 0.0) -> bool:
        return self._trials.may_go_on and self._budget.left_for_trials > estimate

    # Narrow structures.

    def _halved(self) -> Trial | None:
        """The narrow model that is left; None if none is near the accuracy."""
        started = [self._started(share, _CANDIDATES) for share in SHARES]
        first = self._trained([t for trials in started for t in trials], _FIRST_EPOCHS, "narrow")
        self._find_stretch(first)
        shares = [{trial.name for trial in trials} for trials in started]
        groups = [[trial for trial in first if trial.parent in names] for names in shares]
        best = [min(group, key=_loss) for group in groups if group]
        trained = self._trained(best, _SECOND_EPOCHS, "narrow") or best
        for share in _WIDER:
            if not any(map(self._is_near, trained)):
                epochs = _FIRST_EPOCHS + _SECOND_EPOCHS
                trained = self._trained(self._started(share), epochs, "narrow") or trained
        # A small one that is sure to hold leaves less to prune; else what is lost least.
        spare = [trial for trial in trained if self._error(trial) <= _SPARE]
        if spare:
            return min(spare, key=_weights)
        return min(filter(self._is_near, trained), key=_loss, default=None)

    def _is_near(self, trial: Trial) -> bool:
        return self._error(trial) <= _NEAR

    def _error(self, trial: Trial) -> float:
        """Times the error that is allowed."""
        error = 1.0 - trial.result["validation_accuracy"]
        return error / max(1 - self._settings.floor, 1e-9)

    def _started(self, share: float, most: int = 1) -> list[Trial]:
        """The best structures at this share of the cost, not trained."""
        if not self._may_go_on():
            return []
        assert self._propose is not None
        found = []
        for candidate in self._propose(share)["candidates"][:most]:
            step = {
                "kind": "narrow",
                "widths": candidate["widths"],
                "seed": self._settings.seed,
            }
            found.append(self._trials.start(step, functools.partial(self._narrow, step)))
        return [trial for trial in found if not trial.failed]

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

    def _kernels_of(self, trial: Trial | None) -> dict[str, Any]:
        kernels = all_kernels(load_model(self._trials.model_of(trial)))
        return {name: k.numpy() for name, k in kernels.items() if k.variable.trainable}

    # Widths alone.

    def _close_in_widths(self) -> None:
        """Find the least multiply-accumulates that keep the accuracy."""
        held, failed, share, epochs = math.inf, 0.0, _FIRST_WORK, _NARROW_EPOCHS
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


def _weights(trial: Trial) -> int:
    return int(trial.result["weights"])
