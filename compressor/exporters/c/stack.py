"""How much stack generated code takes at most."""

from __future__ import annotations

from compressor.exporters.c.network import Convolution, Pooling
from compressor.exporters.c.plan import Plan

_FRAME = {4: 448, 8: 768}
"""bytes of a function's frame at most, beside pointers to the rows of a window, by the size of a
pointer; checked by gcc -Wstack-usage"""
_CALLS = 4
"""functions around those of the layers: the run, and the kernel with what it calls"""
_SMALL = ("cortex-m0", "cortex-m4")


def frame_of(plan: Plan, target: str) -> int:
    """Bytes of the largest frame of a function."""
    pointer = 4 if target in _SMALL else 8
    rows = [0]
    for layer in plan.laid.layers:
        if isinstance(layer, Convolution):
            rows.append(layer.kernel.shape[1] * layer.pooled)
        elif isinstance(layer, Pooling):
            rows.append(layer.window[0])
    return _FRAME[pointer] + pointer * max(rows)


def stack_of(plan: Plan, target: str) -> int:
    """Bytes of stack that a run takes at most, where no frame is larger than that."""
    makers = plan.makers

    def depth(number: int) -> int:
        sources = map(plan.laid.place, plan.laid.layers[number].inputs)
        inner = [depth(makers[one]) for one in sources if one in plan.streamed]
        return 1 + max(inner, default=0)

    deepest = max((depth(step) for step in plan.steps), default=0)
    return (deepest + _CALLS) * frame_of(plan, target)
