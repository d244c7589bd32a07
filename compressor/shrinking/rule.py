"""The base class of rules, which say what a kind of layer does with channels."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from compressor.models import Call
from compressor.shrinking.atoms import Atoms

Role = Literal["producer", "follower", "consumer"]


class Axis(NamedTuple):
    """An axis of a variable that runs over channels."""

    name: str
    """of the variable"""
    axis: int
    channels: np.ndarray
    role: Role


class Rule:
    """How one kind of layer treats the last axes of its tensors.

    A constant, float64, is the value of a last axis's element at all positions and for all inputs
    of the model; NaN where it varies.
    """

    spoils = "pads"
    """why it may make a constant vary, as the end of `it enters NAME, which ...`"""
    joins_calls = False
    """whether all calls of a layer must agree on the channels, as its variables depend on them"""

    def refusal(self, call: Call) -> str:
        """Why this call is not understood, as the end of `it reaches NAME, which ...`; or ''."""
        if getattr(call.layer, "data_format", None) == "channels_first":
            return "works with channels first"
        return "does not fix the size of the last axis" if None in call.widths else ""

    def link(self, call: Call, inputs: list[np.ndarray], atoms: Atoms) -> list[np.ndarray]:
        """The channel ids of the outputs, from those of the inputs."""
        raise NotImplementedError

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """The constants of the outputs, from those of the inputs."""
        raise NotImplementedError

    def axes(self, layer: Any, inputs: np.ndarray, outputs: np.ndarray) -> list[Axis]:
        """The axes of the layer's variables that run over the channels of input and output."""
        return []

    def config(self, layer: Any, width: int, *, bias: bool = False) -> dict[str, Any]:
        """What changes in the layer's configuration for `width` channels of output, or a `bias`."""
        return {}


class Barrier(Rule):
    """A layer that is unknown or mixes channels: its inputs and outputs keep all channels."""

    def __init__(self, why: str = "mixes channels") -> None:
        self.why = why

    def refusal(self, call: Call) -> str:
        return ""

    def link(self, call: Call, inputs: list[np.ndarray], atoms: Atoms) -> list[np.ndarray]:
        name = f"{kind_name(call)} '{call.path}'"
        for ids in inputs:
            atoms.pin(ids, f"they reach {name}, which {self.why}")
        outputs = []
        for shape in call.output_shapes:
            outputs.append(atoms.new(shape[-1] if len(shape) >= 2 else None))
            atoms.pin(outputs[-1], f"they are tied to the output of {name}, which {self.why}")
        return outputs

    def constants(self, call: Call, inputs: list[np.ndarray]) -> list[np.ndarray]:
        widths = (shape[-1] if len(shape) >= 2 else None for shape in call.output_shapes)
        return [np.full(width or 0, np.nan) for width in widths]


def kind_name(call: Call) -> str:
    return type(call.node.operation).__name__


def variables_of(layer: Any) -> dict[str, Any]:
    return {variable.name: variable for variable in layer.variables}


def has_only(layer: Any, *names: str) -> bool:
    """Whether the layer holds no other variables, as a quantised or adapted one does."""
    return set(variables_of(layer)) <= set(names)


def values_of(layer: Any) -> dict[str, np.ndarray]:
    """Variable name -> value."""
    return {name: np.asarray(v.numpy()) for name, v in variables_of(layer).items()}
