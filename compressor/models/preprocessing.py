"""How stored inputs become what a model takes: its names, dtypes, shapes and range of values.

1. One array feeds a model of one input; a model of several takes arrays by its inputs' names.
2. Bytes (uint8) become float32 in 0 to 1, unless the model was made for them: the input has an
   integer dtype, or feeds a layer that rescales it or looks it up. Everything else, integers of
   another type too, goes in as stored, as Keras itself feeds it.
3. A row is reshaped where it holds as many values as the model wants.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from compressor.data import Array, Inputs, listed, named
from compressor.data.stored import parts_of
from compressor.errors import DataError, ModelError
from compressor.foundation import quiet_tensorflow
from compressor.models.input_uses import is_embedding, layers_for_raw_values, looks_up
from compressor.models.layers import all_layers, refuse_stateful
from compressor.models.outputs import check_built
from compressor.models.tracing import Shape
from deploy import Artifact
from deploy.artifact_parts import Port
from deploy.examples import row_shape
from deploy.text import clean

_MOST_SCALED = 32.0
"""What stands for larger numbers takes bytes as they are, not scaled to 0 to 1 or normalised."""

# What tf.name_scope takes; the call of each layer opens one of its name.
_SCOPE = re.compile(r"[A-Za-z0-9_.\\/>-]*")


@dataclasses.dataclass(frozen=True)
class InputScaling:
    """How the array of one input is fed: with the input's `shape` (without batch) and `dtype`.

    `scale` is the factor of the stored values, and `reason` says why.
    """

    name: str
    shape: Shape
    dtype: str
    scale: float
    reason: str


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Turns stored inputs into what one model takes; made by `preprocessing_of`.

    `rules` are in the order of model.inputs, and so are `sources`, the stored names of the arrays
    ("" for a single array), and `row_shapes`, the shapes that rows are fed in. `layout` is the
    `structure` of the model's inputs, with a name for every tensor.
    """

    rules: tuple[InputScaling, ...]
    sources: tuple[str, ...]
    row_shapes: tuple[tuple[int, ...], ...]
    layout: Any

    def __call__(self, x: Inputs) -> Any:
        """Arrays (n, *row shape) of the rules' dtypes, in the model's `structure`."""
        return self._arranged(self.arrays(x))

    def arrays(self, x: Inputs) -> list[Array]:
        """The same in the order of the rules, in a list."""
        fed = []
        for rule, shape, rows in self._each(x):
            part = np.asarray(rows)  # which may lie on the disk
            if rule.scale != 1:
                part = part.astype(np.float32) / np.float32(1 / rule.scale)
            fed.append(part.astype(rule.dtype, copy=False).reshape(len(part), *shape))
        return fed

    def tensors(self, x: Any) -> Any:
        """The same for TensorFlow tensors, one or a dict by stored name, in a tf.data pipeline.

        Returns a tuple for a list, which tf.data would stack.
        """
        tensorflow, keras = quiet_tensorflow.load()
        fed = []
        for rule, shape, part in self._each(x):
            if rule.scale != 1:
                # Divided, as above: a product would differ in the last bit.
                part = tensorflow.cast(part, "float32") / (1 / rule.scale)
            fed.append(tensorflow.reshape(tensorflow.cast(part, rule.dtype), (-1, *shape)))
        return keras.tree.lists_to_tuples(self._arranged(fed))

    def describe(self) -> list[dict[str, Any]]:
        """The rules as JSON objects; a size that the model leaves open is null."""
        return [dataclasses.asdict(rule) | {"shape": list(rule.shape)} for rule in self.rules]

    def _each(self, x: Any) -> Iterable[tuple[InputScaling, tuple[int, ...], Any]]:
        if not isinstance(x, Mapping):
            parts = [x]
        elif len(self.sources) == 1:
            parts = list(x.values())
        else:
            parts = [x[source] for source in self.sources]
        return zip(self.rules, self.row_shapes, parts, strict=True)

    def _arranged(self, parts: list[Any]) -> Any:
        _, keras = quiet_tensorflow.load()
        return keras.tree.pack_sequence_as(self.layout, parts)


def preprocessing_of(model: Any, x: Inputs) -> Preprocessing:
    """Decide how the stored inputs `x` are fed to `model`, and check that they fit.

    Raises ModelError as `check_built` does, for an input of text, for a stateful recurrent layer,
    and for a layer's name that TensorFlow cannot run; DataError when the names, shapes or values of
    `x` do not fit.
    """
    check_built(model)
    refuse_stateful(model)
    _check_names(model)
    _, keras = quiet_tensorflow.load()
    arrays, tensors = named(x), _inputs_by_name(model)
    sources = _sources(list(tensors), list(arrays))
    rules, row_shapes = [], []
    for (name, tensor), source in zip(tensors.items(), sources, strict=True):
        where = f"input {clean(name)}: " if len(tensors) > 1 else ""
        row_shapes.append(_row_shape(tuple(tensor.shape[1:]), arrays[source].shape[1:], where))
        layers = layers_for_raw_values(model, tensor)
        rules.append(_rule(name, tensor, layers, arrays[source], where))
    layout = keras.tree.map_structure(lambda tensor: tensor.name, structure(model))
    return Preprocessing(tuple(rules), tuple(sources), tuple(row_shapes), layout)


def port_preprocessing(
    ports: Sequence[Port], x: Inputs, said: Artifact | None = None
) -> Preprocessing:
    """Decide how the stored inputs `x` are fed to a file whose inputs are these `ports`.

    As `preprocessing_of`, but of what a layer does with bytes only a description knows, if one is
    `said`: without it they become 0 to 1, unless the port is of integers with a scale that stand
    for larger numbers. Raises DataError.
    """
    arrays = named(x)
    sources = _sources([port.name for port in ports], list(arrays))
    scales = {rule.name: rule.scale for rule in said.preprocessing} if said is not None else {}
    rules, row_shapes = [], []
    for port, source in zip(ports, sources, strict=True):
        where = f"input {clean(port.name)}: " if len(ports) > 1 else ""
        row_shapes.append(_row_shape(tuple(port.shape[1:]), arrays[source].shape[1:], where))
        rule = _port_rule(port, arrays[source], where)
        if arrays[source].dtype == np.uint8 and port.name in scales:
            own, reason = scales[port.name], "as its description says"
            rule = dataclasses.replace(rule, scale=own, reason=reason)
        rules.append(rule)
    return Preprocessing(tuple(rules), tuple(sources), tuple(row_shapes), layout=None)


def port_range(port: Port) -> tuple[float, float] | None:
    """The real numbers that integers with a scale stand for; None for any other port."""
    if port.scale is None or port.zero_point is None:
        return None
    limits = np.iinfo(port.dtype)
    low, high = (port.scale * (limit - port.zero_point) for limit in (limits.min, limits.max))
    return low, high


def structure(model: Any) -> Any:
    """The input tensors of a built model in the structure that it takes: one, a list or a dict."""
    # `inputs` is always a list; the structure is kept privately.
    built_with = getattr(model, "_inputs_struct", None)
    if isinstance(built_with, Mapping):
        return dict(built_with)
    if len(model.inputs) == 1:
        return model.inputs[0]
    return list(model.inputs if built_with is None else built_with)


def _check_names(model: Any) -> None:
    _, keras = quiet_tensorflow.load()
    inputs = keras.layers.InputLayer
    called = [n for n, layer in all_layers(model).items() if not isinstance(layer, inputs)]
    if odd := [name for name in (model.name, *called) if _SCOPE.fullmatch(name) is None]:
        raise ModelError(
            "TensorFlow cannot run a layer of this name",
            value=odd[0],
            hint="rename it, with letters, digits and _.- of ASCII, and save the model again",
        )


def input_names(model: Any) -> tuple[str, ...]:
    """The names of a model's inputs, in their order, by which its data are stored."""
    return tuple(_inputs_by_name(model))


def _inputs_by_name(model: Any) -> dict[str, Any]:
    """The input tensors in order, by their keys in a dict, else by the names of their layers."""
    _, keras = quiet_tensorflow.load()
    built_with = structure(model)
    if isinstance(built_with, dict):
        paths = keras.tree.flatten_with_path(built_with)
        return {"/".join(map(str, path)): tensor for path, tensor in paths}
    return {tensor._keras_history.operation.name: tensor for tensor in model.inputs}


def _sources(inputs: list[str], stored: list[str]) -> list[str]:
    """The stored name of each input's array."""
    if len(inputs) == len(stored) == 1:
        return stored
    if stored == [""]:
        raise DataError(
            "the model has several inputs and the data set one",
            value=listed(inputs),
            hint=f"store x_train/{clean(inputs[0])} and so on, one array an input",
        )
    unknown = [name for name in stored if name not in inputs]
    missing = [name for name in inputs if name not in stored]
    if unknown or missing:
        near = {name: difflib.get_close_matches(name, missing, n=1) for name in unknown}
        meant = [f"{clean(wanted[0])} for {clean(name)}" for name, wanted in near.items() if wanted]
        raise DataError(
            "the inputs of the data set are not those of the model",
            value=f"data {listed(stored)}; model {listed(inputs)}",
            hint=f"did you mean {listed(meant)}?" if meant else "name them as the model does",
        )
    return inputs


def _row_shape(wanted: Shape, stored: tuple[int, ...], where: str) -> tuple[int, ...]:
    """The shape in which a stored row is fed to an input of shape `wanted`."""
    candidates = [stored]
    if None in wanted:
        # A channel axis of size 1 may be missing or extra.
        candidates.append((*stored, 1))
        if stored[-1:] == (1,):
            candidates.append(stored[:-1])
    elif len(wanted) != len(stored):
        candidates.append(row_shape(wanted, stored) or ())
    for shape in candidates:
        pairs = zip(wanted, shape, strict=False)
        if len(shape) == len(wanted) and all(size in (None, given) for size, given in pairs):
            return shape
    raise DataError(
        "the images do not fit the model",
        value=f"{where}images {stored}, model {wanted}",
        hint="give data of the model's input shape",
    )


def _rule(name: str, tensor: Any, layers: Sequence[Any], array: Array, where: str) -> InputScaling:
    """The scaling of one input, whose values reach `layers` that take them raw."""
    dtype, scale = str(tensor.dtype), 1.0
    embedding = next((layer for layer in layers if is_embedding(layer)), None)
    if embedding is not None:
        largest = embedding.input_dim - 1
        _check_integers(array, 0, largest, f"layer {embedding.name!r} takes 0..{largest}", where)
    if dtype == "bool" or "int" in dtype:
        low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        _check_integers(array, int(low), int(high), f"the model takes {dtype}", where)
        reason = f"as stored: the model takes {dtype}"
    elif "float" not in dtype:
        raise ModelError("the model does not take numbers", value=f"input {clean(name)} is {dtype}")
    elif embedding is not None:
        reason = f"as stored: it feeds an Embedding (layer {embedding.name!r})"
    elif layers:
        verb = "looks it up" if looks_up(layers[0]) else "rescales it"
        reason = f"as stored: the model {verb} itself (layer {layers[0].name!r})"
    elif array.dtype == np.uint8:
        scale, reason = 1 / 255, "uint8 scaled to 0..1"
    else:
        reason = f"as stored: {array.dtype}"
    return InputScaling(name, tuple(tensor.shape[1:]), dtype, scale, reason)


def _port_rule(port: Port, array: Array, where: str) -> InputScaling:
    between, dtype, scale = port_range(port), port.dtype, 1.0
    if between is None and "float" not in dtype:
        limits = None if dtype == "bool" else np.iinfo(dtype)
        low, high = (0, 1) if limits is None else (int(limits.min), int(limits.max))
        _check_integers(array, low, high, f"the model takes {dtype}", where)
        reason = f"as stored: the model takes {dtype}"
    elif array.dtype != np.uint8:
        reason = f"as stored: {array.dtype}"
    elif between is not None and between[1] > _MOST_SCALED:
        reason = f"as stored: the model takes {between[0]:.4g} to {between[1]:.4g}"
    else:
        scale, reason = 1 / 255, "uint8 scaled to 0..1"
    dtype = dtype if between is None else "float32"
    return InputScaling(port.name, tuple(port.shape[1:]), dtype, scale, reason)


def _check_integers(array: Array, low: int, high: int, takes: str, where: str) -> None:
    if array.size == 0:
        return
    if array.min() < low or array.max() > high:
        raise DataError(
            "the data hold values that the model does not accept",
            value=f"{where}{_range(array)}, {takes}",
            hint="give the data that the model was trained on",
        )
    whole = array.dtype.kind != "f" or all((p == np.trunc(p)).all() for p in parts_of(array))
    if not whole:
        raise DataError("the model takes whole numbers only", value=f"{where}{takes}")


def _range(array: Array) -> str:
    return f"data {array.min():g}..{array.max():g}" if array.size else "data empty"
