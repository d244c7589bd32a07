"""The paper's steps, each of which works in a folder of its own and says what came out.

    dense       measure a model to be pruned       (nothing but the record)
    step_1      train the basic model              model.keras (with Adam's moments)
    step_2_1    prune it by threshold              model.keras, masks.npz
    step_2_2    retrain the surviving weights      model.keras (with Adam's moments), masks.npz
    step_3      store the non-zero connections     sparse.npz

A step reads the files of the step before it and nothing else, and takes its random numbers
from the seed and its own name, so that it gives the same numbers whenever it is done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor import _tensorflow, preprocessing, retraining, training
from compressor.data import Dataset
from compressor.encodings import model_bytes
from compressor.errors import CheckFailedError, UsageError
from compressor.exporters.paper import is_weight, write_sparse_checkpoint
from compressor.models import all_layers, load_model, optimizer_variables, paper_cnn, save_model
from compressor.objective import Objective, objective_of
from compressor.predictors import Predictor, dense_predictor, load_predictor, predictor_accuracy
from compressor.pruning.kernels import all_kernels
from compressor.pruning.layers import paper_name, resolve_layers
from compressor.pruning.masks import load_masks, save_masks
from compressor.pruning.schedules import update_steps
from compressor.pruning.selection import Level
from compressor.pruning.spec import PruningSpec
from compressor.shrinking.batches import random_inputs
from compressor.training import Progress, TrainingOptions
from compressor.training_data import TrainingData

MODEL = "model.keras"
MASKS = "masks.npz"
SPARSE = "sparse.npz"
FLOAT32_BYTES = 4
_PARITY_INPUTS = 64
_PARITY_TOLERANCE = 1e-4
CHECKPOINT_BYTES = 12
"""Bytes a parameter of a checkpoint: the float32 weight and Adam's two moments."""


def train_step(
    directory: Path,
    data: TrainingData,
    options: TrainingOptions,
    *,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """step_1: train the paper's CNN from scratch."""
    _tensorflow.make_deterministic(training.derive_seed(seed, "weights"))
    model = paper_cnn(image_shape(data.data), max(data.data.classes, 2))
    objective = objective_of(model)
    x, labels = data.training_part()
    training.fit(
        model,
        x,
        labels,
        options,
        seed=training.derive_seed(seed, "step_1"),
        objective=objective,
        progress=progress,
    )
    save_model(model, directory / MODEL)
    return _dense_record(directory / MODEL, model, data, objective)


def measure_step(source: Path, data: TrainingData) -> dict[str, Any]:
    """The model file `source` as it is: what it reaches, and how it is fed and trained."""
    model = load_model(source)
    objective = check_fit(model, data)
    return {
        "parameters": count_parameters(model),
        "objective": objective.describe(),
        "inputs": preprocessing.preprocessing(model, data.data.x_train).describe(),
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
    objective = check_fit(model, data)
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
    objective = check_fit(model, data)
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


def sparsify_step(
    directory: Path, source: Path, data: TrainingData | None, *, layers: Sequence[str]
) -> dict[str, Any]:
    """step_3: store `layers` of the model file `source` sparse, and predict with that."""
    model = load_model(source)
    if data is not None:
        check_fit(model, data)
    size = write_sparse_checkpoint(model, layers, directory / SPARSE)
    kernels = {name: layer.kernel.numpy() for name, layer in resolve_layers(model, layers).items()}
    stay_dense = count_parameters(model) - sum(kernel.size for kernel in kernels.values())
    record: dict[str, Any] = {"bytes": size, "encodings": model_bytes(kernels, stay_dense)}
    predictor = load_predictor(directory / SPARSE)
    check_parity(dense_predictor(model, source), predictor, data)
    if data is not None:
        record["accuracy"] = predictor_accuracy(predictor, data.data)
    return record


def check_parity(dense: Predictor, sparse: Predictor, data: TrainingData | None) -> None:
    """Raise CheckFailedError unless both give the same scores, to 1e-4 of their scale.

    On up to 64 validation images of `data`, or on as many inputs drawn from 0 to 1.
    """
    if data is None:
        inputs = random_inputs(dense.model, _PARITY_INPUTS)
    else:
        x, _ = data.validation_part(_PARITY_INPUTS)
        inputs = preprocessing.preprocessing(dense.model, x)(x)
    expected, scores = dense.predict(inputs), sparse.predict(inputs)
    difference = float(np.max(np.abs(scores - expected)))
    if not difference <= _PARITY_TOLERANCE * max(float(np.max(np.abs(expected))), 1e-6):
        raise CheckFailedError(
            "the sparse network does not predict what the dense one does",
            value=f"largest difference {difference:.3g}",
            hint="this is a bug; report it with the model",
        )


def image_shape(data: Dataset) -> tuple[int, int, int]:
    """Height, width and channels of the images of `data`; raises UsageError if it has none."""
    if isinstance(data.x_train, Mapping):
        raise UsageError("the paper's CNN takes images", value=f"inputs {', '.join(data.x_train)}")
    shape = data.x_train.shape[1:]
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3:
        raise UsageError("the paper's CNN takes images", value=f"inputs of shape {shape}")
    return shape


def count_parameters(model: Any) -> int:
    """How many numbers make up the function of `model`: weights and biases, trained or not."""
    return sum(
        math.prod(variable.shape)
        for layer in all_layers(model).values()
        for variable in layer.weights
        if is_weight(variable)
    )


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
    retraining.make_pruner(model, data, spec, check_fit(model, data))
    if spec.schedule == "gradual":
        update_steps(options.steps, spec.ramp)


def check_fit(model: Any, data: TrainingData) -> Objective:
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
    record = _dense_record(directory / MODEL, model, data, objective)
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


def _dense_record(
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
