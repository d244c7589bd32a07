"""The specification of a pruning: what to prune, how much, and when."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from compressor.errors import UsageError
from compressor.foundation import is_number, is_whole, make_plain, several
from compressor.models import ALL, PAPER_NAMES
from compressor.pruning.criteria import get_criterion
from compressor.pruning.granularity import NOfM, parse_granularity
from compressor.pruning.magnitude import check_sparsity

SCHEDULES = ("one-shot", "gradual", "iterative")


@dataclasses.dataclass(frozen=True)
class PruningSpec:
    """What to prune, and how.

    `sparsity`: the fraction to remove from each layer, or a mapping layer -> fraction, which also
    names the layers; by default 0.9. `layers`: layer names, the paper's names, or `all`.
    `granularity`: `weight`, `1x4`, `1x16`, `2:4`, ..., or `channel`; n:m fixes the sparsity.
    `scope`: `layer`, or `global`, of all layers together: by one threshold over the scores, with
    `reconstruct` by one over LAMP scores of single weights and blocks. `criterion`: `magnitude`,
    `taylor`, `reconstruct` (layer-wise least squares) or a registered one. `schedule`: `one-shot`;
    `gradual`, the cubic schedule of Zhu and Gupta over the first `ramp` of the retraining's steps;
    `iterative`, `rounds` of pruning and retraining. `calibration`: training examples for the
    criterion, by default 1,024 for gradients and 8,192, without their labels, for `reconstruct`.

    Raises UsageError for a value that cannot be used.
    """

    sparsity: float | Mapping[str, float] | None = None
    layers: tuple[str, ...] = (ALL,)
    granularity: str = "weight"
    scope: Literal["layer", "global"] = "layer"
    criterion: str = "magnitude"
    schedule: Literal["one-shot", "gradual", "iterative"] = "one-shot"
    rounds: int = 3
    ramp: float = 0.6
    calibration: int | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        granularity = parse_granularity(self.granularity)
        criterion = get_criterion(self.criterion)
        if isinstance(granularity, NOfM):
            self._fix_n_of_m(granularity)
        elif self.sparsity is None:
            object.__setattr__(self, "sparsity", 0.9)
        if isinstance(self.sparsity, Mapping):
            self._fix_sparsities(self.sparsity)
        else:
            check_sparsity(self.sparsity)  # type: ignore[arg-type]
        object.__setattr__(self, "layers", several(self.layers))
        if unnamed := [name for name in self.layers if not isinstance(name, str)]:
            raise UsageError("a layer is given by its name", value=repr(unnamed[0]))
        if not self.layers or len(set(self.layers)) != len(self.layers):
            raise UsageError("layers must be given, and differ", value=list(self.layers))
        for name, value, known in (
            ("scope", self.scope, ("layer", "global")),
            ("pruning schedule", self.schedule, SCHEDULES),
        ):
            if value not in known:
                hint = f"choose {' or '.join(known)}"
                raise UsageError(f"unknown {name}", value=value, hint=hint)
        if not (is_whole(self.rounds) and 1 <= self.rounds <= 100):
            what = "the number of rounds must be a whole number between 1 and 100"
            raise UsageError(what, value=repr(self.rounds))
        if not (is_number(self.ramp) and 0 < self.ramp <= 1):
            what = "the ramp of gradual pruning must be above 0 and at most 1"
            raise UsageError(what, value=repr(self.ramp))
        if self.calibration is None:
            object.__setattr__(self, "calibration", 8192 if criterion.solve else 1024)
        elif not (is_whole(self.calibration) and self.calibration >= 1):
            what = "the number of calibration examples must be a whole number, at least 1"
            raise UsageError(what, value=repr(self.calibration))
        if self.repairs and self.schedule == "gradual":
            raise UsageError(
                "this criterion prunes at once or in rounds, not at every step",
                value=f"{self.criterion}, gradual",
                hint="choose the pruning schedule one-shot or iterative",
            )

    def _fix_n_of_m(self, granularity: NOfM) -> None:
        given = granularity.sparsity if self.sparsity is None else self.sparsity
        if isinstance(given, Mapping) or not (
            is_number(given) and math.isclose(given, granularity.sparsity)
        ):
            raise UsageError(
                f"{granularity.name} fixes the sparsity to {granularity.sparsity:g}",
                value=self.sparsity,
                hint="leave the sparsity out, and name the layers by themselves",
            )
        if self.scope == "global":
            what = "n:m has no global threshold: every group keeps the same number of weights"
            raise UsageError(what, value=granularity.name)
        object.__setattr__(self, "sparsity", granularity.sparsity)

    def _fix_sparsities(self, sparsity: Mapping[str, float]) -> None:
        if not sparsity:
            raise UsageError("no layer has a sparsity", hint="write fc1=0.95,conv2=0.8")
        if self.scope == "global":
            raise UsageError(
                "a global threshold takes one sparsity, not one per layer",
                value=", ".join(f"{name}={value}" for name, value in sparsity.items()),
            )
        named = {PAPER_NAMES.get(name, name): check_sparsity(s) for name, s in sparsity.items()}
        if len(named) != len(sparsity):
            raise UsageError("a layer has two sparsities", value=", ".join(sparsity))
        if ALL in named:
            raise UsageError("'all' cannot be mixed with sparsities of layers", value=ALL)
        layers = {PAPER_NAMES.get(name, name) for name in self.layers}
        if layers not in ({ALL}, set(named)):
            raise UsageError(
                "the sparsities name the layers already",
                value=", ".join(self.layers),
                hint="leave --layers out",
            )
        object.__setattr__(self, "sparsity", named)
        object.__setattr__(self, "layers", tuple(named))

    @classmethod
    def of(cls, given: SpecLike) -> PruningSpec:
        """`given`, or one with this sparsity, else the default one."""
        return given if isinstance(given, cls) else cls(given)  # type: ignore[arg-type]

    @property
    def highest_sparsity(self) -> float:
        """The sparsity, or the highest one of any layer."""
        if isinstance(self.sparsity, Mapping):
            return max(self.sparsity.values())
        assert self.sparsity is not None
        return float(self.sparsity)

    @property
    def passes(self) -> int:
        """Rounds of pruning and retraining: `rounds` of an iterative schedule, else 1."""
        return self.rounds if self.schedule == "iterative" else 1

    @property
    def needs_examples(self) -> bool:
        """Whether pruning alone, without retraining after it, looks at examples or trains."""
        return self.schedule != "one-shot" or get_criterion(self.criterion).calibrated

    @property
    def repairs(self) -> bool:
        """Whether the criterion lets the weights that stay make up for those that go."""
        return get_criterion(self.criterion).solve is not None

    def describe(self) -> dict[str, Any]:
        """The specification as a JSON object, without what has no effect."""
        each = self.sparsity
        described: dict[str, Any] = {
            "layers": sorted(PAPER_NAMES.get(name, name) for name in self.layers),
            "sparsity": dict(each) if isinstance(each, Mapping) else self.highest_sparsity,
            "granularity": self.granularity,
            "scope": self.scope,
            "criterion": self.criterion,
            "pruning_schedule": self.schedule,
        }
        if self.schedule == "iterative":
            described["rounds"] = self.rounds
        if self.schedule == "gradual":
            described["ramp"] = self.ramp
        if get_criterion(self.criterion).calibrated:
            described["calibration"] = self.calibration
        return described


SpecLike = PruningSpec | float | Mapping[str, float] | None
"""What `PruningSpec.of` takes."""
