"""Which channels of a graph file belong together: a walk over its operators, in their order.

What an operator is, its format knows, and calls the method here that says what becomes of channels.
As `compressor.shrinking` does it for the layers of Keras models.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from compressor.models import KernelAxes
from compressor.shrinking import Atoms, ChannelMap, VariableAxis

Shape = Sequence[int | None] | None
"""Sizes of a value or a constant, None for an open one; None where they are not known."""


@dataclasses.dataclass(eq=False, frozen=True)
class Constant:
    """A constant that loses elements with channels."""

    key: Any
    """as its format names it"""
    name: str
    shape: tuple[int, ...]
    trainable: bool = True


@dataclasses.dataclass(frozen=True)
class Line:
    """The axis of a value that runs over channels."""

    axis: int
    ids: np.ndarray
    """int64 (size of the axis,)"""


@dataclasses.dataclass(frozen=True)
class Count:
    """A number in an operator that says how many of some channels there are."""

    operator: Any
    place: int
    """among the sizes of a shape"""
    ids: np.ndarray


def has_unread(kernels: Mapping[str, tuple[np.ndarray, KernelAxes]]) -> bool:
    """Whether a kernel multiplies an input by zero alone: if not, `unread_channels` finds none."""
    return any(
        not values.any(axis=tuple(at for at in range(values.ndim) if at != axes.inputs[0])).all()
        for values, axes in kernels.values()
        if len(axes.inputs) == 1
    )


def unread_channels(found: ChannelMap, values_of: Callable[[Any], np.ndarray]) -> np.ndarray:
    """The channels, int64 (n,), that all kernels which take them multiply by zero.

    Without them the outputs are the same. One channel of each layer stays.
    """
    none = np.zeros(0, np.int64)
    kept = [none, *(ids for name, ids in found.producers.items() if name in found.blocked)]
    for axis in found.axes:
        if axis.role == "consumer":
            values = values_of(axis.variable.key)
            others = tuple(at for at in range(values.ndim) if at != axis.axis)
            kept.append(axis.channels[values.any(axis=others)])
    read = np.concatenate(kept)
    lost = [ids[:1] for ids in found.producers.values() if not np.isin(ids, read).any()]
    made = np.concatenate([none, *found.producers.values()])
    return np.setdiff1d(made, np.concatenate([read, *lost]))


def _size(shape: Sequence[int | None]) -> float:
    """How many values; NaN, which equals nothing, where that is open."""
    return math.prod(math.nan if size is None else size for size in shape)


class ChannelWalk:
    """The channels of the values that were walked past; each method is for one kind of operator.

    `shape_of` gives the sizes of a value or a constant; `own` those of a constant that one operator
    alone takes, else None. A method that cannot follow the channels of a value keeps them all, for
    the reason that it goes into an operator called `what`.
    """

    def __init__(
        self, shape_of: Callable[[Any], Shape], own: Callable[[Any], tuple[int, ...] | None]
    ) -> None:
        self._shape, self._own = shape_of, own
        self._atoms = Atoms()
        self._cuts: list[tuple[str, Constant, int, np.ndarray, Any]] = []
        self._constants: dict[Any, Constant] = {}
        self._producers: dict[str, np.ndarray] = {}
        self.lines: dict[Any, Line] = {}
        self.counts: list[Count] = []
        self.kernels: dict[str, Constant] = {}
        """name -> each kernel that was walked past"""

    def keep(self, values: Iterable[Any], why: str) -> None:
        """Keep all channels of these values."""
        for value in values:
            if value in self.lines:
                self._atoms.pin(self.lines[value].ids, why)

    def stop(self, values: Iterable[Any], what: str) -> None:
        self.keep(values, f"its units go into {what}")

    def product(
        self,
        name: str,
        kernel: Any,
        axes: tuple[int, int],
        bias: tuple[Any, int] | None,
        source: tuple[Any, int],
        result: tuple[Any, int],
        what: str,
    ) -> None:
        """A kernel that sums over an axis of `source` and makes one of `result`.

        `axes` of the kernel are that of the inputs and that of the outputs; the others are pairs
        of a constant, or a value, and its axis.
        """
        shape = self._own(kernel)
        if shape is None:
            self.stop([source[0]], what)
            return
        self.kernels[name] = self._constant(kernel, name, shape)
        line = self.lines.get(source[0])
        if line is not None and line.axis == source[1] and len(line.ids) == shape[axes[0]]:
            self._cut(name, kernel, axes[0], line.ids, "consumer")
        else:
            self.stop([source[0]], what)
        # A bias of one number for all units stays as it is.
        parts = [(kernel, axes[1])]
        parts += [] if bias is None or self._own(bias[0]) == () else [bias]
        shapes = [self._own(key) for key, _ in parts]
        sizes = {None if s is None else s[axis] for s, (_, axis) in zip(shapes, parts, strict=True)}
        if len(sizes) > 1 or None in sizes:
            return  # the units of a shared bias stay
        ids = self._atoms.new(shape[axes[1]])
        self._producers[name] = ids
        for key, axis in parts:
            self._cut(name, key, axis, ids, "producer")
        self.lines[result[0]] = Line(result[1], ids)

    def flattened(self, source: Any, result: Any, sizes: Sequence[int]) -> None:
        """All axes behind the batch, of these sizes, become one."""
        line = self.lines.get(source)
        if line is None or line.axis < 1:
            return
        apart = line.ids.reshape([-1 if at == line.axis else 1 for at in range(1, len(sizes) + 1)])
        self.lines[result] = Line(1, np.broadcast_to(apart, sizes).ravel())

    def depthwise(
        self, name: str, parts: Sequence[tuple[Any, int]], source: Any, result: Any, what: str
    ) -> np.ndarray | None:
        """Each channel makes as many others; `parts` are constants and their axes over these.

        Returns the channels that entered, None where they stay.
        """
        line = self.lines.get(source)
        if line is None:
            return None
        shapes = [self._own(key) for key, _ in parts]
        sizes = {None if s is None else s[axis] for s, (_, axis) in zip(shapes, parts, strict=True)}
        size = sizes.pop()
        if sizes or size is None or size % len(line.ids):
            self.stop([source], what)
            return None
        ids = np.repeat(line.ids, size // len(line.ids))
        for key, axis in parts:
            self._cut(name, key, axis, ids, "follower")
        self.lines[result] = Line(line.axis, ids)
        return line.ids

    def same(self, source: Any, result: Any, axis: int | None = None) -> None:
        """What keeps channels apart, and maybe moves their axis."""
        line = self.lines.get(source)
        if line is not None:
            self.lines[result] = Line(line.axis if axis is None else axis, line.ids)

    def elementwise(self, name: str, operands: Sequence[Any], result: Any, what: str) -> None:
        """Operands that are broadcast against each other, as NumPy does it."""
        lines = [(value, self.lines[value]) for value in operands if value in self.lines]
        shapes = {value: self._shape(value) for value in operands}
        if not lines:
            return
        ranks = [len(shape) for shape in shapes.values() if shape is not None]
        if len(ranks) < len(shapes):
            self.stop(operands, what)
            return
        ids, cuts = lines[0][1].ids, []
        back = {len(shapes[value] or ()) - line.axis for value, line in lines}
        end = max(back)
        for value in operands:
            shape = shapes[value] or ()
            size = shape[-end] if len(shape) >= end else 1
            if value in self.lines:
                fits = len(self.lines[value].ids) == len(ids)
            else:
                fits = size == 1 or (size == len(ids) and self._own(value) is not None)
                cuts += [(value, len(shape) - end)] if fits and size != 1 else []
            if len(back) > 1 or not fits:
                self.stop(operands, what)
                return
        for _, line in lines[1:]:
            self._atoms.join(ids, line.ids)
        for key, axis in cuts:
            self._cut(name, key, axis, ids, "follower")
        self.lines[result] = Line(max(ranks) - end, ids)

    def concatenated(self, values: Sequence[Any], result: Any, axis: int, what: str) -> None:
        lines = [self.lines[value] for value in values if value in self.lines]
        if not lines:
            return
        if any(line.axis != axis for line in lines):
            first = lines[0]
            alike = {(line.axis, len(line.ids)) for line in lines}
            if len(alike) > 1 or len(lines) < len(values) or first.axis == axis:
                self.stop(values, what)
                return
            for line in lines[1:]:
                self._atoms.join(first.ids, line.ids)
            self.lines[result] = first
            return
        parts = []
        for value in values:
            if value in self.lines:
                parts.append(self.lines[value].ids)
                continue
            size = (self._shape(value) or [None] * (axis + 1))[axis]
            if size is None:
                self.stop(values, what)
                return
            parts.append(self._atoms.new(size))
            self._atoms.pin(parts[-1], f"its units go into {what}")
        self.lines[result] = Line(axis, np.concatenate(parts))

    def reshaped(self, operator: Any, source: Any, result: Any, what: str) -> None:
        """What keeps the axis of the channels, or puts it and all behind the batch into one."""
        line = self.lines.get(source)
        if line is None:
            return
        before, after, axis = self._shape(source), self._shape(result), line.axis
        if before is None or after is None:
            self.stop([source], what)
            return
        same = list(before[: axis + 1]) == list(after[: axis + 1])
        # What lies behind tells that an open batch is the same, too.
        if same and len(line.ids) == before[axis] and _size(before[axis:]) == _size(after[axis:]):
            found = line
        elif len(after) == 2 and None not in before[1:] and axis > 0:
            sizes = [size or 1 for size in before[1:]]
            if after[1] != math.prod(sizes):
                self.stop([source], what)
                return
            self.flattened(source, result, sizes)
            found = self.lines[result]
        else:
            self.stop([source], what)
            return
        self.counts.append(Count(operator, found.axis, found.ids))
        self.lines[result] = found

    def reduced(
        self, source: Any, result: Any, axes: Iterable[int], what: str, *, kept: bool
    ) -> None:
        line, shape = self.lines.get(source), self._shape(source)
        if line is None:
            return
        gone = {axis % len(shape) for axis in axes} if shape else {line.axis}
        if line.axis in gone:
            self.stop([source], what)
            return
        before = 0 if kept else sum(axis < line.axis for axis in gone)
        self.lines[result] = Line(line.axis - before, line.ids)

    def map(self) -> ChannelMap:
        """What was found; from now on ids are those of the map."""
        classes = self._atoms.classes()
        pinned = self._atoms.pinned(classes)
        self.lines = {
            value: Line(line.axis, classes[line.ids]) for value, line in self.lines.items()
        }
        self.counts = [dataclasses.replace(one, ids=classes[one.ids]) for one in self.counts]
        axes = tuple(
            VariableAxis(name, constant, axis, classes[ids], role)
            for name, constant, axis, ids, role in self._cuts
        )
        producers = {name: classes[ids] for name, ids in self._producers.items()}
        blocked = {
            name: pinned[found]
            for name, ids in producers.items()
            if (found := next((one for one in ids.tolist() if one in pinned), None)) is not None
        }
        return ChannelMap(axes, producers, blocked)

    def _constant(self, key: Any, name: str, shape: tuple[int, ...]) -> Constant:
        return self._constants.setdefault(key, Constant(key, name, shape))

    def _cut(self, name: str, key: Any, axis: int, ids: np.ndarray, role: Any) -> None:
        shape = self._own(key)
        assert shape is not None
        self._cuts.append((name, self._constant(key, str(key), shape), axis, ids, role))


class OperatorStep:
    """One operator that a walk takes, with what those of all formats have in common."""

    def __init__(
        self, walk: ChannelWalk, source: Any, result: Any, taken: Sequence[Any], what: str
    ) -> None:
        """`source` and `result` are the first of its values; `taken` are all that it reads."""
        self.walk, self.source, self.result, self.taken = walk, source, result, taken
        self.what = what
        line = walk.lines.get(source)
        self.axis = None if line is None else line.axis

    def _stop(self) -> None:
        self.walk.stop(self.taken, self.what)

    def _only(self, known: bool, axis: int | None = None) -> None:
        if known:
            self.walk.same(self.source, self.result, axis)
        else:
            self._stop()

    def _same(self) -> None:
        self._only(True)

    def _reordered(self, order: Sequence[int]) -> None:
        known = self.axis is not None and self.axis in order
        self._only(known, order.index(self.axis) if known else None)

    def _reduced(self, axes: Sequence[int] | None, *, kept: bool) -> None:
        if axes:
            self.walk.reduced(self.source, self.result, axes, self.what, kept=kept)
        else:
            self._stop()
