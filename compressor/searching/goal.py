"""What a search is to reach."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from compressor.errors import UsageError
from compressor.exporters import FORMATS
from compressor.runtimes import find

DEFAULT_DROP = 0.1


@dataclasses.dataclass(frozen=True)
class Goal:
    """What to minimise, and what has to hold.

    `max_drop`: how far accuracy may fall below the dense model's, in points (0.1: from 99.1 to
    99.0 %), by default 0.1; or `min_accuracy`, 0 to 1. Both are judged on the validation examples,
    up to one standard error of an accuracy on so many (Breiman et al., Classification and
    Regression Trees, 1984, section 3.4.3): fewer cannot tell less. `max_bytes` is of the artefact,
    `max_latency_ms` of one inference on one thread, `max_ram` the bytes that a process takes which
    runs it once, those of the runtime included. An artefact is made for each of `runtimes`.
    Raises UsageError for a value that cannot be used.
    """

    minimize: Literal["size", "latency"] = "size"
    max_drop: float | None = None
    min_accuracy: float | None = None
    max_bytes: int | None = None
    max_latency_ms: float | None = None
    max_ram: int | None = None
    runtimes: tuple[str, ...] = tuple(FORMATS.values())

    def __post_init__(self) -> None:
        object.__setattr__(self, "runtimes", tuple(self.runtimes))
        if self.minimize not in ("size", "latency"):
            hint = "choose size or latency"
            raise UsageError("this cannot be minimised", value=self.minimize, hint=hint)
        if self.max_drop is not None and self.min_accuracy is not None:
            value = f"at most {self.max_drop:g} points less, at least {self.min_accuracy:g}"
            raise UsageError("the accuracy is limited twice", value=value, hint="leave one out")
        if self.max_drop is None and self.min_accuracy is None:
            object.__setattr__(self, "max_drop", DEFAULT_DROP)
        if self.max_drop is not None and not 0 <= self.max_drop <= 100:
            raise UsageError("the drop is 0 to 100 points", value=self.max_drop)
        if self.min_accuracy is not None and not 0 < self.min_accuracy <= 1:
            hint = "0.99 is 99 %"
            raise UsageError(
                "the accuracy is above 0, at most 1", value=self.min_accuracy, hint=hint
            )
        limits = ("bytes", self.max_bytes), ("latency", self.max_latency_ms), ("RAM", self.max_ram)
        for name, limit in limits:
            if limit is not None and not 0 < limit < math.inf:
                raise UsageError(f"the limit of the {name} is a positive number", value=limit)
        if not self.runtimes or len(set(self.runtimes)) != len(self.runtimes):
            raise UsageError("runtimes must be given, and differ", value=list(self.runtimes))
        for name in self.runtimes:
            find(name)

    def wanted(self, dense: float) -> float:
        """The accuracy that is asked for, 0 to 1, where the dense model has `dense`."""
        if self.min_accuracy is not None:
            return self.min_accuracy
        assert self.max_drop is not None
        return max(dense - self.max_drop / 100, 0.0)

    def floor(self, dense: float, examples: int) -> float:
        """The least accuracy on `examples` validation examples that is accepted, 0 to 1."""
        wanted = self.wanted(dense)
        return wanted - math.sqrt(wanted * (1 - wanted) / examples)

    def shortfalls(self, row: Mapping[str, Any], floor: float) -> list[str]:
        """How an artefact misses the goal, a phrase each; `row` is one of the front's."""
        found = []
        if row["validation_accuracy"] < floor:
            found.append(
                f"accuracy {100 * row['validation_accuracy']:.2f} % on the validation examples, "
                f"{100 * floor:.2f} % are needed"
            )
        if self.max_bytes is not None and row["bytes"] > self.max_bytes:
            found.append(f"{row['bytes']:,} bytes, {self.max_bytes:,} are allowed")
        if self.max_latency_ms is not None and row["latency_ms"] > self.max_latency_ms:
            found.append(f"{row['latency_ms']:.3g} ms, {self.max_latency_ms:g} ms are allowed")
        if self.max_ram is not None and row["ram_bytes"] > self.max_ram:
            found.append(f"{row['ram_bytes']:,} bytes of RAM, {self.max_ram:,} are allowed")
        return found

    def describe(self) -> dict[str, Any]:
        """The goal as a JSON object, without what is not limited."""
        found = dataclasses.asdict(self) | {"runtimes": list(self.runtimes)}
        return {name: value for name, value in found.items() if value is not None}
