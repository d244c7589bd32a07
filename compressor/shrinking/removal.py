"""Exact shrinking: the same function with smaller tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from compressor.errors import CheckFailedError, ModelError, UsageError
from compressor.models import (
    ROUNDING,
    InputSize,
    all_layers,
    framed,
    half_types,
    largest_difference,
    random_inputs,
    refuse_opaque,
    refuse_stateful,
    sizes_given,
)
from compressor.shrinking.batchnorm import fold_batchnorm as fold
from compressor.shrinking.edits import edits_of, entries_of
from compressor.shrinking.graph import Constants, Graph, find_constants, graph_of_channels
from compressor.shrinking.kernels import Depthwise, Linear
from compressor.shrinking.liveness import Liveness, choose, uses_of
from compressor.shrinking.rebuilding import Edit, rebuild

COMPARED_EXAMPLES = 256
"""Examples on which a smaller model is compared with its original."""


@dataclass(frozen=True)
class Shrunk:
    """A smaller model that computes the same function, and what was removed."""

    model: Any
    """a new Keras model, not compiled"""
    removed: dict[str, int]
    """path of a Dense or convolution -> number of removed units"""
    folded: tuple[str, ...]
    """paths of folded BatchNormalization layers"""
    difference: float
    """max |difference| on the batch, relative to max |output|"""
    kept: dict[str, str]
    """layer path -> why dead units had to stay"""


def shrink(
    model: Any,
    inputs: Any = None,
    *,
    fold_batchnorm: bool = True,
    round_to: int = 1,
    tolerance: float = 1e-5,
    input_size: InputSize | None = None,
    share: bool = False,
) -> Shrunk:
    """Remove every unit and channel that does not matter from a Functional or Sequential model.

    1. A unit goes when all weights that use it are zero, or when it is constant, since all weights
       that make it are zero. Its constant is folded into the biases behind it.
    2. A constant other than zero that enters a padded convolution stays: the border would change.
       Units that reach a layer that mixes channels, or an output, stay.
    3. Every width stays a multiple of `round_to`, or what it was; at least one unit stays. Units
       that stay for this alone are all zero.
    4. BatchNormalization is folded into the kernel before it, unless the check then fails.

    The new model, not compiled, is compared with the old one on `inputs`, a preprocessed batch as
    `model(...)` takes it, by default random; open sizes are then `input_size`: (64, 64), or by the
    inputs' names. Names, nesting, shared layers and trainable flags stay. With `share` it is the
    model itself where nothing goes. Raises UsageError for a `round_to` below 1, ModelError for a
    model that cannot be rebuilt, DataError for inputs that do not fit, and CheckFailedError when
    outputs differ by more than `tolerance` of their scale, computed in float32; where weights are
    stored in half precision, by more than four times its rounding error.
    """
    if not hasattr(model, "layers"):
        hint = "for a file there is shrink_file"
        raise ModelError("this takes a Keras model", value=repr(model)[:80], hint=hint)
    if isinstance(round_to, bool) or not isinstance(round_to, int) or round_to < 1:
        raise UsageError("widths must be rounded to 1 or more", value=round_to, hint="try 8")
    model = framed(model)
    refuse_opaque(model, "exact removal")
    refuse_stateful(model)
    batch = inputs
    if batch is None:
        batch = random_inputs(model, sizes=sizes_given(model, input_size))
    shrunk = _attempt(model, batch, fold_batchnorm, round_to, share=share)
    # Folding rounds weights that are stored in half precision once more.
    stored = half_types(model, "variable_dtype")
    tolerance = max([tolerance, *(4 * ROUNDING[dtype] for dtype in stored)])
    if shrunk.folded and not shrunk.difference <= tolerance:
        shrunk = _attempt(model, batch, False, round_to, share=share)
    if not shrunk.difference <= tolerance:
        raise CheckFailedError(
            "the shrunk model does not compute what the model does",
            value=f"difference {shrunk.difference:.3g} of the output's scale",
            hint=f"at most {tolerance:g} is allowed; the model is left as it is",
        )
    return shrunk


def _attempt(model: Any, batch: Any, fold_batchnorm: bool, round_to: int, *, share: bool) -> Shrunk:
    start, folded = fold(model) if fold_batchnorm else (model, ())
    graph = graph_of_channels(start)
    constants = find_constants(graph)
    uses = uses_of(graph, constants)
    choice = choose(graph, constants, uses, round_to)
    if (folded or share) and choice.needed.all() and choice.kept.all():
        shrunk = start  # if folded, a new model already
    else:
        shrunk = rebuild(start, edits_of(graph, uses, choice), entries_of(graph, choice))
    return Shrunk(
        model=shrunk,
        removed=_removed(graph, choice),
        folded=folded,
        difference=0.0 if shrunk is model else _difference(model, shrunk, batch),
        kept=_kept(graph, constants, choice),
    )


def _difference(model: Any, shrunk: Any, batch: Any) -> float:
    """`largest_difference`, computed in float32: half precision rounds by more than we allow."""
    if half_types(model, "compute_dtype"):
        model, shrunk = _as_float32(model), _as_float32(shrunk)
    return largest_difference(model, shrunk, batch)


def _as_float32(model: Any) -> Any:
    layers = all_layers(model).values()
    return rebuild(model, {id(layer): Edit({"dtype": "float32"}) for layer in layers}, {})


def _removed(graph: Graph, choice: Liveness) -> dict[str, int]:
    calls = [call for call, _ in graph.layers(Linear, Depthwise).values()]
    gone = {call.path: ~choice.kept[graph.channels[call.outputs[0]]] for call in calls}
    return {path: int(units.sum()) for path, units in gone.items() if units.any()}


def _kept(graph: Graph, constants: Constants, choice: Liveness) -> dict[str, str]:
    """Why constant units and fillers stay, by layer."""
    dead: dict[str, np.ndarray] = {}
    ids: dict[str, np.ndarray] = {}
    for call, rule in zip(graph.trace.calls, graph.rules, strict=True):
        if isinstance(rule, Linear):
            constant = ~np.isnan(constants.values[call.outputs[0]])
            dead[call.path] = dead.get(call.path, True) & constant
            ids[call.path] = graph.channels[call.outputs[0]]
    kept = {}
    for path, constant in dead.items():
        stays = choice.kept[ids[path]] & (constant | ~choice.needed[ids[path]])
        if stays.any():
            kept[path] = choice.reasons[int(ids[path][stays][0])]
    return kept
