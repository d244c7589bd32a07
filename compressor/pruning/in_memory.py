"""Pruning a model in memory, by one call."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from compressor import training
from compressor.data import Dataset, TrainingData
from compressor.errors import UsageError
from compressor.models import objective_of, preprocessing
from compressor.pruning import retraining
from compressor.pruning.schedules import round_sparsity
from compressor.pruning.spec import PruningSpec
from compressor.shrinking import rebuild
from compressor.training import PRESETS, Progress, TrainingOptions


@dataclasses.dataclass(frozen=True)
class Pruned:
    """A model that was pruned, and what is known of it."""

    model: Any
    """a Keras model; narrower than the one before where channels were removed"""
    masks: Mapping[str, np.ndarray]
    """layer -> bool array of its kernel's shape; empty where channels were removed"""
    layers: list[dict[str, Any]]
    """a JSON object a pruned kernel: layer, shape, parameters, threshold, kept, ..."""
    left_alone: Mapping[str, str]
    """layers that this granularity cannot handle, and why"""
    warnings: tuple[str, ...]
    accuracy: float
    """on the test examples, 0 to 1"""
    validation_accuracy: float
    """on the examples that were set aside for choices, 0 to 1"""
    objective: Mapping[str, Any]
    """loss, metrics, and whether they were compiled or inferred"""


def prune(
    model: Any,
    data: Dataset,
    spec: PruningSpec | None = None,
    *,
    retrain: bool = True,
    options: TrainingOptions | None = None,
    validation: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Pruned:
    """Prune a Keras classifier in memory, and retrain it; `model` itself stays as it is.

    `model` has one output of scores, (n, classes); `data` fits its inputs. `options` say how to
    retrain, by default as the preset `quick` does at this sparsity, always with Adam. Masked
    weights are exactly zero; to train on and keep them so, put the masks back with
    `compressor.apply_masks`. A layer that loses all of its weights is warned of. The random state
    of Python, numpy and TensorFlow is seeded. Raises UsageError, DataError or ModelError, in one
    line, for what cannot be done.
    """
    if not hasattr(model, "layers"):
        raise UsageError(
            "this takes a Keras model", value=repr(model)[:80], hint="for a file there is prune_run"
        )
    if not isinstance(data, Dataset):
        raise UsageError(
            "this takes a data set",
            value=repr(data)[:80],
            hint="make it with load_dataset(...) or Dataset.from_arrays(...)",
        )
    spec = spec or PruningSpec()
    part = TrainingData.of(data, validation)
    options = options or PRESETS["quick"].retraining_at(spec.highest_sparsity, part)
    if not retrain and spec.schedule != "one-shot":
        raise UsageError(f"{spec.schedule} pruning retrains", value="retrain=False")
    preprocessing.check_fit(model, data)
    objective = objective_of(model)
    teacher = retraining.teacher_scores(model, part, options) if retrain else None
    # Not Keras's clone_model, which would make the user's own loss and metrics again.
    student = rebuild(model, {}, {})
    objective.compile(student, "sgd")
    masks: dict[str, np.ndarray] = {}
    how: dict[str, Any] = {"objective": objective, "teacher": teacher, "progress": progress}
    if spec.schedule == "gradual":
        pruning, _ = retraining.prune_gradually(
            student, part, spec, options, seed=training.derive_seed(seed, "prune 1"), **how
        )
        student, masks = retraining.narrow(student, pruning.masks, part, spec, objective)
    else:
        rounds = spec.passes
        for number in range(1, rounds + 1):
            level = functools.partial(round_sparsity, number=number, rounds=rounds)
            pruning = retraining.prune_once(
                student, part, spec, objective, level=level, masks=masks
            )
            masks = dict(pruning.masks)
            if number == rounds:
                student, masks = retraining.narrow(student, masks, part, spec, objective)
            if retrain:
                retraining.retrain(
                    student,
                    masks,
                    part,
                    retraining.with_scaled_dropout(options, pruning.density),
                    seed=training.derive_seed(seed, f"prune {number}"),
                    **how,
                )
    for text in pruning.warnings:
        warnings.warn(text, stacklevel=2)
    x, labels = part.validation_part()
    return Pruned(
        student,
        masks,
        pruning.rows,
        pruning.left_alone,
        pruning.warnings,
        training.evaluate(student, data.x_test, data.y_test, objective),
        training.evaluate(student, x, labels, objective),
        objective.describe(),
    )
