"""Which channels to remove, by the exact rise of the error of the layers that take them.

One channel goes at a time, the one whose absence the other inputs of those layers can best make up
for. Source: Hassibi and Stork, Optimal Brain Surgeon (1993), for groups of weights as in Frantar
and Alistarh, Optimal Brain Compression (2022), section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

PULL = 0.01
"""Ridge, of the mean square of the inputs."""
_MOST_INPUTS = 6144
"""Of a kernel whose inputs are all weighed against each other: the inverse takes 300 MB."""
_DEAD = 4
"""One input of so many has gone: the matrix is made smaller."""
_STEPS = 1024
"""Removals after which a wide layer is done at the latest; it then loses several at a time."""


class Consumer:
    """A kernel that takes channels: how its error rises when some of its inputs go."""

    def __init__(
        self,
        rows: np.ndarray,
        weights: np.ndarray,
        importance: np.ndarray,
        channels: np.ndarray,
        outputs: np.ndarray | None = None,
    ) -> None:
        """`rows` float32 (rows, in), centred where there is a bias; `weights` (in, out) dense;
        `importance` (out,); `channels` int64 (in,), the channel that each input belongs to;
        `outputs` (rows, out), centred, where the rows times the weights do not give them."""
        self._channels, self._live = channels, np.ones(len(channels), bool)
        gram = (rows.T @ rows).astype(np.float64) / max(len(rows), 1)
        ridge = PULL * max(float(np.trace(gram)) / max(len(gram), 1), 1e-30)
        gram[np.diag_indices_from(gram)] += ridge
        self._exact = len(gram) <= _MOST_INPUTS
        # Without the others' help a channel costs what its own part of the matrix says.
        self._matrix = np.linalg.inv(gram) if self._exact else gram
        fitted = weights.astype(np.float64)
        if outputs is not None and self._exact and len(rows):
            fitted = self._matrix @ ((rows.T @ outputs) / len(rows) + ridge * fitted)
        self._weights = fitted * importance.astype(np.float64)

    def costs(self, channels: np.ndarray) -> np.ndarray:
        """The rise of the squared error for each of `channels`, (n,), if it goes next."""
        found = np.zeros(len(channels))
        for places, members in _by_size(self._channels, channels):
            blocks = self._matrix[members[:, :, None], members[:, None, :]]
            weights = self._weights[members]
            made = np.linalg.solve(blocks, weights) if self._exact else blocks @ weights
            found[places] = np.einsum("cij,cij->c", weights, made)
        return np.maximum(found, 0)

    def remove(self, channels: np.ndarray) -> None:
        """Take the inputs of `channels`, which are not asked for again, away.

        The other weights make up for them.
        """
        gone = np.flatnonzero(self._live & np.isin(self._channels, channels))
        if not gone.size or not self._exact:
            return
        part = self._matrix[np.ix_(gone, gone)]
        shares = np.linalg.solve(part, self._matrix[gone])
        self._weights -= shares.T @ self._weights[gone]
        self._matrix -= self._matrix[:, gone] @ shares
        # Rounding left there would be divided by.
        self._matrix[np.ix_(gone, gone)] = np.eye(gone.size)
        self._weights[gone] = 0
        self._live[gone] = False
        live = self._live
        if _DEAD * np.count_nonzero(~live) >= live.size:
            self._matrix, self._weights = self._matrix[np.ix_(live, live)], self._weights[live]
            self._channels, self._live = self._channels[live], live[live]


def removal_costs(
    consumers: Iterable[Consumer], channels: np.ndarray, gone: np.ndarray
) -> np.ndarray:
    """For each of `channels`, sorted, (n,): what its removal cost, in the order of removal.

    The cheapest goes first, and each later one costs a little more at least; what is `gone` already
    costs 0. Float64 (n,), above 0 but for those.
    """
    parts = list(consumers)
    left = channels[~np.isin(channels, gone)]
    for consumer in parts:
        consumer.remove(gone)
    found = np.zeros(channels.size)
    at_once = max(-(-left.size // _STEPS), 1)
    highest = 0.0
    while left.size:
        costs = np.sum([consumer.costs(left) for consumer in parts], axis=0)
        order = np.argsort(costs, kind="stable")[:at_once]
        for place in order:
            highest = max(highest * (1 + 1e-9), float(costs[place]), 1e-30)
            found[np.searchsorted(channels, left[place])] = highest
        for consumer in parts:
            consumer.remove(left[order])
        left = np.delete(left, order)
    return found


def _by_size(owners: np.ndarray, channels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places in `channels`, and the inputs of each, (places, inputs), for as many inputs each."""
    order = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[order], channels)
    sizes = np.searchsorted(owners[order], channels, side="right") - starts
    for size in np.unique(sizes[sizes > 0]):
        places = np.flatnonzero(sizes == size)
        yield places, order[starts[places][:, None] + np.arange(size)]
