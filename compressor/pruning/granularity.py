"""Granularity: a weight, a block of weights, all but n of every m, or a channel.

Blocks and n:m groups run along the input axis of a kernel, the last one in the layout
[out, ..., in] that TFLite stores and runtimes' sparse kernels take; Keras keeps (..., in, out).
Channels are removed through the graph: see `compressor.pruning.channels`.
"""

from __future__ import annotations

import abc
import re

import numpy as np

from compressor.errors import UsageError

_HINT = "choose weight, 1x4, 1x16 (or another 1xN), 2:4 (or another n:m), or channel"
_BLOCK = re.compile(r"1x([1-9]\d{0,5})")
_N_OF_M = re.compile(r"([1-9]\d{0,3}):([1-9]\d{0,3})")


class Granularity(abc.ABC):
    """How the weights of one kernel are grouped; a group is kept or pruned as a whole."""

    name: str

    @abc.abstractmethod
    def reason(self, shape: tuple[int, ...], is_matrix: bool) -> str | None:
        """Why a kernel of this shape cannot be pruned so, or None if it can."""

    @abc.abstractmethod
    def pool(self, scores: np.ndarray) -> np.ndarray:
        """Scores of weights, any shape -> scores of groups, float (groups,): their mean."""

    @abc.abstractmethod
    def spread(self, keep: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Groups to keep, bool (groups,) -> mask of the kernel, bool `shape`."""


class Weight(Granularity):
    """Each weight on its own."""

    name = "weight"

    def reason(self, shape: tuple[int, ...], is_matrix: bool) -> str | None:
        return None

    def pool(self, scores: np.ndarray) -> np.ndarray:
        return scores.ravel()

    def spread(self, keep: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return keep.reshape(shape)


class _AlongInput(Granularity):
    """`_size` neighbouring inputs of one output (and one place of a window) make a group."""

    _groups: str
    _size: int

    def reason(self, shape: tuple[int, ...], is_matrix: bool) -> str | None:
        if not is_matrix:
            return f"it has no input axis to cut into {self._groups}"
        if shape[-2] % self._size:
            return f"its {shape[-2]} inputs do not divide into {self._groups} of {self._size}"
        return None

    def pool(self, scores: np.ndarray) -> np.ndarray:
        """Single scores in the order [..., out, in]."""
        return np.moveaxis(scores, -2, -1).ravel()

    def spread(self, keep: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        rows = (*shape[:-2], shape[-1], shape[-2])
        return np.ascontiguousarray(np.moveaxis(keep.reshape(rows), -1, -2))


class Block(_AlongInput):
    """1 x `size` blocks."""

    _groups = "blocks"

    def __init__(self, size: int) -> None:
        self._size = size
        self.name = f"1x{size}"

    def pool(self, scores: np.ndarray) -> np.ndarray:
        return super().pool(scores).reshape(-1, self._size).mean(axis=1)

    def spread(self, keep: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return super().spread(np.repeat(keep, self._size), shape)


class NOfM(_AlongInput):
    """At most `n` weights of every `m` neighbouring inputs of one output are not zero.

    Source: Mishra et al., Accelerating Sparse Deep Neural Networks (2021), for 2:4.
    """

    _groups = "groups"

    def __init__(self, n: int, m: int) -> None:
        self.n, self.m, self._size = n, m, m
        self.name = f"{n}:{m}"
        self.sparsity = (m - n) / m
        """the fraction that goes: 1 - n / m"""

    def choose(self, pooled: np.ndarray, sparsity: float) -> np.ndarray:
        """Keep the best of every m: n of them, or more as long as `sparsity` is below 1 - n/m.

        `pooled` is what `pool` gave; returns bool of the same shape. Of equal scores the later
        ones are kept.
        """
        stay = max(self.n, self.m - round(sparsity * self.m))
        groups = pooled.reshape(-1, self.m)
        keep = np.zeros(groups.shape, bool)
        best = np.argsort(groups, axis=1, kind="stable")[:, self.m - stay :]
        np.put_along_axis(keep, best, True, axis=1)
        return keep.ravel()


class Channel(Granularity):
    """Whole units and filters, with everything that depends on them."""

    name = "channel"

    def reason(self, shape: tuple[int, ...], is_matrix: bool) -> str | None:
        return None if is_matrix else "only Dense layers and convolutions have units to remove"

    def pool(self, scores: np.ndarray) -> np.ndarray:
        return scores.reshape(-1, scores.shape[-1]).mean(axis=0)

    def spread(self, keep: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.ascontiguousarray(np.broadcast_to(keep, shape))


def parse_granularity(text: str) -> Granularity:
    """`weight`, `1x16`, `2:4` or `channel`; raises UsageError for anything else."""
    if not isinstance(text, str):
        raise UsageError("unknown granularity", value=repr(text), hint=_HINT)
    block, n_of_m = _BLOCK.fullmatch(text), _N_OF_M.fullmatch(text)
    if text == Weight.name:
        return Weight()
    if text == Channel.name:
        return Channel()
    if block:
        return Block(int(block[1]))
    if n_of_m and int(n_of_m[1]) < int(n_of_m[2]):
        return NOfM(int(n_of_m[1]), int(n_of_m[2]))
    raise UsageError("unknown granularity", value=text, hint=_HINT)
