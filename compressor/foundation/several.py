"""Arguments that take several things, and one alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def several(given: Any) -> tuple[Any, ...]:
    """Those of a sequence; a text or a path alone is one, not its letters: "fc1" -> ("fc1",)."""
    alone = isinstance(given, str) or not isinstance(given, Iterable)
    return (given,) if alone else tuple(given)
