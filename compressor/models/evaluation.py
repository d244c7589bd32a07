"""What a model reaches on stored examples: its scores, and how good they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.data import Inputs, TrainingData, judged_part, rows, take
from compressor.foundation import quiet_tensorflow
from compressor.models.aims import Objective
from compressor.models.class_drops import class_recalls_of
from compressor.models.objective import objective_of
from compressor.models.preprocessing import preprocessing_of
from compressor.models.sanity import no_better
from deploy.tasks import part_key

EVALUATION_BATCH = 500


def accuracy_of(
    model: Any,
    x: Inputs,
    labels: np.ndarray,
    objective: Objective | None = None,
    predict: Callable[[Any], Any] | None = None,
) -> float:
    """The accuracy of a classifier, 0 to 1, run by `predict`, by default by Keras.

    Raises DataError when the inputs do not fit the model.
    """
    objective = objective or objective_of(model, examples=(x, labels))
    scores = predict_scores(predict or model.predict_on_batch, x, preprocessing_of(model, x))
    return float(np.mean(objective.predictions(scores) == labels))


def values_on(model: Any, x: Inputs, y: Any, objective: Objective) -> dict[str, float]:
    """All metrics of `objective` on stored inputs and targets, by their keys in a document.

    As everywhere, wide outputs are judged on some of them; see `judged_part`.
    """
    x, y = judged_part(x, y, objective.classes)
    scores, targets = _reached(model, x, y, objective)
    return objective.values(scores, targets, objective.anomalies_of(y))


def accuracies(model: Any, data: TrainingData, objective: Objective) -> dict[str, Any]:
    """All metrics on the examples set aside for choices, `validation_accuracy`, and on the test's.

    With `heads` where more than the accuracy of one classifier is among them.
    """
    return judged(model, data, objective).values


@dataclasses.dataclass(frozen=True)
class Judged:
    """How good a model is."""

    values: dict[str, Any]
    """as `accuracies` gives them"""
    classes: dict[str, Any]
    """`class_recalls` and `class_counts` of the test examples, and `class_labels`, by `Head.key`"""
    no_better: list[str]
    """what its outputs are no better than; see `no_better`"""


def judged(model: Any, data: TrainingData, objective: Objective) -> Judged:
    """How good `model` is, as a whole and by class, on the examples set aside and on the test's."""
    chosen = values_on(model, *data.validation_part(), objective)
    x, y = judged_part(data.data.x_test, data.data.y_test, objective.classes)
    scores, targets = _reached(model, x, y, objective)
    values = {
        **{part_key(key, "validation_"): value for key, value in chosen.items()},
        **objective.values(scores, targets, objective.anomalies_of(y)),
        **objective.described_heads(),
    }
    classes = class_recalls_of(objective.heads, scores, targets, data.data.labels)
    training = objective.stored_targets(take(data.data.y_train, data.train))
    return Judged(values, classes, no_better(objective, scores, targets, training))


def _reached(
    model: Any, x: Inputs, y: Any, objective: Objective
) -> tuple[np.ndarray, list[np.ndarray]]:
    feed = preprocessing_of(model, x)
    scores = predict_scores(model.predict_on_batch, x, feed)
    return scores, objective.targets_of(x, y, feed)


def predict_scores(
    predict: Callable[[Any], Any],
    x: Inputs,
    feed: Callable[[Inputs], Any],
    batch: int = EVALUATION_BATCH,
) -> np.ndarray:
    """The outputs of `predict`, float32 (n, all columns), for stored inputs `x` fed by `feed`.

    Several follow each other in the order of model.outputs, and each row of one is flattened.
    """
    slices = [slice(start, start + batch) for start in range(0, rows(x), batch)]
    return np.concatenate([_columns(predict(feed(take(x, part)))) for part in slices])


def flat_outputs(outputs: Any) -> list[np.ndarray]:
    """The outputs of a batch, in the order of model.outputs."""
    if not isinstance(outputs, (dict, list, tuple)):
        return [np.asarray(outputs)]
    _, keras = quiet_tensorflow.load()
    return [np.asarray(part) for part in keras.tree.flatten(outputs)]


def _columns(outputs: Any) -> np.ndarray:
    flat = (part.reshape(len(part), -1) for part in flat_outputs(outputs))
    parts = [part.astype(np.float32, copy=False) for part in flat]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
