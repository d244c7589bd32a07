"""Made-up inputs for a graph file, by the inputs that its runtime reports."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compressor.data import Inputs
from compressor.errors import ModelError
from compressor.exporters.made_inputs import CHECKED, MadeInputs
from compressor.models import Sizes, port_range
from deploy.artifact_parts import Port, scores_first

_MOST_VALUES = 2**26
"""of all inputs together"""
_TOKENS = 2
"""Integers without a scale, such as tokens, are below: every table has that many rows."""


def real_ports(ports: Sequence[Port]) -> tuple[str, ...]:
    """The names of the inputs that take real numbers."""
    return tuple(port.name for port in ports if port.scale is not None or "float" in port.dtype)


def check_ports(ports: Sequence[Port], outputs: Sequence[Port]) -> None:
    """Raise ModelError unless examples can be fed, and give something."""
    if not ports:
        raise ModelError("the model has no input", value="nothing to feed")
    for port in ports:
        if not port.shape:
            raise ModelError("an input of the model has no batch axis", value=port.name)
        if math.prod(size or 1 for size in port.shape) > _MOST_VALUES:
            shape = f"{port.name} {list(port.shape)}"
            raise ModelError("an input of the model is too large", value=shape)
    if not outputs:
        raise ModelError("the model has no output", value="nothing to compare")


def output_widths(outputs: Sequence[Port], columns: int) -> list[int]:
    """How many of the `columns` of a row each output has, that of the scores first.

    By the sizes that the runtime reports, of which one output may leave some open. Raises
    ModelError where they do not tell.
    """
    order = [outputs[place] for place in scores_first(outputs)]
    if len(order) == 1:
        return [columns]
    sizes = [
        None if None in port.shape[1:] else math.prod(size or 1 for size in port.shape[1:])
        for port in order
    ]
    missing = columns - sum(size or 0 for size in sizes)
    if sizes.count(None) == 1:
        sizes = [missing if size is None else size for size in sizes]
        missing = 0
    widths = [size for size in sizes if size is not None]
    if missing or min(widths) < 1 or len(widths) < len(sizes):
        value = f"{columns} numbers an example in {len(sizes)} outputs"
        raise ModelError("the outputs of the model have other sizes than it says", value=value)
    return widths


def draw(
    ports: Sequence[Port], count: int, sizes: Sizes, made: MadeInputs, seed: int = CHECKED
) -> Inputs:
    """Random inputs, `count` of them or fewer where they are large, as a data set stores them.

    Real numbers are uniform in the range that is given, else in what integers with a scale stand
    for, else in 0 to 1. `sizes` are of the inputs that leave some open, without the batch.
    """
    shapes = [sizes.get(port.name, port.shape[1:]) for port in ports]
    one = sum(math.prod(size or 1 for size in shape) for shape in shapes)
    count = max(min(count, _MOST_VALUES // max(one, 1)), 1)
    generator = np.random.default_rng(seed)
    found = {}
    for port, shape in zip(ports, shapes, strict=True):
        rows = (count, *(size or 1 for size in shape))
        if port.scale is None and "float" not in port.dtype:
            found[port.name] = generator.integers(0, _TOKENS, rows).astype(port.dtype)
            continue
        low, high = made.given or port_range(port) or (0.0, 1.0)
        values = np.float32(low) + np.float32(high - low) * generator.random(rows, np.float32)
        found[port.name] = values.astype(np.float32)
    return next(iter(found.values())) if len(found) == 1 else found
