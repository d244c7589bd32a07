"""Layers of Keras 2 as layers of Keras 3: their names and arguments, known differences translated.

An argument that Keras 3 does not know is left out where it says nothing (None, False, 0, 1), and
refused by name elsewhere. What Keras 3 has not is refused by name. Code (Lambda) is never run.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

from compressor.errors import ModelError
from compressor.foundation import quiet_tensorflow
from compressor.models import needs_custom

_RENAMED_CLASSES = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "ThresholdedReLU": "ReLU",
}
_RENAMED_ARGUMENTS = {
    "LeakyReLU": {"alpha": "negative_slope"},
    "ReLU": {"theta": "threshold"},
    "InputLayer": {"batch_input_shape": "batch_shape"},
}
# Without a meaning in Keras 3, whatever they are: speed, and what is known from the graph.
_IDLE = {
    *("implementation", "input_length", "batch_input_shape", "fused", "synchronized"),
    *("query_shape", "key_shape", "value_shape", "adjustment", "input_dtype", "batch_size"),
    *("trainable", "dtype", "rng_type"),
}
_ABSENT = {"GRU": {"reset_after": False}, "GRUCell": {"reset_after": False}}
"""Arguments that early files lack, and what they then were."""
# In inference they hand on what they get; Keras 3 has them not.
_PASSING = {"AddLoss", "AddMetric", "RandomWidth", "RandomHeight"}
_GONE = {
    *("LocallyConnected1D", "LocallyConnected2D", "CuDNNLSTM", "CuDNNGRU", "DenseFeatures"),
    *("ClassMethod", "InstanceMethod", "InstanceProperty", "SequenceFeatures"),
}
_CODE = {"Lambda", "__lambda__"}
_INNER = {"layer", "forward_layer", "backward_layer", "cell"}
_HARD = "hard_sigmoid"
_OBJECTS = "layers|initializers|regularizers|constraints|activations|engine|models"
_MODULES = re.compile(rf"builtins|(tf_)?keras(\.src)?(\.({_OBJECTS})[a-z_0-9.]*)?")


def new_layers(entry: Any, *, old: bool = True) -> list[Any]:
    """The Keras layers, one after the other, that do what the layer of this `entry` does.

    `entry` has class_name and config, as Keras 2 writes them. The last layer has its name and
    weights. With `old`, hard_sigmoid means that of Keras 2, whose slope is 1.2 times that of
    Keras 3: an activation alone is scaled here, kernels by `scale_hard_sigmoids`. Raises ModelError
    for what Keras 3 has not, and whatever Keras raises for arguments that it refuses.
    """
    _, keras = quiet_tensorflow.load()
    name, config = _parts(entry)
    if name in _PASSING:
        called = config.get("name")
        return [keras.layers.Activation("linear", name=None if called is None else legal(called))]
    content = _renewed(name, config)
    before: list[Any] = []
    if old and name == "Activation" and content["config"].get("activation") == _HARD:
        before = [keras.layers.Rescaling(1.2, name=f"{content['config'].get('name')}_scale")]
    return [*before, keras.saving.deserialize_keras_object(content, safe_mode=True)]


def new_entry(entry: Any) -> dict[str, Any]:
    """The layer of this `entry` as Keras 3 serialises it; raises ModelError as `new_layers`."""
    return _renewed(*_parts(entry))


def refuse_code(content: Any) -> None:
    """Raise ModelError for a configuration that could make a deserialiser run or import anything.

    tf_keras imports what a configuration names; so it may only name modules of Keras's objects,
    and of functions only activations.
    """
    _, keras = quiet_tensorflow.load()
    waiting = [content]
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting += found
        if not isinstance(found, dict):
            continue
        waiting += found.values()
        kind, module = str(found.get("class_name")), found.get("module")
        named = found.get("config") if kind == "function" else "linear"
        if (
            kind in _CODE
            or not (module is None or _MODULES.fullmatch(str(module)))
            or not callable(getattr(keras.activations, str(named), None))
        ):
            raise ModelError("the model names code, which is never run", value=f"{module}.{kind}")


def legal(name: Any) -> str:
    """A name without the slashes that Keras 3 refuses."""
    return str(name).replace("/", "_")


def scale_hard_sigmoids(model: Any) -> None:
    """Let a hard_sigmoid of Keras 3 compute that of Keras 2, clip(0.2 x + 0.5, 0, 1).

    Keras 3 has clip(x / 6 + 0.5, 0, 1): the kernels and biases before it become 1.2 times as
    large. Raises ModelError where that is not possible.
    """
    _, keras = quiet_tensorflow.load()
    hard = keras.activations.hard_sigmoid
    for layer in model._flatten_layers():
        if getattr(layer, "layers", None) or isinstance(layer, keras.layers.RNN):
            continue  # its layers, or its cell, come by themselves
        gates = getattr(layer, "recurrent_activation", None) is hard
        whole = getattr(layer, "activation", None) is hard
        if not (gates or whole) or type(layer).__name__ in ("Activation", "Bidirectional"):
            continue
        if whole and hasattr(layer, "recurrent_activation") and "GRU" not in type(layer).__name__:
            _refuse_hard(layer)
        scaled = [getattr(layer, name, None) for name in ("kernel", "recurrent_kernel", "bias")]
        if hasattr(layer, "pointwise_kernel"):
            scaled[0] = layer.pointwise_kernel
        if scaled[0] is None:
            _refuse_hard(layer)
        for variable in (found for found in scaled if found is not None):
            values = variable.numpy()
            values[_hard_columns(layer, gates, whole, values.shape[-1])] *= 1.2
            variable.assign(values)


def _hard_columns(layer: Any, gates: bool, whole: bool, width: int) -> tuple[Any, ...]:
    """Where the outputs of kernels lie that go through hard_sigmoid."""
    chosen = [True] * width
    if hasattr(layer, "recurrent_activation"):
        if "GRU" in type(layer).__name__:  # z, r, h
            third = width // 3
            chosen = [gates] * (2 * third) + [whole] * third
        else:  # i, f, c, o
            part = width // 4
            chosen = [True] * (2 * part) + [False] * part + [True] * part
    return ..., chosen


def _refuse_hard(layer: Any) -> None:
    raise ModelError(
        "Keras 3 has not the hard_sigmoid of Keras 2 for this layer",
        value=f"{layer.name} ({type(layer).__name__})",
        hint="replace it by sigmoid, and retrain",
    )


def _parts(entry: Any) -> tuple[str, dict[str, Any]]:
    """Class name and arguments; raises ModelError for a layer that is code."""
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise ModelError("the configuration of a layer is damaged", value=repr(entry)[:80])
    name = str(entry.get("class_name"))
    if name in _CODE:
        raise ModelError(
            "the model holds Lambda code, which is never run",
            value=f"layer {entry['config'].get('name')}",
            hint="replace the Lambda layer by a standard layer and save the model again",
        )
    return name, dict(entry["config"])


def _renewed(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """A layer as Keras 3 serialises it."""
    kind, registered = _class_of(name, config)
    if registered:
        return {"module": None, "class_name": name, "config": config, "registered_name": registered}
    renamed = _RENAMED_ARGUMENTS.get(kind.__name__, {})
    config = {renamed.get(argument, argument): value for argument, value in config.items()}
    known, taken = _arguments(kind), {}
    for argument, value in (_ABSENT.get(kind.__name__, {}) | config).items():
        if argument in known:
            taken[argument] = _value(kind, argument, value)
        elif not _says_nothing(argument, value):
            raise ModelError(
                "Keras 3 does not know an argument of a layer",
                value=f"{argument}={value!r:.60} of {config.get('name')} ({name})",
                hint="save the model again from the Keras that made it, without it",
            )
    return _entry(kind, taken)


def _class_of(name: str, config: dict[str, Any]) -> tuple[Any, str]:
    """The class of a layer, and the name that it is registered under if it is a user's own."""
    _, keras = quiet_tensorflow.load()
    custom = keras.saving.get_custom_objects()
    for registered, found in custom.items():
        if registered == name or registered.rpartition(">")[2] == name:
            return found, registered
    plain = _RENAMED_CLASSES.get(name, name)
    found = getattr(keras.layers, plain, None)
    if not (isinstance(found, type) and issubclass(found, keras.layers.Layer)):
        if name in _GONE:
            what, value = (
                "Keras 3 has no such layer any more",
                f"{name} (layer {config.get('name')})",
            )
            raise ModelError(what, value=value, hint="replace it, and retrain or copy the weights")
        raise needs_custom("class", name, f"layer {config.get('name')}")
    return found, ""


def _arguments(kind: type) -> set[str]:
    """All that the constructor of a layer takes, by way of its base classes, too."""
    _, keras = quiet_tensorflow.load()
    found: set[str] = set()
    for base in kind.__mro__:
        parameters = inspect.signature(base.__init__).parameters  # type: ignore[misc]
        found |= parameters.keys()
        if base is keras.layers.Layer or not any(
            parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
        ):
            break
    return found - {"self", "args", "kwargs"}


def _says_nothing(argument: str, value: Any) -> bool:
    idle = argument in _IDLE or argument.endswith("_initializer")
    return idle or (value in (None, False, 1, [], {}, "") and value is not True)


def _value(kind: type, argument: str, value: Any) -> Any:
    """The value of an argument of a layer, with what is nested in it."""
    _, keras = quiet_tensorflow.load()
    if argument == "name":
        return None if value is None else legal(value)
    if argument == "dtype":
        return _dtype(value)
    if argument == "axis" and kind is keras.layers.BatchNormalization:
        return value[0] if isinstance(value, list) and len(value) == 1 else value
    if argument in _INNER and isinstance(value, dict):
        return _inner(value)
    if argument == "cells" and isinstance(value, list):
        return [_inner(cell) for cell in value]
    if argument.endswith("activation"):
        return _activation(value)
    for ending in ("initializer", "regularizer", "constraint"):
        if argument.endswith(ending) and isinstance(value, dict):
            return _object(getattr(keras, f"{ending}s"), value, ending)
    if isinstance(value, dict) and "class_name" in value:
        _parts(value)  # refuses code
        raise ModelError(
            "an argument of a layer is an object that is not known",
            value=f"{argument} of {kind.__name__}",
            hint="save the model again from the Keras that made it",
        )
    return value


def _inner(value: Any) -> dict[str, Any]:
    """A layer within a layer."""
    name, config = _parts(value)
    if name == "Activation" and config.get("activation") == _HARD:
        what = "Keras 3 has not the hard_sigmoid of Keras 2 within a wrapper"
        raise ModelError(what, value=config.get("name"))
    return _renewed(name, config)


def _activation(value: Any) -> Any:
    """The name of a function; a layer as an activation is a layer's entry."""
    _, keras = quiet_tensorflow.load()
    if isinstance(value, dict):
        if value.get("class_name") != "function" and isinstance(value.get("config"), dict):
            return _renewed(*_parts(value))
        value = value.get("config")
    if value is None:
        return value
    name = str(value)
    custom = keras.saving.get_custom_objects()
    for registered in custom:
        if registered == name or registered.rpartition(">")[2] == name:
            return registered
    name = {"softmax_v2": "softmax", "swish": "silu"}.get(name, name)
    if not callable(getattr(keras.activations, name, None)) or name in ("get", "deserialize"):
        raise needs_custom("function", name, "an activation")
    return name


def _object(module: Any, value: dict[str, Any], ending: str) -> Any:
    """An initialiser, regulariser or constraint. Unknown initialisers do not matter any more."""
    name, config = _parts(value)
    found = getattr(module, name, None)
    if not isinstance(found, type):
        if ending == "initializer":
            return None if "bias" in name.lower() else "zeros"
        raise needs_custom("class", name, f"a {ending}")
    known = _arguments(found) - {"name", "trainable", "dtype"}
    return _entry(found, {key: config[key] for key in config if key in known})


def _entry(kind: type, config: dict[str, Any]) -> dict[str, Any]:
    _, keras = quiet_tensorflow.load()
    rooms = ("layers", "initializers", "regularizers", "constraints")
    room = next(room for room in rooms if getattr(getattr(keras, room), kind.__name__, 0) is kind)
    entry = {"module": f"keras.{room}", "class_name": kind.__name__, "config": config}
    return {**entry, "registered_name": None}


def _dtype(value: Any) -> Any:
    """A data type or the name of a policy, which Keras 2 writes as an object, too."""
    if isinstance(value, dict):
        config = value.get("config")
        value = config.get("name") if isinstance(config, dict) else None
    return value
