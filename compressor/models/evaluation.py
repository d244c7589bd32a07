"""What a model reaches on stored examples: its scores, and its accuracy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.data import Inputs, TrainingData, rows, take
from compressor.models.objective import Objective, objective_of
from compressor.models.preprocessing import Preprocessing, preprocessing_of

EVALUATION_BATCH = 500


def accuracy_of(
    model: Any,
    x: Inputs,
    labels: np.ndarray,
    objective: Objective | None = None,
    predict: Callable[[Any], Any] | None = None,
) -> float:
    """The accuracy of `model`, 0 to 1, run by `predict`, by default by Keras.

    Raises DataError when the inputs do not fit the model.
    """
    objective = objective or objective_of(model)
    scores = predict_scores(predict or model.predict_on_batch, x, preprocessing_of(model, x))
    return float(np.mean(objective.predictions(scores) == labels))


def accuracies(model: Any, data: TrainingData, objective: Objective) -> dict[str, float]:
    """`validation_accuracy` on the examples set aside for choices, and test `accuracy`: 0 to 1."""
    x, labels = data.validation_part()
    return {
        "validation_accuracy": accuracy_of(model, x, labels, objective),
        "accuracy": accuracy_of(model, data.data.x_test, data.data.y_test, objective),
    }


def predict_scores(
    predict: Callable[[Any], Any], x: Inputs, feed: Preprocessing, batch: int = EVALUATION_BATCH
) -> np.ndarray:
    """The scores of `predict`, float32 (n, classes), for stored inputs `x` fed by `feed`."""
    slices = [slice(start, start + batch) for start in range(0, rows(x), batch)]
    return np.concatenate([np.asarray(predict(feed(take(x, part)))) for part in slices])
