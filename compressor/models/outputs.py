"""The outputs of a model: their names, shapes, and whether they are probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from compressor.errors import ModelError
from compressor.foundation import quiet_tensorflow
from compressor.models.layers import numbered

Outputs = Literal["logits", "probabilities", "numbers"]

# Operations that keep probabilities probabilities.
_PASSING = {"dropout", "identity", "reshape", "average", "flatten", "squeeze"}
_PASSING_OPERATIONS = {"Identity", "Reshape", "Squeeze", "Cast"}
_ACTIVATIONS = {
    "softmax": "softmax",
    **dict.fromkeys(("sigmoid", "hard_sigmoid", "hardsigmoid"), "sigmoid"),
}


@dataclasses.dataclass(frozen=True)
class Output:
    """One output of a model."""

    name: str
    """its key in a dict, else the name of its layer"""
    shape: tuple[int | None, ...]
    """without the batch"""
    activation: Literal["softmax", "sigmoid", ""]
    """what gives probabilities"""


def check_built(model: Any) -> None:
    """Raise ModelError for a model that was never built, or whose inputs are not known."""
    if getattr(model, "built", False) and not hasattr(model, "inputs"):
        raise ModelError(
            "only Sequential and Functional models are supported",
            value=f"{getattr(model, 'name', model)} ({type(model).__name__})",
            hint="build it with keras.Model(inputs, outputs)",
        )
    if not getattr(model, "built", False):
        raise ModelError(
            "the model was never built, so its input has no shape",
            value=model.name,
            hint="give it an Input layer, or call it once before saving",
        )


def outputs_of(model: Any) -> list[Output]:
    """The outputs of a built model, in the order of model.outputs: dicts sorted by their keys.

    Raises ModelError as `check_built` does, and for outputs in lists of lists.
    """
    check_built(model)
    arranged, tensors = output_structure(model), list(model.outputs)
    if isinstance(arranged, Mapping):
        names = sorted(map(str, arranged))
    else:
        names = []
        for tensor in tensors:
            names.append(numbered(tensor._keras_history.operation.name, names))
    return [
        Output(name, tuple(tensor.shape[1:]), _activation_of(model, tensor, place))
        for place, (name, tensor) in enumerate(zip(names, tensors, strict=True))
    ]


def output_structure(model: Any) -> Any:
    """The output tensors in the structure that the model gives: one, a list or a dict.

    Raises ModelError for a deeper one.
    """
    _, keras = quiet_tensorflow.load()
    # `outputs` is always a list; the structure is kept privately.
    inside = getattr(model, "_functional", None) or model
    found = getattr(inside, "_outputs_struct", None)
    if isinstance(found, Mapping):
        found, parts = dict(found), list(found.values())
    elif isinstance(found, (list, tuple)):
        found = parts = list(found)
    else:
        found = model.outputs[0] if len(model.outputs) == 1 else list(model.outputs)
        parts = list(model.outputs)
    if not all(keras.tree.is_nested(part) is False for part in parts):
        raise ModelError(
            "outputs in lists of lists are not supported",
            value=model.name,
            hint="give a list, or a dict with names",
        )
    return found


def _activation_of(model: Any, tensor: Any, place: int) -> Any:
    """Where code of the user's own gives the output, the operations count that it runs."""
    is_own = not type(tensor._keras_history.operation).__module__.startswith("keras.")
    return _last_operation(model, place) if is_own else _activation(tensor)


def _last_operation(model: Any, place: int) -> str:
    from compressor.models.preprocessing import structure

    tensorflow, keras = quiet_tensorflow.load()
    specs = keras.tree.map_structure(
        lambda tensor: tensorflow.TensorSpec((None, *tensor.shape[1:]), tensor.dtype),
        structure(model),
    )
    function = tensorflow.function(
        lambda inputs: keras.tree.flatten(model(inputs, training=False)),
        input_signature=[specs],
        autograph=False,
    )
    operation = function.get_concrete_function().outputs[place].op
    while operation.type in _PASSING_OPERATIONS:
        operation = operation.inputs[0].op
    return _ACTIVATIONS.get(str(operation.type).lower(), "")


def _activation(tensor: Any) -> str:
    history = tensor._keras_history
    operation = history.operation
    if hasattr(operation, "outputs") and hasattr(operation, "layers"):  # a nested model
        return _activation(operation.outputs[history.tensor_index])
    kind = type(operation).__name__.lower()
    activation = getattr(getattr(operation, "activation", None), "__name__", "")
    for name in (kind, activation):
        if name in _ACTIVATIONS:
            return _ACTIVATIONS[name]
    if kind in _PASSING or (kind == "activation" and activation == "linear"):
        return _shared(
            [_activation(t) for t in operation._inbound_nodes[history.node_index].input_tensors]
        )
    return ""


def _shared(found: Sequence[str]) -> str:
    return found[0] if found and all(found) else ""
