"""Where every map lies in the workspace, and which are never held whole.

A map that one layer reads row by row is computed row by row, too: its reader asks for the next row
when it needs one, and only the rows of a window are held, in a ring. Memory of maps and rings that
are not needed at the same time overlaps.
"""

from __future__ import annotations

import dataclasses
import functools

from compressor.errors import ModelError
from compressor.exporters.c import choosing
from compressor.exporters.c.coding import FIXED, HUFFMAN
from compressor.exporters.c.direct import into_planes, into_rings
from compressor.exporters.c.lanes import VECTORS
from compressor.exporters.c.layout import LaidOut
from compressor.exporters.c.network import (
    Constant,
    Convolution,
    Dense,
    Joined,
    Layer,
    Lookup,
    Padded,
    Pooling,
    Product,
    Sum,
    Transposed,
)
from compressor.exporters.c.planes import Planes
from compressor.exporters.c.ring import Ring
from compressor.exporters.c.ways import in_planes, in_rows, mode_of, planes_of, ring_of
from compressor.exporters.c.weights import (
    CodedWeights,
    Stored,
    dense_forms,
    listed,
)

ALIGNMENT = 8
DEEPEST = 8
"""layers that compute rows in one another"""
_COUNTER_BYTES, _SUM_BYTES = 2, 4

ROW_WISE = (Convolution, Transposed, Pooling, Lookup, Sum, Product, Joined, Padded)
"""Layers that compute one row of their output after the other."""
_PULLING = (Convolution, Pooling, Lookup, Sum, Product, Joined, Padded)
"""Layers that ask for the rows of their input in order."""


@dataclasses.dataclass
class Block:
    """A piece of the workspace that is in use from `first` to `last`: twice the step, and one more
    at its end, when no row is computed any more."""

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
    """position of a convolution -> its ring, or its planes"""
    shapes: dict[int, Ring]
    planes: dict[int, Planes]
    """position of a convolution that has a map in planes in place of a ring"""
    direct: dict[int, int]
    """map that is written into the planes, or the ring, of its reader only -> position of that"""
    stored: dict[int, Stored]
    """position of a layer with weights -> how they are stored; but for transposed convolutions"""
    spaces: dict[int, Block]
    """position of a convolution -> where a filter is decoded"""
    sums: dict[int, Block]
    """position of a fully connected layer that reads rows -> its sums"""
    counters: dict[int, int]
    """position of a layer -> the place of its counter of rows"""
    within: dict[int, list[int]]
    """step -> the layers that are computed in it, row by row, the step's own one last"""
    workspace: int = 0
    state: int = 0
    """16-bit integers at the start of the workspace"""

    def rows_of(self, layer: Dense) -> int:
        """In how many rows a fully connected layer reads its input."""
        source = self.laid.place(layer.inputs[0])
        return self.laid.tensors[source].shape[0] if source in self.streamed else 1

    def by_row(self, number: int) -> bool:
        """Whether a layer computes one row of its output after the other."""
        return isinstance(self.laid.layers[number], ROW_WISE) and number not in self.planes

    @property
    def makers(self) -> dict[int, int]:
        return {layer.output: number for number, layer in enumerate(self.laid.layers)}


def make_plan(laid: LaidOut, target: str, optimize: str) -> Plan:
    """The plan of a network for a processor; raises ModelError for a convolution too wide."""
    uses: dict[int, list[int]] = {}
    for number, layer in enumerate(laid.layers):
        for source in layer.inputs:
            uses.setdefault(laid.place(source), []).append(number)
    makers = {layer.output: number for number, layer in enumerate(laid.layers)}
    planes = planes_of(laid, optimize) if target in VECTORS else {}
    streamed: set[int] = set()
    nested: dict[int, int] = {}
    for output, number in makers.items():
        layer = laid.layers[number]
        nested[output] = 1 + max(
            (nested[s] for s in map(laid.place, layer.inputs) if s in streamed), default=0
        )
        # Each asks the one before for a row: the depth of calls, and so the stack, is bounded.
        deep = nested[output] >= DEEPEST
        held = deep or number in planes
        if not held and _streams(laid, output, layer, uses.get(output, []), target):
            streamed.add(output)
    steps = [
        number
        for number, layer in enumerate(laid.layers)
        if layer.output not in streamed and not isinstance(layer, Constant)
    ]
    plan = Plan(
        laid, steps, streamed, {}, {}, {}, {}, planes, into_planes(laid, planes), {}, {}, {}, {}, {}
    )
    for number, layer in enumerate(laid.layers):
        if number in planes:
            continue
        if isinstance(layer, Convolution):
            plan.shapes[number] = ring_of(laid, layer, target)
        if isinstance(layer, Convolution | Pooling):
            plan.counters[number] = plan.state
            # A packed convolution has its place in the ring and bits of its rows beside it.
            plan.state += 3 if isinstance(layer, Convolution) and layer.packed else 1
    for output in makers:
        height = laid.tensors[output].shape[0]
        reader = laid.layers[uses[output][0]] if output in streamed else None
        window = reader.window[0] if isinstance(reader, Pooling) else 1
        plan.depths[output] = min(window, height) if output in streamed else height
    if target not in VECTORS:
        plan.direct |= into_rings(laid, streamed, plan.shapes, uses)
    plan.stored = _stored(plan, target, optimize)
    _place(plan, uses, makers)
    return plan


def _stored(plan: Plan, target: str, optimize: str) -> dict[int, Stored]:
    laid = plan.laid
    hosts = target in VECTORS
    codes = () if hosts else (FIXED, HUFFMAN)
    forms: dict[int, list[tuple[Stored, choosing.Work]]] = {}
    for number, layer in enumerate(laid.layers):
        if number in plan.planes and isinstance(layer, Convolution):
            forms[number] = [in_planes(laid, layer, plan.planes[number])]
        elif isinstance(layer, Convolution):
            forms[number] = in_rows(laid, layer, plan.shapes[number], target, codes)
            if not forms[number]:
                raise ModelError("a convolution is too wide for C code", value=layer.kernel.shape)
        elif isinstance(layer, Dense):
            found = dense_forms(layer, plan.rows_of(layer), codes)
            found += listed(layer) if hosts else []
            forms[number] = [(one, choosing.of_dense(one, vectors=hosts)) for one in found]
    return choosing.choose(forms, target, mode_of(target, optimize))


def _streams(laid: LaidOut, output: int, maker: Layer, uses: list[int], target: str) -> bool:
    """Whether a map is made and read row by row, by one layer."""
    shape = laid.tensors[output].shape
    if output == laid.output or len(uses) != 1 or not isinstance(maker, ROW_WISE):
        return False
    reader = laid.layers[uses[0]]
    if isinstance(reader, Dense):  # which adds to all its sums what a row is worth
        rest = laid.tensors[output].size * (shape[0] - 1) // shape[0]
        if target in VECTORS:
            return False  # a unit at once is faster
        return shape[0] > 1 and _SUM_BYTES * len(reader.kernel) < rest
    if not isinstance(reader, _PULLING) or output not in reader.inputs:
        return False  # also where it is read in another shape
    whole = laid.tensors[reader.output].shape
    if isinstance(reader, Sum | Product) and shape != whole:
        return False
    return shape[0] > 1


def _place(plan: Plan, uses: dict[int, list[int]], makers: dict[int, int]) -> None:
    """Give every map and ring a place in the workspace."""
    laid = plan.laid
    step_of: dict[int, int] = {}

    def enter(number: int, step: int) -> None:
        """The layers that are computed row by row in a step."""
        for source in map(laid.place, laid.layers[number].inputs):
            if source in plan.streamed:
                enter(makers[source], step)
        step_of[number] = step
        plan.within.setdefault(step, []).append(number)

    for step, number in enumerate(plan.steps):
        enter(number, step)
    for output, number in makers.items():
        held = isinstance(laid.layers[number], Constant) or output in plan.direct
        if output == laid.output or held:
            continue
        height, width, channels = laid.tensors[output].shape
        size = min(plan.depths[output], height) * width * channels
        first = 2 * step_of[number]
        if output in plan.streamed:
            plan.maps[output] = Block(size, first, first)
            continue
        layer = laid.layers[number]
        late = int(isinstance(layer, Dense) and plan.rows_of(layer) > 1)
        readers = [step_of[reader] for reader in uses.get(output, [])]
        last = 2 * max([step_of[number], *readers]) + 1
        plan.maps[output] = Block(size, first + late, last)
    for number, ring in plan.shapes.items():
        plan.rings[number] = Block(ring.bytes, 2 * step_of[number], 2 * step_of[number])
    for number, planes in plan.planes.items():
        source = laid.layers[number].inputs[0]
        first = makers[source] if source in plan.direct else number
        plan.rings[number] = Block(planes.bytes, 2 * step_of[first], 2 * step_of[number])
    for number, stored in plan.stored.items():
        layer, first = laid.layers[number], 2 * step_of[number]
        if isinstance(stored, CodedWeights) and stored.space:
            plan.spaces[number] = Block(stored.space, first, first)
        if isinstance(layer, Dense) and plan.rows_of(layer) > 1:
            plan.sums[number] = Block(_SUM_BYTES * len(layer.kernel), first, first + 1)
    start = _aligned(_COUNTER_BYTES * plan.state)
    blocks = [
        *(*plan.maps.values(), *plan.rings.values()),
        *(*plan.spaces.values(), *plan.sums.values()),
    ]
    apart = _apart(plan, makers)
    placed: list[Block] = []
    for block in sorted(blocks, key=lambda one: (-one.size, one.first)):
        together = sorted(
            (
                one
                for one in placed
                if one.first <= block.last
                and block.first <= one.last
                and frozenset((id(one), id(block))) not in apart
            ),
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


def _apart(plan: Plan, makers: dict[int, int]) -> set[frozenset[int]]:
    """Pairs of rows, by the identity of their blocks, that are never needed at the same time.

    A convolution has its input in its ring when it writes its row: so that row may lie where those
    lay that its input was made from, unless several rows of them are held.
    """
    laid, found = plan.laid, set()

    def rows(number: int) -> list[int]:
        """The rows that are made while a layer fills its ring."""
        made = []
        for source in laid.layers[number].inputs:
            if source in plan.streamed:
                held = plan.depths[source] == 1 and source not in plan.direct
                made += [source] * held + rows(makers[source])
        return made

    for output in plan.streamed - plan.direct.keys():
        if plan.depths[output] == 1 and isinstance(laid.layers[makers[output]], Convolution):
            own = id(plan.maps[output])
            found |= {frozenset((own, id(plan.maps[one]))) for one in rows(makers[output])}
    return found


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
