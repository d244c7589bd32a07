"""What converters made of a model, kept for the other variants of one export.

The variants of a model begin with the same graph, and converting takes most of the time of a small
one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

_Made = TypeVar("_Made")

MOST = 2**24
"""Bytes of the weights of a model whose graphs are kept: each has them once more."""


class Conversions:
    """Graphs of models that do not change while this is used."""

    def __init__(self, weights: int | None = None) -> None:
        """`weights` are the bytes of the largest model; by default nothing is kept."""
        self.keeps = weights is not None and weights <= MOST
        """whether what is converted is kept"""
        self._made: dict[Hashable, tuple[Any, Any]] = {}

    def of(self, model: Any, how: Hashable, convert: Callable[[], _Made]) -> _Made:
        """What `convert` makes of a model, not to be changed; it is called once for each `how`."""
        if not self.keeps:
            return convert()
        key = id(model), how
        if key not in self._made:
            self._made[key] = model, convert()  # as long as it is held, the id is its own
        made: _Made = self._made[key][1]
        return made
