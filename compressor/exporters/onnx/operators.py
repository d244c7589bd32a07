"""Operators of TensorFlow that tf2onnx does not write, or writes wrongly: its handlers for them.

A handler takes tf2onnx's graph, a node, the node's name and no arguments, and replaces the node.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

Handler = Callable[[Any, Any, str, Any], None]


def handlers() -> dict[str, tuple[Handler, list[Any]]]:
    """TensorFlow operator -> handler, as `tf2onnx.convert` takes them."""
    functions: dict[str, Handler] = {
        "Bucketize": _bucketize,
        "Conv3D": _conv3d,
        "Erfc": _erfc,
        "Expm1": _expm1,
        # tf2onnx makes bilinear or other cubic ones of these; left, they are refused by name.
        "ResizeArea": _leave,
        "ResizeBicubic": _leave,
    }
    return {name: (function, []) for name, function in functions.items()}


def _leave(graph: Any, node: Any, name: str, args: Any) -> None:
    pass


def _erfc(graph: Any, node: Any, name: str, args: Any) -> None:
    """1 - Erf(x). The exact GELU needs the absolute precision; for large x the relative is lost."""
    _difference(graph, node, "Erf", lambda one, other: [one, other])


def _expm1(graph: Any, node: Any, name: str, args: Any) -> None:
    """Exp(x) - 1, of which the relative precision is lost near zero."""
    _difference(graph, node, "Exp", lambda one, other: [other, one])


def _difference(graph: Any, node: Any, operator: str, order: Callable[..., list[str]]) -> None:
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    inner = graph.make_node(operator, node.input, shapes=shapes, dtypes=dtypes).output[0]
    one = _constant(graph, node, 1, np.float32)
    graph.make_node(
        "Sub", order(one, inner), outputs=node.output, name=node.name, shapes=shapes, dtypes=dtypes
    )


def _bucketize(graph: Any, node: Any, name: str, args: Any) -> None:
    """How many of the boundaries each value reaches: in float32, as Keras compares them."""
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(name)
    axis = _constant(graph, node, [-1], np.int64)
    bounds = _constant(graph, node, node.get_attr_value("boundaries"), np.float32)
    as_float = graph.make_node("Cast", node.input, attr={"to": TensorProto.FLOAT}).output[0]
    each = graph.make_node("Unsqueeze", [as_float, axis]).output[0]
    reached = graph.make_node("GreaterOrEqual", [each, bounds]).output[0]
    counted = graph.make_node("Cast", [reached], attr={"to": TensorProto.INT32}).output[0]
    graph.make_node(
        "ReduceSum",
        [counted, axis],
        attr={"keepdims": 0},
        outputs=node.output,
        name=name,
        shapes=shapes,
        dtypes=dtypes,
    )


def _conv3d(graph: Any, node: Any, name: str, args: Any) -> None:
    """tf2onnx forgets the groups of this one."""
    layers = importlib.import_module("tf2onnx.onnx_opset.nn")
    channels, taken = graph.get_shape(node.input[0])[-1], graph.get_shape(node.input[1])[-2]
    layers.ConvOp.version_13(graph, node)
    node.set_attr("group", channels // taken)


def _constant(graph: Any, node: Any, values: Any, dtype: Any) -> str:
    names = importlib.import_module("tf2onnx.utils")
    array = np.asarray(values, dtype)
    return str(graph.make_const(names.make_name(node.name), array).output[0])
