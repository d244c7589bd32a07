"""The loss and metrics of a classifier: the compiled ones, or inferred from its outputs."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from compressor.data import Dataset
from compressor.foundation import quiet_tensorflow
from compressor.models.layers import unframed
from compressor.models.open_sizes import sizes_fed
from compressor.models.preprocessing import check_fit, output_size, structure
from deploy.examples import predicted_classes

Outputs = Literal["logits", "probabilities"]
LabelForm = Literal["index", "one-hot", "column"]


@dataclasses.dataclass(frozen=True)
class Objective:
    """The loss and metrics of a training, and the format of its labels.

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
    """number of scores"""
    source: Literal["compiled", "inferred"]
    notes: tuple[str, ...] = ()
    """what the model was compiled with but cannot be used, and why"""

    def describe(self) -> dict[str, Any]:
        """The objective as a JSON object."""
        described = {
            "loss": _name(self.loss),
            "metrics": [_name(metric) for metric in self.metrics],
            "source": self.source,
            "outputs": self.outputs,
        }
        return described | ({"notes": list(self.notes)} if self.notes else {})

    @property
    def threshold(self) -> float:
        """The score above which a binary classifier says 1."""
        if self.source == "inferred":
            return 0.0 if self.outputs == "logits" else 0.5
        # The decision threshold implied by the loss.
        signed = getattr(self.loss, "from_logits", False) or "hinge" in _kind(self.loss)
        return 0.0 if signed else 0.5

    def targets(self, labels: Any) -> Any:
        """Class numbers, a TensorFlow tensor (n,), in the format of the loss."""
        tensorflow, _ = quiet_tensorflow.load()
        if self.labels == "one-hot":
            return tensorflow.one_hot(labels, self.classes)
        if self.labels == "column":
            return tensorflow.cast(labels, "float32")[:, None]
        return labels

    def predictions(self, scores: np.ndarray) -> np.ndarray:
        """The class of each row of scores (n, classes), int64 (n,)."""
        return predicted_classes(scores, self.threshold if self.classes == 1 else None)

    def compile(self, model: Any, optimizer: Any) -> None:
        """Compile `model` for training, with an `accuracy` in any case."""
        metrics = [_fresh(metric) for metric in self.metrics]
        if not any(_name(metric) in _ACCURACIES for metric in metrics):
            metrics.append(self._accuracy())
        model.compile(optimizer=optimizer, loss=self.loss, metrics=metrics)
        if unframed(model) is not model:  # the user's own, which is saved and handed back
            self.compile(unframed(model), model.optimizer)

    def _accuracy(self) -> Any:
        _, keras = quiet_tensorflow.load()
        if self.labels == "index":
            return keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        if self.labels == "one-hot":
            return keras.metrics.CategoricalAccuracy(name="accuracy")
        return keras.metrics.BinaryAccuracy(name="accuracy", threshold=self.threshold)


_ACCURACIES = ("accuracy", "acc")


def objective_of(model: Any) -> Objective:
    """The objective of a model with one output: compiled, or inferred from the output.

    An output of softmax or sigmoid gives probabilities, any other logits. The inferred loss is
    cross-entropy. Compiled losses that cannot be used on class labels (several, or user code) and
    metrics that are not Keras's are left out, and noted. Raises ModelError as `output_size` does.
    """
    _, keras = quiet_tensorflow.load()
    classes, outputs = output_size(model), output_kind(model)
    model = unframed(model)
    notes = list(getattr(model, _NOTES, ()))
    loss = _compiled_loss(keras, model, notes)
    if loss is not None:
        dense: LabelForm = "column" if classes == 1 else "one-hot"
        form: LabelForm = "index" if "sparse" in _kind(loss) else dense
        metrics = _compiled_metrics(model, notes)
        return Objective(loss, metrics, form, outputs, classes, "compiled", tuple(notes))
    logits = outputs == "logits"
    if classes == 1:
        loss, metrics, form = keras.losses.BinaryCrossentropy(from_logits=logits), (), "column"
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
        metrics, form = ("accuracy",), "index"
    return Objective(loss, metrics, form, outputs, classes, "inferred", tuple(notes))


def objective_for(model: Any, data: Dataset) -> Objective:
    """The objective of `model`. Raises DataError or ModelError where `data` do not fit it."""
    sizes_fed(model, check_fit(model, data))
    return objective_of(model)


def output_kind(model: Any) -> Outputs:
    """`probabilities` for an output of softmax or sigmoid, in a layer or as an operation.

    Where code of the user's own gives the output, the operations count that it runs.
    """
    tensor = model.outputs[0]
    is_own = not type(tensor._keras_history.operation).__module__.startswith("keras.")
    found = _ends_in_probability(model) if is_own else _is_probability(tensor)
    return "probabilities" if found else "logits"


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
        metrics = _usable(config.get("metrics"), notes)
        # SGD has no moments: stock Keras would warn of those that an untrained file lacks.
        model.compile(optimizer="sgd", loss=loss, metrics=[_fresh(metric) for metric in metrics])
    except Exception as error:  # Keras raises whatever the configuration makes it raise
        notes.append(f"the compiled loss cannot be made: {_reason(error)}")
    setattr(model, _NOTES, tuple(notes))


_NOTES = "_compressor_notes"
_PROBABILITIES = {"softmax", "sigmoid", "hard_sigmoid", "hardsigmoid"}
# Operations that keep probabilities probabilities.
_PASSING = {"dropout", "identity", "reshape", "average", "flatten", "squeeze"}
_PASSING_OPERATIONS = {"Identity", "Reshape", "Squeeze", "Cast"}


def _ends_in_probability(model: Any) -> bool:
    tensorflow, keras = quiet_tensorflow.load()
    specs = keras.tree.map_structure(
        lambda tensor: tensorflow.TensorSpec((None, *tensor.shape[1:]), tensor.dtype),
        structure(model),
    )
    function = tensorflow.function(
        lambda inputs: model(inputs, training=False), input_signature=[specs], autograph=False
    )
    operation = function.get_concrete_function().outputs[0].op
    while operation.type in _PASSING_OPERATIONS:
        operation = operation.inputs[0].op
    return operation.type in ("Softmax", "Sigmoid")


def _is_probability(tensor: Any) -> bool:
    history = tensor._keras_history
    operation = history.operation
    if hasattr(operation, "outputs") and hasattr(operation, "layers"):  # a nested model
        return _is_probability(operation.outputs[history.tensor_index])
    kind = type(operation).__name__.lower()
    activation = getattr(getattr(operation, "activation", None), "__name__", "")
    if {kind, activation} & _PROBABILITIES:
        return True
    if kind in _PASSING or (kind == "activation" and activation == "linear"):
        node = operation._inbound_nodes[history.node_index]
        return bool(node.input_tensors) and all(map(_is_probability, node.input_tensors))
    return False


def _compiled_loss(keras: Any, model: Any, notes: list[str]) -> Any:
    loss = getattr(model, "loss", None) if getattr(model, "compiled", False) else None
    if isinstance(loss, dict):
        loss = list(loss.values())
    if isinstance(loss, (list, tuple)):
        if len(loss) != 1:
            notes.append(f"{len(loss)} losses were compiled")
        loss = loss[0] if len(loss) == 1 else None
    if loss is None:
        return None
    if isinstance(loss, str):
        found = keras.losses.get(loss)
        return found if isinstance(found, keras.losses.Loss) else loss
    # The label format of a user's own loss is unknown.
    module = getattr(loss, "__module__", None) or type(loss).__module__
    if str(module).startswith("keras."):
        return loss
    notes.append(f"the compiled loss {_name(loss)} is not one of Keras's")
    return None


def _compiled_metrics(model: Any, notes: list[str]) -> tuple[Any, ...]:
    try:
        config = model.get_compile_config() or {}
    except Exception as error:  # it calls user code
        notes.append(f"the compiled metrics cannot be made: {_reason(error)}")
        return ()
    return tuple(_usable(config.get("metrics"), notes))


def _usable(metrics: Any, notes: list[str]) -> list[Any]:
    """The serialised metrics, nested as `compile` takes them, that are Keras's own."""
    if isinstance(metrics, dict) and "class_name" not in metrics:
        metrics = list(metrics.values())
    if isinstance(metrics, (list, tuple)):
        return [found for metric in metrics for found in _usable(metric, notes)]
    if metrics is None:
        return []
    try:
        _fresh(metrics)
    except Exception as error:  # Keras raises whatever the configuration makes it raise
        notes.append(f"the compiled metric {_name(metrics)} cannot be made: {_reason(error)}")
        return []
    return [metrics]


def _fresh(metric: Any) -> Any:
    """A new metric for each compilation, since a used one belongs to its training."""
    _, keras = quiet_tensorflow.load()
    if isinstance(metric, str):
        return metric
    return keras.saving.deserialize_keras_object(metric, safe_mode=True)


def _kind(loss: Any) -> str:
    """The class or function of a loss, in lower case; its `name` may be anything."""
    if isinstance(loss, str):
        return loss.lower()
    return str(getattr(loss, "__name__", type(loss).__name__)).lower()


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


def _name(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):  # the configuration of a metric
        config = value.get("config")
        name = config.get("name") if isinstance(config, dict) else config
        return str(name or value.get("class_name"))
    return str(getattr(value, "name", None) or getattr(value, "__name__", type(value).__name__))
