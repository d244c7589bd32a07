"""What a search tries, and in which order.

A narrow structure comes first, with the widths that Differential Evolution finds for a share of the
weights; of a few that differ the best after a short training gets one long one. What is narrow is
trained in a fraction of the time, and how few weights it can do without depends on how well it is
trained before any go. For the size, single weights then go from the narrowest that keeps the
accuracy, see `thinning`; a wider one follows where that misses its first target, and half of the
time is left. For the latency, where single zeros hardly count, the widths themselves are closed in
between what held and what did not, in ever longer trainings.
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
from compressor.searching.standard import Standard
from compressor.searching.steps import Step
from compressor.searching.thinning import Thinning, kernel_bytes
from compressor.searching.trials import Budget, Trial, Trials
from compressor.training import derive_seed

SHARES = (1 / 64, 1 / 20, 1 / 6, 1 / 2.5)
"""Of the dense model's weights: what is tried for the size, before the dense model itself."""
_FIRST_WORK, _FIRST_PACE = 1 / 16, 0.3
"""of the dense model's multiply-accumulates: what is tried first for the latency, and of the time
that a step of training the dense model takes: what a step of that takes, at most"""
_HOPELESS, _FAR, _NEAR = 2.5, 5.0, 1.5
"""times the error that is allowed: what is not worth a long training after the first, beyond which
the second share is passed over, and what is pruned where nothing holds"""
_ALLOWED, _PATIENCE = 0.01, 0.1
"""of first trainings: an error of a fraction that is allowed at any rate, since one example of few
is no sign; and the part of an epoch that counts as least, by whose root more is allowed"""
BATCH = 128
_CANDIDATES = 2
"""of a share"""
_ALIKE = 1.15
"""times the least loss after the first training; of those the largest is trained on, as pruning has
more to choose from"""
_FIRST_EPOCHS, _NARROW_EPOCHS = 1.0, 8.0
_LEAST_FIRST = 0.5
"""epochs of a first training where it is shortened and time allows: after fewer it says little"""
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
_LONGEST_PART = 0.5
"""of the time that is left, which a long training may take"""
_WIDER_PART = 0.5
"""of the time and of the trials, which are to be left for a wider model"""
_CLOSE = 1.07
_IDLE = 3
"""shares in a row that are rounded to widths that were tried: nothing is left to try"""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the trials, beside the model and the data."""

    minimize: Literal["size", "latency"]
    standard: Standard
    """what is asked of the metrics on the validation examples"""
    epoch: int
    """batches in a pass over the training examples"""
    weights: int
    """of the dense model's kernels"""
    seed: int
    most_steps: int | None = None
    """of a training"""
    pace: float = 0.0
    """seconds that a step of training the dense model takes, about; 0: not known"""
    shift: int = 0
    """pixels that images are shifted by while training"""


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
        decided: Callable[[str, float], float] = lambda name, now: now,
    ) -> None:
        """`propose` gives the widths for a share (None: no channel can go), `narrow` the model.

        `decided` gives a decision that depends on the time, a number by its name, as it was made
        first.
        """
        self._trials, self._budget, self._settings = trials, budget, settings
        self._propose, self._narrow = propose, narrow
        self._side_by_side, self._decided = side_by_side, decided
        self._stretch = 1.0
        self._thinning = Thinning(
            trials,
            lambda trial, epochs, rate: self._training(trial, epochs, rate, 1.0, taught=True),
            self._kernels_of,
            self.holds,
            self._is_near,
            lambda: budget.left_for_trials,
            side_by_side,
            decided,
        )

    def run(self) -> None:
        """Try until time or trials are used up, or nothing is left to try."""
        if self._propose is None:
            self._fit_first(thinning.EPOCHS)
            self._thinning.run(None)
        elif self._settings.minimize == "latency":
            self._fit_first(_NARROW_EPOCHS * _FIRST_PACE)
            self._close_in_widths()
        else:
            self._fit_first(_FIRST_EPOCHS * _CANDIDATES)
            self._prune_narrow()

    def holds(self, trial: Trial) -> bool:
        """Whether a trial is good enough."""
        return not trial.failed and self._settings.standard.holds(trial.result)

    def _may_go_on(self, estimate: float = 0.0) -> bool:
        return self._trials.may_go_on and self._budget.left_for_trials > estimate

    # Narrow structures.

    def _prune_narrow(self) -> None:
        """Prune the narrowest model that holds; one that is wider where it misses the first target.

        Where that is no smaller than the narrow one was, the narrow one is pruned less.
        """
        found: list[Trial] = []
        narrow: Trial | None = None
        first: list[Trial] = []
        far = False
        for share in SHARES:
            if far and share == SHARES[1]:
                continue
            epochs = self._first_epochs(share, first)
            first = self._trained(self._started(share, _CANDIDATES), epochs, "narrow")
            if share == SHARES[0]:
                self._find_stretch(first)
            errors = {trial.name: self._first_error(trial) for trial in first}
            far = min(errors.values(), default=0.0) > _FAR
            hopeful = [trial for trial in first if errors[trial.name] <= _HOPELESS]
            least = min(map(_loss, hopeful), default=0.0)
            alike = [trial for trial in hopeful if _loss(trial) <= _ALIKE * least]
            for best in sorted(alike, key=_weights, reverse=True)[:1]:
                trained = self._trained_long(best, _NARROW_EPOCHS, "narrow", self.holds)
                found += trained or [best]
            if not any(map(self.holds, found)):
                continue
            best = min(reversed(found), key=self._rank)
            if narrow is None:
                self._thinning.run(best, give_up=self._may_widen)
                if not self._thinning.has_given_up(best):
                    return
                narrow = best
            elif best is narrow or not self._thinning.run(best, most=kernel_bytes(narrow)):
                break  # one that is wider is not always better
            else:
                return
        near = filter(self._is_near, found)
        self._thinning.run(narrow or min(near, key=self._rank, default=None))

    def _may_widen(self) -> bool:
        """Whether half of the time and of the trials are left; decided once, as all follows."""
        budget = self._budget
        few = budget.trials is not None and len(self._trials.done) > _WIDER_PART * budget.trials
        short = budget.seconds is not None and budget.left < _WIDER_PART * budget.seconds
        return bool(self._decided("wider", not few and not short))

    @property
    def _epoch(self) -> int:
        """Steps, of a small data set those of several passes."""
        return max(self._settings.epoch, _LEAST_STEPS)

    def _first_error(self, trial: Trial) -> float:
        """That of a first training, of which less is asked where it was less than an epoch."""
        part = min(max(trial.steps[-1]["steps"] / self._epoch, _PATIENCE), 1.0)
        return math.sqrt(part) * self._settings.standard.error(trial.result, _ALLOWED)

    def _is_near(self, trial: Trial) -> bool:
        return self._error(trial) <= _NEAR

    def _error(self, trial: Trial) -> float:
        """Times the error that is allowed."""
        return self._settings.standard.error(trial.result)

    def _rank(self, trial: Trial) -> tuple[float, float]:
        """Less is better; the loss of a model that was taught says little beside another's."""
        return self._error(trial), _loss(trial)

    def _started(self, share: float, most: int = 1) -> list[Trial]:
        """The best structures at this share of the cost, not trained."""
        if not self._may_go_on():
            return []
        assert self._propose is not None
        found: list[Trial] = []
        for candidate in self._propose(share)["candidates"]:
            if len(found) == most:
                break
            step = {
                "kind": "narrow",
                "widths": candidate["widths"],
                "seed": self._settings.seed,
            }
            trial = self._trials.start(step, functools.partial(self._narrow, step))
            found += [] if trial.failed else [trial]
        return found

    def _trained(
        self, trials: Sequence[Trial], epochs: float, title: str, *, taught: bool = False
    ) -> list[Trial]:
        if not self._may_go_on():
            return []
        dense = self._settings.weights
        shares = [(trial, trial.result["weights"] / dense) for trial in trials]
        return self._trials.train(
            [
                (trial, self._training(trial, epochs, _NARROW_RATE, share, taught=taught))
                for trial, share in shares
            ],
            title,
        )

    def _trained_long(
        self, start: Trial, epochs: float, title: str, enough: Callable[[Trial], bool]
    ) -> list[Trial]:
        """Trained on the labels alone and, if that is not enough, on with the dense model's help.

        A teacher that knows little more than its pupil holds it back, so that it comes second.
        """
        found: list[Trial] = []
        for taught in (False, True):
            last = found[-1] if found else start
            kind = "taught" if taught else "labels"
            fitting = self._fitting(start, epochs, f"{last.name}-{kind}")
            found += self._trained([last], fitting, title, taught=taught)
            if any(map(enough, found)):
                break
        return found

    def _first_epochs(self, share: float, before: Sequence[Trial]) -> float:
        """How many epochs the first trainings at a share take, after those `before`."""
        least = _LEAST_FIRST / self._stretch
        if least <= _FIRST_EPOCHS or not before or not self._may_go_on():
            return _FIRST_EPOCHS
        # Such widths take at most this part of the dense model's multiply-accumulates.
        pace = max(*map(_pace, before), self._settings.pace * share ** (2 / 3))
        steps = _CANDIDATES * _LEAST_FIRST * self._epoch
        fits = pace * steps <= _FIRST_PART * self._budget.left_for_trials
        return least if self._decided(f"first-{share:.6f}", fits) else _FIRST_EPOCHS

    def _fitting(self, start: Trial, epochs: float, name: str) -> float:
        """So many epochs, or fewer where they would take most of the time that is left.

        `start` is a trial that was trained as fast, `name` what the length is kept by.
        """
        steps = start.steps[-1].get("steps")
        if steps is None or self._budget.seconds is None:
            return epochs
        pace = start.result["seconds"] * self._side_by_side / steps
        needed = pace * self._training(start, epochs, _NARROW_RATE, 1.0, taught=False)["steps"]
        fits = _LONGEST_PART * self._budget.left_for_trials / max(needed, 1e-9)
        part = min(max(math.floor(4 * fits), 1) / 4, 1.0)
        return epochs * self._decided(f"length-{name}", part)

    def _fit_first(self, epochs: float) -> None:
        """Shorten the first trainings, of so many epochs, where a slow model takes all the time."""
        if self._budget.seconds is not None:
            needed = epochs * self._epoch * self._settings.pace
            self._stretch = min(_FIRST_PART * self._budget.seconds / max(needed, 1e-9), 1.0)

    def _find_stretch(self, trials: Sequence[Trial]) -> None:
        """Lengthen or shorten trainings, so that those that should be done fit the time."""
        if self._budget.seconds is None or not trials:
            return
        pace = self._epoch * min(map(_pace, trials))
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
            title, done = f"{100 * share:.2g} % of the work", []
            for start in self._started(share):
                done = self._trained_long(start, epochs, title, self.holds)
            idle = idle + 1 if len(self._trials.done) == before else 0
            if before == 0:
                self._find_stretch(done)
            if any(map(self.holds, done)):
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

    def _training(
        self, trial: Trial | None, epochs: float, rate: float, density: float, *, taught: bool
    ) -> Step:
        settings = self._settings
        steps = max(round(epochs * self._stretch * self._epoch), 2)
        parent = trial.steps if trial is not None else ()
        return {
            "kind": "train",
            "steps": min(steps, settings.most_steps or steps),
            "batch_size": BATCH,
            "learning_rate": rate,
            "dropout_scale": min(math.sqrt(density), 1.0),
            "distillation": _DISTILLATION if taught else None,
            "teacher": 0,
            "seed": derive_seed(settings.seed, f"search {len(parent)}"),
            **({"shift": settings.shift} if settings.shift else {}),
        }

    def _last_seconds(self) -> float:
        """How long the next trials may take: trials record their part of the time they shared."""
        if not self._trials.done:
            return 0.0
        seconds: float = self._trials.done[-1].result["seconds"]
        return seconds * self._side_by_side


def _pace(trial: Trial) -> float:
    """Seconds that a step of its training took."""
    return float(trial.result["seconds"] / trial.steps[-1]["steps"])


def _loss(trial: Trial) -> float:
    return float(trial.result["validation_loss"])


def _weights(trial: Trial) -> int:
    return int(trial.result["weights"])
