"""Gradients of the loss on calibration data, for criteria that need them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compressor.data import Inputs, rows, take
from compressor.foundation import quiet_tensorflow
from compressor.models import EVALUATION_BATCH, Objective, preprocessing_of


def gradient_function(
    model: Any, variables: Sequence[Any], x: Inputs, labels: np.ndarray, objective: Objective
) -> Callable[[], list[np.ndarray]]:
    """A function that gives the mean gradient of the loss on stored examples, for each variable.

    Each float32, of its variable's shape, for the model's weights at the time of the call. The
    model computes as in prediction: no dropout, and BatchNormalization by its moving means.
    """
    tensorflow, keras = quiet_tensorflow.load()
    feed = preprocessing_of(model, x)
    loss = objective.loss if callable(objective.loss) else keras.losses.get(objective.loss)
    watched = [variable.value for variable in variables]

    @tensorflow.function(reduce_retracing=True)
    def gradients(inputs: Any, targets: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            scores = model(inputs, training=False)
            total = loss(targets, scores)
            if total.shape.rank:
                total = tensorflow.reduce_sum(total)
            elif getattr(loss, "reduction", "sum") != "sum":
                # The mean over a batch; batches may differ in size.
                total = total * tensorflow.cast(tensorflow.shape(scores)[0], total.dtype)
        zero = tensorflow.UnconnectedGradients.ZERO
        found = tape.gradient(total, watched, unconnected_gradients=zero)
        return [tensorflow.convert_to_tensor(gradient) for gradient in found]

    def mean() -> list[np.ndarray]:
        totals = [np.zeros(tuple(variable.shape), np.float64) for variable in watched]
        for start in range(0, rows(x), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            targets = objective.targets(tensorflow.constant(labels[part]))
            for total, found in zip(totals, gradients(feed(take(x, part)), targets), strict=True):
                total += found.numpy()
        return [(total / rows(x)).astype(np.float32) for total in totals]

    return mean
