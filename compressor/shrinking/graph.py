"""The channels of every tensor of a model: which are coupled, pinned or constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from compressor.models import Call, Trace, trace, width_of
from compressor.shrinking.atoms import Atoms
from compressor.shrinking.kernels import Linear
from compressor.shrinking.rule import Barrier, Rule, kind_name
from compressor.shrinking.table import rule_named, rule_of


@dataclass(frozen=True)
class Graph:
    """A trace with the channels of its tensors."""

    trace: Trace
    rules: list[Rule]
    """for each call"""
    channels: list[np.ndarray]
    """for each tensor, int64 (width,): the channel ids along its last axis"""
    count: int
    """channel ids are 0 to count - 1"""
    pinned: dict[int, str]
    """channel id -> why it must stay"""

    def layers(self, *kinds: type[Rule]) -> dict[int, tuple[Call, Rule]]:
        """id of a layer -> its first call and rule, for rules of these kinds."""
        found: dict[int, tuple[Call, Rule]] = {}
        for call, rule in zip(self.trace.calls, self.rules, strict=True):
            if isinstance(rule, kinds):
                found.setdefault(id(call.layer), (call, rule))
        return found

    def blocked(self, ids: np.ndarray) -> str | None:
        """Why one of these channels must stay; None if none must."""
        return next((self.pinned[i] for i in ids.tolist() if i in self.pinned), None)


def graph_of_channels(model: Any) -> Graph:
    """Find the channels of a model; raises ModelError for a model that cannot be traced."""
    traced = trace(model)
    atoms = Atoms()
    ids: dict[int, np.ndarray] = {}
    for number in traced.inputs:
        ids[number] = atoms.new(width_of(traced.shapes[number]))
        atoms.pin(ids[number], "they are tied to the model's inputs")
    rules = []
    for call in traced.calls:
        rule = Barrier("is reshaped on the way") if call.layer is None else rule_of(call)
        rules.append(rule)
        given = [ids[number] for number in call.inputs]
        for number, linked in zip(call.outputs, rule.link(call, given, atoms), strict=True):
            ids[number] = linked
    for number in traced.outputs:
        atoms.pin(ids[number], "its units are the model's outputs")
    for first, second in traced.same:
        atoms.join(ids[first], ids[second])
    _join_calls(traced, ids, atoms)
    classes = atoms.classes()
    return Graph(
        trace=traced,
        rules=rules,
        channels=[classes[ids[number]] for number in range(len(traced.shapes))],
        count=int(classes.max(initial=-1)) + 1,
        pinned=atoms.pinned(classes),
    )


def _join_calls(traced: Trace, ids: dict[int, np.ndarray], atoms: Atoms) -> None:
    """Couple the channels at all calls of a layer with variables."""
    firsts: dict[int, Call] = {}
    for call in traced.calls:
        if call.layer is None or not rule_named(call.layer, len(call.inputs)).joins_calls:
            continue
        first = firsts.setdefault(id(call.layer), call)
        ends = ((first.inputs[0], call.inputs[0]), (first.outputs[0], call.outputs[0]))
        for one, other in ends if first is not call else ():
            if len(ids[one]) == len(ids[other]):
                atoms.join(ids[one], ids[other])
            else:
                reason = f"{kind_name(call)} '{call.path}' is called on several widths"
                atoms.pin(ids[one], reason)
                atoms.pin(ids[other], reason)


@dataclass(frozen=True)
class Constants:
    """Elements that are the same for every input."""

    values: list[np.ndarray]
    """for each tensor, float64 (width,): the constant, or NaN where it varies"""
    spoiled: dict[int, str]
    """channel id -> which padding made its constant vary"""

    def inputs_of(self, graph: Graph, layer: Any) -> np.ndarray:
        """The constants of a layer's inputs at all of its calls; NaN where they differ."""
        calls = [call for call in graph.trace.calls if call.layer is layer]
        values = [self.values[call.inputs[0]] for call in calls]
        agree = np.all([value == values[0] for value in values], axis=0)
        return np.where(agree, values[0], np.nan)


def find_constants(graph: Graph) -> Constants:
    """Propagate constants from dead units and channels forward through the model."""
    values: dict[int, np.ndarray] = {
        number: np.full(len(graph.channels[number]), np.nan) for number in graph.trace.inputs
    }
    spoiled: dict[int, str] = {}
    for call, rule in zip(graph.trace.calls, graph.rules, strict=True):
        given = [values[number] for number in call.inputs]
        for number, found in zip(call.outputs, rule.constants(call, given), strict=True):
            values[number] = found
        if not isinstance(rule, (Barrier, Linear)) and len(call.inputs) == 1:
            before = graph.channels[call.inputs[0]][~np.isnan(given[0])]
            after = graph.channels[call.outputs[0]][np.isnan(values[call.outputs[0]])]
            for channel in np.intersect1d(before, after).tolist():
                name = f"{kind_name(call)} '{call.path}'"
                reason = f"a non-zero constant enters {name}, which {rule.spoils}"
                spoiled.setdefault(channel, reason)
    return Constants([values[number] for number in range(len(graph.channels))], spoiled)
