"""One order of the nodes and constants of a graph, whatever order they came in.

tf2onnx goes by sets and by names with numbers of the process, so two exports of one model differ.
"""

from __future__ import annotations

from typing import Any

from compressor.exporters.onnx.graphs import (
    all_graphs,
    constants,
    needs,
    producers,
    replace_all,
    taken,
)


def put_in_order(graph: Any) -> None:
    """Order nodes as the outputs need them, constants as the nodes do; in bodies too.

    Requires: no name hides another. Ensures: each node stands behind those that it takes from;
    nothing is left that no output needs; sizes and graphs are not named by numbers of the process.
    """
    for inner in all_graphs(graph):
        _settle_twins(inner)
        _order_nodes(inner)
        _forget_numbers(inner)
    for inner in all_graphs(graph):
        known = constants(inner)
        used = dict.fromkeys(name for name in taken(inner) if name in known)
        replace_all(inner.initializer, [known[name] for name in used])


def _settle_twins(graph: Any) -> None:
    """Where a value and its Identity are both outputs, as of loops: the first is the value."""
    made_by = producers(graph)
    places = {entry.name: place for place, entry in enumerate(graph.output)}
    for name, place in places.items():
        node = made_by.get(name)
        other = places.get(node.input[0]) if node and node.op_type == "Identity" else None
        if node is not None and other is not None and place < other:
            graph.output[place].name, graph.output[other].name = node.input[0], name
    for node in graph.node:
        if not node.domain:
            node.ClearField("domain")


def _order_nodes(graph: Any) -> None:
    made_by = producers(graph)
    ordered: list[Any] = []
    done: set[int] = set()
    # Each entry is a node, and whether what it needs has been dealt with. Graphs are deep.
    waiting = [(made_by[o.name], False) for o in reversed(graph.output) if o.name in made_by]
    while waiting:
        node, is_ready = waiting.pop()
        key = id(node)
        if key in done:
            continue
        if is_ready:
            done.add(key)
            ordered.append(node)
            continue
        waiting.append((node, True))
        needed = [made_by[name] for name in needs(node) if name in made_by]
        waiting += [(other, False) for other in reversed(needed) if id(other) not in done]
    replace_all(graph.node, ordered)


def _forget_numbers(graph: Any) -> None:
    graph.name = "graph"
    del graph.value_info[:]
    for entry in (*graph.input, *graph.output):
        for size in entry.type.tensor_type.shape.dim:
            if size.dim_param.startswith("unk__"):
                size.ClearField("dim_param")
