"""Building the Keras 3 model of a configuration of Keras 2, and giving it its weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from compressor.errors import ModelError
from compressor.foundation import quiet_tensorflow
from compressor.importing.keras_3 import MODELS, MOST_LEVELS, for_keras_3, nodes_of
from compressor.importing.layers import legal, new_layers, scale_hard_sigmoids
from compressor.importing.operations import Operation, operation_of
from compressor.importing.source import Weights


class MismatchError(ModelError):
    """A layer and its weights do not belong together, as far as we understand the file."""


@dataclasses.dataclass
class Built:
    """A model, and its layers and nested models by the names that the file has for them."""

    model: Any
    parts: dict[str, Any | Built]


def build(entry: Any, *, old: bool = True, level: int = 0) -> Built:
    """The model of an `entry` with class_name and config; `old`: written by Keras 2.

    Raises ModelError for what Keras 3 has not, and whatever Keras raises for what it cannot make.
    """
    if not isinstance(entry, dict) or level > MOST_LEVELS:
        raise ModelError("the configuration of the model is damaged", value=repr(entry)[:80])
    name, config = str(entry.get("class_name")), entry.get("config")
    if name == "Sequential" and isinstance(config, list):  # before Keras 2.3
        config = {"name": "sequential", "layers": config}
    if not isinstance(config, dict) or not isinstance(config.get("layers"), list):
        raise ModelError(
            "the file has no graph of this model, so that only its own code can build it",
            value=f"{name} {config.get('name') if isinstance(config, dict) else ''}".strip(),
            hint="rebuild it in Keras 3, load its weights, and save it with model.save('N.keras')",
        )
    if name == "Sequential" and "input_layers" not in config:
        return _sequential(config, old, level)
    if any(isinstance(node, dict) for entry in config["layers"] for node in nodes_of(entry)):
        return _of_keras_3(entry, level)
    return _Graph(config, old, level).built()


def _of_keras_3(entry: dict[str, Any], level: int) -> Built:
    """A model whose calls are written as Keras 3 does, which then makes it."""
    _, keras = quiet_tensorflow.load()
    return _parts_of(keras.Model.from_config(for_keras_3(entry, level)["config"]), entry)


def _parts_of(model: Any, entry: dict[str, Any]) -> Built:
    parts: dict[str, Any] = {}
    layers = {layer.name: layer for layer in model.layers}  # without functions
    for inner in entry["config"]["layers"]:
        if (layer := layers.get(name := _name_of(inner))) is not None:
            parts[name] = _parts_of(layer, inner) if inner["class_name"] in MODELS else layer
    return Built(model, parts)


def _made(entry: Any, old: bool, level: int) -> tuple[list[Any], Any]:
    """What an entry stands for: layers in a row, or a nested model; and the part with weights."""
    if isinstance(entry, dict) and entry.get("class_name") in MODELS:
        built = build(entry, old=old, level=level + 1)
        return [built.model], built
    layers = new_layers(entry, old=old)
    return layers, layers[-1]


def _sequential(config: dict[str, Any], old: bool, level: int) -> Built:
    _, keras = quiet_tensorflow.load()
    row: list[Any] = []
    parts: dict[str, Any] = {}
    for number, entry in enumerate(config["layers"]):
        inner = entry.get("config") if isinstance(entry, dict) else None
        shape = inner.get("batch_input_shape") if isinstance(inner, dict) else None
        is_input = isinstance(entry, dict) and entry.get("class_name") == "InputLayer"
        if number == 0 and not is_input and (shape or config.get("build_input_shape")):
            shape = shape or config["build_input_shape"]
            row.append(keras.Input(batch_shape=tuple(shape)))
        made, part = _made(entry, old, level)
        row += made
        parts[_name_of(entry)] = part
    model = keras.Sequential(row, name=legal(config.get("name", "sequential")))
    if not model.built and level == 0:
        raise ModelError(
            "the model does not say what it takes",
            value=config.get("name"),
            hint="call model.build(input_shape) and save it again",
        )
    return Built(model, parts)


def _name_of(entry: Any) -> str:
    """The name of a layer: beside its arguments, or one of them."""
    return str(entry.get("name") or entry["config"].get("name"))


class _Graph:
    """A functional model while it is built: every layer, and what its calls gave."""

    def __init__(self, config: dict[str, Any], old: bool, level: int) -> None:
        self._config = config
        self._parts: dict[str, Any] = {}
        self._calls: dict[str, Any] = {}
        self._given: dict[str, list[list[Any]]] = {}
        self._first: dict[str, int] = {}
        self._waiting: list[tuple[str, Any]] = []
        _, keras = quiet_tensorflow.load()
        self._flatten = keras.tree.flatten
        for entry in config["layers"]:
            self._add(entry, old, level)
        for reference in _references(config):
            name, node = str(reference[0]), int(reference[1])
            self._first[name] = min(node, self._first.get(name, node))

    def _add(self, entry: Any, old: bool, level: int) -> None:
        name = _name_of(entry)
        if name in self._given:
            raise ModelError("two layers have one name", value=name)
        if (operation := operation_of(entry)) is not None:
            self._calls[name] = operation
            self._given[name] = []
        else:
            row, self._parts[name] = _made(entry, old, level)
            self._calls[name] = row
            is_input = entry.get("class_name") == "InputLayer"
            self._given[name] = [self._flatten(row[0].output)] if is_input else []
        nodes = entry.get("inbound_nodes") or []
        self._waiting += [(name, node) for node in nodes if name not in self._inputs()]

    def _inputs(self) -> set[str]:
        return {str(found[0]) for found in _leaves(self._config.get("input_layers"))}

    def built(self) -> Built:
        _, keras = quiet_tensorflow.load()
        waiting = self._waiting
        while waiting:
            left = [(name, node) for name, node in waiting if not self._call(name, node)]
            if len(left) == len(waiting):
                raise ModelError("the graph of the model is not connected", value=left[0][0])
            waiting = left
        config = self._config
        model = keras.Model(
            _single(self._tensors(config.get("input_layers"))),
            _single(self._tensors(config.get("output_layers"))),
            name=legal(config.get("name", "model")),
        )
        return Built(model, self._parts)

    def _call(self, name: str, node: Any) -> bool:
        """Call a layer once, unless what it takes is not there yet."""
        if not all(self._is_there(reference) for reference in _references(node)):
            return False
        # A later call of a layer is only known by its number, so that they go in order.
        arguments, options = self._arguments(node)
        called = self._calls[name]
        if isinstance(called, Operation):
            outputs = called(arguments, options)
        else:
            outputs = _apply(called, arguments, options)
        self._given[name].append(self._flatten(outputs))
        return True

    def _arguments(self, node: Any) -> tuple[list[Any], dict[str, Any]]:
        """The first argument of a call, a list of tensors or constants, and the others."""
        if isinstance(node, list) and len(node) == 4 and isinstance(node[0], str):
            node = [node]
        if (
            len(node) == 1
            and isinstance(node[0], list)
            and node[0]
            and isinstance(node[0][0], list)
        ):
            node = node[0]  # a list as the first argument
        first, options = [], {}
        for item in node:
            is_constant = item[0] == "_CONSTANT_VALUE"
            first.append(item[2] if is_constant else self._tensor(item))
            if len(item) > 3 and isinstance(item[3], dict):
                options = {key: self._given_value(value) for key, value in item[3].items()}
        return first, options

    def _given_value(self, value: Any) -> Any:
        if self._is_reference(value):
            return self._tensor(value)
        if isinstance(value, list):
            return [self._given_value(item) for item in value]
        if isinstance(value, dict):
            return {key: self._given_value(item) for key, item in value.items()}
        return value

    def _is_reference(self, value: Any) -> bool:
        return _is_reference(value) and value[0] in self._given

    def _is_there(self, reference: Sequence[Any]) -> bool:
        name = str(reference[0])
        if name not in self._given:
            raise ModelError("the graph of the model names a layer that is missing", value=name)
        return 0 <= self._place(reference) < len(self._given[name])

    def _place(self, reference: Sequence[Any]) -> int:
        """Which call it is: Keras 2 counts the calls of a nested model from 1, its own is 0."""
        name, node = str(reference[0]), int(reference[1])
        return node - self._first[name] if isinstance(self._parts.get(name), Built) else node

    def _tensor(self, reference: Sequence[Any]) -> Any:
        name, number = str(reference[0]), int(reference[2])
        found = self._given[name][self._place(reference)] if self._is_there(reference) else []
        if number >= len(found):
            raise ModelError("the graph of the model names an output that is missing", value=name)
        return found[number]

    def _tensors(self, structure: Any) -> Any:
        if _is_reference(structure):
            return self._tensor(structure)
        if isinstance(structure, dict):
            return {key: self._tensors(value) for key, value in structure.items()}
        if isinstance(structure, list):
            return [self._tensors(value) for value in structure]
        raise ModelError(
            "the inputs or outputs of the model are damaged", value=repr(structure)[:80]
        )


def _apply(layers: list[Any], arguments: list[Any], options: dict[str, Any]) -> Any:
    """Call layers one after the other; options that are None say nothing."""
    _, keras = quiet_tensorflow.load()
    options = {key: value for key, value in options.items() if value is not None}
    recurrent = (keras.layers.RNN, keras.layers.Bidirectional)
    if isinstance(layers[-1], recurrent) and len(arguments) > 1:  # Keras 2: its states follow
        options["initial_state"], arguments = arguments[1:], arguments[:1]
    outputs = _single(arguments)
    for layer in layers[:-1]:
        outputs = layer(outputs)
    return layers[-1](outputs, **options)


def _is_reference(value: Any) -> bool:
    """Whether this is (layer, call, number of its output)."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(type(number) is int and number >= 0 for number in value[1:3])
        and (len(value) == 3 or isinstance(value[3], dict))
    )


def _leaves(structure: Any) -> list[list[Any]]:
    if _is_reference(structure):
        inner = structure[3] if len(structure) == 4 else None
        return [structure, *_leaves(inner)]
    if isinstance(structure, dict):
        return [leaf for value in structure.values() for leaf in _leaves(value)]
    if isinstance(structure, list):
        return [leaf for value in structure for leaf in _leaves(value)]
    return []


def _references(content: Any) -> list[list[Any]]:
    """All references in a call, or in the calls and outputs of a whole model."""
    if isinstance(content, dict) and "layers" in content:
        nodes = [entry.get("inbound_nodes") for entry in content["layers"]]
        return _leaves([nodes, content.get("output_layers")])
    return _leaves(content)


def _single(tensors: Any) -> Any:
    return tensors[0] if isinstance(tensors, list) and len(tensors) == 1 else tensors


def fill(built: Built, weights: Weights, *, old: bool = True) -> None:
    """Give a model its weights, each layer's trainable ones first; raises ModelError."""
    _fill(built, weights)
    finish(built.model, old=old)


def finish(model: Any, *, old: bool = True) -> None:
    """Let a model that has its weights compute what Keras 2 does; raises ModelError."""
    if old:
        scale_hard_sigmoids(model)
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def _fill(built: Built, weights: Weights) -> None:
    _refuse_missing(built, weights)
    for name, arrays in weights.items():
        part = built.parts.get(name)
        if isinstance(part, Built) and isinstance(arrays, dict):
            _fill(part, arrays)
            continue
        holder = part.model if isinstance(part, Built) else part
        variables = [] if holder is None else variables_of(holder)
        if isinstance(arrays, dict):
            arrays = [array for found in arrays.values() for array in found]  # type: ignore[misc]
        shapes = [tuple(array.shape) for array in arrays]
        if [tuple(variable.shape) for variable in variables] != shapes:
            raise MismatchError(
                "the weights of a layer do not fit it",
                value=f"{name}: {shapes}, it has {[tuple(v.shape) for v in variables]}",
            )
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(np.asarray(array))


def variables_of(layer: Any) -> list[Any]:
    """The weights of a layer in the order of Keras 2: trainable ones first."""
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _refuse_missing(built: Built, weights: Weights) -> None:
    for name, part in built.parts.items():
        holder = part.model if isinstance(part, Built) else part
        if name not in weights and variables_of(holder):
            raise MismatchError("the file has no weights of a layer", value=name)
