"""Attributes that say what holds without them, which a file need not."""

from __future__ import annotations

from typing import Any

import onnx

from compressor.exporters.onnx.graphs import all_nodes

_WINDOWS = {"Conv", "ConvInteger", "ConvTranspose", "QLinearConv", "AveragePool", "MaxPool"}
_PLAIN = {"strides": 1, "dilations": 1, "pads": 0}
"""Attribute of a window -> what all its numbers are by default (ONNX operator set 18)."""


def omit_defaults(model: Any) -> None:
    """Ensures: no attribute is left that has its operator's default; nothing else changes."""
    version = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    for node in all_nodes(model.graph):
        if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type):
            continue
        known = onnx.defs.get_schema(node.op_type, version).attributes
        kept = [entry for entry in node.attribute if not _is_default(node, entry, known)]
        if len(kept) < len(node.attribute):
            del node.attribute[:]
            node.attribute.extend(kept)


def _is_default(node: Any, entry: Any, known: Any) -> bool:
    if node.op_type in _WINDOWS and entry.name in _PLAIN:
        return all(number == _PLAIN[entry.name] for number in entry.ints)
    if entry.name not in known or not known[entry.name].default_value.type:
        return False
    value = onnx.helper.get_attribute_value(known[entry.name].default_value)
    return bool(entry.type and onnx.helper.get_attribute_value(entry) == value)
