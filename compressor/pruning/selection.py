"""From scores to masks: how many groups of each kernel are kept, and which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from compressor.pruning.granularity import Granularity, NOfM, Weight
from compressor.pruning.magnitude import floor_share, keep_highest, kept_weights

SparsityNow = Callable[[float], float]
"""Target sparsity -> the sparsity at this point of the schedule; in the end the identity."""


class KeptGroups(NamedTuple):
    """Which groups of one kernel are kept."""

    keep: np.ndarray
    """bool (groups,)"""
    threshold: float | None
    """the highest pruned score; None where nothing is pruned, and for n:m"""


def _groups_to_keep(granularity: Granularity, groups: int, sparsity: float) -> int:
    """groups - floor(groups x sparsity), but the paper's rule for single weights."""
    if isinstance(granularity, Weight):
        return kept_weights(groups, sparsity)
    return groups - floor_share(groups, sparsity)


def choose_each(
    pooled: Mapping[str, np.ndarray], sparsities: Mapping[str, float], granularity: Granularity
) -> dict[str, KeptGroups]:
    """Choose in every kernel on its own; `pooled` is name -> scores of groups, (groups,)."""
    chosen = {}
    for name, values in pooled.items():
        if isinstance(granularity, NOfM):
            chosen[name] = KeptGroups(granularity.choose(values, sparsities[name]), None)
        else:
            keep = _groups_to_keep(granularity, values.size, sparsities[name])
            threshold, mask = keep_highest(values, keep)
            chosen[name] = KeptGroups(mask, threshold)
    return chosen


def choose_many(values: np.ndarray, kept: int, progress: float) -> KeptGroups:
    """Keep `kept` of the scores, (groups,), in the end; more before the progress is 1."""
    gone = round((values.size - kept) * progress)
    return KeptGroups(keep_highest(values, values.size - gone)[1], None)


def choose_global(
    pooled: Mapping[str, np.ndarray], sparsity: float, granularity: Granularity
) -> dict[str, KeptGroups]:
    """Choose by one threshold over all kernels."""
    values = np.concatenate(list(pooled.values()))
    threshold, mask = keep_highest(values, _groups_to_keep(granularity, values.size, sparsity))
    ends = np.cumsum([part.size for part in pooled.values()])[:-1]
    parts = np.split(mask, ends)
    return {name: KeptGroups(keep, threshold) for name, keep in zip(pooled, parts, strict=True)}


def lamp_scores(costs: np.ndarray) -> np.ndarray:
    """What each weight or group of one kernel costs to remove, beside what is left then.

    `costs`, at least 0, of any shape, are divided by the sum of those that are not smaller: the
    largest scores 1, unless it is 0. Returns float64 (n,), ascending. Source: Lee et al.,
    Layer-adaptive Sparsity for the Magnitude-based Pruning (2021), equation 2, where a cost is a
    squared weight.
    """
    ascending = np.sort(costs.astype(np.float64), axis=None)
    larger = np.cumsum(ascending[::-1])[::-1]
    return ascending / np.maximum(larger, np.finfo(np.float64).tiny)


def lamp_counts(scores: Mapping[str, np.ndarray], kept: int) -> dict[str, int]:
    """How many each kernel keeps of `kept` in all, by its ascending `lamp_scores`; at least one,
    unless there is none."""
    others = [found[:-1] for found in scores.values()]
    counts = np.array([min(found.size, 1) for found in scores.values()])
    judged = np.concatenate(others)
    more = min(max(kept - counts.sum(), 0), judged.size)
    highest = np.argpartition(-judged, more - 1)[:more] if more else np.zeros(0, int)
    ends = np.cumsum([found.size for found in others])
    counts += np.bincount(np.searchsorted(ends, highest, side="right"), minlength=len(others))
    return dict(zip(scores, counts.tolist(), strict=True))


def share_out(
    pooled: Mapping[str, np.ndarray], sparsity: float, granularity: Granularity
) -> dict[str, int]:
    """How many groups each kernel keeps at one sparsity of all.

    By one threshold over `lamp_scores`, times the root of what all of a kernel costs. By the costs
    alone, which are those of one group that goes and no other, a high sparsity would empty whole
    kernels; by LAMP alone a kernel that hardly matters would count as much as any. How far costs
    of several kernels can be compared is only roughly known: hence the root, the mean of both.
    """
    # Groups that went before, whose cost is below 0, do not come back.
    left = {name: costs[costs >= 0].astype(np.float64) for name, costs in pooled.items()}
    scores = {name: np.sqrt(costs.sum()) * lamp_scores(costs) for name, costs in left.items()}
    groups = sum(costs.size for costs in pooled.values())
    return lamp_counts(scores, _groups_to_keep(granularity, groups, sparsity))
