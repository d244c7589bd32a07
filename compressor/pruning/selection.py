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
