"""The layers of a model by name, and resolving the user's names for them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from compressor.errors import ModelError, UsageError
from compressor.foundation import quiet_tensorflow
from compressor.models.paper import PAPER_NAMES

ALL = "all"
_INSIDE = "_compressor_inside"


def prunable_layers(model: Any) -> dict[str, Any]:
    """The Dense, Conv1D and Conv2D layers, which the paper's sparse encoding can hold, by name."""
    _, keras = quiet_tensorflow.load()
    kinds = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D)
    return {name: layer for name, layer in all_layers(model).items() if type(layer) in kinds}


def resolve_layers(model: Any, names: Sequence[str]) -> dict[str, Any]:
    """The layers that `names` mean: layer names, the paper's (`w_fc1`), or `all`.

    Raises UsageError for an unknown name, with the nearest ones, and for a layer without a prunable
    kernel; ModelError when the model has none.
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
    """The paper's name of a layer's weights, if any: fc1 is w_fc1."""
    return next((paper for paper, name in PAPER_NAMES.items() if name == layer), None)


def refuse_name(name: str, model: Any, prunable: Sequence[str]) -> NoReturn:
    """Raise UsageError for a name that is not `prunable`, with the nearest names."""
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


def unframed(model: Any) -> Any:
    """The user's own model in a frame (`framing.framed`); `model` itself where there is none."""
    return getattr(model, _INSIDE, model)


def around(frame: Any, inside: Any) -> Any:
    """Note that `frame` is a model around the user's own, `inside`; returns it."""
    # Not by Keras's own setattr, for which it would be one more layer.
    object.__setattr__(frame, _INSIDE, inside)
    return frame


def refuse_stateful(model: Any) -> None:
    """Raise ModelError for a recurrent layer whose outputs depend on the batch before."""
    _, keras = quiet_tensorflow.load()
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            raise ModelError(
                "a recurrent layer keeps its state between batches, so no result could be repeated",
                value=layer.name,
                hint="build it with stateful=False, and load the same weights",
            )


def all_layers(model: Any, prefix: str = "") -> dict[str, Any]:
    """Every layer that is not itself a model, by path, `outer/inner`; a shared one by its first.

    Those in a frame have the paths that they have in the user's own model.
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for layer in unframed(model).layers:
        if _is_model(layer):
            inner = all_layers(layer, f"{prefix}{layer.name}/")
        else:
            inner = {prefix + layer.name: layer}
        for name, item in inner.items():
            if id(item) not in seen:
                seen.add(id(item))
                found[name] = item
    return found


def _is_model(layer: Any) -> bool:
    """Whether it is a model, or Keras' layer of layers; others may call what they like `layers`."""
    return bool(keras_kinds(layer) & {"Model", "Pipeline"})


def keras_kinds(operation: Any) -> set[str]:
    """The names of Keras's classes that a layer or operation is an instance of."""
    kinds = type(operation).__mro__
    return {kind.__name__ for kind in kinds if kind.__module__.startswith("keras.")}


FLOAT32_BYTES = 4


def count_parameters(model: Any) -> int:
    """The number of weights and biases of `model`, trainable or not."""
    return sum(
        math.prod(variable.shape)
        for layer in all_layers(model).values()
        for variable in layer.weights
        if is_weight(variable)
    )


def dense_variables(model: Any, sparse: Collection[str]) -> dict[str, Any]:
    """LAYER/VARIABLE -> every variable of `model` but the kernels of the layers in `sparse`.

    Further variables of one name in a layer, as in Bidirectional, are numbered: kernel_1.
    """
    found: dict[str, Any] = {}
    for name, layer in all_layers(model).items():
        for variable in filter(is_weight, layer.weights):
            if name in sparse and variable is getattr(layer, "kernel", None):
                continue
            found[numbered(f"{name}/{variable.name}", found)] = variable
    return found


def numbered(name: str, taken: Collection[str]) -> str:
    """`name`, or the first of name_1, name_2, ... that is not `taken`."""
    found, number = name, 0
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    return found


def is_weight(variable: Any) -> bool:
    """Whether a Keras variable is a weight, unlike a dropout's random state."""
    return "float" in str(variable.dtype)
