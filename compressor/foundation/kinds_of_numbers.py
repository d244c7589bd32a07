"""What counts as a number among arguments: 3 and np.int64(3), but neither True nor "3"."""

from __future__ import annotations

import numbers
from typing import Any


def is_whole(value: Any) -> bool:
    """Whether it is an integer."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a real number; NaN is one, too."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
