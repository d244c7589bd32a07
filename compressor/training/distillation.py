"""Knowledge distillation: the retrained model also learns from the dense model's scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from compressor.errors import UsageError
from compressor.foundation import is_number, make_plain, quiet_tensorflow
from compressor.models import Aim, Objective
from deploy.tasks import MULTI_LABEL


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How much the teacher counts in the loss.

    The loss is (1 - `weight`) x the loss on the labels + `weight` x T^2 x KL(teacher, student),
    both softened by the `temperature` T. Of outputs that are no classes it is (1 - `weight`) x the
    loss on the targets + `weight` x the loss on the teacher's outputs, without a temperature.
    Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network (2015), section
    2.
    """

    weight: float = 0.3
    temperature: float = 2.0

    def __post_init__(self) -> None:
        make_plain(self)
        if not (is_number(self.weight) and 0 < self.weight <= 1):
            what = "the weight of distillation must be above 0 and at most 1"
            raise UsageError(what, value=repr(self.weight))
        if not (is_number(self.temperature) and 0.1 <= self.temperature <= 100):
            what = "the temperature of distillation must lie between 0.1 and 100"
            raise UsageError(what, value=repr(self.temperature))

    def describe(self) -> dict[str, Any]:
        return {"distillation": dataclasses.asdict(self)}


def as_logits(scores: Any, objective: Objective | Aim) -> Any:
    """Scores of a model, (n, ..., k), as logits (n, ..., max(k, 2)): a softmax is its output.

    Those of several labels become logits of a sigmoid, and numbers stay. Of an `Objective`, the
    scores are those of the first output.
    """
    tensorflow, _ = quiet_tensorflow.load()
    aim = objective.aims[0] if isinstance(objective, Objective) else objective
    if aim.outputs == "numbers":
        return scores
    if aim.head.shape[-1] == 1 or aim.head.task == MULTI_LABEL:
        if aim.outputs == "probabilities":
            scores = tensorflow.clip_by_value(scores, 1e-7, 1 - 1e-7)
            scores = tensorflow.math.log(scores) - tensorflow.math.log1p(-scores)
        if aim.head.task == MULTI_LABEL:
            return scores
        return tensorflow.concat([tensorflow.zeros_like(scores), scores], axis=-1)
    if aim.outputs == "probabilities":
        return tensorflow.math.log(tensorflow.maximum(scores, 1e-7))
    return scores


def compile_distilled(
    model: Any,
    optimizer: Any,
    objective: Objective,
    distillation: Distillation,
    weights_axes: Sequence[int] | None = None,
) -> None:
    """Compile for targets made by `teaching_targets`; metrics: `accuracy` of classes.

    `weights_axes` are how many axes the weights of each output have, where there are any: 1 for
    those of examples, more for those of positions. Each multiplies a loss of its own.
    """
    axes = [None] * len(objective.aims) if weights_axes is None else weights_axes
    made = [
        _loss(aim, distillation, count) for aim, count in zip(objective.aims, axes, strict=True)
    ]
    metrics = [[_accuracy(aim)] if aim.of_classes else [] for aim in objective.aims]
    weights = [1.0 if aim.weight is None else aim.weight for aim in objective.aims]
    model.compile(
        optimizer=optimizer,
        loss=objective.arrange(made),
        metrics=objective.arrange(metrics),
        loss_weights=objective.arrange(weights) if len(weights) > 1 else None,
    )


def distilled_targets(
    labels: np.ndarray, teacher: np.ndarray, objective: Objective | Aim
) -> np.ndarray:
    """Class numbers (n, ...) and a teacher's scores (n, ..., k) as one float32 array.

    It is (n, ..., 1 + max(k, 2)): the classes, then the logits.
    """
    logits = np.asarray(as_logits(teacher, objective))
    return np.concatenate([labels[..., None], logits], axis=-1).astype(np.float32)


def taught(aim: Aim, stored: np.ndarray | None, teacher: np.ndarray) -> np.ndarray:
    """What is kept of an output's targets and its teacher's scores, (n, width), for a training."""
    teacher = teacher.reshape(len(teacher), *aim.head.shape)
    if aim.of_classes:
        assert stored is not None
        return distilled_targets(stored, teacher, aim)
    if aim.head.task == MULTI_LABEL:  # the loss takes probabilities
        return np.asarray(1 / (1 + np.exp(-np.asarray(as_logits(teacher, aim)))), np.float32)
    return teacher


def teaching_targets(aim: Aim, targets: Any, kept: Any) -> Any:
    """A batch for the loss: of classes `kept` itself, else both, one after the other in a row."""
    tensorflow, _ = quiet_tensorflow.load()
    # Keras squeezes targets of another rank than the outputs.
    return kept if aim.of_classes else tensorflow.concat([targets, kept], axis=-1)


def _loss(aim: Aim, distillation: Distillation, weights_axes: int | None) -> Any:
    tensorflow, keras = quiet_tensorflow.load()
    temperature, weight = distillation.temperature, distillation.weight
    # Keras numbers the names of losses; a mean over the batch is what its own losses take.
    hard = aim.loss if callable(aim.loss) else keras.losses.get(aim.loss)
    if weights_axes is not None and isinstance(hard, keras.losses.Loss):
        hard = hard.call

    def mean(values: Any) -> Any:
        if weights_axes is None:
            return tensorflow.reduce_mean(values)
        return tensorflow.reduce_mean(values, axis=list(range(weights_axes, values.ndim)))

    def of_classes(targets: Any, scores: Any) -> Any:
        labels, teacher = tensorflow.cast(targets[..., 0], "int64"), targets[..., 1:]
        student = as_logits(scores, aim)
        soft = tensorflow.nn.softmax(teacher / temperature)
        log_soft = tensorflow.nn.log_softmax(teacher / temperature)
        log_student = tensorflow.nn.log_softmax(student / temperature)
        divergence = tensorflow.reduce_sum(soft * (log_soft - log_student), axis=-1)
        on_labels = mean(hard(aim.targets(labels), scores))
        on_teacher = mean(divergence)
        return (1 - weight) * on_labels + weight * temperature**2 * on_teacher

    def of_numbers(targets: Any, outputs: Any) -> Any:
        parts = tensorflow.split(targets, 2, axis=-1)
        on_targets, on_teacher = (mean(hard(part, outputs)) for part in parts)
        return (1 - weight) * on_targets + weight * on_teacher

    return of_classes if aim.of_classes else of_numbers


def _accuracy(aim: Aim) -> Any:
    tensorflow, _ = quiet_tensorflow.load()

    def accuracy(targets: Any, scores: Any) -> Any:
        best = tensorflow.argmax(as_logits(scores, aim), axis=-1)
        return tensorflow.cast(best == tensorflow.cast(targets[..., 0], "int64"), "float32")

    return accuracy
