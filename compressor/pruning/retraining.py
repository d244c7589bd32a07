"""Pruning a model in memory, and training what is left: at once, gradually, or narrower.

Each function changes the model that it is given. What a model learns depends on the seed, the data
and the options alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from compressor import training
from compressor.data import TrainingData
from compressor.models import Objective, preprocessing_of
from compressor.pruning.granularity import Channel
from compressor.pruning.masks import apply_masks, remove_masks
from compressor.pruning.pruner import Gradients, Pruner, Pruning
from compressor.pruning.schedules import cubic_sparsity, update_steps
from compressor.pruning.selection import Level
from compressor.pruning.spec import PruningSpec
from compressor.shrinking import CHECKED, shrink
from compressor.training import Progress, TrainingOptions, gradient_function


def make_pruner(
    model: Any,
    data: TrainingData,
    spec: PruningSpec,
    objective: Objective,
    masks: Mapping[str, np.ndarray] | None = None,
) -> Pruner:
    """A pruner of `model` whose criterion sees `spec.calibration` of the training examples."""
    gradients = calibration_gradients(model, data, objective, spec.calibration)
    return Pruner(model, spec, gradients, masks)


def calibration_gradients(
    model: Any, data: TrainingData, objective: Objective, examples: int
) -> Gradients:
    """Mean gradients of the objective, each time on the same `examples` of the data.

    To be asked for the same variables each time.
    """
    function: Callable[[], list[np.ndarray]] | None = None

    def gradients(variables: Sequence[Any]) -> list[np.ndarray]:
        nonlocal function
        if function is None:
            x, labels = data.training_part(examples)
            function = gradient_function(model, variables, x, labels, objective)
        return function()

    return gradients


def prune_once(
    model: Any,
    data: TrainingData,
    spec: PruningSpec,
    objective: Objective,
    *,
    level: Level = lambda target: target,
    masks: Mapping[str, np.ndarray] | None = None,
) -> Pruning:
    """Prune at once, to `level` of each target sparsity.

    What the `masks` of an earlier round removed stays removed.
    """
    pruning = make_pruner(model, data, spec, objective, masks).prune(level)
    remove_masks(model)
    return pruning


def retrain(
    model: Any,
    masks: Mapping[str, np.ndarray],
    data: TrainingData,
    options: TrainingOptions,
    *,
    seed: int,
    objective: Objective,
    teacher: np.ndarray | None = None,
    progress: Progress | None = None,
) -> None:
    """Train the weights that the masks keep; the others stay zero."""
    apply_masks(model, masks)
    how = {"seed": seed, "objective": objective, "teacher": teacher, "progress": progress}
    _fit(model, data, options, how)


def prune_gradually(
    model: Any,
    data: TrainingData,
    spec: PruningSpec,
    options: TrainingOptions,
    *,
    seed: int,
    objective: Objective,
    teacher: np.ndarray | None = None,
    progress: Progress | None = None,
) -> tuple[Pruning, TrainingOptions]:
    """Train while the sparsity rises by the cubic schedule over `spec.ramp` of the steps.

    Returns the pruning that was reached, and the options with dropout scaled by its density.
    """
    pruner = make_pruner(model, data, spec, objective)
    options = with_scaled_dropout(options, pruner.target_density)
    updates = update_steps(options.steps, spec.ramp)
    done = pruner.prune(lambda target: 0.0)

    def update(step: int) -> None:
        nonlocal done
        if step in updates:
            reached = updates[step]
            done = pruner.prune(lambda target: cubic_sparsity(target, reached))

    how = {"seed": seed, "objective": objective, "teacher": teacher, "progress": progress}
    _fit(model, data, options, how | {"on_step": update})
    return done, options


def _fit(model: Any, data: TrainingData, options: TrainingOptions, how: Mapping[str, Any]) -> None:
    x, labels = data.training_part()
    try:
        training.fit(model, x, labels, options, **how)
    finally:
        remove_masks(model)


def narrow(
    model: Any,
    masks: Mapping[str, np.ndarray],
    data: TrainingData,
    spec: PruningSpec,
    objective: Objective,
) -> tuple[Any, dict[str, np.ndarray]]:
    """The model without the channels that were pruned, and the masks that it still needs: none.

    For other granularities both are as they were. The function is the same (`compressor.shrink`
    checks it), and training costs less. BatchNormalization stays, to be trained.
    """
    if spec.granularity != Channel.name:
        return model, dict(masks)
    x, _ = data.validation_part(CHECKED)
    narrowed = shrink(model, preprocessing_of(model, x)(x), fold_batchnorm=False).model
    objective.compile(narrowed, "sgd")
    return narrowed, {}


def teacher_scores(model: Any, data: TrainingData, options: TrainingOptions) -> np.ndarray | None:
    """The dense model's scores of the training examples, where the options ask for a teacher."""
    if options.distillation is None:
        return None
    x, _ = data.training_part()
    return training.predict_scores(model.predict_on_batch, x, preprocessing_of(model, x))


def with_scaled_dropout(base: TrainingOptions, density: float) -> TrainingOptions:
    """`base` with dropout scaled by the density, 0 to 1, of what is pruned."""
    return dataclasses.replace(base, dropout_scale=training.dropout_scale(density))
