"""The ONNX operators that decode weights, in NumPy, each within what it may spend on its result.

Semantics: the ONNX operator schemas, opset 18.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.exporters.onnx.tensor_reading import TYPES

_MAX_RANK = 16


class Refused(Exception):  # noqa: N818
    """Inputs that an operator does not take; the message says which."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One operator with what it is given."""

    inputs: list[np.ndarray | None]
    attributes: dict[str, Any]
    spend: Callable[[int], None]
    """called with the bytes of a result before it is computed; raises where they are too many"""

    def __getitem__(self, position: int) -> np.ndarray:
        """An input that must be there."""
        found = self.optional(position)
        if found is None:
            raise Refused(f"input {position} is missing")
        return found

    def optional(self, position: int) -> np.ndarray | None:
        """An input, or None where it is not given."""
        return self.inputs[position] if position < len(self.inputs) else None

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def numbers(self, position: int) -> tuple[int, ...]:
        """A list of integers that is an input: a shape, axes, starts."""
        found = self[position]
        if found.size > _MAX_RANK or not np.issubdtype(found.dtype, np.integer):
            raise Refused(f"input {position} is no list of at most {_MAX_RANK} integers")
        return tuple(int(number) for number in found.reshape(-1))

    def axis(self, value: int, rank: int) -> int:
        """An axis, from its end where it is negative."""
        if not -rank <= value < rank:
            raise Refused(f"axis {value} of {rank}")
        return value % rank

    def reserve(self, shape: tuple[int, ...], dtype: Any) -> None:
        """Spend the bytes of a result of that shape and type."""
        if len(shape) > _MAX_RANK or any(size < 0 for size in shape):
            raise Refused(f"a result of shape {list(shape)}")
        self.spend(math.prod(shape) * np.dtype(dtype).itemsize)


Operation = Callable[[Step], np.ndarray]


def _elementwise(function: Callable[..., Any]) -> Operation:
    """An operator on arrays that are broadcast together; its result has the type of the inputs."""

    def run(step: Step) -> np.ndarray:
        arrays = [step[i] for i in range(len(step.inputs))]
        if len({array.dtype for array in arrays}) != 1:
            raise Refused("inputs of different types")
        step.reserve(np.broadcast_shapes(*(array.shape for array in arrays)), arrays[0].dtype)
        return np.asarray(function(*arrays))

    return run


def _shifted(step: Step) -> np.ndarray:
    left = step.attribute("direction", "") == "LEFT"
    return _elementwise(np.left_shift if left else np.right_shift)(step)


def _cast(step: Step) -> np.ndarray:
    kind = TYPES.get(step.attribute("to", 0))
    if kind is None or not kind.dtype or kind.name == "bfloat16":
        raise Refused("a cast to a type that is not known here")
    if np.iscomplexobj(step[0]):
        raise Refused("a cast of complex numbers")
    step.reserve(step[0].shape, kind.dtype)
    return step[0].astype(kind.dtype)


def _reshape(step: Step) -> np.ndarray:
    shape = list(step.numbers(1))
    if not step.attribute("allowzero", 0):
        for i, size in enumerate(shape):
            shape[i] = step[0].shape[i] if size == 0 else size
    return step[0].reshape(shape)


def _flatten(step: Step) -> np.ndarray:
    axis = step.attribute("axis", 1)
    axis += step[0].ndim if axis < 0 else 0
    return step[0].reshape(math.prod(step[0].shape[:axis]), math.prod(step[0].shape[axis:]))


def _transpose(step: Step) -> np.ndarray:
    order = step.attribute("perm", list(range(step[0].ndim))[::-1])
    step.reserve(step[0].shape, step[0].dtype)
    return np.ascontiguousarray(step[0].transpose(order))


def _squeeze(step: Step) -> np.ndarray:
    return step[0].squeeze(None if step.optional(1) is None else step.numbers(1))


def _unsqueeze(step: Step) -> np.ndarray:
    return np.expand_dims(step[0], step.numbers(1))


def _constant_of_shape(step: Step) -> np.ndarray:
    value = step.attribute("value", np.zeros(1, np.float32))
    step.reserve(step.numbers(0), value.dtype)
    return np.full(step.numbers(0), value.reshape(-1)[0])


def _expand(step: Step) -> np.ndarray:
    shape = np.broadcast_shapes(step[0].shape, step.numbers(1))
    step.reserve(shape, step[0].dtype)
    return np.broadcast_to(step[0], shape).copy()


def _concat(step: Step) -> np.ndarray:
    arrays = [step[i] for i in range(len(step.inputs))]
    if len({array.dtype for array in arrays}) != 1:
        raise Refused("inputs of different types")
    step.spend(sum(array.nbytes for array in arrays))
    return np.concatenate(arrays, step.axis(step.attribute("axis", 0), arrays[0].ndim))


def _slice(step: Step) -> np.ndarray:
    starts, ends = step.numbers(1), step.numbers(2)
    axes = tuple(range(len(starts))) if step.optional(3) is None else step.numbers(3)
    steps = (1,) * len(starts) if step.optional(4) is None else step.numbers(4)
    ways = [slice(None)] * step[0].ndim
    for start, end, axis, stride in zip(starts, ends, axes, steps, strict=True):
        # From the end backwards to the start itself is written as an end far below zero.
        last = None if stride < 0 and end < -step[0].shape[axis] else end
        ways[step.axis(axis, step[0].ndim)] = slice(start, last, stride)
    return step[0][tuple(ways)]


def _gather(step: Step) -> np.ndarray:
    axis = step.axis(step.attribute("axis", 0), step[0].ndim)
    shape = step[0].shape[:axis] + step[1].shape + step[0].shape[axis + 1 :]
    step.reserve(shape, step[0].dtype)
    return np.take(step[0], step[1], axis)


def _gather_elements(step: Step) -> np.ndarray:
    step.reserve(step[1].shape, step[0].dtype)
    axis = step.axis(step.attribute("axis", 0), step[0].ndim)
    part = step[0][_beside(step[0].shape, step[1].shape, axis)]
    return np.take_along_axis(part, _within(step[1], step[0].shape[axis]), axis)


def _scatter_elements(step: Step) -> np.ndarray:
    data, indices, updates = step[0], step[1], step[2]
    axis = step.axis(step.attribute("axis", 0), data.ndim)
    if updates.shape != indices.shape or updates.dtype != data.dtype:
        raise Refused("updates that do not fit")
    if step.attribute("reduction", "none") != "none":
        raise Refused("a reduction")
    step.reserve(data.shape, data.dtype)
    found = data.copy()
    part = found[_beside(data.shape, indices.shape, axis)]
    np.put_along_axis(part, _within(indices, data.shape[axis]), updates, axis)
    return found


def _beside(data: tuple[int, ...], indices: tuple[int, ...], axis: int) -> tuple[slice, ...]:
    """The part of data that indices along an axis speak of; NumPy would broadcast the others."""
    if len(data) != len(indices):
        raise Refused("indices of another rank")
    others = [size for i, size in enumerate(zip(data, indices, strict=True)) if i != axis]
    if any(of_indices > of_data for of_data, of_indices in others):
        raise Refused("indices larger than the data")
    return tuple(slice(None) if i == axis else slice(size) for i, size in enumerate(indices))


def _within(indices: np.ndarray, size: int) -> np.ndarray:
    if indices.size and (int(indices.min()) < -size or int(indices.max()) >= size):
        raise Refused(f"an index outside its dimension of {size}")
    return indices


def _cumulative_sum(step: Step) -> np.ndarray:
    data = step[0]
    axes = step.numbers(1)
    if len(axes) != 1 or step.attribute("exclusive", 0) or step.attribute("reverse", 0):
        raise Refused("an exclusive or reverse sum")
    step.reserve(data.shape, data.dtype)
    return np.cumsum(data, step.axis(axes[0], data.ndim), data.dtype)


def _dequantized(step: Step) -> np.ndarray:
    data, scale, zero = step[0], step[1], step.optional(2)
    step.reserve(data.shape, scale.dtype)
    shifted = data.astype(scale.dtype)
    if zero is not None:
        shifted -= _along(step, zero.astype(scale.dtype))
    return shifted * _along(step, scale)


def _along(step: Step, numbers: np.ndarray) -> np.ndarray:
    """Scales or zero points in a shape that goes with the data: one, or one a slice or block."""
    data, block = step[0], step.attribute("block_size", 0)
    if numbers.size == 1:
        return numbers.reshape([1] * data.ndim)
    axis = step.axis(step.attribute("axis", 1), data.ndim)
    if block:
        blocks = -(-data.shape[axis] // block) if block > 0 else -1
        if numbers.shape != (*data.shape[:axis], blocks, *data.shape[axis + 1 :]):
            raise Refused("blocks that do not fit")
        whole = [slice(None)] * data.ndim
        whole[axis] = slice(data.shape[axis])
        step.spend(block * numbers.nbytes)
        return np.repeat(numbers, block, axis)[tuple(whole)]
    if numbers.size != data.shape[axis]:
        raise Refused("not one scale a slice")
    return numbers.reshape([-1 if i == axis else 1 for i in range(data.ndim)])


OPERATIONS: dict[str, Operation] = {
    "Add": _elementwise(np.add),
    "BitShift": _shifted,
    "BitwiseAnd": _elementwise(np.bitwise_and),
    "BitwiseOr": _elementwise(np.bitwise_or),
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "CumSum": _cumulative_sum,
    "DequantizeLinear": _dequantized,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Identity": lambda step: step[0],
    "Mul": _elementwise(np.multiply),
    "Reshape": _reshape,
    "ScatterElements": _scatter_elements,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": _elementwise(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Type of a node -> what it computes."""
