"""Rebuilding a model with other layer sizes, but the same names, nesting and sharing."""

from __future__ import annotations

import inspect
import types
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compressor.errors import CompressorError, ModelError
from compressor.foundation import quiet_tensorflow
from compressor.models import around, graph_of, reason_of, unframed

_LAMBDA = "<lambda>"
_OF_EVERY_LAYER = ("name", "trainable", "dtype")
_LIBRARIES = ("builtins", "keras", "ml_dtypes", "numpy", "tensorflow")


@dataclass(frozen=True)
class Edit:
    """What changes in a layer."""

    config: Mapping[str, Any] = field(default_factory=dict)
    """entries of its configuration"""
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    """variable name -> value; empty where the layer has none"""
    removed: bool = False
    """whether the layer is removed and its input passed on"""


def rebuild(
    model: Any, edits: Mapping[int, Edit], entries: Mapping[int, int], *, share: bool = False
) -> Any:
    """Build a new Functional or Sequential model, not compiled; a frame is one again.

    `edits` are by id of layer, `entries` are numbers of channels by id of InputLayer. Layers
    without an edit keep their weights. With `share`, one without weights that cannot be rebuilt is
    shared with the old model. Raises ModelError when a layer cannot be rebuilt from its
    configuration.
    """
    builder = _Builder(edits, entries, share)
    try:
        rebuilt = builder.model(model)
    except CompressorError:
        raise
    except Exception as error:  # Keras raises whatever a layer makes it raise
        value = f"{model.name} ({reason_of(error)})"
        raise ModelError("the model cannot be rebuilt", value=value) from error
    # From the outermost model inwards: setting a model's flag sets those of its layers.
    for old, new in [*reversed(builder.models), *builder.pairs]:
        if hasattr(old, "trainable"):
            new.trainable = old.trainable
    for old, new in builder.pairs:
        if new is not old:
            _keep_frozen(old, new)
            _fill(old, new, edits.get(id(old)))
    if unframed(model) is not model:
        around(rebuilt, builder.made(unframed(model)))
    return rebuilt


def _keep_frozen(old: Any, new: Any) -> None:
    """Freeze what is frozen inside a layer: its configuration may not say so."""
    if not hasattr(old, "_flatten_layers"):
        return
    pairs = [*old._flatten_layers()], [*new._flatten_layers()]
    if [*map(type, pairs[0])] == [*map(type, pairs[1])]:
        for one, other in zip(*pairs, strict=True):
            if one.trainable != other.trainable:
                other.trainable = one.trainable
            # No configuration says so of a single variable, such as a bias.
            own = one._trainable_variables, other._trainable_variables
            for before, variable in zip(*own, strict=False):
                variable.trainable = before.trainable


class _Builder:
    def __init__(self, edits: Mapping[int, Edit], entries: Mapping[int, int], share: bool) -> None:
        self._edits = edits
        self._share = share
        self._entries = entries
        self._made: dict[int, Any] = {}
        self.pairs: list[tuple[Any, Any]] = []
        self.models: list[tuple[Any, Any]] = []

    def made(self, operation: Any) -> Any:
        """The new layer for an old one."""
        return self._made[id(operation)]

    def model(self, model: Any) -> Any:
        new = self._model(model)
        self.models.append((model, new))
        return new

    def _model(self, model: Any) -> Any:
        _, keras = quiet_tensorflow.load()
        graph = graph_of(model)
        if isinstance(model, keras.Sequential):
            # Sequential.layers leaves the InputLayer out.
            (entry,) = graph.inputs
            layers = [self._input(entry), *map(self._operation, model.layers)]
            kept = [layer for layer in layers if layer is not None]
            return keras.Sequential(kept, name=model.name)
        inputs = keras.tree.map_structure(self._input, graph.input)
        outputs = graph._run_through_graph(inputs, operation_fn=self._operation, call_fn=self._call)
        return keras.Model(inputs, outputs, name=model.name)

    def _input(self, tensor: Any) -> Any:
        layer = tensor._keras_history.operation
        config = layer.get_config()
        if id(layer) in self._entries:
            shape = tuple(config["batch_shape"])
            config["batch_shape"] = (*shape[:-1], self._entries[id(layer)])
        return type(layer).from_config(config).output

    def _operation(self, operation: Any) -> Any:
        """The one new layer for an old one; None for a removed one."""
        edit = self._edits.get(id(operation))
        if edit is not None and edit.removed:
            return None
        if id(operation) not in self._made:
            if graph_of(operation) is not None:
                self._made[id(operation)] = self.model(operation)
            else:
                new = _again(operation, edit, self._share)
                self._made[id(operation)] = new
                self.pairs.append((operation, new))
        return self._made[id(operation)]

    @staticmethod
    def _call(operation: Any, *arguments: Any, **options: Any) -> Any:
        if operation is None:
            return arguments[0] if arguments else options["inputs"]
        return operation(*arguments, **options)


def _again(operation: Any, edit: Edit | None, share: bool) -> Any:
    _, keras = quiet_tensorflow.load()
    try:
        if type(operation) is keras.layers.Lambda:
            # Allowed, since the function is the user's own, in memory; only files are untrusted.
            return keras.layers.Lambda(
                operation.function,
                output_shape=operation._output_shape,
                arguments=operation.arguments,
                name=operation.name,
                dtype=operation.dtype_policy,
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lambdas, which no file is to hold
            config = operation.get_config()
        if edit is not None:
            config = _without_arrays(config | edit.config)
        # A configuration cannot hold these; here they are at hand.
        config |= {
            key: value
            for key in config
            if getattr(value := getattr(operation, key, None), "__name__", "") == _LAMBDA
        }
        with keras.saving.custom_object_scope(_own_objects(operation)):
            return _from_config(operation, config)
    except CompressorError:
        raise
    except Exception as error:  # user code may raise anything
        if share and not getattr(operation, "variables", ()):
            return operation
        raise ModelError(
            "a layer cannot be rebuilt from its configuration",
            value=f"{operation.name} ({reason_of(error)})",
            hint="give its class a get_config that names all arguments",
        ) from error


def _without_arrays(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration, and that of a wrapped layer, with zeros for initial values by an array."""
    inner = config.get("layer")
    if isinstance(inner, dict) and isinstance(inner.get("config"), dict):
        config = config | {"layer": inner | {"config": _without_arrays(inner["config"])}}
    arrays = (key for key, value in config.items() if _is_array_initializer(key, value))
    return config | dict.fromkeys(arrays, "zeros")


def _from_config(operation: Any, config: dict[str, Any]) -> Any:
    """A layer of its configuration; of a class that does not take Keras's own arguments, too."""
    kind = type(operation)
    try:
        return kind.from_config(config)
    except TypeError:
        taken = inspect.signature(kind).parameters
        if config.keys() - taken.keys() > set(_OF_EVERY_LAYER):
            raise
        made = kind(**{key: value for key, value in config.items() if key in taken})
        made.name = operation.name
        return made


def _own_objects(operation: Any) -> dict[str, Any]:
    """The classes and functions of the user's own that a layer uses, by their names.

    Its configuration only names them. Raises ModelError where two have one name.
    """
    parts = operation._flatten_layers() if hasattr(operation, "_flatten_layers") else [operation]
    found: dict[str, Any] = {}
    for part in parts:
        for value in (part, *vars(part).values()):
            own = value if isinstance(value, types.FunctionType) else type(value)
            if str(own.__module__).partition(".")[0] in _LIBRARIES or own.__name__ == _LAMBDA:
                continue
            if found.setdefault(own.__name__, own) is not own:
                what = "two functions or classes of a layer have one name"
                hint = "give them names of their own"
                raise ModelError(what, value=f"{own.__name__} in {part.name}", hint=hint)
    return found


def _is_array_initializer(key: str, value: Any) -> bool:
    """Whether a configuration's entry initialises by an array, whose shape may no longer fit."""
    if not key.endswith("_initializer") or not isinstance(value, dict):
        return False
    constant = (value.get("config") or {}).get("value")
    return not isinstance(constant, (int, float, type(None)))


def _fill(old: Any, new: Any, edit: Edit | None) -> None:
    variables = getattr(new, "variables", [])
    if edit is not None and edit.values:
        for variable in variables:
            variable.assign(edit.values[variable.name].astype(variable.dtype))
        return
    values = getattr(old, "variables", [])
    if [tuple(v.shape) for v in values] != [tuple(v.shape) for v in variables]:
        what = "a layer rebuilt from its configuration has different weights"
        raise ModelError(what, value=old.name)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(np.asarray(value.numpy()).astype(variable.dtype))
    # Preprocessing layers compute with copies of their variables.
    if variables and hasattr(new, "finalize_state"):
        new.finalize_state()
