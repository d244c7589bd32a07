"""Integer networks drawn at random: layers, shapes, strides, paddings, groups and sparsities."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from compressor.exporters.c.network import (
    Convolution,
    Dense,
    Joined,
    Layer,
    Lookup,
    Network,
    Padded,
    Pooling,
    Product,
    Rescale,
    Reshaped,
    Softmax,
    Sum,
    Tensor,
    Transposed,
    multiplier_of,
    terms_of,
)


class Drawing:
    """A network that grows by one random layer at a time."""

    def __init__(self, seed: int, *, positive: bool = False, most_stride: int = 3) -> None:
        """Where it is `positive`, no map holds a value below its zero."""
        self.random, self.positive = np.random.default_rng(seed), positive
        self.most_stride = most_stride
        height, width, channels = (int(self.random.integers(1, most)) for most in (15, 15, 4))
        self.tensors = [Tensor("input", (height, width, channels), 0.05, self.zero())]
        self.layers: list[Layer] = []

    def zero(self) -> int:
        return -128 if self.positive else int(self.random.integers(-128, 128))

    def between(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def last(self) -> tuple[int, Tensor]:
        return len(self.tensors) - 1, self.tensors[-1]

    def add(self, shape: tuple[int, ...], make: Any, zero: int | None = None) -> None:
        """A tensor of `shape`, and the layer that `make` gives for its number and its zero."""
        zero = self.zero() if zero is None else zero
        self.tensors.append(Tensor("a */ name", shape, 0.1, zero))  # type: ignore[arg-type]
        self.layers.append(make(len(self.tensors) - 1, zero))

    def weights(self, *shape: int) -> np.ndarray:
        density = self.random.choice([0.05, 0.3, 1.0])
        kept = self.random.random(shape) < density
        return (self.random.integers(-127, 128, shape) * kept).astype(np.int8)

    def rescale(self, kernel: np.ndarray, zero: int) -> Rescale:
        power = np.sqrt((kernel.astype(float) ** 2).reshape(len(kernel), -1).sum(axis=1)) + 1
        factors = self.random.uniform(0.2, 1.0, len(kernel)) / power
        found = [multiplier_of(float(factor)) for factor in factors]
        multipliers, shifts = (np.array(one, np.int64) for one in zip(*found, strict=True))
        low = int(self.random.choice([-128, min(zero, 0)]))
        return Rescale(multipliers, shifts, zero, low, 127)

    def bias(self, filters: int) -> np.ndarray:
        return self.random.integers(-5000, 5000, filters)

    def convolution(self) -> None:
        number, source = self.last()
        height, width, channels = source.shape
        groups = int(self.random.choice([1, channels]))
        filters = groups * self.between(1, 7 if groups == 1 else 2)
        dilation = (self.between(1, 2), self.between(1, 2))
        stride = (self.between(1, self.most_stride), self.between(1, self.most_stride))
        rows, columns = self.between(1, 4), self.between(1, 4)
        spans = ((rows - 1) * dilation[0] + 1, (columns - 1) * dilation[1] + 1)
        before = tuple(self.between(0, span - 1) for span in spans)
        after = tuple(self.between(0, span - 1) for span in spans)
        sizes = tuple(
            (size + before[axis] + after[axis] - spans[axis]) // stride[axis] + 1
            for axis, size in enumerate((height, width))
        )
        if min(sizes) < 1:
            return
        kernel = self.weights(filters, rows, columns, channels // groups)
        self.add(
            (*sizes, filters),
            lambda output, zero: Convolution(
                *((number,), output, kernel, self.bias(filters), self.rescale(kernel, zero)),
                *(stride, dilation, (before[0], before[1]), groups),
            ),
        )

    def transposed(self) -> None:
        number, source = self.last()
        height, width, channels = source.shape
        if height * width > 200:
            return
        stride, filters = (self.between(1, 3), self.between(1, 3)), self.between(1, 4)
        kernel = self.weights(filters, self.between(1, 4), self.between(1, 4), channels)
        sizes = tuple(
            max((size - 1) * step + taps - self.between(0, 1), 1)
            for size, step, taps in zip((height, width), stride, kernel.shape[1:3], strict=True)
        )
        before = (self.between(0, kernel.shape[1] - 1), self.between(0, kernel.shape[2] - 1))
        self.add(
            (*sizes, filters),
            lambda output, zero: Transposed(
                *((number,), output, kernel, self.bias(filters), self.rescale(kernel, zero)),
                *(stride, before),
            ),
        )

    def pooling(self) -> None:
        number, source = self.last()
        height, width, channels = source.shape
        if self.positive and min(height, width) > 1:
            self.add(
                (height // 2, width // 2, channels),
                lambda output, zero: Pooling(
                    (number,), output, True, (2, 2), (2, 2), (0, 0), -128, 127
                ),
            )
            return
        window = (self.between(1, min(height, 3)), self.between(1, min(width, 3)))
        stride = (self.between(1, 3), self.between(1, 3))
        before = (self.between(0, window[0] - 1), self.between(0, window[1] - 1))
        sizes = tuple(
            max((size + before[axis] - 1) // stride[axis], 0) + 1
            for axis, size in enumerate((height, width))
        )
        largest = bool(self.between(0, 1))
        self.add(
            (*sizes, channels),
            lambda output, zero: Pooling(
                (number,), output, largest, window, stride, before, -128, self.between(0, 127)
            ),
            source.zero,
        )

    def lookup(self) -> None:
        number, source = self.last()
        table = self.random.integers(-128, 128, 256).astype(np.int8)
        self.add(source.shape, lambda output, zero: Lookup((number,), output, table))

    def sum(self) -> None:
        """Of the last map and another of its shape, which may be the one before it."""
        number, source = self.last()
        other = self.alike(number)
        *multipliers, shift = terms_of(self.random.uniform(0.2, 1), -self.random.uniform(0.2, 1))
        self.add(
            source.shape,
            lambda output, zero: Sum(
                (number, other), output, (multipliers[0], multipliers[1]), shift, zero, -128, 127
            ),
        )

    def product(self) -> None:
        number, source = self.last()
        other = self.alike(number)
        one = np.ones((1, 1), np.int8)
        self.add(
            source.shape,
            lambda output, zero: Product((number, other), output, self.rescale(one * 90, zero)),
        )

    def alike(self, number: int) -> int:
        shape = self.tensors[number].shape
        pixel = (1, 1, shape[2])
        found = [n for n, one in enumerate(self.tensors) if one.shape in (shape, pixel, (1, 1, 1))]
        return int(self.random.choice(found))

    def joined(self) -> None:
        number, source = self.last()
        found = [n for n, one in enumerate(self.tensors) if one.shape[:2] == source.shape[:2]]
        other = int(self.random.choice(found))
        channels = source.shape[2] + self.tensors[other].shape[2]
        shape = (*source.shape[:2], channels)
        self.add(shape, lambda output, zero: Joined((number, other), output))

    def padded(self) -> None:
        number, source = self.last()
        around = [(self.between(0, 2), self.between(0, 2)) for _ in range(2)]
        deeper = self.between(0, 1)
        around.append((deeper, deeper))
        sizes = tuple(s + sum(a) for s, a in zip(source.shape, around, strict=True))
        before = (around[0][0], around[1][0], around[2][0])
        value = int(self.random.choice([source.zero, 7]))
        self.add(sizes, lambda output, zero: Padded((number,), output, before, value), source.zero)

    def reshaped(self) -> None:
        number, source = self.last()
        height, width, channels = source.shape
        shape = ((1, 1, source.size), (width, height, channels), (1, width * height, channels))
        chosen = shape[self.between(0, 2)]
        self.add(chosen, lambda output, zero: Reshaped((number,), output), source.zero)

    def dense(self) -> None:
        """A fully connected layer behind a RESHAPE."""
        number, source = self.last()
        if source.size > 3000:
            return
        self.add((1, 1, source.size), lambda made, zero: Reshaped((number,), made), source.zero)
        flat, units = len(self.tensors) - 1, self.between(1, 20)
        kernel = self.weights(units, source.size)
        self.add(
            (1, 1, units),
            lambda output, zero: Dense(
                (flat,), output, kernel, self.bias(units), self.rescale(kernel, zero)
            ),
        )

    def softmax(self) -> None:
        number, source = self.last()
        table = np.rint(np.exp(-0.05 * np.arange(256)) * 2**15).astype(np.uint16)
        self.add(source.shape, lambda output, zero: Softmax((number,), output, table))

    def network(self) -> Network:
        return Network(tuple(self.tensors), tuple(self.layers), 0, len(self.tensors) - 1)


KINDS = (
    *("convolution", "convolution", "convolution", "transposed", "pooling", "lookup", "sum"),
    *("product", "joined", "padded", "reshaped", "softmax"),
)


def drawn_network(seed: int) -> Network:
    """A network of three to eight random layers; with a fully connected one at the end of most."""
    drawing = Drawing(seed)
    for _ in range(drawing.between(3, 8)):
        if drawing.tensors[-1].size < 4000:
            getattr(drawing, str(drawing.random.choice(KINDS)))()
    if seed % 3 or not drawing.layers:
        drawing.dense()
    return drawing.network()


def packable_network(seed: int, most_stride: int = 3) -> Network:
    """Convolutions and poolings of 2 x 2 whose maps hold nothing below zero."""
    drawing = Drawing(seed, positive=True, most_stride=most_stride)
    drawing.tensors[0] = dataclasses.replace(drawing.tensors[0], shape=(16, 13, 1 + seed % 3))
    for kind in ("convolution", "pooling", "convolution", "pooling", "convolution", "dense"):
        getattr(drawing, kind)()
    return drawing.network()


def wide_network(seed: int) -> Network:
    """Convolutions whose maps have any zero, and whose sums do not fit 16 bits."""
    drawing = Drawing(seed)
    drawing.tensors[0] = dataclasses.replace(drawing.tensors[0], shape=(12, 11, 1 + seed % 3))
    for kind in ("convolution", "convolution", "lookup", "convolution", "dense"):
        getattr(drawing, kind)()
    return drawing.network()


HOLES = ("row", "channels", "long row")


def holed_network(hole: str) -> Network:
    """A convolution of a deep map, whose fullest filter has a long run of zeros: a row of its
    kernel, channels that it never reads, or so many that the weights of a row need a second byte
    for their number where some of them are zero."""
    drawing = Drawing(HOLES.index(hole))
    channels, used, density = {
        "row": (64, 64, 0.5),
        "channels": (64, 40, 0.4),
        "long row": (250, 84, 0.15),
    }[hole]
    size = 5 if hole == "channels" else 3
    drawing.tensors[0] = dataclasses.replace(drawing.tensors[0], shape=(size, size, channels))
    kernel = drawing.random.choice([-2, -1, 1], (8, 3, 3, channels))
    kernel[1:] *= drawing.random.random(kernel[1:].shape) < density
    kernel[0, :, :, used:] = 0
    if hole == "row":
        kernel[0, 1] = 0
    kernel = kernel.astype(np.int8)
    drawing.add(
        (size - 2, size - 2, 8),
        lambda output, zero: Convolution(
            *((0,), output, kernel, drawing.bias(8), drawing.rescale(kernel, zero)),
            *((1, 1), (1, 1), (0, 0), 1),
        ),
    )
    return drawing.network()
