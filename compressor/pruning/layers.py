"""Which layers of a model can be pruned, and which of them the user means."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from compressor import _tensorflow
from compressor.errors import ModelError, UsageError
from compressor.models import PAPER_NAMES, all_layers

ALL = "all"


def prunable_layers(model: Any) -> dict[str, Any]:
    """The layers whose kernel is a matrix that the paper's sparse form can hold, by name, in order.

    Dense, Conv1D and Conv2D. A layer of a nested model is named `outer/inner`; a layer used
    in several places stands once, under its first name.
    """
    _, keras = _tensorflow.load()
    kinds = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D)
    return {name: layer for name, layer in all_layers(model).items() if type(layer) in kinds}


def resolve_layers(model: Any, names: Sequence[str]) -> dict[str, Any]:
    """The layers that `names` mean: layer names, the paper's (`w_fc1`), or `all`.

    Raises UsageError for an unknown name, with the nearest ones, and for a layer without a
    kernel that can be pruned; ModelError when the model has no such layer at all.
    """
    prunable = prunable_layers(model)
    if not prunable:
        raise ModelError(
            "the model has no layer whose kernel can be pruned",
            value=model.name,
            hint="Dense, Conv1D and Conv2D layers can be",
        )
    if not names:
        raise UsageError("no layer named", hint="give layer names or 'all'")
    chosen = {}
    for name in names:
        if name == ALL:
            continue
        layer = name if name in prunable else PAPER_NAMES.get(name, name)
        if layer not in prunable:
            refuse_name(name, model, list(prunable))
        chosen[layer] = prunable[layer]
    return {name: layer for name, layer in prunable.items() if ALL in names or name in chosen}


def paper_name(layer: str) -> str | None:
    """The paper's name of a layer's weights, if it has one: fc1 is w_fc1."""
    return next((paper for paper, name in PAPER_NAMES.items() if name == layer), None)


def refuse_name(name: str, model: Any, prunable: Sequence[str]) -> NoReturn:
    """Raise UsageError for a name that none of the `prunable` has, with the nearest names."""
    known = all_layers(model)
    if name in known:
        raise UsageError(
            "this layer has no kernel that can be pruned",
            value=f"{name} ({type(known[name]).__name__})",
            hint=f"choose from {', '.join(prunable)}",
        )
    papers = [paper for paper, layer in PAPER_NAMES.items() if layer in prunable]
    near = difflib.get_close_matches(name, [*prunable, *papers], n=3)
    raise UsageError(
        "the model has no such layer",
        value=name,
        hint=f"did you mean {', '.join(near)}?" if near else f"choose from {', '.join(prunable)}",
    )
