"""The loss and metrics that a model of Keras 2 was compiled with, as Keras 3 writes them."""

from __future__ import annotations

import inspect
from typing import Any

from compressor.foundation import quiet_tensorflow

_WRAPPERS = ("MeanMetricWrapper", "SumOverBatchSizeMetricWrapper", "LossFunctionWrapper")


def compile_config(training: Any) -> dict[str, Any] | None:
    """The compile_config of Keras 3 for a training_config of Keras 2.

    The optimiser is left out, and so is what is not Keras's own.
    """
    if not isinstance(training, dict):
        return None
    loss = training.get("loss")
    if isinstance(loss, list) and len(loss) == 1:
        loss = loss[0]
    if isinstance(loss, dict) and "class_name" not in loss and len(loss) == 1:
        (loss,) = loss.values()
    several = isinstance(loss, list) or (isinstance(loss, dict) and "class_name" not in loss)
    return {
        "loss": _objects("losses", loss),
        "metrics": _objects("metrics", training.get("metrics")),
        "loss_weights": training.get("loss_weights") if several else None,
    }


def _objects(room: str, value: Any) -> Any:
    """`_object` of each, in lists or by output; metrics that are not known are left out."""
    if isinstance(value, dict) and "class_name" not in value:
        return {str(key): _objects(room, one) for key, one in value.items()}
    if not isinstance(value, list):
        return _object(room, value)
    found = [_objects(room, one) for one in value]
    by_output = any(isinstance(one, (list, dict)) and "class_name" not in one for one in value)
    return found if by_output or room == "losses" else [one for one in found if one is not None]


def _object(room: str, value: Any) -> Any:
    """A name, or an object as Keras 3 serialises it; None for what is not known."""
    _, keras = quiet_tensorflow.load()
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        return value if isinstance(value, str) else None
    name, config = value["class_name"], value.get("config")
    config = config if isinstance(config, dict) else {}
    if name in _WRAPPERS:  # a function, by its name
        called = config.get("name")
        return called if called in ("accuracy", "acc") else config.get("fn")
    kind = getattr(getattr(keras, room), name, None)
    if not isinstance(kind, type):
        return name
    known = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
    taken = {key: config[key] for key in config if key in known}
    if taken.get("reduction") == "auto":
        taken["reduction"] = "sum_over_batch_size"
    entry = {"module": f"keras.{room}", "class_name": name, "config": taken}
    return {**entry, "registered_name": None}
