"""The verdict on an artefact: what the parity check found."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How the outputs of an artefact compare with those of its model, on a set of examples."""

    examples: int
    accuracy: float | None
    """of the artefact in its runtime, 0 to 1; None on random inputs"""
    reference_accuracy: float | None
    """of the Keras model"""
    difference: float
    """max |difference| of the outputs, or NaN"""
    scale: float
    """max |output| of the Keras model"""
    spread: float
    """root mean square of the differences, as a fraction of how outputs vary with the inputs"""
    agreement: float
    """the fraction of examples to which both give the same class"""

    def describe(self) -> dict[str, Any]:
        """The comparison as a JSON object, with null for NaN and infinity."""
        described = dataclasses.asdict(self)
        for key in ("difference", "spread"):
            if not np.isfinite(described[key]):
                described[key] = None
        return described


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
    allowed_drop: float
    """of the accuracy"""
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
        measured = self.chosen_on.accuracy is not None
        return self.reported.describe() | {
            "validation": self.chosen_on.describe() if measured else None,
            "computation": self.computation and self.computation.describe(),
            "allowed_drop": self.allowed_drop,
            "allowed_difference": self.allowed_difference,
            "passed": self.passed,
            "reason": self.reason,
        }
