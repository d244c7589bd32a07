"""tf2onnx's optimiser, right, and in a fraction of the memory and time.

Before each of its dozen passes, in each of some rounds, it copies the graph with all weights, and
after it writes them into protocol buffers that never shrink: 12 GB for InceptionResNetV2, whose
weights take 0.2 GB. At the end of one of them a Transpose that moves only axes of size 1 becomes a
Reshape, to a shape that is wrong where a square was moved across it (tf2onnx 1.17:
LayerNormalization of one pixel, broadcast to a square of its channels).
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import types
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch


@contextlib.contextmanager
def light_copies() -> Iterator[None]:
    """Have the copies share constants, protocol buffers written once, and no Transpose reshaped.

    No pass changes a constant in place: one with other values is made anew.
    """
    optimizer = importlib.import_module("tf2onnx.optimizer")
    graph_class = importlib.import_module("tf2onnx.graph").Graph
    transposes = importlib.import_module("tf2onnx.optimizer.transpose_optimizer").TransposeOptimizer
    original = optimizer.optimize_graph

    def optimize(*arguments: Any, **options: Any) -> Any:
        with (
            patch.object(optimizer, "copy", types.SimpleNamespace(deepcopy=_copied)),
            patch.object(graph_class, "update_proto", lambda *_: None),
            patch.object(transposes, "post_optimize_action", lambda _: None),
        ):
            return original(*arguments, **options)

    with patch.object(optimizer, "optimize_graph", optimize):
        yield


def _copied(value: Any) -> Any:
    nodes = value.get_nodes() if hasattr(value, "get_nodes") else ()
    constants = [node for node in nodes if node.is_const()]
    protos = [proto for node in constants for proto in (node._op, *node.attr.values())]
    return copy.deepcopy(value, {id(proto): proto for proto in protos})
