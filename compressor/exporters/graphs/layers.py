"""What enters the kernel of a layer of a graph file, as rows of a matrix."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Window:
    """The places of a two-dimensional convolution; each pair is of height and width."""

    sizes: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]] | str
    """before and after, or SAME (what is odd comes after), SAME_LOWER (before), VALID"""

    def padding(self, height: int, width: int) -> list[tuple[int, int]]:
        if not isinstance(self.pads, str):
            return [*self.pads]
        found = []
        for size, kernel, stride, dilation in zip(
            (height, width), self.sizes, self.strides, self.dilations, strict=True
        ):
            reach = (kernel - 1) * dilation + 1
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            before = total - total // 2 if self.pads == "SAME_LOWER" else total // 2
            found.append((0, 0) if self.pads == "VALID" else (before, total - before))
        return found


@dataclasses.dataclass(frozen=True)
class GraphLayer:
    """A kernel with the operator that multiplies with it, as matrices (groups, in, out)."""

    name: str
    source: Any
    """the value that enters it, as its format names values"""
    shape: tuple[int, ...]
    """of the kernel in the file"""
    apart: tuple[int, ...]
    """that shape with the axis of the groups cut in two"""
    order: tuple[int, ...]
    """axes of `apart`: the groups, then what is summed over, then the outputs"""
    groups: int
    outputs: int
    """of each group"""
    bias: np.ndarray | None
    """float32 (groups * outputs,), a constant of this operator alone; None where there is none"""
    rectified: bool
    """whether a ReLU follows, and nothing else"""
    window: Window | None = None
    channels_first: bool = False

    def to_matrix(self, kernel: np.ndarray) -> np.ndarray:
        moved = kernel.reshape(self.apart).transpose(self.order)
        return np.ascontiguousarray(moved.reshape(self.groups, -1, self.outputs))

    def to_kernel(self, matrix: np.ndarray) -> np.ndarray:
        moved = matrix.reshape([self.apart[axis] for axis in self.order])
        back: np.ndarray = moved.transpose(np.argsort(self.order)).reshape(self.shape)
        return np.ascontiguousarray(back)

    def rows(self, given: np.ndarray, most: int, seed: int) -> np.ndarray:
        """At most so many rows (groups, rows, in) of what entered, (n, ...); drawn by `seed`."""
        generator = np.random.default_rng(seed)
        if self.window is None:
            whole = given.reshape(-1, given.shape[-1])
            drawn = generator.permutation(len(whole))[:most]
            return np.ascontiguousarray(whole[np.sort(drawn)][None])
        image = np.moveaxis(given, 1, -1) if self.channels_first else given
        window = self.window
        pads = window.padding(*image.shape[1:3])
        image = np.pad(image, [(0, 0), *pads, (0, 0)])
        places = [
            (size - (kernel - 1) * dilation - 1) // stride + 1
            for size, kernel, stride, dilation in zip(
                image.shape[1:3], window.sizes, window.strides, window.dilations, strict=True
            )
        ]
        total = len(image) * places[0] * places[1]
        drawn = np.sort(generator.permutation(total)[:most])
        number, row, column = np.unravel_index(drawn, (len(image), *places))
        down, right = (
            start[:, None] * stride + np.arange(kernel) * dilation
            for start, stride, kernel, dilation in zip(
                (row, column), window.strides, window.sizes, window.dilations, strict=True
            )
        )
        cut = image[number[:, None, None], down[:, :, None], right[:, None, :]]
        parts = cut.reshape(len(drawn), -1, self.groups, image.shape[-1] // self.groups)
        moved = parts.transpose(2, 0, 1, 3).reshape(self.groups, len(drawn), -1)
        return np.ascontiguousarray(moved)
