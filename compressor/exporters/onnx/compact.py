"""What a file says for people only, or in more bytes than it needs: names, comments, fields.

Inputs and outputs keep their names, and so do weights: as constants, else in the name of the node
that decodes them (`chain.MARK`). Everything else is called by one or two characters.
"""

from __future__ import annotations

import collections
import itertools
import string
from collections.abc import Iterable, Iterator
from typing import Any

import onnx

from compressor.exporters.onnx import graphs
from compressor.exporters.onnx.chain import MARK
from compressor.exporters.onnx.stored_weights import SCALES

_CHARACTERS = string.ascii_letters + string.digits


def compact(model: Any, weights: set[str]) -> None:
    """Ensures: the same operators on the same constants, in fewer bytes.

    Requires: no name hides another. `weights` are the constants that keep their names.
    """
    graph = model.graph
    for inner in graphs.all_graphs(graph):
        inner.name = "g"
        inner.ClearField("doc_string")
        del inner.value_info[:]
        for node in inner.node:
            node.ClearField("doc_string")
            if not node.name.startswith(MARK):
                node.ClearField("name")
        for entry in inner.initializer:
            if entry.data_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT64):
                entry.CopyFrom(graphs.tensor(entry.name, graphs.array_of(entry)))
    for field in ("doc_string", "producer_version", "domain", "model_version"):
        model.ClearField(field)
    del model.metadata_props[:]
    _shorten_names(graph, weights)


def weight_names(graph: Any) -> set[str]:
    """The constants that a reader looks for: arrays, other than sizes, scales and zero points."""
    used_by = graphs.consumers(graph)
    return {
        entry.name
        for entry in graph.initializer
        if entry.dims
        and entry.data_type != onnx.TensorProto.INT64
        and not _are_scales(used_by.get(entry.name, ()))
    }


def _are_scales(users: Iterable[tuple[Any, int]]) -> bool:
    return all(place in SCALES.get(node.op_type, ()) for node, place in users)


def _shorten_names(graph: Any, weights: set[str]) -> None:
    kept = {entry.name for entry in (*graph.input, *graph.output)}
    kept |= weights & graphs.constants(graph).keys()
    kept.add("")  # an input or output that is left out
    count = collections.Counter(
        name
        for inner in graphs.all_graphs(graph)
        for names in (
            *((*node.input, *node.output) for node in inner.node),
            [entry.name for entry in (*inner.initializer, *inner.input, *inner.output)],
        )
        for name in names
        if name not in kept
    )
    short = (name for name in _names() if name not in kept)
    graphs.rename(graph, dict(zip((name for name, _ in count.most_common()), short, strict=False)))


def _names() -> Iterator[str]:
    """a, b, ..., aa, ab, ..."""
    for length in itertools.count(1):
        yield from map("".join, itertools.product(_CHARACTERS, repeat=length))
