"""Which channels a model needs, and which are kept as fillers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from compressor.shrinking.graph import Constants, Graph
from compressor.shrinking.kernels import Linear, foldable
from compressor.shrinking.rule import kind_name


@dataclass(frozen=True)
class Use:
    """How one layer with a kernel uses its inputs, at all of its calls."""

    name: str
    layer: Any
    rule: Linear
    inputs: np.ndarray
    """int64 (in,), channel ids"""
    outputs: np.ndarray
    """int64 (out,), channel ids"""
    used: np.ndarray
    """bool (in, out)"""
    constants: np.ndarray
    """float64 (in,), NaN where an input varies or its calls differ"""

    @property
    def foldable(self) -> np.ndarray:
        """Inputs that can be folded into the bias, bool (in,)."""
        return foldable(self.constants, self.rule.pads(self.layer))


@dataclass(frozen=True)
class Liveness:
    """Which channels stay: bool (channels,) each."""

    needed: np.ndarray
    """the function depends on them"""
    kept: np.ndarray
    """the needed ones and fillers, whose values do not matter"""
    reasons: dict[int, str]
    """channel id -> why it stays"""


def uses_of(graph: Graph, constants: Constants) -> list[Use]:
    """The uses of all layers with kernels, from the last to the first."""
    found = []
    for call, rule in reversed(graph.layers(Linear).values()):
        assert isinstance(rule, Linear)
        found.append(
            Use(
                name=f"{kind_name(call)} '{call.path}'",
                layer=call.layer,
                rule=rule,
                inputs=graph.channels[call.inputs[0]],
                outputs=graph.channels[call.outputs[0]],
                used=rule.used(call.layer),
                constants=constants.inputs_of(graph, call.layer),
            )
        )
    return found


def choose(graph: Graph, constants: Constants, uses: list[Use], round_to: int) -> Liveness:
    """The channels that stay: the needed ones, one of every tensor, multiples of `round_to`.

    A channel is needed when it is pinned, or when a needed output of a layer uses it, unless it is
    a constant that can be folded into that layer's bias. A filler whose constant would have to be
    folded is needed too.
    """
    needed = np.zeros(graph.count, bool)
    reasons = dict(graph.pinned)
    needed[list(graph.pinned)] = True
    _spread(needed, uses, constants, reasons)
    kept = needed.copy()
    while True:
        fillers = _fillers(graph, kept, round_to)
        if not fillers:
            return Liveness(needed, kept, reasons)
        kept[list(fillers)] = True
        for channel, reason in fillers.items():
            reasons.setdefault(channel, reason)
        needed |= kept & _carries_constant(needed, uses)
        _spread(needed, uses, constants, reasons)
        kept |= needed


def _spread(
    needed: np.ndarray, uses: list[Use], constants: Constants, reasons: dict[int, str]
) -> None:
    """Add to `needed`, in place, the channels that it depends on."""
    grown = True
    while grown:
        grown = False
        for use in uses:
            inputs = use.used[:, needed[use.outputs]].any(axis=1) & ~use.foldable
            new = np.flatnonzero(inputs & ~needed[use.inputs])
            grown = grown or len(new) > 0
            needed[use.inputs[new]] = True
            for element in new.tolist():
                channel = int(use.inputs[element])
                reasons.setdefault(channel, constants.spoiled.get(channel) or _reason(use, element))


def _reason(use: Use, element: int) -> str:
    if np.isnan(use.constants[element]):
        return f"{use.name} uses the units that they are tied to"
    return f"a non-zero constant enters the padded convolution {use.name}"


def _fillers(graph: Graph, kept: np.ndarray, round_to: int) -> dict[int, str]:
    """Channels to keep beside `kept`, and why; empty when all widths are right."""
    fillers: dict[int, str] = {}
    for ids in graph.channels:
        if len(ids) and not kept[ids].any() and not set(ids.tolist()) & set(fillers):
            fillers[int(ids[0])] = "a layer keeps at least one unit"
    if fillers:
        return fillers
    for call, _ in graph.layers(Linear).values():
        ids = graph.channels[call.outputs[0]]
        missing = min(-int(kept[ids].sum()) % round_to, int((~kept[ids]).sum()))
        for channel in ids[~kept[ids]][:missing].tolist():
            fillers[channel] = f"the width stays a multiple of {round_to}"
        if fillers:
            return fillers
    return fillers


def _carries_constant(needed: np.ndarray, uses: list[Use]) -> np.ndarray:
    carries = np.zeros(len(needed), bool)
    for use in uses:
        used = use.used[:, needed[use.outputs]].any(axis=1)
        carries[use.inputs[used & use.foldable & (use.constants != 0)]] = True
    return carries
