"""From stored examples to an artefact's inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from deploy.artifact_parts import InputRule
from deploy.errors import RequestError

_SMALLEST_SCALE = 1e-30


def artifact_inputs(
    rules: Sequence[InputRule], stored: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Arrays (n, *row shape) by the names of an artefact's inputs, by its preprocessing rules.

    `stored` holds arrays (n, ...) by `InputRule.source`; a single array feeds a single input under
    any name. A row has the input's shape, or one that `row_shape` accepts. An input with a scale of
    its own (int8) gets real numbers, which the runner quantises. Raises RequestError for an array
    that is missing or does not fit.
    """
    fed = {}
    for rule in rules:
        array = _source(rule, stored, len(rules))
        shape = row_shape(rule.shape, array.shape[1:])
        if shape is None:
            raise RequestError(
                "the examples do not fit the input",
                value=f"{rule.name} takes {list(rule.shape)}, given {list(array.shape[1:])}",
            )
        if not rule.scale >= _SMALLEST_SCALE:
            raise RequestError(
                "the scale of an input is too small", value=f"{rule.name}: {rule.scale}"
            )
        _check_values(rule, array)
        if rule.scale != 1:
            # Divided, as in training: a product would differ in the last bit.
            array = array.astype(np.float32) / np.float32(1 / rule.scale)
        elif "float" in rule.dtype and array.dtype.kind in "iub":
            # Numbers, not the levels of an input in int8.
            array = array.astype(np.float64 if rule.dtype == "float64" else np.float32)
        fed[rule.name] = np.ascontiguousarray(array).reshape(len(array), *shape)
    return fed


def _check_values(rule: InputRule, array: np.ndarray) -> None:
    """Refuse NaN and infinity, and values that seem to be scaled already."""
    if array.dtype.kind not in "fb" or not array.size:
        return
    largest = float(array.max())
    if not np.isfinite(array).all():
        raise RequestError("the examples hold NaN or infinity", value=rule.name)
    if rule.scale < 1 and 0 < largest <= 1 and array.min() >= 0:
        raise RequestError(
            "the examples seem to be scaled already",
            value=f"{rule.name}: 0 to {largest:.3g}",
            hint=f"give the stored values, 0 to {1 / rule.scale:.4g}",
        )


def _source(rule: InputRule, stored: Mapping[str, np.ndarray], inputs: int) -> np.ndarray:
    if inputs == 1 and len(stored) == 1:
        return next(iter(stored.values()))
    if rule.source not in stored:
        raise RequestError(
            "an input has no examples",
            value=f"{rule.name} takes {rule.source!r}; there are {', '.join(stored)}",
        )
    return stored[rule.source]


def row_shape(wanted: Sequence[int | None], given: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape in which a row of shape `given` fits an input row `wanted`; None if it does not.

    Axes of length 1 may be added or left out, and either row may be flat; anything else, such as
    swapped rows and columns, would be another example. None in `wanted` takes any length.
    """
    for shape in (given, (*given, 1), (1, *given), given[:-1], given[1:]):
        fits = len(shape) == len(wanted) and all(
            size in (None, length)
            for size, length in zip(wanted, shape)  # noqa: B905 - Python 3.9
        )
        if fits and math.prod(shape) == math.prod(given):
            return shape
    known, size = math.prod(length for length in wanted if length is not None), math.prod(given)
    if None in wanted:
        if len(given) != 1 or list(wanted).count(None) > 1 or not known or size % known:
            return None
        return tuple(size // known if length is None else length for length in wanted)
    longer, other = ([length for length in shape if length != 1] for shape in (wanted, given))
    if size == known and (longer == other or min(len(longer), len(other)) <= 1):
        return tuple(length or 0 for length in wanted)
    return None
