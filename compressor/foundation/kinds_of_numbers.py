"""What counts as a number among arguments: 3 and np.int64(3), but neither True nor "3"."""

from __future__ import annotations

import dataclasses
import numbers
from typing import Any

import numpy as np


def is_whole(value: Any) -> bool:
    """Whether it is an integer."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def make_plain(options: Any) -> None:
    """Make numpy's numbers in the fields of a dataclass those of Python, which JSON takes."""
    for field in dataclasses.fields(options):
        if isinstance(value := getattr(options, field.name), np.generic):
            object.__setattr__(options, field.name, value.item())


def is_number(value: Any) -> bool:
    """Whether it is a real number; NaN is one, too."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
