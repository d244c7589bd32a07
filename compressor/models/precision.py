"""Models that compute or store in half precision, and its rounding error."""

from __future__ import annotations

from typing import Any, Literal

from compressor.models.layers import all_layers

ROUNDING = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
"""Half precision, and the distance from 1 to the next number."""


def half_types(model: Any, kind: Literal["variable_dtype", "compute_dtype"]) -> set[str]:
    """The half-precision types that layers of `model` store their variables, or compute, in."""
    found = {str(getattr(layer, kind, "")) for layer in all_layers(model).values()}
    return found & ROUNDING.keys()
