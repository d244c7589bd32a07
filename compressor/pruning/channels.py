"""Channel pruning: which units and filters go, and masks for everything that depends on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from compressor.errors import ModelError, UsageError
from compressor.pruning.granularity import Channel
from compressor.pruning.kernels import Kernel, all_kernels
from compressor.pruning.selection import KeptGroups, SparsityNow, choose_each, choose_global
from compressor.shrinking import ChannelMap, channel_map


@dataclasses.dataclass
class ChannelSet:
    """Coupled layers, whose outputs are joined by Add and the like; they lose units together."""

    name: str
    """the first of `layers`"""
    layers: Mapping[str, np.ndarray]
    """layer -> int64 (units,), the channel of each unit"""
    gone: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    """channels removed so far"""

    @property
    def channels(self) -> np.ndarray:
        """The channels of all layers, sorted and unique."""
        return np.unique(np.concatenate(list(self.layers.values())))


@dataclasses.dataclass(frozen=True)
class ChannelPlan:
    """What can be removed from a model as channels."""

    map: ChannelMap
    sets: list[ChannelSet]
    blocked: Mapping[str, str]
    """layer -> why its units stay"""
    main_kernels: Mapping[int, str]
    """id of a variable -> the layer whose first kernel it is"""

    def kernels(self, model: Any) -> dict[str, Kernel]:
        """The first kernel of each layer of the sets, in the order of the model."""
        layers = {name for part in self.sets for name in part.layers}
        return {name: kernel for name, kernel in all_kernels(model).items() if name in layers}

    def left_alone(self, others: Mapping[str, str]) -> dict[str, str]:
        """The layers that stay whole, and why: the blocked ones, and those of `others`, by kernel.

        Without those that follow a set's channels: a depthwise convolution gets narrower with the
        layer before it.
        """
        channels = np.concatenate([part.channels for part in self.sets])
        narrowed = {
            axis.layer
            for axis in self.map.axes
            if axis.role != "consumer" and np.isin(axis.channels, channels).any()
        }
        return {
            name: reason
            for name, reason in {**others, **self.blocked}.items()
            if name.partition(":")[0] not in narrowed
        }

    def remember(self, masks: Mapping[str, np.ndarray]) -> None:
        """Mark as gone the channels that `masks` remove from every layer that has them.

        The masks are of kernels, by layer and as matrices.
        """
        for part in self.sets:
            stay = [
                channels[masks[name].reshape(-1, channels.size).any(axis=0)]
                for name, channels in part.layers.items()
                if name in masks
            ]
            stay += [channels for name, channels in part.layers.items() if name not in masks]
            part.gone = np.union1d(part.gone, np.setdiff1d(part.channels, np.concatenate(stay)))


def plan_channels(model: Any, kernels: Mapping[str, Kernel], *, named: bool) -> ChannelPlan:
    """The sets of layers that `kernels` belong to, with the layers that are coupled to them.

    Raises as `plan_of` does.
    """
    main = {id(k.variable): k.name for k in all_kernels(model).values() if k.name == k.layer_name}
    wanted = dict.fromkeys(kernel.layer_name for kernel in kernels.values())
    return plan_of(channel_map(model), wanted, main, named=named)


def plan_of(
    found: ChannelMap, wanted: Mapping[str, Any], main: Mapping[int, str], *, named: bool
) -> ChannelPlan:
    """The sets of the `wanted` layers of a map; `main` is as in the plan.

    A layer that must stay whole raises UsageError where the user `named` it, else it is left alone.
    Raises ModelError when no layer is left.
    """
    sets: list[ChannelSet] = []
    blocked: dict[str, str] = {}
    for layers in _coupled(found.producers):
        if not wanted.keys() & layers.keys():
            continue
        reason = _reason(found, layers)
        if reason is None:
            sets.append(ChannelSet(next(iter(layers)), layers))
        else:
            blocked |= dict.fromkeys(sorted(wanted.keys() & layers.keys()), reason)
    blocked |= {
        name: found.blocked.get(name, "its units cannot be told apart in the graph")
        for name in wanted
        if name not in found.producers
    }
    value = next((f"{name}: {reason}" for name, reason in blocked.items()), "")
    if named and blocked:
        raise UsageError("this layer cannot be pruned as channel", value=value)
    if not sets:
        raise ModelError("no layer of the model can be pruned as channel", value=value)
    return ChannelPlan(found, sets, blocked, main)


def channel_masks(
    plan: ChannelPlan,
    scores: Mapping[str, np.ndarray],
    targets: Mapping[str, float],
    level: SparsityNow,
    scope: Literal["layer", "global"],
) -> tuple[dict[str, np.ndarray], dict[str, KeptGroups]]:
    """The masks, by variable, that remove the least important channels; and each layer's choice.

    `scores` are of the weights of each layer's kernel, as a matrix. A unit's score is the mean of
    its weights', divided by the mean over its layer; those of coupled units add up. One unit of
    each layer always stays. A removed channel is zero in every variable that makes, normalises or
    consumes it.
    """
    pooled = {}
    for part in plan.sets:
        values = _set_scores(part, scores)
        pooled[part.name] = np.where(np.isin(part.channels, part.gone), -1.0, values)
    if scope == "global":
        chosen = choose_global(pooled, level(max(targets.values())), Channel())
    else:
        wanted = {part.name: level(_target(part, targets)) for part in plan.sets}
        chosen = choose_each(pooled, wanted, Channel())
    choices = {}
    for part in plan.sets:
        keep = _with_one_unit(part, chosen[part.name].keep, pooled[part.name])
        part.gone = part.channels[~keep]
        for name, channels in part.layers.items():
            stay = ~np.isin(channels, part.gone)
            choices[name] = KeptGroups(stay, chosen[part.name].threshold)
    gone = np.concatenate([part.gone for part in plan.sets])
    return _masks(plan, gone), choices


def _coupled(producers: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Producers that share channels, in sets, in the order of the model."""
    sets: list[dict[str, np.ndarray]] = []
    for name, channels in producers.items():
        joined = {name: channels}
        apart = []
        for other in sets:
            if any(np.isin(channels, ids).any() for ids in other.values()):
                joined = other | joined
            else:
                apart.append(other)
        sets = [*apart, joined]
    order = list(producers)
    return sorted(sets, key=lambda layers: min(order.index(name) for name in layers))


def _reason(found: ChannelMap, layers: Mapping[str, np.ndarray]) -> str | None:
    for name in layers:
        if name in found.blocked:
            reason = found.blocked[name]
            return reason if len(layers) == 1 else f"{reason} (coupled with {name})"
    for axis in found.axes:
        if axis.role == "producer" and axis.layer in layers and not axis.variable.trainable:
            return f"it is coupled with {axis.layer}, which is frozen"
    return None


def _target(part: ChannelSet, targets: Mapping[str, float]) -> float:
    given = {name: targets[name] for name in part.layers if name in targets}
    if len(set(given.values())) > 1:
        raise UsageError(
            "these layers are coupled and need a single sparsity",
            value=", ".join(f"{name}={value:g}" for name, value in given.items()),
        )
    return next(iter(given.values()))


def _set_scores(part: ChannelSet, scores: Mapping[str, np.ndarray]) -> np.ndarray:
    channels = part.channels
    total = np.zeros(channels.size)
    for name, ids in part.layers.items():
        units = Channel().pool(np.asarray(scores[name], np.float64))
        np.add.at(total, np.searchsorted(channels, ids), units / max(units.mean(), 1e-30))
    return total


def _with_one_unit(part: ChannelSet, keep: np.ndarray, scores: np.ndarray) -> np.ndarray:
    keep = keep.copy()
    for ids in part.layers.values():
        places = np.searchsorted(part.channels, ids)
        if not keep[places].any():
            keep[places[np.argmax(scores[places])]] = True
    return keep


def _masks(plan: ChannelPlan, gone: np.ndarray) -> dict[str, np.ndarray]:
    masks: dict[str, np.ndarray] = {}
    for axis in plan.map.axes:
        stay = ~np.isin(axis.channels, gone)
        # A variance of zero would be divided by, and a dead channel's gain is zero anyway.
        if axis.variable.name == "moving_variance":
            continue
        mask = axis.spread(stay)
        key = plan.main_kernels.get(id(axis.variable), f"{axis.layer}:{axis.variable.name}")
        masks[key] = mask & masks[key] if key in masks else mask.copy()
    return masks
