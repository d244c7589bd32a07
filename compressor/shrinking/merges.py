"""Layers that combine several tensors: Add, Multiply, Concatenate."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compressor.models import Call
from compressor.shrinking.atoms import Atoms
from compressor.shrinking.rule import Rule, kind_name


class Merge(Rule):
    """Element by element, with broadcasting: the channels of all inputs are joined."""

    def __init__(self, combine: Callable[..., Any]) -> None:
        """`combine` takes a sequence of arrays of one shape, and returns one of it."""
        self._combine = combine

    def refusal(self, call: Call) -> str:
        unknown = super().refusal(call)
        if unknown:
            return unknown
        *inputs, output = call.widths
        if len(call.outputs) != 1 or len(inputs) < 2 or not set(inputs) <= {1, output}:
            return "combines tensors in a way that is not known"
        return ""

    def link(self, call: Call, inputs: list[np.ndarray], atoms: Atoms) -> list[np.ndarray]:
        """Join the inputs; a channel that is broadcast stays."""
        width = call.widths[-1]
        full = [ids for ids in inputs if len(ids) == width]
        for ids in inputs:
            if len(ids) == width:
                atoms.join(full[0], ids)
            else:
                name = f"{kind_name(call)} '{call.path}'"
                atoms.pin(ids, f"{name} spreads them over several channels")
        return [full[0]]

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return [self._combine(np.broadcast_arrays(*inputs))]


class Concatenate(Rule):
    """Along the last axis the channels are concatenated, else they are joined."""

    def refusal(self, call: Call) -> str:
        unknown = super().refusal(call)
        if not unknown and len({len(shape) for shape in call.input_shapes}) != 1:
            return "combines tensors in a way that is not known"
        return unknown

    def link(self, call: Call, inputs: list[np.ndarray], atoms: Atoms) -> list[np.ndarray]:
        if _along_channels(call):
            return [np.concatenate(inputs)]
        for ids in inputs[1:]:
            atoms.join(inputs[0], ids)
        return [inputs[0]]

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        if _along_channels(call):
            return [np.concatenate(inputs)]
        agree = np.all([value == inputs[0] for value in inputs], axis=0)
        return [np.where(agree, inputs[0], np.nan)]


def product(values: Sequence[np.ndarray]) -> np.ndarray:
    """The product, where zero times NaN is zero."""
    zero = np.any([value == 0 for value in values], axis=0)
    return np.where(zero, 0.0, functools.reduce(np.multiply, values))


def difference(values: Sequence[np.ndarray]) -> np.ndarray:
    return functools.reduce(np.subtract, values)


def _along_channels(call: Call) -> bool:
    return call.layer.axis in (-1, len(call.input_shapes[0]) - 1)
