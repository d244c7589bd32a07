"""The Pareto front: what nothing else beats in both cost and accuracy."""

from __future__ import annotations

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, accuracy) points on the front, from the cheapest on.

    A point is on it when every cheaper or as cheap one is less accurate; of equal points the first
    is. front([(1, .90), (2, .95), (3, .93), (3, .99)]) -> [0, 1, 3]
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    found: list[int] = []
    for index in order:
        if not found or points[index][1] > points[found[-1]][1]:
            found.append(index)
    return found
