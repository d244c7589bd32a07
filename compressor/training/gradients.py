"""Gradients of the loss on calibration data, for criteria that need them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compressor.data import Inputs, rows, take
from compressor.foundation import quiet_tensorflow
from compressor.models import EVALUATION_BATCH, Aim, Objective, preprocessing_of


def gradient_function(
    model: Any, variables: Sequence[Any], x: Inputs, y: Any, objective: Objective
) -> Callable[[], list[np.ndarray]]:
    """A function that gives the mean gradient of the loss on stored examples, for each variable.

    Each float32, of its variable's shape, for the model's weights at the time of the call. The
    model computes as in prediction: no dropout, and BatchNormalization by its moving means.
    """
    tensorflow, keras = quiet_tensorflow.load()
    feed = preprocessing_of(model, x)
    losses = [loss_of(aim) for aim in objective.aims]
    watched = [variable.value for variable in variables]
    stop = tensorflow.stop_gradient

    def total_of(loss: Any, targets: Any, scores: Any) -> Any:
        total = loss(targets, scores)
        if total.shape.rank:
            # Those of the positions of an example, such as pixels, are averaged.
            total = tensorflow.reshape(total, (tensorflow.shape(scores)[0], -1))
            return tensorflow.reduce_sum(tensorflow.reduce_mean(total, axis=1))
        if getattr(loss, "reduction", "sum") != "sum":
            # The mean over a batch; batches may differ in size.
            total = total * tensorflow.cast(tensorflow.shape(scores)[0], total.dtype)
        return total

    @tensorflow.function(reduce_retracing=True)
    def gradients(inputs: Any, targets: Any, known: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            scores = keras.tree.flatten(model(inputs, training=False))
            scores = [
                made if counts is None else tensorflow.where(counts, made, stop(made))
                for counts, made in zip(known, scores, strict=True)
            ]
            parts = zip(objective.aims, losses, targets, scores, strict=True)
            total = sum(
                (1.0 if aim.weight is None else aim.weight) * total_of(loss, wanted, made)
                for aim, loss, wanted, made in parts
            )
        zero = tensorflow.UnconnectedGradients.ZERO
        found = tape.gradient(total, watched, unconnected_gradients=zero)
        return [tensorflow.convert_to_tensor(gradient) for gradient in found]

    def mean() -> list[np.ndarray]:
        totals = [np.zeros(tuple(variable.shape), np.float64) for variable in watched]
        for start in range(0, rows(x), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            fed = feed(take(x, part))
            stored = objective.stored_targets(take(y, part))
            known = [
                None if aim.left_out is None else np.asarray(held != aim.left_out)[..., None]
                for aim, held in zip(objective.aims, stored, strict=True)
            ]
            found = gradients(fed, objective.each_target(stored, fed), known)
            for total, gradient in zip(totals, found, strict=True):
                total += gradient.numpy()
        return [(total / rows(x)).astype(np.float32) for total in totals]

    return mean


def loss_of(aim: Aim) -> Any:
    """The loss of an output as a function of targets and scores."""
    _, keras = quiet_tensorflow.load()
    return aim.loss if callable(aim.loss) else keras.losses.get(aim.loss)
