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
    metrics = [_object("metrics", metric) for metric in _flat(training.get("metrics"))]
    return {"loss": _object("losses", loss), "metrics": [found for found in metrics if found]}


def _flat(metrics: Any) -> list[Any]:
    if isinstance(metrics, dict) and "class_name" not in metrics:
        metrics = list(metrics.values())
    if isinstance(metrics, list):
        return [found for metric in metrics for found in _flat(metric)]
    return [] if metrics is None else [metrics]


def _object(room: str, value: Any) -> Any:
    """A name, or an object as Keras 3 serialises it; None for what is not known."""
    _, keras = quiet_tensorflow.load()
    if not isinstance(value, dict):
        return value if isinstance(value, str) else None
    name, config = str(value.get("class_name")), value.get("config")
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
