"""The loss and the metrics of a classifier: its own, or what its outputs ask for."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from compressor import _tensorflow
from compressor.errors import ModelError

Outputs = Literal["logits", "probabilities"]
LabelForm = Literal["index", "one-hot", "column"]


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a training minimises, and how it wants its labels.

    `labels`: class numbers (n,) int64 for `index`, float32 (n, classes) for `one-hot`, float32
    (n, 1) for the `column` of a binary classifier.
    """

    loss: Any
    """a Keras loss"""
    metrics: tuple[Any, ...]
    """as `model.compile` takes them"""
    labels: LabelForm
    outputs: Outputs
    classes: int
    """scores that the model gives"""
    source: Literal["compiled", "inferred"]

    def describe(self) -> dict[str, Any]:
        """The objective as a JSON object, to be said to the user."""
        return {
            "loss": _name(self.loss),
            "metrics": [_name(metric) for metric in self.metrics],
            "source": self.source,
            "outputs": self.outputs,
        }

    def targets(self, labels: Any) -> Any:
        """Class numbers, a TensorFlow tensor (n,), in the form that the loss wants."""
        tensorflow, _ = _tensorflow.load()
        if self.labels == "one-hot":
            return tensorflow.one_hot(labels, self.classes)
        if self.labels == "column":
            return tensorflow.cast(labels, "float32")[:, None]
        return labels

    def predictions(self, scores: np.ndarray) -> np.ndarray:
        """The class of each row of scores (n, classes): int64 (n,)."""
        if self.classes == 1:
            return (scores[:, 0] > (0 if self.outputs == "logits" else 0.5)).astype(np.int64)
        return scores.argmax(axis=-1)

    def compile(self, model: Any, optimizer: Any) -> None:
        """Compile `model` for training; it then counts an `accuracy` in any case."""
        metrics = [_fresh(metric) for metric in self.metrics]
        if not any(_name(metric) in _ACCURACIES for metric in metrics):
            metrics.append(self._accuracy())
        model.compile(optimizer=optimizer, loss=self.loss, metrics=metrics)

    def _accuracy(self) -> Any:
        _, keras = _tensorflow.load()
        if self.labels == "index":
            return keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        if self.labels == "one-hot":
            return keras.metrics.CategoricalAccuracy(name="accuracy")
        threshold = 0.0 if self.outputs == "logits" else 0.5
        return keras.metrics.BinaryAccuracy(name="accuracy", threshold=threshold)


_ACCURACIES = ("accuracy", "acc")


def objective_of(model: Any) -> Objective:
    """The objective of a model with one output: the compiled one, or what its output asks for.

    A model whose output ends in a softmax or a sigmoid gives probabilities, any other logits. The
    inferred loss is cross-entropy. A compiled loss that cannot be used on class labels (several
    losses, a function of the user's) is passed over. Raises ModelError for an output that is not
    (n, classes).
    """
    _, keras = _tensorflow.load()
    shape = tuple(model.outputs[0].shape)
    if len(model.outputs) != 1 or len(shape) != 2 or shape[1] is None:
        raise ModelError(
            "only models with one output of scores, (n, classes), are supported",
            value=[tuple(output.shape) for output in model.outputs],
        )
    classes, outputs = int(shape[1]), output_kind(model)
    loss = _compiled_loss(keras, model)
    if loss is not None:
        return Objective(
            loss, _compiled_metrics(model), _label_form(loss, classes), outputs, classes, "compiled"
        )
    logits = outputs == "logits"
    if classes == 1:
        inferred = keras.losses.BinaryCrossentropy(from_logits=logits)
        return Objective(inferred, (), "column", outputs, classes, "inferred")
    inferred = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    return Objective(inferred, ("accuracy",), "index", outputs, classes, "inferred")


def output_kind(model: Any) -> Outputs:
    """Whether the output is made by a softmax or a sigmoid, in a layer or as an operation."""
    operation = model.outputs[0]._keras_history.operation
    while hasattr(operation, "outputs") and hasattr(operation, "layers"):
        operation = operation.outputs[0]._keras_history.operation
    names = {
        type(operation).__name__.lower(),
        getattr(getattr(operation, "activation", None), "__name__", ""),
    }
    return "probabilities" if names & {"softmax", "sigmoid", "hard_sigmoid"} else "logits"


def restore_compilation(model: Any, config: Any) -> str | None:
    """Give a loaded model the loss and the metrics of its `compile_config`, in safe mode.

    Returns why it could not be done, in words, or None. Code in the configuration is never run.
    """
    _, keras = _tensorflow.load()
    if not isinstance(config, dict) or not config.get("loss"):
        return None
    try:
        loss, metrics = (
            keras.saving.deserialize_keras_object(config.get(name), safe_mode=True)
            for name in ("loss", "metrics")
        )
        model.compile(loss=loss, metrics=metrics)
    except Exception as error:  # Keras raises whatever the configuration makes it raise
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return None


def _compiled_loss(keras: Any, model: Any) -> Any:
    loss = getattr(model, "loss", None) if getattr(model, "compiled", False) else None
    if isinstance(loss, dict):
        loss = list(loss.values())
    if isinstance(loss, (list, tuple)):
        loss = loss[0] if len(loss) == 1 else None
    if loss is None:
        return None
    if isinstance(loss, str):
        found = keras.losses.get(loss)
        return found if isinstance(found, keras.losses.Loss) else loss
    # A loss of the user's may want labels in a form that nobody knows.
    module = getattr(loss, "__module__", None) or type(loss).__module__
    return loss if str(module).startswith("keras.") else None


def _compiled_metrics(model: Any) -> tuple[Any, ...]:
    config = model.get_compile_config() or {}
    metrics = config.get("metrics") or []
    while len(metrics) == 1 and isinstance(metrics[0], (list, tuple)):
        metrics = metrics[0]
    if not isinstance(metrics, (list, tuple)):
        return ()
    return tuple(metric for metric in metrics if _can_be_made(metric))


def _can_be_made(metric: Any) -> bool:
    """Whether a metric is one of Keras's: code of the user's is not kept with a model."""
    try:
        return _fresh(metric) is not None
    except (TypeError, ValueError):
        return False


def _label_form(loss: Any, classes: int) -> LabelForm:
    if "sparse" in _name(loss).lower():
        return "index"
    return "column" if classes == 1 else "one-hot"


def _fresh(metric: Any) -> Any:
    """A metric of its own for each compilation: one that was used belongs to another training."""
    _, keras = _tensorflow.load()
    return metric if isinstance(metric, str) else keras.metrics.deserialize(metric)


def _name(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):  # the configuration of a metric
        config = value.get("config")
        name = config.get("name") if isinstance(config, dict) else config
        return str(name or value.get("class_name"))
    return str(getattr(value, "name", None) or getattr(value, "__name__", type(value).__name__))
