"""How many columns of a convolution are computed at once."""

from __future__ import annotations

from compressor.exporters.c.costs import COSTS, HOST
from compressor.exporters.c.network import Convolution

LANES = {"portable": 8, "cortex-m0": 4, "cortex-m4": 6, HOST: 8}
"""Processor -> columns that a convolution computes at once at most."""
_MOST_PAIRS = 7
_COUNTED = ("cortex-m0", "cortex-m4")
"""Processors whose instructions take about as long as each other."""
VECTORS = (HOST,)
"""Processors with registers of several lanes."""
_MOST_LANES = 32


def lanes_of(layer: Convolution, width: int, target: str) -> int:
    """How many columns a convolution computes at once.

    On a Cortex-M, and where two share a register, so many columns, or pairs, that all take the
    fewest instructions; elsewhere a power of two.
    """

    def cheapest(columns: int, most: int) -> int:
        prefix = "packed_" * layer.packed
        tap, each = COSTS[target][f"{prefix}tap"], COSTS[target][f"{prefix}column"]
        return min(
            range(1, most + 1),
            key=lambda n: (-(-columns // n) * (each * n + tap), -n),
        )

    if layer.packed and target not in VECTORS:
        return 2 * cheapest(-(-width // 2), _MOST_PAIRS)
    if target in _COUNTED:
        return cheapest(width, LANES[target])
    lanes = 1
    most = _MOST_LANES if layer.packed else LANES[target]
    while lanes < min(width, most):
        lanes *= 2
    return lanes
