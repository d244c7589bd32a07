"""The steps of a pruning on files; each works in its own folder and returns its record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data import TrainingData, take
from compressor.importing import load_model
from compressor.models import (
    FLOAT32_BYTES,
    Asked,
    asked_for,
    count_parameters,
    judged,
    objective_for,
    optimizer_variables,
    paper_name,
    preprocessing_of,
    save_model,
    trained_on,
)
from compressor.pruning.kernels import all_kernels
from compressor.pruning.masks import (
    load_masks,
    remove_masks,
    save_masks,
    zeros_kept,
    zeros_to_keep,
)
from compressor.pruning.pruner import Pruner
from compressor.pruning.rounds import PruningStep, make_pruner, prune_and_retrain
from compressor.pruning.schedules import update_steps
from compressor.pruning.spec import PruningSpec
from compressor.runs import MASKS, MODEL, Work, is_finished, sparsity_name
from compressor.training import Progress, TrainingOptions, derive_seed, example_weights

Records = dict[str, dict[str, Any]]
"""Step name -> its record."""

_UNMEASURED = {"accuracy_note": "without data, accuracy is not measured"}


def measure_step(source: Path, data: TrainingData, asked: Mapping[str, Asked]) -> dict[str, Any]:
    """How good the model file `source` is, its inputs and objective.

    `asked` are the `task` and the `metric` that the user named. `no_better` says what the model is
    no better than, where it is so, and `zeros_kept` what is pruned already.
    """
    model = load_model(source)
    objective = objective_for(model, data.data, **asked)
    found = judged(model, data, objective)
    record = {
        "parameters": count_parameters(model),
        "objective": objective.describe(),
        "inputs": preprocessing_of(model, data.data.x_train).describe(),
        **found.values,
        **found.classes,
    }
    more = {"no_better": found.no_better, "zeros_kept": _rows_of_zeros(source, model)}
    return record | {name: value for name, value in more.items() if value}


def count_step(source: Path) -> dict[str, Any]:
    """What `measure_step` can say of the model file `source` without data."""
    model = load_model(source)
    rows = _rows_of_zeros(source, model)
    record = {"parameters": count_parameters(model), **_UNMEASURED}
    return record | ({"zeros_kept": rows} if rows else {})


def _zeros_in(source: Path, model: Any) -> dict[str, np.ndarray]:
    """`zeros_to_keep` of the `model` in the file `source`, which may be one of a step."""
    masks = source.parent / MASKS
    ours = source.name == MODEL and is_finished(source.parent) and masks.is_file()
    return zeros_to_keep(model, load_masks(masks) if ours else None)


def _rows_of_zeros(source: Path, model: Any) -> list[dict[str, Any]]:
    return zeros_kept(model, _zeros_in(source, model))


def prune_without_data(here: Path, source: Path, spec: PruningSpec) -> dict[str, Any]:
    """Prune the model file `source` at once, by a criterion that looks at no examples."""
    model = load_model(source)
    pruning = Pruner(model, spec, masks=_zeros_in(source, model)).prune()
    remove_masks(model)
    save_masks(here / MASKS, pruning.masks)
    save_model(model, here / MODEL)
    return {"sparsity": spec.highest_sparsity, **pruning.describe(), **_UNMEASURED}


def prune_in_folders(
    do: Callable[[str, PruningStep, Work], dict[str, Any]],
    folder: Path,
    source: Callable[[], Path],
    data: TrainingData,
    spec: PruningSpec,
    options: TrainingOptions,
    *,
    seed: int,
    asked: Mapping[str, Asked] | None = None,
    retrain: bool = True,
    progress: Progress | None = None,
) -> Records:
    """Prune the model file `source` and retrain it, each step in its own folder below `folder`.

    `do` is given the folder's name, the step and the work; it returns the step's record. For a
    finished step it returns the earlier record, and nothing is loaded.
    """
    records: Records = {}

    def step_in_folder(step: PruningStep) -> dict[str, Any]:
        part = "" if step.number == step.rounds else f"round-{step.number}/"
        name = f"{part}step_2_{1 if step.options is None else 2}"
        before = folder / list(records)[-1] if records else None
        records[name] = do(
            name, step, lambda here: do_in_folder(here, before, source, data, step, asked or {})
        )
        return records[name]

    def seed_of(number: int) -> int:
        part = "" if number == spec.passes else f" round {number}"
        return derive_seed(seed, f"step_2_2 {sparsity_name(spec.highest_sparsity)}{part}")

    prune_and_retrain(
        step_in_folder,
        data,
        spec,
        options,
        seed=seed_of,
        teacher=lambda: load_model(source()),
        retrain=retrain,
        progress=progress,
    )
    return records


def do_in_folder(
    here: Path,
    before: Path | None,
    source: Callable[[], Path],
    data: TrainingData,
    step: PruningStep,
    asked: Mapping[str, Asked],
) -> dict[str, Any]:
    """Do `step` in `here` on the files in `before`, the first step on `source`."""
    file = before / MODEL if before else source()
    model = load_model(file)
    masks = load_masks(before / MASKS) if before else _zeros_in(file, model)
    objective = objective_for(model, data.data, **asked)
    found = step.work(model, masks, objective)
    if found.masks:
        save_masks(here / MASKS, found.masks)
    noted = asked_for(model, objective, asked)
    save_model(trained_on(found.model, data.data.digest, noted), here / MODEL)
    pruned = found.pruning.describe() if found.pruning else {}
    reached = judged(found.model, data, objective)
    if found.options is None:
        return {"sparsity": step.sparsity, **pruned} | reached.values | reached.classes
    record = dense_record(here / MODEL, found.model, data, reached.values) | reached.classes
    record |= {
        "training": found.options.describe(),
        "objective": objective.describe(),
        "nonzeros": sum(row["nonzeros"] for row in record["layers"]),
    }
    return record | ({"sparsity": step.sparsity, "pruning": pruned} if pruned else {})


def describe_layers(model: Any) -> list[dict[str, Any]]:
    """A row for each prunable kernel."""
    return [
        {
            "layer": name,
            "paper_name": paper_name(name),
            "shape": list(kernel.shape),
            "parameters": math.prod(kernel.shape),
            "nonzeros": kernel.nonzeros,
        }
        for name, kernel in all_kernels(model).items()
    ]


def check_pruning(
    source: Path,
    data: TrainingData,
    spec: PruningSpec,
    options: TrainingOptions,
    asked: Mapping[str, Asked],
) -> None:
    """Raise the errors of pruning the model file `source` so, without doing it."""
    model = load_model(source)
    objective = objective_for(model, data.data, **asked)
    if options.class_weight is not None:
        stored = objective.stored_targets(take(data.data.y_train, data.train))
        example_weights(objective, stored, options.class_weight, None)
    make_pruner(model, data, spec, objective)
    if spec.schedule == "gradual":
        update_steps(options.steps, spec.ramp)


def check_pruning_without_data(source: Path, spec: PruningSpec) -> None:
    """Raise the errors of `prune_without_data` for what cannot be pruned so, without doing it."""
    Pruner(load_model(source), spec)


def dense_record(
    path: Path, model: Any, data: TrainingData, reached: Mapping[str, Any]
) -> dict[str, Any]:
    """What is said of a dense model in the file `path`, which `reached` these metrics."""
    parameters = count_parameters(model)
    return {
        "parameters": parameters,
        "checkpoint_bytes": path.stat().st_size,
        "optimizer_values": optimizer_variables(path),
        "weights_bytes": FLOAT32_BYTES * parameters,
        "layers": describe_layers(model),
        "inputs": preprocessing_of(model, data.data.x_train).describe(),
        **reached,
    }
