"""The paper's steps, each of which works in a folder of its own and says what came out.

    step_1      train the basic model              model.keras (with Adam's moments)
    step_2_1    prune it by threshold              model.keras, masks.npz
    step_2_2    retrain the surviving weights      model.keras (with Adam's moments), masks.npz
    step_3      store the non-zero connections     sparse.npz

A step reads the files of the step before it and nothing else, and takes its random numbers
from the seed and its own name, so that it gives the same numbers whenever it is done.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor import _tensorflow, training
from compressor.data import Dataset
from compressor.encodings import model_bytes
from compressor.errors import CheckFailedError, UsageError
from compressor.exporters.paper import is_weight, write_sparse_checkpoint
from compressor.models import load_model, optimizer_variables, paper_cnn, save_model
from compressor.predictors import Predictor, dense_predictor, load_predictor
from compressor.pruning.layers import all_layers, paper_name, prunable_layers, resolve_layers
from compressor.pruning.magnitude import magnitude_prune
from compressor.pruning.masks import apply_masks, load_masks, save_masks
from compressor.training import Progress, TrainingOptions

MODEL = "model.keras"
MASKS = "masks.npz"
SPARSE = "sparse.npz"
VALIDATION_IMAGES = 5000
FLOAT32_BYTES = 4
_PARITY_INPUTS = 64
_PARITY_TOLERANCE = 1e-4
CHECKPOINT_BYTES = 12
"""Bytes a parameter of a checkpoint: the float32 weight and Adam's two moments."""


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """A data set, with part of its training images set aside for every choice."""

    data: Dataset
    train: np.ndarray
    """int64 indices into the training images"""
    validation: np.ndarray
    """int64 indices into the training images, none of which is in `train`"""

    @classmethod
    def of(cls, data: Dataset, validation: int | None = None) -> TrainingData:
        """Set `validation` images aside: 5,000, or a twelfth of a smaller training set.

        Which ones depends on their number alone, so that all seeds of an experiment choose on
        the same images.
        """
        if validation is None:
            validation = min(VALIDATION_IMAGES, len(data.x_train) // 12)
        if validation < 1:
            raise UsageError(
                "at least one image must be set aside for validation", value=validation
            )
        train, aside = data.split(validation, seed=0)
        return cls(data, train, aside)

    def steps(self, epochs: float, batch_size: int) -> int:
        """How many batches `epochs` passes over the training images are, at least 1."""
        return max(round(epochs * len(self.train) / batch_size), 1)


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
    _fit(model, data, options, training.derive_seed(seed, "step_1"), progress)
    save_model(model, directory / MODEL)
    return _dense_record(directory / MODEL, model, data)


def prune_step(
    directory: Path, source: Path, data: TrainingData, *, layers: Sequence[str], sparsity: float
) -> dict[str, Any]:
    """step_2_1: prune `layers` of the model file `source` by magnitude, each on its own."""
    model = load_model(source)
    training.check_fit(model, data.data)
    masks, rows = {}, []
    for name, layer in resolve_layers(model, layers).items():
        kernel = layer.kernel.numpy()
        threshold, mask = magnitude_prune(kernel, sparsity)
        masks[name] = mask
        rows.append(
            {
                "layer": name,
                "paper_name": paper_name(name),
                "shape": list(kernel.shape),
                "parameters": kernel.size,
                "threshold": threshold,
                "kept": int(np.count_nonzero(mask)),
            }
        )
    apply_masks(model, masks)
    save_masks(directory / MASKS, masks)
    save_model(model, directory / MODEL)
    return {"sparsity": sparsity, "layers": rows, **_accuracies(model, data)}


def retrain_step(
    directory: Path,
    pruned: Path,
    data: TrainingData,
    options: TrainingOptions,
    *,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """step_2_2: retrain what survived in the folder `pruned`; masked weights stay zero."""
    model, masks = load_model(pruned / MODEL), load_masks(pruned / MASKS)
    apply_masks(model, masks)
    _fit(model, data, options, seed, progress)
    save_masks(directory / MASKS, masks)
    save_model(model, directory / MODEL)
    record = _dense_record(directory / MODEL, model, data)
    return record | {
        "training": options.describe(),
        "nonzeros": sum(row["nonzeros"] for row in record["layers"]),
    }


def sparsify_step(
    directory: Path, source: Path, data: TrainingData | None, *, layers: Sequence[str]
) -> dict[str, Any]:
    """step_3: store `layers` of the model file `source` sparse, and predict with that."""
    model = load_model(source)
    if data is not None:
        training.check_fit(model, data.data)
    size = write_sparse_checkpoint(model, layers, directory / SPARSE)
    kernels = {name: layer.kernel.numpy() for name, layer in resolve_layers(model, layers).items()}
    stay_dense = count_parameters(model) - sum(kernel.size for kernel in kernels.values())
    record: dict[str, Any] = {"bytes": size, "encodings": model_bytes(kernels, stay_dense)}
    predictor = load_predictor(directory / SPARSE)
    check_parity(dense_predictor(model, source), predictor, data)
    if data is not None:
        record["accuracy"] = training.accuracy(
            predictor.predict, data.data.x_test, data.data.y_test, predictor.input_shape
        )
    return record


def check_parity(dense: Predictor, sparse: Predictor, data: TrainingData | None) -> None:
    """Raise CheckFailedError unless both give the same scores, to 1e-4 of their scale.

    On up to 64 validation images of `data`, or on as many inputs drawn from 0 to 1.
    """
    if data is None:
        shape = (_PARITY_INPUTS, *dense.input_shape)
        inputs = np.random.default_rng(0).random(shape, np.float32)
    else:
        images = data.data.x_train[data.validation[:_PARITY_INPUTS]]
        inputs = training.prepare_images(images).reshape(-1, *dense.input_shape)
    expected, scores = dense.predict(inputs), sparse.predict(inputs)
    difference = float(np.max(np.abs(scores - expected)))
    if not difference <= _PARITY_TOLERANCE * max(float(np.max(np.abs(expected))), 1e-6):
        raise CheckFailedError(
            "the sparse network does not predict what the dense one does",
            value=f"largest difference {difference:.3g}",
            hint="this is a bug; report it with the model",
        )


def with_scaled_dropout(base: TrainingOptions, rows: Sequence[dict[str, Any]]) -> TrainingOptions:
    """`base` with dropout scaled by the density that `rows` (of prune_step) leave."""
    kept = sum(row["kept"] for row in rows)
    weights = sum(row["parameters"] for row in rows)
    return dataclasses.replace(base, dropout_scale=training.dropout_scale(kept, weights))


def image_shape(data: Dataset) -> tuple[int, int, int]:
    """Height, width and channels of the images of `data`; raises UsageError if it has none."""
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
    """A row for each layer whose kernel can be pruned: name, shape, parameters, non-zeros."""
    rows = []
    for name, layer in prunable_layers(model).items():
        kernel = layer.kernel.numpy()
        rows.append(
            {
                "layer": name,
                "paper_name": paper_name(name),
                "shape": list(kernel.shape),
                "parameters": kernel.size,
                "nonzeros": int(np.count_nonzero(kernel)),
            }
        )
    return rows


def _fit(
    model: Any,
    data: TrainingData,
    options: TrainingOptions,
    seed: int,
    progress: Progress | None,
) -> None:
    images, labels = data.data.x_train[data.train], data.data.y_train[data.train]
    training.fit(model, images, labels, options, seed=seed, progress=progress)


def _accuracies(model: Any, data: TrainingData) -> dict[str, float]:
    source = data.data
    images, labels = source.x_train[data.validation], source.y_train[data.validation]
    return {
        "validation_accuracy": training.evaluate(model, images, labels),
        "accuracy": training.evaluate(model, source.x_test, source.y_test),
    }


def _dense_record(path: Path, model: Any, data: TrainingData) -> dict[str, Any]:
    parameters = count_parameters(model)
    return {
        "parameters": parameters,
        "checkpoint_bytes": path.stat().st_size,
        "optimizer_values": optimizer_variables(path),
        "weights_bytes": FLOAT32_BYTES * parameters,
        "layers": describe_layers(model),
        **_accuracies(model, data),
    }
