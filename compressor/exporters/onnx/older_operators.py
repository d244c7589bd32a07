"""Operators of old sets that ONNX's version converter renames without keeping what they compute."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from compressor.errors import ModelError
from compressor.exporters.onnx import graphs

COORDINATES_SINCE = 11
"""The set since which Resize says how it maps coordinates."""
ONE_AXIS_SINCE = 13
"""The set since which Hardmax compares along one axis."""


def flatten_hardmax(model: Any) -> None:
    """Hardmax(x) -> Reshape(Hardmax(Flatten(x)), Shape(x)), since it took all axes behind as one.

    Requires: a set before `ONE_AXIS_SINCE`, and no functions. Ensures: each Hardmax means the same
    in newer sets.
    """
    used = graphs.names_of(model.graph)
    for graph in graphs.all_graphs(model.graph):
        nodes: list[Any] = []
        for node in graph.node:
            nodes += _flattened(node, used) if _is(node, "Hardmax") else [node]
        graphs.replace_all(graph.node, nodes)


def _flattened(node: Any, used: set[str]) -> list[Any]:
    source, result = node.input[0], node.output[0]
    flat, hard, shape = (graphs.unique(f"{result}/{part}", used) for part in ("x", "y", "shape"))
    return [
        helper.make_node("Flatten", [source], [flat], axis=graphs.attribute(node, "axis", 1)),
        helper.make_node("Hardmax", [flat], [hard], axis=1),
        helper.make_node("Shape", [source], [shape]),
        helper.make_node("Reshape", [hard, shape], [result]),
    ]


def keep_coordinates(model: Any) -> None:
    """Say at each Resize that its coordinates are multiplied by the scale, as they used to be.

    Requires: a model converted from a set before `COORDINATES_SINCE`; constants are initializers.
    The nearest value is the one before, and where the size falls the one behind; one with computed
    scales is taken to grow. Raises ModelError where one grows along an axis and shrinks along
    another.
    """
    inner = [*graphs.all_graphs(model.graph)]
    constants = {name: one for graph in inner for name, one in graphs.constants(graph).items()}
    for node in graphs.all_nodes(model.graph):
        if not _is(node, "Resize"):
            continue
        _set(node, "coordinate_transformation_mode", "asymmetric")
        if graphs.attribute(node, "mode", b"nearest") == b"nearest":
            given = constants.get(node.input[2])
            scales = np.ones(1) if given is None else graphs.array_of(given)
            if scales.min(initial=1) < 1 < scales.max(initial=1):
                raise ModelError(
                    "Resize to the nearest value, larger along one axis and smaller along another, "
                    f"has no conversion from operator sets before {COORDINATES_SINCE}",
                    value=f"scales {', '.join(f'{scale:g}' for scale in scales.ravel())}",
                    hint="export it again, with opset 18 or newer",
                )
            _set(node, "nearest_mode", "ceil" if scales.min(initial=1) < 1 else "floor")


def _is(node: Any, operator: str) -> bool:
    return node.op_type == operator and node.domain in ("", "ai.onnx")


def _set(node: Any, name: str, value: str) -> None:
    graphs.replace_all(node.attribute, [one for one in node.attribute if one.name != name])
    node.attribute.append(helper.make_attribute(name, value))
