"""The paper's steps; each works in its own folder and returns its record.

    dense       measure a model to be pruned       (nothing but the record)
    step_1      train the basic model              model.keras (with Adam's moments)
    step_2_1    prune it by threshold              model.keras, masks.npz
    step_2_2    retrain the surviving weights      model.keras (with Adam's moments), masks.npz
    step_3      store the non-zero connections     sparse.npz

A step reads only the files of the step before, and derives its random numbers from the seed and
its own name, so that it gives the same numbers whenever it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor import training
from compressor.data import Dataset, TrainingData
from compressor.encodings import model_bytes
from compressor.errors import CheckFailedError, UsageError
from compressor.experiment.paper_checkpoint import write_sparse_checkpoint
from compressor.experiment.predictors import (
    Predictor,
    dense_predictor,
    load_predictor,
    predictor_accuracy,
)
from compressor.foundation import quiet_tensorflow
from compressor.importing import load_model
from compressor.models import (
    ALL,
    PAPER_NAMES,
    InputSize,
    accuracies,
    check_image_shape,
    count_parameters,
    objective_for,
    objective_of,
    paper_cnn,
    preprocessing,
    random_inputs,
    resolve_layers,
    save_model,
    sizes_given,
    trained_on,
)
from compressor.pruning import Plan, dense_record
from compressor.runs import MODEL, SPARSE
from compressor.training import Progress, TrainingOptions

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
    quiet_tensorflow.make_deterministic(training.derive_seed(seed, "weights"))
    model = paper_cnn(image_shape(data.data), max(data.data.classes, 2))
    objective = objective_of(model)
    x, labels = data.training_part()
    own_seed = training.derive_seed(seed, "step_1")
    training.fit(model, x, labels, options, seed=own_seed, objective=objective, progress=progress)
    save_model(trained_on(model, data.data.digest), directory / MODEL)
    return dense_record(directory / MODEL, model, data, accuracies(model, data, objective))


def sparsify_step(
    directory: Path,
    source: Path,
    data: TrainingData | None,
    *,
    layers: Sequence[str],
    input_size: InputSize | None = None,
) -> dict[str, Any]:
    """step_3: write the sparse checkpoint of `layers` of the model file `source`, and check it."""
    model = load_model(source)
    if data is not None:
        objective_for(model, data.data)
    size = write_sparse_checkpoint(model, layers, directory / SPARSE)
    kernels, stay_dense = kernels_and_rest(model, layers)
    record: dict[str, Any] = {"bytes": size, "encodings": model_bytes(kernels, stay_dense)}
    predictor = load_predictor(directory / SPARSE)
    check_parity(dense_predictor(model, source), predictor, data, input_size)
    if data is not None:
        record["accuracy"] = predictor_accuracy(predictor, data.data)
        record["inputs"] = preprocessing.preprocessing_of(model, data.data.x_test).describe()
    return record


def kernels_and_rest(model: Any, layers: Sequence[str]) -> tuple[dict[str, np.ndarray], int]:
    """The kernels of `layers`, by name, and the number of the model's other parameters."""
    kernels = {name: layer.kernel.numpy() for name, layer in resolve_layers(model, layers).items()}
    return kernels, count_parameters(model) - sum(kernel.size for kernel in kernels.values())


def check_parity(
    dense: Predictor,
    sparse: Predictor,
    data: TrainingData | None,
    input_size: InputSize | None = None,
) -> None:
    """Raise CheckFailedError where scores differ by more than 1e-4 of their scale.

    On up to 64 validation images of `data`, or as many random inputs, of this size where it is
    open.
    """
    if data is None:
        sizes = sizes_given(dense.model, input_size)
        inputs = random_inputs(dense.model, _PARITY_INPUTS, sizes=sizes)
    else:
        x, _ = data.validation_part(_PARITY_INPUTS)
        inputs = preprocessing.preprocessing_of(dense.model, x)(x)
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


def check_paper_model(plan: Plan) -> None:
    """Check, before anything is trained, that the paper's CNN can do what is planned.

    Raises UsageError for unknown layers and for inputs that are no images, ModelError for images
    that are too small.
    """
    check_image_shape(image_shape(plan.data.data))
    for name in plan.layers:
        if name not in (ALL, *PAPER_NAMES, *PAPER_NAMES.values()):
            raise UsageError(
                "the paper's CNN has no such layer",
                value=name,
                hint=f"choose from {', '.join(PAPER_NAMES)}, or {ALL}",
            )
