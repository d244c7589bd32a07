"""TensorFlow functions in a graph of Keras 2, as layers and operations of Keras 3.

Keras 2 wraps a function that is called on a tensor in a layer: TFOpLambda (its name in the API),
SlicingOpLambda (x[...]), and TensorFlowOpLayer before TensorFlow 2.4 (its node). Only functions of
the tables are called; every other one is refused by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from compressor.errors import ModelError
from compressor.foundation import quiet_tensorflow

_WRAPPED = ("TFOpLambda", "SlicingOpLambda")
_NODE = "TensorFlowOpLayer"
_SLICING = "__operators__.getitem"


def _words(text: str) -> list[str]:
    return text.split()


# name in tf, without math., nn., linalg., compat.v1. -> (name in keras.ops, names of arguments)
_SAME = {
    **{
        name: (name, "x y")
        for name in _words(
            "add subtract multiply divide maximum minimum mod greater greater_equal less "
            "less_equal equal not_equal logical_and logical_or"
        )
    },
    "sub": ("subtract", "x y"),
    "mul": ("multiply", "x y"),
    "truediv": ("true_divide", "x y"),
    "div": ("true_divide", "x y"),
    "realdiv": ("true_divide", "x y"),
    "floordiv": ("floor_divide", "x y"),
    "floor_div": ("floor_divide", "x y"),
    "floormod": ("mod", "x y"),
    "pow": ("power", "x y"),
    "matmul": ("matmul", "a b"),
    "bias_add": ("add", "value bias"),
    **{
        name: (name, "x")
        for name in _words(
            "exp log sqrt rsqrt square abs negative sign sin cos tanh sigmoid floor ceil round erf "
            "reciprocal relu relu6 elu selu softplus softsign silu logical_not zeros_like ones_like"
        )
    },
    "swish": ("silu", "features"),
    "neg": ("negative", "x"),
    "identity": ("copy", "input"),
    "softmax": ("softmax", "logits axis"),
    "log_softmax": ("log_softmax", "logits axis"),
    **{
        f"reduce_{name}": (f"{name}", "input_tensor axis keepdims")
        for name in _words("mean sum max min prod std any all")
    },
    "reduce_variance": ("var", "input_tensor axis keepdims"),
    "argmax": ("argmax", "input axis"),
    "argmin": ("argmin", "input axis"),
    "reshape": ("reshape", "tensor shape"),
    "transpose": ("transpose", "a perm"),
    "expand_dims": ("expand_dims", "input axis"),
    "squeeze": ("squeeze", "input axis"),
    "tile": ("tile", "input multiples"),
    "where": ("where", "condition x y"),
    "gather": ("take", "params indices axis"),
    "reverse": ("flip", "tensor axis"),
    "clip_by_value": ("clip", "t clip_value_min clip_value_max"),
}
# In these the first argument is a list of tensors.
_LISTS = {"concat": "concatenate", "stack": "stack"}
_PREFIXES = ("math.", "nn.", "linalg.", "compat.v1.", "__operators__.", "raw_ops.")
_NODES = {
    **{"Add": "add", "AddV2": "add", "Sub": "sub", "Mul": "mul", "RealDiv": "truediv"},
    **{"Maximum": "maximum", "Minimum": "minimum", "Pow": "pow", "BiasAdd": "bias_add"},
    **{"Mean": "reduce_mean", "Sum": "reduce_sum", "Max": "reduce_max", "Min": "reduce_min"},
    **{"Reshape": "reshape", "Transpose": "transpose", "ExpandDims": "expand_dims"},
    **{name: name.lower() for name in _words("Exp Log Sqrt Rsqrt Square Abs Neg Tanh Sigmoid")},
    **{name: name.lower() for name in _words("Relu Relu6 Elu Selu Softplus Softmax Tile Identity")},
    **{"Pad": "pad", "PadV2": "pad", "MatMul": "matmul", "ConcatV2": "concat"},
}
"""Operations of TensorFlow's graphs -> functions, with their inputs in the same order."""


@dataclasses.dataclass(frozen=True)
class Operation:
    """A function of TensorFlow in the graph, called with Keras tensors and constants."""

    layer: str
    function: str
    constants: tuple[tuple[int, Any], ...] = ()
    """place among the arguments -> value, of a TensorFlowOpLayer"""
    attributes: tuple[tuple[str, Any], ...] = ()

    def __call__(self, arguments: list[Any], options: dict[str, Any]) -> Any:
        for place, value in self.constants:
            arguments.insert(place, value)
        given = {key: value for key, value in options.items() if key != "name"}
        given.update(self.attributes)
        return _called(self.layer, self.function, arguments, given)


def operation_of(entry: Any) -> Operation | None:
    """The function that an entry of a graph wraps; None for a layer.

    Raises ModelError for a function that is in no table.
    """
    kind = entry.get("class_name") if isinstance(entry, dict) else None
    config = entry.get("config") if isinstance(entry, dict) else None
    if kind not in (*_WRAPPED, _NODE) or not isinstance(config, dict):
        return None
    layer = str(entry.get("name") or config.get("name"))
    if kind == _NODE:
        return _of_node(layer, config)
    function = str(config.get("function"))
    for prefix in _PREFIXES * 2:
        if function != _SLICING:
            function = function.removeprefix(prefix)
    known = function in _SAME or function in _LISTS or function in _OWN
    if not known:
        _refuse(f"tf.{config.get('function')}", layer)
    return Operation(layer, function)


def _of_node(layer: str, config: dict[str, Any]) -> Operation:
    node = config.get("node_def")
    node = node if isinstance(node, dict) else {}
    function = _NODES.get(str(node.get("op")))
    if function is None:
        _refuse(str(node.get("op")), layer)
    constants = config.get("constants")
    places = constants.items() if isinstance(constants, dict) else ()
    found = sorted((int(place), value) for place, value in places if str(place).isdigit())
    attributes = node.get("attr")
    attributes = attributes if isinstance(attributes, dict) else {}
    named = {"keep_dims": "keepdims", "transpose_a": "transpose_a", "transpose_b": "transpose_b"}
    return Operation(
        layer,
        str(function),
        tuple(found),
        tuple(
            (named[key], value["b"])
            for key, value in attributes.items()
            if key in named and isinstance(value, dict) and value.get("b")
        ),
    )


def _refuse(function: str, layer: str) -> None:
    raise ModelError(
        "the model calls a TensorFlow function for which Keras 3 has no plain counterpart",
        value=f"{function} (layer {layer})",
        hint="replace it by a Keras layer, retrain or copy the weights, and save the model again",
    )


def _called(layer: str, function: str, arguments: list[Any], options: dict[str, Any]) -> Any:
    _, keras = quiet_tensorflow.load()
    ops = keras.ops
    if function in _OWN:
        return _OWN[function](keras, arguments, options)
    if function in _LISTS:
        tensors = arguments
        if function == "concat" and len(arguments) > 1 and isinstance(arguments[-1], int):
            tensors, options = arguments[:-1], {"axis": arguments[-1]}  # a node's last input
        return getattr(ops, _LISTS[function])(tensors, axis=options.get("axis", 0))
    name, names = _SAME[function]
    keys = names.split()
    # The first is in `arguments`; those after it are there, too, or by their names.
    taken = list(arguments)
    options = {key: value for key, value in options.items() if value is not None}
    for key in keys[len(taken) :]:
        if key in options:
            taken.append(options.pop(key))
        elif key == "x" and "features" in options:
            taken.append(options.pop("features"))
        else:
            break
    options = {key: value for key, value in options.items() if key not in ("name", "dtype")}
    if function == "matmul":
        for place, key in enumerate(("transpose_a", "transpose_b")):
            if options.pop(key, False):
                taken[place] = ops.swapaxes(taken[place], -1, -2)
        options = {key: value for key, value in options.items() if value}
    if function in ("argmax", "argmin"):
        options.pop("output_type", None)
    if function in ("argmax", "argmin", "gather") and len(taken) < len(keys):
        options["axis"] = 0  # of TensorFlow; Keras would flatten
    idle = {"conjugate": False, "batch_dims": 0, "data_format": None}
    left = {key: value for key, value in options.items() if key not in idle or value != idle[key]}
    if "axis" in left and isinstance(left["axis"], list):
        left["axis"] = tuple(left["axis"])
    if left.keys() - {"axis", "keepdims"} or len(taken) > len(keys):
        _refuse(f"tf {function}({', '.join(left)})", layer)
    if name in ("mean", "sum", "max", "min", "prod", "std", "var", "any", "all", "squeeze"):
        axis = taken[1] if len(taken) > 1 else left.pop("axis", None)
        left["axis"] = tuple(axis) if isinstance(axis, list) else axis
        if len(taken) > 2:
            left["keepdims"] = taken[2]
        taken = taken[:1]
    return getattr(ops, name)(*taken, **left)


def _pad(keras: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    paddings = arguments[1] if len(arguments) > 1 else options["paddings"]
    mode = str(options.get("mode", "CONSTANT")).lower()
    value = arguments[2] if len(arguments) > 2 else options.get("constant_values", 0)
    if mode != "constant":
        return keras.ops.pad(arguments[0], paddings, mode=mode)
    return keras.ops.pad(arguments[0], paddings, constant_values=value)


def _cast(keras: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    dtype = options.get("dtype", arguments[-1])
    if isinstance(dtype, dict):  # {"class_name": "DType", "config": {"name": ...}} or alike
        dtype = (dtype.get("config") or {}).get("name", dtype.get("name"))
    return keras.ops.cast(arguments[0], str(dtype).removeprefix("tf."))


def _leaky(keras: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    return keras.ops.leaky_relu(arguments[0], options.get("alpha", 0.2))


def _gelu(keras: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    return keras.ops.gelu(arguments[0], approximate=bool(options.get("approximate", False)))


def _split(keras: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    parts, axis = options["num_or_size_splits"], options.get("axis", 0)
    if isinstance(parts, list):
        places = [sum(parts[: number + 1]) for number in range(len(parts) - 1)]
        return keras.ops.split(arguments[0], places, axis=axis)
    return keras.ops.split(arguments[0], parts, axis=axis)


def _squared_difference(keras: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    other = arguments[1] if len(arguments) > 1 else options["y"]
    return keras.ops.square(keras.ops.subtract(arguments[0], other))


def _l2_normalize(keras: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    axis, epsilon = options.get("axis"), options.get("epsilon", 1e-12)
    squares = keras.ops.sum(keras.ops.square(arguments[0]), axis=axis, keepdims=True)
    return arguments[0] * keras.ops.rsqrt(keras.ops.maximum(squares, epsilon))


def _resize(keras: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    if options.get("preserve_aspect_ratio") or options.get("antialias"):
        _refuse("tf.image.resize(preserve_aspect_ratio, antialias)", "")
    height, width = options["size"]
    method = str(options.get("method", "bilinear"))
    return keras.layers.Resizing(height, width, interpolation=method)(arguments[0])


def _sliced(keras: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    """x[...]: None stays a new axis, an object with start, stop and step a slice."""
    spec = options.get("slice_spec")
    return arguments[0][tuple(map(_index, spec)) if isinstance(spec, list) else _index(spec)]


def _index(spec: Any) -> Any:
    if isinstance(spec, dict):
        return slice(spec.get("start"), spec.get("stop"), spec.get("step"))
    return ... if spec in ("...", "Ellipsis") or repr(spec) == "Ellipsis" else spec


_OWN: dict[str, Callable[[Any, list[Any], dict[str, Any]], Any]] = {
    _SLICING: _sliced,
    "pad": _pad,
    "cast": _cast,
    "leaky_relu": _leaky,
    "gelu": _gelu,
    "split": _split,
    "squared_difference": _squared_difference,
    "l2_normalize": _l2_normalize,
    "image.resize": _resize,
}
