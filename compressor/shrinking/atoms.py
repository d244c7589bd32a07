"""Channel ids, and which of them are coupled."""

from __future__ import annotations

import numpy as np


class Atoms:
    """Allocates channel ids; joined ids are kept or removed together, pinned ids are kept."""

    def __init__(self) -> None:
        self._count = 0
        self._joined: list[tuple[np.ndarray, np.ndarray]] = []
        self._pins: list[tuple[np.ndarray, str]] = []

    def new(self, count: int | None) -> np.ndarray:
        """`count` new ids, int64; none for an axis of unknown size."""
        ids = np.arange(self._count, self._count + (count or 0), dtype=np.int64)
        self._count += len(ids)
        return ids

    def join(self, first: np.ndarray, second: np.ndarray) -> None:
        """Couple two arrays of ids of one length, pair by pair."""
        self._joined.append((first, second))

    def pin(self, ids: np.ndarray, reason: str) -> None:
        self._pins.append((ids, reason))

    def classes(self) -> np.ndarray:
        """The class of every id, int64 (ids,): joined ids have one class, counted from 0."""
        # Imported late: scipy takes long.
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        empty = np.empty(0, np.int64)
        rows = np.concatenate([empty, *(first for first, _ in self._joined)])
        columns = np.concatenate([empty, *(second for _, second in self._joined)])
        edges = coo_array(
            (np.ones(len(rows), np.int8), (rows, columns)), shape=(self._count, self._count)
        )
        return connected_components(edges, directed=False)[1].astype(np.int64)

    def pinned(self, classes: np.ndarray) -> dict[int, str]:
        """Class -> the first reason for which it is pinned."""
        reasons: dict[int, str] = {}
        for ids, reason in self._pins:
            for found in np.unique(classes[ids]):
                reasons.setdefault(int(found), reason)
        return reasons
