"""The inputs and targets of a data set: one array, or arrays by the model's own names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, overload

import numpy.typing as npt

from deploy.text import clean

_MOST_NAMES = 10

Array = npt.NDArray[Any]
Inputs = Array | Mapping[str, Array]
"""One array (n, ...), or arrays of n rows each by name."""
Targets = Array | Mapping[str, Array]
"""What a model's outputs are held against: one array (n, ...), or arrays by the outputs' names."""


def rows(x: Inputs | Targets) -> int:
    """The number of samples."""
    return len(next(iter(named(x).values())))


@overload
def take(x: Inputs, index: Any) -> Inputs: ...
@overload
def take(x: Inputs | None, index: Any) -> Inputs | None: ...
def take(x: Inputs | None, index: Any) -> Inputs | None:
    """The samples that a slice or an array of indices chooses, of every array; None of None."""
    if x is None:
        return None
    if isinstance(x, Mapping):
        return {name: array[index] for name, array in x.items()}
    return x[index]


def named(x: Inputs) -> dict[str, Array]:
    """The arrays by name, in their order; one array has the name ""."""
    return dict(x) if isinstance(x, Mapping) else {"": x}


def place_of(name: str, part: str, kind: str = "input") -> str:
    """How a message names the input `name` of a part; one array is the part itself."""
    return f"{kind} {clean(name)} of {part}" if name else part


def listed(names: Iterable[str]) -> str:
    """Names for a message, not more than a reader takes in; a name with escapes is in quotes."""
    names = list(names)
    shown = ", ".join(map(_quoted, names[:_MOST_NAMES])) or "nothing"
    if len(names) > _MOST_NAMES:
        shown += f" and {len(names) - _MOST_NAMES} more"
    return shown


def _quoted(name: str) -> str:
    shown = clean(name)
    return shown if shown == name else f"'{shown}'"
