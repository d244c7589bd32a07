"""Knowledge distillation: the retrained model also learns from the dense model's scores."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from compressor.errors import UsageError
from compressor.foundation import quiet_tensorflow
from compressor.models import Objective


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How much the teacher counts in the loss.

    The loss is (1 - `weight`) x the loss on the labels + `weight` x T^2 x KL(teacher, student),
    both softened by the `temperature` T. Source: Hinton, Vinyals and Dean, Distilling the
    Knowledge in a Neural Network (2015), section 2.
    """

    weight: float = 0.3
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            what = "the weight of distillation must be above 0 and at most 1"
            raise UsageError(what, value=self.weight)
        if not 0.1 <= self.temperature <= 100:
            what = "the temperature of distillation must lie between 0.1 and 100"
            raise UsageError(what, value=self.temperature)

    def describe(self) -> dict[str, Any]:
        return {"distillation": dataclasses.asdict(self)}


def as_logits(scores: Any, objective: Objective) -> Any:
    """Scores of a model, (n, k), as logits (n, max(k, 2)): a softmax of them is its output."""
    tensorflow, _ = quiet_tensorflow.load()
    if objective.classes == 1:
        if objective.outputs == "probabilities":
            scores = tensorflow.clip_by_value(scores, 1e-7, 1 - 1e-7)
            scores = tensorflow.math.log(scores) - tensorflow.math.log1p(-scores)
        return tensorflow.concat([tensorflow.zeros_like(scores), scores], axis=-1)
    if objective.outputs == "probabilities":
        return tensorflow.math.log(tensorflow.maximum(scores, 1e-7))
    return scores


def compile_distilled(
    model: Any, optimizer: Any, objective: Objective, distillation: Distillation
) -> None:
    """Compile for targets made by `distilled_targets`; metrics: `accuracy`."""
    tensorflow, keras = quiet_tensorflow.load()
    temperature, weight = distillation.temperature, distillation.weight
    # Keras numbers the names of losses; a mean over the batch is what its own losses take.
    hard = objective.loss if callable(objective.loss) else keras.losses.get(objective.loss)

    def loss(targets: Any, scores: Any) -> Any:
        labels, teacher = tensorflow.cast(targets[:, 0], "int64"), targets[:, 1:]
        student = as_logits(scores, objective)
        soft = tensorflow.nn.softmax(teacher / temperature)
        log_soft = tensorflow.nn.log_softmax(teacher / temperature)
        log_student = tensorflow.nn.log_softmax(student / temperature)
        divergence = tensorflow.reduce_sum(soft * (log_soft - log_student), axis=-1)
        on_labels = tensorflow.reduce_mean(hard(objective.targets(labels), scores))
        on_teacher = tensorflow.reduce_mean(divergence)
        return (1 - weight) * on_labels + weight * temperature**2 * on_teacher

    def accuracy(targets: Any, scores: Any) -> Any:
        best = tensorflow.argmax(as_logits(scores, objective), axis=-1)
        return tensorflow.cast(best == tensorflow.cast(targets[:, 0], "int64"), "float32")

    model.compile(optimizer=optimizer, loss=loss, metrics=[accuracy])


def distilled_targets(labels: np.ndarray, teacher: np.ndarray, objective: Objective) -> np.ndarray:
    """Class numbers (n,) and a teacher's scores (n, k) as one float32 array (n, 1 + max(k, 2))."""
    logits = np.asarray(as_logits(teacher, objective))
    return np.concatenate([labels[:, None], logits], axis=1).astype(np.float32)
