"""Where every map lies in the workspace, and which are never held whole.

A map that one layer reads row by row is computed row by row, too: its reader asks for the next row
when it needs one, and only the rows of a window are held, in a ring. Memory of maps and rings that
are not needed at the same time overlaps.
"""

from __future__ import annotations

import dataclasses
import functools

from compressor.exporters.c.layout import LaidOut
from compressor.exporters.c.network import (
    Constant,
    Convolution,
    Joined,
    Layer,
    Lookup,
    Padded,
    Pooling,
    Product,
    Sum,
    Transposed,
)

ALIGNMENT = 8
LANES = {"portable": 8, "cortex-m0": 4, "cortex-m4": 4, "host": 8}
"""Processor -> columns that a convolution computes at once at most."""
_MOST_PAIRS, _WEIGHT_INSTRUCTIONS = 7, 5
VECTORS = ("host",)
"""Processors with registers of several lanes."""
_MOST_LANES = 32
ALIGNED = ("cortex-m0",)
"""Processors that load words from multiples of 4 bytes only."""
DEEPEST = 8
"""layers that compute rows in one another"""
_COUNTER_BYTES = 2

ROW_WISE = (Convolution, Transposed, Pooling, Lookup, Sum, Product, Joined, Padded)
"""Layers that compute one row of their output after the other."""
_PULLING = (Convolution, Pooling, Lookup, Sum, Product, Joined, Padded)
"""Layers that ask for the rows of their input in order."""


@dataclasses.dataclass(frozen=True)
class Ring:
    """Rows of the input of a convolution as 16-bit integers, without their zero, with margins.

    A row holds for each channel `phases` parts of `length` values: part p has the columns p, p +
    phases, p + 2 phases, ..., so that a window that moves by `phases` columns reads neighbours.
    """

    rows: int
    channels: int
    phases: int
    length: int
    copies: int = 1
    """2: a second copy lies one column to the left, so that words at odd columns are aligned"""

    @property
    def plane(self) -> int:
        """Values of a channel."""
        return self.copies * self.phases * self.length

    @property
    def row(self) -> int:
        return self.channels * self.plane

    @property
    def bytes(self) -> int:
        return 2 * self.rows * self.row


@dataclasses.dataclass
class Block:
    """A piece of the workspace that is in use from step `first` to step `last`."""

    size: int
    first: int
    last: int
    offset: int = 0


@dataclasses.dataclass
class Plan:
    """How a network is computed: `steps` are the layers whose output is held whole, in order."""

    laid: LaidOut
    steps: list[int]
    """positions of layers"""
    streamed: set[int]
    """maps that are never held whole"""
    depths: dict[int, int]
    """map -> rows of it that are held"""
    maps: dict[int, Block]
    rings: dict[int, Block]
    """position of a convolution -> its ring"""
    shapes: dict[int, Ring]
    counters: dict[int, int]
    """position of a layer -> the place of its counter of rows"""
    within: dict[int, list[int]]
    """step -> the layers that are computed in it, row by row, the step's own one last"""
    workspace: int = 0
    state: int = 0
    """16-bit integers at the start of the workspace"""

    @property
    def makers(self) -> dict[int, int]:
        return {layer.output: number for number, layer in enumerate(self.laid.layers)}


def make_plan(laid: LaidOut, target: str) -> Plan:
    """The plan of a network for a processor."""
    uses: dict[int, list[int]] = {}
    for number, layer in enumerate(laid.layers):
        for source in layer.inputs:
            uses.setdefault(laid.place(source), []).append(number)
    makers = {layer.output: number for number, layer in enumerate(laid.layers)}
    streamed: set[int] = set()
    nested: dict[int, int] = {}
    for output, number in makers.items():
        layer = laid.layers[number]
        nested[output] = 1 + max((nested[s] for s in layer.inputs if s in streamed), default=0)
        # Each asks the one before for a row: the depth of calls, and so the stack, is bounded.
        deep = nested[output] >= DEEPEST
        if not deep and _streams(laid, output, layer, uses.get(output, [])):
            streamed.add(output)
    steps = [
        number
        for number, layer in enumerate(laid.layers)
        if layer.output not in streamed and not isinstance(layer, Constant)
    ]
    plan = Plan(laid, steps, streamed, {}, {}, {}, {}, {}, {})
    for number, layer in enumerate(laid.layers):
        if isinstance(layer, Convolution):
            plan.shapes[number] = ring_of(laid, layer, target)
        if isinstance(layer, Convolution | Pooling):
            plan.counters[number] = plan.state
            # A packed convolution has bits beside it, one for each row of its ring.
            plan.state += 2 if isinstance(layer, Convolution) and layer.packed else 1
    for output in makers:
        height = laid.tensors[output].shape[0]
        reader = laid.layers[uses[output][0]] if output in streamed else None
        window = reader.window[0] if isinstance(reader, Pooling) else 1
        plan.depths[output] = min(window, height) if output in streamed else height
    _place(plan, uses, makers)
    return plan


def _streams(laid: LaidOut, output: int, maker: Layer, uses: list[int]) -> bool:
    """Whether a map is made and read row by row, by one layer."""
    shape = laid.tensors[output].shape
    if output == laid.output or len(uses) != 1 or not isinstance(maker, ROW_WISE):
        return False
    reader = laid.layers[uses[0]]
    if not isinstance(reader, _PULLING) or output not in reader.inputs:
        return False  # also where it is read in another shape
    whole = laid.tensors[reader.output].shape
    if isinstance(reader, Sum | Product) and shape != whole:
        return False
    return shape[0] > 1


def ring_of(laid: LaidOut, layer: Convolution, target: str) -> Ring:
    """The ring of a convolution."""
    _, width, channels = laid.tensors[layer.inputs[0]].shape
    _, rows, columns, _ = layer.kernel.shape
    out = laid.tensors[layer.output].shape[1] * layer.pooled
    phases = layer.stride[1]
    last = (columns - 1) * layer.dilation[1] // phases
    lanes = lanes_of(layer, out, target)
    length = max(-(-out // lanes) * lanes + last, -(-(width + layer.before[1]) // phases))
    length += length % 2
    span = (rows - 1) * layer.dilation[0] + 1 + (layer.pooled - 1) * layer.stride[0]
    copies = 2 if layer.packed and target in ALIGNED else 1
    return Ring(span, channels, phases, length, copies)


def lanes_of(layer: Convolution, width: int, target: str) -> int:
    """How many columns a convolution computes at once.

    A power of two; where two share a register, so many pairs that they take the fewest
    instructions: a pair takes two, or three without multiply-accumulate, and a weight a few of its
    own.
    """
    if layer.packed and target not in VECTORS:
        each = 3 if target == "cortex-m0" else 2
        pairs = -(-width // 2)
        return 2 * min(
            range(1, _MOST_PAIRS + 1),
            key=lambda count: (-(-pairs // count) * (each * count + _WEIGHT_INSTRUCTIONS), -count),
        )
    lanes = 1
    most = _MOST_LANES if layer.packed else LANES[target]
    while lanes < min(width, most):
        lanes *= 2
    return lanes


def _place(plan: Plan, uses: dict[int, list[int]], makers: dict[int, int]) -> None:
    """Give every map and ring a place in the workspace."""
    laid = plan.laid
    step_of: dict[int, int] = {}

    def enter(number: int, step: int) -> None:
        """The layers that are computed row by row in a step."""
        for source in laid.layers[number].inputs:
            if source in plan.streamed:
                enter(makers[source], step)
        step_of[number] = step
        plan.within.setdefault(step, []).append(number)

    for step, number in enumerate(plan.steps):
        enter(number, step)
    for output, number in makers.items():
        if output == laid.output or isinstance(laid.layers[number], Constant):
            continue
        readers = [step_of[reader] for reader in uses.get(output, [])]
        height, width, channels = laid.tensors[output].shape
        size = min(plan.depths[output], height) * width * channels
        plan.maps[output] = Block(size, step_of[number], max([step_of[number], *readers]))
    for number, ring in plan.shapes.items():
        plan.rings[number] = Block(ring.bytes, step_of[number], step_of[number])
    start = _aligned(_COUNTER_BYTES * plan.state)
    blocks = [*plan.maps.values(), *plan.rings.values()]
    placed: list[Block] = []
    for block in sorted(blocks, key=lambda one: (-one.size, one.first)):
        together = sorted(
            (one for one in placed if one.first <= block.last and block.first <= one.last),
            key=lambda one: one.offset,
        )
        offset = start
        for other in together:
            if offset + block.size <= other.offset:
                break
            offset = max(offset, _aligned(other.offset + other.size))
        block.offset = offset
        placed.append(block)
    ends = (block.offset + block.size for block in blocks)
    plan.workspace = _aligned(functools.reduce(max, ends, max(start, ALIGNMENT)))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
