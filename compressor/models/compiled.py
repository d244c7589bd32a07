"""What a model was compiled with: losses and metrics by output, and what of them can be used."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from compressor.foundation import quiet_tensorflow

NOTES = "_compressor_notes"


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What one output was compiled with."""

    loss: Any = None
    """a Keras loss; None where none can be used"""
    metrics: tuple[Any, ...] = ()
    """as `model.compile` takes them; none without a loss"""
    weight: float | None = None
    """of its loss in the sum of all"""


def compiled_with(
    model: Any, layers: Sequence[str], keys: Sequence[str], notes: list[str]
) -> list[Compiled]:
    """What each output was compiled with, found by the names of `layers`, or `keys` of a dict.

    What cannot be used is added to `notes`: losses of user code, those of which it is not clear to
    which output they belong, and metrics that Keras cannot make in safe mode.
    """
    given: Any = getattr(model, "loss", None) if getattr(model, "compiled", False) else None
    losses = _by_output(given, layers, keys)
    if losses is None:
        notes.append(f"{len(given)} losses were compiled")
        losses = [None] * len(layers)
    usable = [_usable_loss(loss, notes) for loss in losses]
    if not any(loss is not None for loss in usable):
        return [Compiled()] * len(layers)
    config = _config(model, notes)
    if len(layers) == 1:
        return [Compiled(usable[0], tuple(usable_metrics(config.get("metrics"), notes)))]
    metrics = _by_output(config.get("metrics") or None, layers, keys)
    if metrics is None:
        notes.append("it is not clear to which outputs the compiled metrics belong")
    weights = _by_output(config.get("loss_weights"), layers, keys)
    none = [None] * len(layers)
    return [
        Compiled(loss, tuple(usable_metrics(own, notes)) if loss is not None else (), weight)
        for loss, own, weight in zip(usable, metrics or none, weights or none, strict=True)
    ]


def restore_compilation(model: Any, config: Any) -> None:
    """Give a loaded model the loss and the metrics of its `compile_config`, in safe mode.

    What safe mode cannot make is left out, and noted by `objective_of`. No stored code is run.
    """
    _, keras = quiet_tensorflow.load()
    if not isinstance(config, dict) or not config.get("loss"):
        return
    notes: list[str] = []
    try:
        loss = keras.saving.deserialize_keras_object(config["loss"], safe_mode=True)
        several = len(getattr(model, "outputs", None) or [None]) > 1
        made = _restored if several else _flat
        metrics = made(config.get("metrics"), notes)
        # SGD has no moments: stock Keras would warn of those that an untrained file lacks.
        model.compile(
            optimizer="sgd", loss=loss, metrics=metrics, loss_weights=config.get("loss_weights")
        )
    except Exception as error:  # Keras raises whatever the configuration makes it raise
        notes.append(f"the compiled loss cannot be made: {reason_of(error)}")
    setattr(model, NOTES, tuple(notes))


def usable_metrics(metrics: Any, notes: list[str]) -> list[Any]:
    """The serialised metrics, nested as `compile` takes them, that are Keras's own."""
    if isinstance(metrics, dict) and "class_name" not in metrics:
        metrics = list(metrics.values())
    if isinstance(metrics, (list, tuple)):
        return [found for metric in metrics for found in usable_metrics(metric, notes)]
    if metrics is None:
        return []
    try:
        fresh(metrics)
    except Exception as error:  # Keras raises whatever the configuration makes it raise
        notes.append(f"the compiled metric {name_of(metrics)} cannot be made: {reason_of(error)}")
        return []
    return [metrics]


def ignored_by(loss: Any, metrics: Sequence[Any]) -> int | None:
    """The value of a mask that a compiled loss, or else a metric, ignores: its `ignore_class`."""
    configs = [metric.get("config") for metric in metrics if isinstance(metric, dict)]
    found = [getattr(loss, "ignore_class", None)]
    found += [config.get("ignore_class") for config in configs if isinstance(config, dict)]
    return next((value for value in found if type(value) is int), None)


def fresh(metric: Any) -> Any:
    """A new metric for each compilation, since a used one belongs to its training."""
    _, keras = quiet_tensorflow.load()
    if isinstance(metric, str):
        return metric
    return keras.saving.deserialize_keras_object(metric, safe_mode=True)


def kind_of(value: Any) -> str:
    """The class or function of a loss or metric, in lower case without underscores.

    Its `name` may be anything: mean_squared_error and MeanSquaredError -> meansquarederror.
    """
    if isinstance(value, dict):  # the configuration of a metric
        config = value.get("config")
        value = config if value.get("class_name") == "function" else value.get("class_name")
    found = value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)
    found = str(found).lower().replace("_", "")
    return _SHORT.get(found, found)


def name_of(value: Any) -> str:
    """The name of a loss or metric, or of its configuration."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        config = value.get("config")
        name = config.get("name") if isinstance(config, dict) else config
        return str(name or value.get("class_name"))
    return str(getattr(value, "name", None) or getattr(value, "__name__", type(value).__name__))


def reason_of(error: Exception) -> str:
    """An error of Keras's in a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


_SHORT = {
    "acc": "accuracy",
    "mse": "meansquarederror",
    "mae": "meanabsoluteerror",
    "mape": "meanabsolutepercentageerror",
    "msle": "meansquaredlogarithmicerror",
    "rmse": "rootmeansquarederror",
    "bce": "binarycrossentropy",
    "kld": "kldivergence",
    "kullbackleiblerdivergence": "kldivergence",
}


def _flat(metrics: Any, notes: list[str]) -> list[Any]:
    return [fresh(metric) for metric in usable_metrics(metrics, notes)]


def _restored(metrics: Any, notes: list[str]) -> Any:
    """The metrics of several outputs, by name or in a list, as they were compiled."""
    if isinstance(metrics, Mapping) and "class_name" not in metrics:
        return {name: _flat(own, notes) for name, own in metrics.items()}
    if isinstance(metrics, (list, tuple)) and any(isinstance(own, list) for own in metrics):
        return [_flat(own, notes) for own in metrics]
    return _flat(metrics, notes)


def _config(model: Any, notes: list[str]) -> dict[str, Any]:
    try:
        return dict(model.get_compile_config() or {})
    except Exception as error:  # it calls user code
        notes.append(f"the compiled metrics cannot be made: {reason_of(error)}")
        return {}


def _by_output(given: Any, layers: Sequence[str], keys: Sequence[str]) -> list[Any] | None:
    """What is given for each output, by name or in their order; once given, it is for all.

    None where it is not clear which is whose.
    """
    if isinstance(given, Mapping) and "class_name" not in given:
        for names in (keys, layers):
            if set(given) <= set(names):
                return [given.get(name) for name in names]
        given = list(given.values())
    if isinstance(given, (list, tuple)):
        return list(given) if len(given) == len(layers) else None
    return [given] * len(layers)


def _usable_loss(loss: Any, notes: list[str]) -> Any:
    _, keras = quiet_tensorflow.load()
    if loss is None:
        return None
    if isinstance(loss, str):
        found = keras.losses.get(loss)
        return found if isinstance(found, keras.losses.Loss) else loss
    # The label format of a user's own loss is unknown.
    module = getattr(loss, "__module__", None) or type(loss).__module__
    if str(module).startswith("keras."):
        return loss
    notes.append(f"the compiled loss {name_of(loss)} is not one of Keras's")
    return None
