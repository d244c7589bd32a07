"""Latencies for exports whose choice must not depend on how busy the machine is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def latencies_by_size(given: Sequence[bytes], *_: Any, rounds: int, **_how: Any) -> np.ndarray:
    """In place of `median_latencies`: a millisecond a byte, (rounds, files)."""
    return np.tile([float(len(content)) for content in given], (rounds, 1))
