"""The verdict on an artefact: what the parity check found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from deploy.tasks import ACCURACY, Head, deciding_text, is_plain, losses, part_key


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How the outputs of an artefact compare with those of its model, on a set of examples."""

    examples: int
    heads: tuple[Head, ...]
    values: Mapping[str, float]
    """every metric of the artefact in its runtime, by `Head.key`; none where nothing says what is
    right, as on random inputs"""
    reference_values: Mapping[str, float]
    """the same of the model"""
    difference: float
    """max |difference| of the outputs, or NaN"""
    scale: float
    """max |output| of the Keras model"""
    spread: float
    """root mean square of the differences, as a fraction of how outputs vary with the inputs; of
    several heads the largest"""
    agreement: float | None
    """the fraction of examples to which both give the same class, of several heads the least; None
    where no head gives classes"""
    spreads: tuple[float, ...] = ()
    """that of each head"""

    @property
    def accuracy(self) -> float | None:
        """Of the artefact, 0 to 1; None on random inputs, and for what is no classifier."""
        return self.values.get(ACCURACY)

    @property
    def reference_accuracy(self) -> float | None:
        """Of the model."""
        return self.reference_values.get(ACCURACY)

    @property
    def losses(self) -> dict[str, float]:
        """How much worse the metric that decides got, by `Head.key`; see `Metric.loss`."""
        return losses(self.heads, self.reference_values, self.values)

    def is_better(self, other: Comparison) -> bool | None:
        """Whether no head lost more than in the `other`, and one less; None where nothing tells."""
        own, others = self.losses, other.losses
        if own == others:
            return None
        return all(own[key] <= others[key] for key in own.keys() & others.keys())

    def text(self) -> str:
        """The metrics that decide, for a reader: 99.12 %, or box IoU 81.20 %, ..."""
        return deciding_text(self.heads, self.values) if self.values else "not measured"

    def describe(self) -> dict[str, Any]:
        """The comparison as a JSON object, with null for NaN and infinity."""
        if is_plain(self.heads):
            found: dict[str, Any] = {
                "accuracy": self.accuracy,
                "reference_accuracy": self.reference_accuracy,
            }
        else:
            own = {part_key(key, "reference_"): v for key, v in self.reference_values.items()}
            found = dict(self.values) | own
        return {
            "examples": self.examples,
            **found,
            "difference": self.difference if np.isfinite(self.difference) else None,
            "scale": self.scale,
            "spread": self.spread if np.isfinite(self.spread) else None,
            "agreement": self.agreement,
        }


@dataclasses.dataclass(frozen=True)
class Computation:
    """Whether the runtime computes what the file says: against plain kernels on the same file."""

    examples: int
    difference: float
    """max |difference| of the outputs, as a fraction of the largest; or NaN"""
    allowed: float

    def describe(self) -> dict[str, Any]:
        """The computation as a JSON object, with null for NaN."""
        difference = self.difference if np.isfinite(self.difference) else None
        return dataclasses.asdict(self) | {"difference": difference}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether the runtime computes what the artefact says, and what that costs."""

    chosen_on: Comparison
    """validation examples, and training examples where those are few; or random inputs: all that
    `passed` depends on"""
    test: Comparison | None
    """test examples, which only report; None without data, and before they were run"""
    computation: Computation | None
    """None where no plain kernels can run the file"""
    allowed_drop: Mapping[str, float]
    """what the metric that decides of a head may lose, by `Head.key`; see `Metric.loss`"""
    allowed_difference: float | None
    """of the difference from the model, as a fraction of `scale`; None: of an output there is no
    bound"""
    passed: bool
    reason: str
    """why it did not pass, or empty"""

    @property
    def reported(self) -> Comparison:
        """The comparison to show: on the test examples, where they were run."""
        return self.test or self.chosen_on

    @property
    def accuracy(self) -> float | None:
        return self.reported.accuracy

    @property
    def difference(self) -> float:
        return self.reported.difference

    def failed(self, reason: str) -> Verdict:
        return dataclasses.replace(self, passed=False, reason=reason)

    def describe(self) -> dict[str, Any]:
        """The verdict as a JSON object: what is reported, and in `validation` what decided."""
        measured = bool(self.chosen_on.values)
        heads, drop = self.chosen_on.heads, dict(self.allowed_drop)
        of_heads = {} if is_plain(heads) else {"heads": [head.describe() for head in heads]}
        return self.reported.describe() | {
            "validation": self.chosen_on.describe() if measured else None,
            "computation": self.computation and self.computation.describe(),
            "allowed_drop": drop if of_heads else drop[ACCURACY],
            "allowed_difference": self.allowed_difference,
            "passed": self.passed,
            "reason": self.reason,
            **of_heads,
        }
