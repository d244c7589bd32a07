"""Models as a graph of layers, whatever they are: a Functional model around the user's own.

Everything here works on Functional and Sequential models. A subclassed model, whose layers are
called by code of its own, goes into one as its only layer: it has inputs and outputs then, its
kernels can be pruned, and it can be exported, while what is inside stays unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.errors import ModelError
from compressor.foundation import quiet_tensorflow
from compressor.models.layers import around, unframed
from compressor.models.preprocessing import structure
from compressor.models.tracing import graph_of


def framed(model: Any) -> Any:
    """`model` itself if it is a graph of layers, or was never built; else one around it.

    Raises ModelError for a model that cannot be called on the shapes that it was built with.
    """
    _, keras = quiet_tensorflow.load()
    is_built = isinstance(model, keras.Model) and model.built
    if not is_built or graph_of(model) is not None:
        return model
    if getattr(model, "inputs", None):  # a graph with a call of its own
        return _around(model, keras.tree.map_structure(_input_like, structure(model)))
    shapes = _recorded_shapes(model)
    # Operations that look tokens up take integers only.
    embeds = any(isinstance(layer, keras.layers.Embedding) for layer in model._flatten_layers())
    errors = []
    for dtype in ("int32", "float32") if embeds else ("float32", "int32"):
        try:
            return _around(model, _inputs(shapes, dtype))
        except Exception as error:  # user code may raise anything
            errors.append(error)
    raise _uncallable(model, errors[0]) from errors[0]


def refuse_opaque(model: Any, what: str) -> None:
    """Raise ModelError where the layers of a model are called by code of its own, or never were.

    It may be framed. `what` is what needs to know how they are connected.
    """
    inside = unframed(model)
    if graph_of(inside) is None:
        own = "a subclassed model does not give" if inside.built else "this model has not got yet"
        raise ModelError(
            f"{what} needs the graph of the layers, which {own}",
            value=f"{inside.name} ({type(inside).__name__})",
            hint="build it with keras.Model(inputs, outputs)",
        )


def has_own_layers(model: Any) -> bool:
    """Whether a model, or any layer of it, is of a class that is not one of Keras's."""
    parts = unframed(model)._flatten_layers()
    return not all(type(part).__module__.startswith("keras.") for part in parts)


def _around(model: Any, inputs: Any) -> Any:
    _, keras = quiet_tensorflow.load()
    return around(keras.Model(inputs, model(inputs), name=model.name), model)


def _input_like(tensor: Any) -> Any:
    _, keras = quiet_tensorflow.load()
    name = tensor._keras_history.operation.name
    return keras.Input(tuple(tensor.shape[1:]), dtype=tensor.dtype, name=name)


def _recorded_shapes(model: Any) -> Any:
    """The shapes of the first argument of a built model's call, in its structure."""
    recorded = getattr(model, "_build_shapes_dict", None)
    given = list(recorded.values()) if isinstance(recorded, Mapping) else []
    if len(given) != 1:
        what = "a subclassed model must take its inputs as one argument"
        count = f"{model.name} takes {len(given)}" if given else f"{model.name} was never called"
        raise ModelError(what, value=count, hint="make it a list or a dict of tensors")
    return given[0]


def _inputs(shapes: Any, dtype: str, name: str = "input") -> Any:
    """Inputs of these shapes, each named by its place (input_1, ...) or its key."""
    _, keras = quiet_tensorflow.load()
    if isinstance(shapes, Mapping):
        return {key: _inputs(part, dtype, str(key)) for key, part in shapes.items()}
    if _is_shape(shapes):
        return keras.Input(tuple(shapes)[1:], dtype=dtype, name=name)
    return [_inputs(part, dtype, f"{name}_{number}") for number, part in enumerate(shapes, 1)]


def _is_shape(shapes: Sequence[Any]) -> bool:
    return all(size is None or isinstance(size, int) for size in shapes)


def _uncallable(model: Any, error: Exception) -> ModelError:
    from compressor.models.files import reason_of

    return ModelError(
        "the model cannot be called on the shapes that it was built with",
        value=f"{model.name} ({reason_of(error)})",
        hint="its call must take all inputs as one argument: a tensor, a list or a dict",
    )
