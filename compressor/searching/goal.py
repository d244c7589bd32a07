"""What a search is to reach."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from compressor.errors import UsageError
from compressor.exporters import FORMATS
from compressor.foundation import several
from compressor.runtimes import find
from deploy.tasks import Head, Metric

DEFAULT_DROP = 0.1


@dataclasses.dataclass(frozen=True)
class Goal:
    """What to minimise, and what has to hold.

    `max_drop`: how far the metric that decides may fall below the dense model's, in points of
    accuracy and the like (0.1: from 99.1 to 99.0 %), in percent of an error, by default 0.1; of
    several outputs each. Or what it has to be: `min_accuracy` of accuracy or another fraction, 0 to
    1, `max_error` of an error. All are judged on the validation examples, and kept to the example.
    Only where the dense model itself misses such a value there, one standard error of the metric is
    let off: to ask for it would be to ask for luck, as other examples would move it by that
    (Breiman et al., Classification and Regression Trees, 1984, section 3.4.3). `max_bytes` is of
    the artefact, `max_latency_ms` of one inference on one thread, `max_ram` the bytes that a
    process takes which runs it once, those of the runtime included. An artefact is made for each of
    `runtimes`.
    Raises UsageError for a value that cannot be used.
    """

    minimize: Literal["size", "latency"] = "size"
    max_drop: float | None = None
    min_accuracy: float | None = None
    max_bytes: int | None = None
    max_latency_ms: float | None = None
    max_ram: int | None = None
    runtimes: tuple[str, ...] = tuple(FORMATS.values())
    max_error: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "runtimes", several(self.runtimes))
        if self.minimize not in ("size", "latency"):
            hint = "choose size or latency"
            raise UsageError("this cannot be minimised", value=self.minimize, hint=hint)
        limited = (
            ("at most {:g} points less", self.max_drop),
            ("at least {:g}", self.min_accuracy),
            ("an error of at most {:g}", self.max_error),
        )
        given = [text.format(limit) for text, limit in limited if limit is not None]
        if len(given) > 1:
            value = ", ".join(given)
            raise UsageError("the accuracy is limited twice", value=value, hint="leave one out")
        if not given:
            object.__setattr__(self, "max_drop", DEFAULT_DROP)
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise UsageError("the drop is 0 to 100 points", value=self.max_drop)
        if self.min_accuracy is not None and not 0 < self.min_accuracy <= 1:
            hint = "0.99 is 99 %"
            raise UsageError(
                "the accuracy is above 0, at most 1", value=self.min_accuracy, hint=hint
            )
        limits = (
            ("bytes", self.max_bytes),
            ("latency", self.max_latency_ms),
            ("RAM", self.max_ram),
            ("error", self.max_error),
        )
        for name, limit in limits:
            if limit is not None and not 0 < limit < math.inf:
                raise UsageError(f"the limit of the {name} is a positive number", value=limit)
        if not self.runtimes or len(set(self.runtimes)) != len(self.runtimes):
            raise UsageError("runtimes must be given, and differ", value=list(self.runtimes))
        for name in self.runtimes:
            find(name)

    def wanted(self, dense: float, metric: Metric, *, alone: bool) -> float:
        """What the metric is asked to be where the dense model has `dense`.

        Raises UsageError where another kind of metric is limited, and where something but the drop
        is, of a model with several outputs: the metric is not `alone`.
        """
        if self.max_drop is not None:
            less = self.max_drop / 100
            return max(dense - less, 0.0) if metric.fraction else dense * (1 + less)
        named = "--max-error" if self.min_accuracy is None else "--min-accuracy"
        limit = self.max_error if self.min_accuracy is None else self.min_accuracy
        if not alone:
            what = f"{named} limits one output, and the model has several"
            raise UsageError(what, value=limit, hint="give --max-drop, which is for each")
        if metric.fraction == (self.min_accuracy is None):
            fitting = "--min-accuracy" if metric.fraction else "--max-error"
            what = f"{named} does not limit the {metric.title}, by which the model is judged"
            raise UsageError(what, value=limit, hint=f"give {fitting}, or --max-drop")
        assert limit is not None
        return limit

    def check(self, heads: Sequence[Head]) -> None:
        """Raise UsageError as `wanted` does, for outputs of which nothing was measured yet."""
        for head in heads:
            self.wanted(0.0, head.decides, alone=len(heads) == 1)

    def excesses(self, row: Mapping[str, Any]) -> list[str]:
        """What an artefact takes too much of, a phrase each; `row` is one of the front's.

        RAM that was not measured, since an earlier goal did not limit it, may be too much.
        """
        found = []
        if self.max_bytes is not None and row["bytes"] > self.max_bytes:
            found.append(f"{row['bytes']:,} bytes, {self.max_bytes:,} are allowed")
        if self.max_latency_ms is not None and row["latency_ms"] > self.max_latency_ms:
            found.append(f"{row['latency_ms']:.3g} ms, {self.max_latency_ms:g} ms are allowed")
        ram = row.get("ram_bytes", math.inf)
        if self.max_ram is not None and ram > self.max_ram:
            taken = "RAM that was not measured" if ram == math.inf else f"{ram:,} bytes of RAM"
            found.append(f"{taken}, {self.max_ram:,} are allowed")
        return found

    def describe(self) -> dict[str, Any]:
        """The goal as a JSON object, without what is not limited."""
        found = dataclasses.asdict(self) | {"runtimes": list(self.runtimes)}
        return {name: value for name, value in found.items() if value is not None}
