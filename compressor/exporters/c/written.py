"""The C code of layers while it is written: constants, kernels, and a function for each layer."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from compressor.exporters.c import text
from compressor.exporters.c.network import (
    Constant,
    Convolution,
    Dense,
    Joined,
    Lookup,
    Padded,
    Pooling,
    Product,
    Reordered,
    Rescale,
    Softmax,
    Sum,
    Transposed,
)
from compressor.exporters.c.plan import Plan

KINDS = {
    Constant: "constant",
    Convolution: "convolution",
    Dense: "dense",
    Joined: "joined",
    Lookup: "table",
    Padded: "padded",
    Pooling: "pooling",
    Product: "product",
    Reordered: "reordered",
    Softmax: "softmax",
    Sum: "sum",
    Transposed: "transposed",
}

_RESCALED = (Convolution, Dense, Product, Transposed)
_LEAST_HIGH, _MOST_HIGH = 33, 62
"""shifts with which the upper half of a product says what it becomes"""
_Y = re.compile(r"\by\b")


@dataclasses.dataclass
class Written:
    """What the layers became."""

    plan: Plan
    target: str
    kernels: dict[str, str] = dataclasses.field(default_factory=dict)
    """by name, in the order in which they are needed"""
    of_nothing: dict[str, str] = dataclasses.field(default_factory=dict)
    """kernel -> its twin for a window of zeros, which is needed only where it is called"""
    data: list[str] = dataclasses.field(default_factory=list)
    code: list[str] = dataclasses.field(default_factory=list)
    rows: list[Row] = dataclasses.field(default_factory=list)
    """of layers with weights"""
    constants: int = 0
    """bytes of arrays"""

    def need(self, *files: str) -> None:
        for file in files:
            if file not in self.kernels:
                self.kernels[file] = text.kernel(file)

    def need_rescale(self) -> None:
        """Add `rescale`, without the lower half of products where no layer's shift asks for it."""
        layers = [one for one in self.plan.laid.layers if isinstance(one, _RESCALED)]
        shifts = [one.rescale.shift for one in layers if not getattr(one, "packed", False)]
        high = all(shift.min() >= _LEAST_HIGH and shift.max() <= _MOST_HIGH for shift in shifts)
        self.need(*(("clip32.c", "rescale_high.c") if high else ("clip.c", "rescale.c")))

    def array(self, name: str, values: np.ndarray) -> None:
        """Add a constant array."""
        self.data.append(text.array(name, values))
        self.constants += values.nbytes

    def name(self, number: int) -> str:
        return f"layer_{number}_{KINDS[type(self.plan.laid.layers[number])]}"

    def at(self, tensor: int) -> str:
        """Where a map lies, as an expression."""
        laid = self.plan.laid
        place = laid.place(tensor)
        if place == laid.input:
            return "r->input"
        if place == laid.output:
            return "r->output"
        maker = self.plan.makers[place]
        if isinstance(laid.layers[maker], Constant):
            return f"{self.name(maker)}_values"
        return f"(int8_t *)r->workspace + {self.plan.maps[place].offset}"

    def row(self, tensor: int, y: str) -> str:
        """Where row `y` of a map lies."""
        shape = self.plan.laid.tensors[tensor].shape
        height, size = shape[0], shape[1] * shape[2]
        depth = self.plan.depths.get(tensor, height)
        if depth == 1:
            return self.at(tensor)
        number = y if depth == height else f"{y} % {depth}"
        return f"{self.at(tensor)} + (size_t)({number}) * {size}"

    def pull(self, tensor: int, y: str, indent: str = "    ") -> str:
        """The call that computes row `y` of a map of which only some rows are held."""
        tensor = self.plan.laid.place(tensor)
        if tensor not in self.plan.streamed:
            return ""
        return f"{indent}{self.name(self.plan.makers[tensor])}(r, {y});\n"

    def report(self, number: int, encoding: str, size: int, kernel: np.ndarray, macs: int) -> None:
        """Say how the weights of a layer are stored."""
        layer = self.plan.laid.layers[number]
        output = text.commented(self.plan.laid.tensors[layer.output].name)
        zeros = int(kernel.size - np.count_nonzero(kernel))
        self.rows.append(Row(self.name(number), output, encoding, kernel.shape, zeros, size, macs))

    def function(
        self, number: int, body: str, by_row: bool = False, into_ring: bool = False
    ) -> None:
        """Add the function of a layer, `body`; one that writes `into_ring` returns whether its row
        has a value that is not zero."""
        tensor = self.plan.laid.tensors[self.plan.laid.layers[number].output]
        shape = " x ".join(map(str, tensor.shape))
        what = f"Row y of {shape}" if by_row else shape
        if by_row and not _Y.search(body):
            body += "    (void)y; /* there is one row */\n"
        self.code.append(
            f"/* {what}: {text.commented(tensor.name)} */\n"
            f"static {'uint16_t' if into_ring else 'void'} {self.name(number)}"
            f"(const struct run *r{', unsigned y' * by_row}{', uint16_t *into' * into_ring})\n"
            f"{{\n{body}}}\n"
        )


@dataclasses.dataclass(frozen=True)
class Row:
    """What is said of a layer with weights."""

    name: str
    """of the layer in the code"""
    output: str
    """the name of its output in the model"""
    encoding: str
    shape: tuple[int, ...]
    zeros: int
    bytes: int
    """of weights and their positions"""
    macs: int
    """multiply-accumulates that are left"""


def limits(zero: int, low: int, high: int) -> str:
    return f"{{{zero}, {low}, {high}}}"


def rescale_fields(
    written: Written, number: int, bias: np.ndarray, rescale: Rescale
) -> dict[str, object]:
    """The arrays of bias and scales, and the fields that name them."""
    name = written.name(number)
    written.need_rescale()
    written.array(f"{name}_bias", bias.astype(np.int32))
    written.array(f"{name}_multiplier", rescale.multiplier.astype(np.int32))
    written.array(f"{name}_shift", rescale.shift.astype(np.uint8))
    found: dict[str, object] = {"limits": limits(rescale.zero, rescale.low, rescale.high)}
    return found | {key: f"{name}_{key}" for key in ("bias", "multiplier", "shift")}
