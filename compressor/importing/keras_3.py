"""Configurations in .h5 files of Keras 3, which lack the modules that Keras 3 finds classes by."""

from __future__ import annotations

import importlib
from typing import Any

from compressor.errors import ModelError
from compressor.foundation import quiet_tensorflow
from compressor.importing.layers import new_entry

MODELS = ("Sequential", "Functional", "Model")
MOST_LEVELS = 50
_FUNCTIONS = tuple(f"keras.src.ops.{room}" for room in ("numpy", "nn", "core", "math", "image"))
_BOTH = ("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Dot", "Average")
"""Names of a layer that merges a list, and of a function of tensors."""


def nodes_of(entry: Any) -> list[Any]:
    """The calls of the layer of an entry."""
    nodes = entry.get("inbound_nodes") if isinstance(entry, dict) else None
    return nodes if isinstance(nodes, list) else []


def for_keras_3(entry: Any, level: int) -> dict[str, Any]:
    """An entry of an .h5 file with the modules that Keras 3 looks classes up in."""
    if not isinstance(entry, dict) or level > MOST_LEVELS:
        raise ModelError("the configuration of the model is damaged", value=repr(entry)[:80])
    if entry.get("class_name") not in MODELS:
        return entry | (_function_entry(entry) or new_entry(entry))
    config, is_row = dict(entry["config"]), entry["class_name"] == "Sequential"
    config["layers"] = [for_keras_3(one, level + 1) for one in config["layers"]]
    module = "keras" if is_row else "keras.src.models.functional"
    named = {"class_name": "Sequential" if is_row else "Functional", "registered_name": None}
    return entry | named | {"module": module, "config": config}


def _function_entry(entry: dict[str, Any]) -> dict[str, Any] | None:
    """The entry of a function of keras.ops; None of a layer, which may have the same name.

    `x + y` is an Add of two tensors, the layer Add takes them as a list.
    """
    _, keras = quiet_tensorflow.load()
    name = str(entry.get("class_name"))
    given = [node.get("args") for node in nodes_of(entry) if isinstance(node, dict)]
    lists = all(arguments and isinstance(arguments[0], list) for arguments in given)
    if hasattr(keras.layers, name) and (lists or name not in _BOTH):
        return None
    for room in _FUNCTIONS:
        found = getattr(importlib.import_module(room), name, None)
        if isinstance(found, type) and issubclass(found, keras.Operation):
            return {"module": room, "registered_name": None}
    return None
