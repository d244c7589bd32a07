"""How good a model of a search is on examples: its metrics, its loss, and how sure they are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compressor.data import Array
from compressor.models import Aim, Objective
from compressor.searching.standard import ERRORS, validation_values
from deploy.tasks import MULTI_LABEL, columns, is_plain

_GROUPS = 10
"""of the examples, of which one at a time is left out"""


@dataclasses.dataclass(frozen=True)
class Reached:
    """The outputs of a model on examples, and what they are held against."""

    objective: Objective
    scores: np.ndarray
    """float32 (n, all columns)"""
    targets: Sequence[Array]
    """as `Objective.targets_of` gives them"""
    anomalies: Array | None = None

    def row(self, logits: Callable[[Any, Aim], Any]) -> dict[str, Any]:
        """Every metric as `validation_...`, and `validation_loss`.

        `logits` makes such of an output (n, ...). The loss is the sum over the outputs: of classes
        the cross-entropy in nats, else the mean squared error relative to how targets vary.
        """
        values = self.objective.values(self.scores, self.targets, self.anomalies)
        losses = []
        for aim, part, wanted in zip(self.objective.aims, self._parts, self.targets, strict=True):
            losses.append(_loss(aim, np.asarray(logits(part, aim)), wanted))
        return {**validation_values(values), "validation_loss": math.fsum(losses)}

    def of_dense(self) -> dict[str, Any]:
        """What the record of the dense model says besides: the `heads`, and standard errors.

        Nothing of a plain classifier, whose accuracy and number of examples say enough. The errors
        are those of the jackknife: a tenth of the examples is left out at a time. Source: Shao and
        Tu, The Jackknife and Bootstrap (1995), section 2.3.
        """
        if is_plain(self.objective.heads):
            return {}
        count = len(self.scores)
        groups = np.random.default_rng(0).permutation(count) % min(_GROUPS, count)
        found: dict[str, list[float]] = {}
        for group in range(min(_GROUPS, count)) if count > 1 else ():
            kept = groups != group
            anomalies = None if self.anomalies is None else self.anomalies[kept]
            targets = [part[kept] for part in self.targets]
            for key, value in self.objective.values(self.scores[kept], targets, anomalies).items():
                found.setdefault(key, []).append(value)
        errors = {key: float(np.sqrt((len(v) - 1) * np.var(v))) for key, v in found.items()}
        return {**self.objective.described_heads(), ERRORS: errors}

    @property
    def _parts(self) -> list[np.ndarray]:
        heads = self.objective.heads
        parts = zip(columns(heads, self.scores), heads, strict=True)
        return [part.reshape(len(part), *head.shape) for part, head in parts]


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean over logits (n, classes) and classes (n,), in nats."""
    logits = logits.astype(np.float64)
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return float(-np.mean(logs[np.arange(len(labels)), labels]))


def squared_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """The mean squared error, relative to how much `wanted`, of the same shape, varies."""
    wanted = wanted.astype(np.float64)
    spread = float(np.mean(np.var(wanted, axis=0)))
    return float(np.mean((found - wanted) ** 2)) / max(spread, 1e-30)


def _loss(aim: Aim, logits: np.ndarray, wanted: Array) -> float:
    if aim.of_classes:
        logits, wanted = aim.head.judged(logits, wanted)
        if not wanted.size:
            return 0.0
        return cross_entropy(logits.reshape(-1, logits.shape[-1]), wanted.ravel())
    if aim.head.task == MULTI_LABEL:
        return float(np.mean(np.logaddexp(0, logits) - logits * wanted))
    return squared_error(logits, wanted.reshape(logits.shape))
