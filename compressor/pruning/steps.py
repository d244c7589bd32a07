"""The steps of a pruning, each of which works in a folder of its own and says what came out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compressor import training
from compressor.data import TrainingData
from compressor.errors import UsageError
from compressor.models import (
    FLOAT32_BYTES,
    Objective,
    count_parameters,
    load_model,
    objective_of,
    optimizer_variables,
    paper_name,
    preprocessing,
    save_model,
)
from compressor.pruning import retraining
from compressor.pruning.kernels import all_kernels
from compressor.pruning.masks import load_masks, save_masks
from compressor.pruning.schedules import update_steps
from compressor.pruning.selection import Level
from compressor.pruning.spec import PruningSpec
from compressor.runs import MASKS, MODEL
from compressor.training import Progress, TrainingOptions


def measure_step(source: Path, data: TrainingData) -> dict[str, Any]:
    """The model file `source` as it is: what it reaches, and how it is fed and trained."""
    model = load_model(source)
    objective = _objective(model, data)
    return {
        "parameters": count_parameters(model),
        "objective": objective.describe(),
        "inputs": preprocessing.preprocessing_of(model, data.data.x_train).describe(),
        **_accuracies(model, data, objective),
    }


def prune_step(
    directory: Path,
    source: Path,
    data: TrainingData,
    spec: PruningSpec,
    *,
    level: Level = lambda target: target,
    again: bool = False,
) -> dict[str, Any]:
    """step_2_1: prune the model file `source` by `spec`, to `level` of each target sparsity.

    `again` says that `source` comes from an earlier round, whose masks lie beside it.
    """
    model = load_model(source)
    objective = _objective(model, data)
    masks = load_masks(source.parent / MASKS) if again else None
    pruning = retraining.prune_once(model, data, spec, objective, level=level, masks=masks)
    save_masks(directory / MASKS, pruning.masks)
    save_model(model, directory / MODEL)
    return {"sparsity": level(spec.highest_sparsity), **pruning.describe()} | _accuracies(
        model, data, objective
    )


def retrain_step(
    directory: Path,
    pruned: Path,
    data: TrainingData,
    options: TrainingOptions,
    spec: PruningSpec,
    *,
    seed: int,
    teacher: Path | None = None,
    narrowed: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """step_2_2: retrain what survived in the folder `pruned`; masked weights stay zero.

    A model that lost channels is `narrowed` first: what is zero in it is not trained. `teacher` is
    the model file to distil from, where the options ask for one.
    """
    model, masks = load_model(pruned / MODEL), load_masks(pruned / MASKS)
    objective = objective_of(model)
    if narrowed:
        model, masks = retraining.narrow(model, masks, data, spec, objective)
    retraining.retrain(
        model,
        masks,
        data,
        options,
        seed=seed,
        objective=objective,
        teacher=_teacher(teacher, data, options),
        progress=progress,
    )
    return _retrained(directory, model, masks, data, options, objective)


def gradual_step(
    directory: Path,
    source: Path,
    data: TrainingData,
    options: TrainingOptions,
    spec: PruningSpec,
    *,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """step_2_2 of a gradual pruning: train the model file `source` while it is pruned."""
    model = load_model(source)
    objective = _objective(model, data)
    pruning, options = retraining.prune_gradually(
        model,
        data,
        spec,
        options,
        seed=seed,
        objective=objective,
        teacher=_teacher(source, data, options),
        progress=progress,
    )
    model, masks = retraining.narrow(model, pruning.masks, data, spec, objective)
    record = _retrained(directory, model, masks, data, options, objective)
    return record | {"sparsity": spec.highest_sparsity, "pruning": pruning.describe()}


def describe_layers(model: Any) -> list[dict[str, Any]]:
    """A row for each kernel that can be pruned: layer, shape, parameters, non-zeros."""
    rows = []
    for name, kernel in all_kernels(model).items():
        rows.append(
            {
                "layer": name,
                "paper_name": paper_name(name),
                "shape": list(kernel.shape),
                "parameters": math.prod(kernel.shape),
                "nonzeros": int(np.count_nonzero(kernel.numpy())),
            }
        )
    return rows


def check_pruning(
    source: Path, data: TrainingData, spec: PruningSpec, options: TrainingOptions
) -> None:
    """Raise what stops the model file `source` from being pruned so; nothing is done."""
    model = load_model(source)
    retraining.make_pruner(model, data, spec, _objective(model, data))
    if spec.schedule == "gradual":
        update_steps(options.steps, spec.ramp)


def _objective(model: Any, data: TrainingData) -> Objective:
    """The objective of `model`; raises DataError or ModelError when the data do not fit it."""
    preprocessing.check_fit(model, data.data)
    return objective_of(model)


def _retrained(
    directory: Path,
    model: Any,
    masks: Mapping[str, np.ndarray],
    data: TrainingData,
    options: TrainingOptions,
    objective: Objective,
) -> dict[str, Any]:
    if masks:
        save_masks(directory / MASKS, masks)
    save_model(model, directory / MODEL)
    record = dense_record(directory / MODEL, model, data, objective)
    return record | {
        "training": options.describe(),
        "objective": objective.describe(),
        "nonzeros": sum(row["nonzeros"] for row in record["layers"]),
    }


def _teacher(
    source: Path | None, data: TrainingData, options: TrainingOptions
) -> np.ndarray | None:
    if options.distillation is None:
        return None
    if source is None:
        raise UsageError("distillation needs a teacher")
    return retraining.teacher_scores(load_model(source), data, options)


def _accuracies(model: Any, data: TrainingData, objective: Objective) -> dict[str, float]:
    x, labels = data.validation_part()
    return {
        "validation_accuracy": training.evaluate(model, x, labels, objective),
        "accuracy": training.evaluate(model, data.data.x_test, data.data.y_test, objective),
    }


def dense_record(
    path: Path, model: Any, data: TrainingData, objective: Objective
) -> dict[str, Any]:
    parameters = count_parameters(model)
    return {
        "parameters": parameters,
        "checkpoint_bytes": path.stat().st_size,
        "optimizer_values": optimizer_variables(path),
        "weights_bytes": FLOAT32_BYTES * parameters,
        "layers": describe_layers(model),
        **_accuracies(model, data, objective),
    }
