"""What a search asks of the metrics that decide: of one output, or of each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from compressor.errors import DataError
from compressor.searching.goal import Goal
from deploy.tasks import ACCURACY, CLASSIFYING, Head, deciding_text, is_plain, part_key, read_heads
from deploy.text import clean

VALIDATION = "validation_"
"""What the keys of metrics on the validation examples begin with, in the rows of a search."""
ERRORS = "standard_errors"
"""Key of the record of the dense model: standard errors of its metrics, by `Head.key`."""
_ROUNDING = 1e-6
"""of a fraction, and relative to an error: what float32 in another runtime may change"""


@dataclasses.dataclass(frozen=True)
class Standard:
    """The metric that decides of each output, and what is asked of it on validation examples.

    A row is a JSON object with such metrics, as `validation_accuracy`. `wanted`, `accepted` and
    `errors` are by `Head.key`: what the goal names, what is enough, as `Goal` says, and the
    standard errors on so many examples, of an accuracy that of one as asked.
    """

    heads: tuple[Head, ...]
    wanted: Mapping[str, float]
    accepted: Mapping[str, float]
    errors: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, goal: Goal, dense: Mapping[str, Any], examples: int) -> Standard:
        """That of a goal, for a dense model that was measured on so many examples.

        The standard error of an accuracy follows from these, any other is in the row. Raises
        UsageError where the goal limits another kind of metric, and DataError where one has no
        value.
        """
        heads = [head.deciding(dense, VALIDATION) for head in read_heads(dense.get("heads"))]
        wanted, accepted, errors = {}, {}, {}
        for head in heads:
            key, metric, own = head.key(), head.decides, dense.get(_key(head))
            if own is None:
                what = f"the {metric.title} has no value on the validation examples"
                hint = "choose another --metric, or give more data"
                raise DataError(what, value=key, hint=hint)
            asked = wanted[key] = goal.wanted(own, metric, alone=len(heads) == 1)
            if head.metric == ACCURACY and head.task in CLASSIFYING:
                errors[key] = math.sqrt(asked * (1 - asked) / examples)
            else:
                errors[key] = dense.get(ERRORS, {}).get(key, 0.0)
            less = _ROUNDING * (1.0 if metric.fraction else asked)
            if metric.better(asked, own):
                less = max(less, errors[key])
            accepted[key] = max(asked - less if metric.higher_is_better else asked + less, 0.0)
        return cls(tuple(heads), wanted, accepted, errors)

    @classmethod
    def of_accuracy(cls, accepted: float) -> Standard:
        """That of one classifier, whose accuracy is to be `accepted`."""
        return cls(read_heads(None), {ACCURACY: accepted}, {ACCURACY: accepted})

    @property
    def keys(self) -> list[str]:
        """Those of the metrics that decide, in a row."""
        return [_key(head) for head in self.heads]

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether each metric that decides is good enough."""
        return not any(self._misses(head, row, self.accepted[head.key()]) for head in self.heads)

    def error(self, row: Mapping[str, Any], least: float = 1e-9) -> float:
        """Times the error that is allowed, of the output where it is most: less is better.

        The error of a fraction is what it lacks to 1, of which `least` counts as allowed at any
        rate. Infinite where a metric has no value.
        """
        return max(self._error(head, row, least) for head in self.heads)

    def shortfalls(self, row: Mapping[str, Any], goal: Goal) -> list[str]:
        """How an artefact misses what is accepted, and its goal, a phrase each."""
        found = []
        for head in self.heads:
            metric, least = head.decides, self.accepted[head.key()]
            if self._misses(head, row, least):
                of = f" of {clean(head.name)}" if head.name else ""
                needed = "are needed" if metric.higher_is_better else "is allowed"
                found.append(
                    f"{metric.title}{of} {metric.text(row.get(_key(head)))} on the validation "
                    f"examples, {metric.text(least)} {needed}"
                )
        return found + goal.excesses(row)

    def text(self, row: Mapping[str, Any]) -> str:
        """The metrics that decide, for a reader: "99.02 %", "mean IoU 81.20 %"."""
        return deciding_text(self.heads, row, VALIDATION)

    def describe(self) -> dict[str, Any]:
        """What is wanted and accepted, for a document; and `heads`, but of a plain classifier."""
        wanted = {part_key(key, "wanted_"): value for key, value in self.wanted.items()}
        errors = {part_key(key, "standard_error_"): value for key, value in self.errors.items()}
        heads = [] if is_plain(self.heads) else [head.describe() for head in self.heads]
        return wanted | self.describe_accepted() | errors | ({"heads": heads} if heads else {})

    def describe_accepted(self) -> dict[str, float]:
        """What is accepted, as a document has it."""
        return {part_key(key, "accepted_"): value for key, value in self.accepted.items()}

    def _misses(self, head: Head, row: Mapping[str, Any], least: float) -> bool:
        value = row.get(_key(head))
        return value is None or head.decides.better(least, value)

    def _error(self, head: Head, row: Mapping[str, Any], least_allowed: float) -> float:
        value, least = row.get(_key(head)), self.accepted[head.key()]
        if value is None:
            return math.inf
        if head.decides.fraction:
            return float((1.0 - value) / max(1 - least, least_allowed))
        return float(value / max(least, 1e-30))


def validation_values(values: Mapping[str, float]) -> dict[str, float]:
    """Metrics by `Head.key` as those of a row."""
    return {part_key(key, VALIDATION): value for key, value in values.items()}


def accepted_in(export: Mapping[str, Any]) -> dict[str, float]:
    """By `Head.key` the metrics that a recipe's `export` says are enough."""
    found = {}
    for key, value in export.items():
        name, slash, metric = key.rpartition("/")
        if metric.startswith("accepted_"):
            found[f"{name}{slash}{metric.removeprefix('accepted_')}"] = value
    return found


def _key(head: Head) -> str:
    return part_key(head.key(), VALIDATION)
