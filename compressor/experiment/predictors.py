"""The paper's two predictors: dense networks, and sparse ones computed in their sparse form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from compressor import training
from compressor.data import Dataset, Inputs, rows, take
from compressor.errors import CheckpointError, ModelError, UsageError
from compressor.experiment.paper_checkpoint import (
    SparseCheckpoint,
    is_sparse_checkpoint,
    read_sparse_checkpoint,
)
from compressor.foundation import quiet_tensorflow
from compressor.models import (
    all_layers,
    dense_variables,
    load_model,
    preprocessing,
    reason_of,
    sparse_layer_classes,
)
from compressor.runs import find_checkpoint
from deploy import LatencyStatistics, describe_machine, measure_latency


@dataclasses.dataclass(frozen=True)
class Predictor:
    """Something that predicts: `predict` takes what `model` takes, and gives float32 (n, classes).

    For a model of one input that is float32 (n, *input_shape).
    """

    kind: Literal["dense", "sparse"]
    model: Any
    """the Keras model that computes"""
    predict: Callable[[Any], np.ndarray]
    path: Path
    """the file that was loaded"""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one (the first) input."""
        return tuple(self.model.inputs[0].shape[1:])


def load_predictor(checkpoint: Path | str) -> Predictor:
    """Load the predictor that fits what `checkpoint` holds.

    `checkpoint` is a .keras file or a sparse checkpoint (.npz), or a folder with one of them
    (step_1, step_2_1, step_2_2: dense; step_3: sparse). Raises CheckpointError or ModelError.
    """
    path = find_checkpoint(Path(checkpoint))
    if is_sparse_checkpoint(path):
        return sparse_predictor(read_sparse_checkpoint(path), path)
    return dense_predictor(load_model(path), path)


def dense_predictor(model: Any, path: Path) -> Predictor:
    """A predictor that runs `model` as TensorFlow runs it."""
    tensorflow, _ = quiet_tensorflow.load()
    return Predictor("dense", model, _compiled(tensorflow, model), path)


def sparse_predictor(checkpoint: SparseCheckpoint, path: Path) -> Predictor:
    """A predictor that computes with the sparse form: no sparse kernel is ever made dense.

    Raises CheckpointError when the arrays do not fit the configuration.
    """
    tensorflow, _ = quiet_tensorflow.load()
    model = _sparse_model(checkpoint, path)
    return Predictor("sparse", model, _compiled(tensorflow, model), path)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Accuracy and prediction time of a predictor on a test set."""

    kind: Literal["dense", "sparse"]
    accuracy: float
    """fraction of the test images, 0 to 1"""
    images: int
    prediction_time: LatencyStatistics
    path: Path

    def describe(self) -> dict[str, Any]:
        """The evaluation as a JSON object."""
        return dataclasses.asdict(self) | {"path": str(self.path)}


def evaluate_predictor(
    predictor: Predictor,
    data: Dataset,
    *,
    batch_size: int = 32,
    max_steps: int = 10,
) -> Evaluation:
    """Accuracy on the whole test set, and the paper's prediction time.

    The prediction time is that of `max_steps` batches of `batch_size` test images, after a
    warm-up, over several rounds. Raises DataError when the images do not fit the model.
    """
    times = prediction_times(
        {"checkpoint": predictor}, data.x_test, batch_size=batch_size, batches=max_steps
    )
    return Evaluation(
        predictor.kind,
        predictor_accuracy(predictor, data),
        len(data.y_test),
        times["checkpoint"],
        predictor.path,
    )


def predictor_accuracy(predictor: Predictor, data: Dataset) -> float:
    """The fraction of the test examples whose class is found, 0 to 1.

    Raises DataError when the data do not fit the model.
    """
    return training.accuracy_of(
        predictor.model, data.x_test, data.y_test, predict=predictor.predict
    )


def prediction_times(
    predictors: Mapping[str, Predictor],
    x: Inputs,
    *,
    batch_size: int = 32,
    batches: int = 10,
) -> dict[str, LatencyStatistics]:
    """Time predictors of one kind of input on `batches` batches of `batch_size` of the inputs `x`.

    The predictors take turns, so that the times can be compared. TensorFlow uses the threads
    that it was given; the product with a sparse kernel uses one.
    """
    if batch_size < 1 or batches < 1:
        raise UsageError(
            "batch size and steps must be at least 1", value=f"{batch_size}, {batches}"
        )
    tensorflow, _ = quiet_tensorflow.load()
    feed = preprocessing.preprocessing_of(next(iter(predictors.values())).model, x)
    wanted = np.resize(np.arange(rows(x)), (batches, batch_size))
    threads = tensorflow.config.threading.get_intra_op_parallelism_threads()
    return measure_latency(
        {name: predictor.predict for name, predictor in predictors.items()},
        [feed(take(x, indices)) for indices in wanted],
        threads=threads or describe_machine()["cores"],
    )


def _compiled(tensorflow: Any, model: Any) -> Callable[[Any], np.ndarray]:
    if len(model.outputs) != 1:
        raise ModelError("only models with one output are supported", value=len(model.outputs))
    # The structure that the model was built with: a tensor, a list, or a dict.
    specs = tensorflow.nest.map_structure(
        lambda part: tensorflow.TensorSpec(part.shape, part.dtype), preprocessing.structure(model)
    )
    function = tensorflow.function(
        lambda inputs: model(inputs, training=False), input_signature=[specs]
    )

    def predict(batch: Any) -> np.ndarray:
        return np.asarray(function(tensorflow.nest.map_structure(tensorflow.constant, batch)))

    return predict


def _sparse_model(checkpoint: SparseCheckpoint, path: Path) -> Any:
    _, keras = quiet_tensorflow.load()
    shapes = {name: encoded.shape for name, encoded in checkpoint.sparse.items()}
    try:
        config = _replace_layers(checkpoint.config, shapes)
        model = keras.saving.deserialize_keras_object(
            config, custom_objects=sparse_layer_classes(), safe_mode=True
        )
        _fill(model, checkpoint)
    except CheckpointError:
        raise
    except Exception as error:  # Keras raises whatever a damaged configuration makes it raise
        raise CheckpointError(
            "the sparse checkpoint does not hold a model that can be built",
            value=f"{path} ({reason_of(error)})",
        ) from error
    return model


def _replace_layers(config: Any, shapes: dict[str, Any], prefix: str = "") -> Any:
    """A copy of a model's configuration with the sparse kinds of the layers in `shapes`."""
    layers = []
    for layer in config["config"]["layers"]:
        name = prefix + layer["config"]["name"]
        if "layers" in layer["config"]:
            layer = _replace_layers(layer, shapes, f"{name}/")
        elif name in shapes:
            if layer["class_name"] not in ("Dense", "Conv1D", "Conv2D"):
                raise CheckpointError(
                    "this kind of layer has no sparse form",
                    value=f"{name} ({layer['class_name']})",
                )
            _check_kernel(name, shapes[name], layer["config"])
            layer = layer | {
                "module": None,
                "class_name": f"Sparse{layer['class_name']}",
                "registered_name": f"Sparse{layer['class_name']}",
                "config": {
                    "name": layer["config"]["name"],
                    "layer": layer["config"],
                    "kernel_shape": list(shapes[name]),
                },
            }
            layer.pop("build_config", None)
        layers.append(layer)
    return config | {"config": config["config"] | {"layers": layers}}


def _check_kernel(name: str, shape: tuple[int, ...], layer: dict[str, Any]) -> None:
    # A kernel is (*kernel_size, inputs, outputs); the inputs are checked when it is called.
    size, outputs = layer.get("kernel_size", []), layer.get("units", layer.get("filters"))
    if [*shape[:-2], shape[-1]] != [*size, outputs] or len(shape) != len(size) + 2:
        raise CheckpointError(
            "a sparse kernel does not fit its layer",
            value=f"{name} {shape}, layer of {outputs} outputs, window {tuple(size)}",
        )


def _fill(model: Any, checkpoint: SparseCheckpoint) -> None:
    layers = all_layers(model)
    for name, encoded in checkpoint.sparse.items():
        if name not in layers:
            raise CheckpointError("a sparse kernel belongs to no layer", value=name)
        layers[name].set_kernel(encoded)
    expected = dense_variables(model, checkpoint.sparse)
    if expected.keys() != checkpoint.dense.keys():
        odd = sorted(expected.keys() ^ checkpoint.dense.keys())
        raise CheckpointError("the checkpoint's variables are not the model's", value=odd[0])
    for name, variable in expected.items():
        array = checkpoint.dense[name]
        if tuple(variable.shape) != array.shape:
            raise CheckpointError(
                "a variable does not have the shape that the model gives it",
                value=f"{name} {array.shape}, model {tuple(variable.shape)}",
            )
        variable.assign(array)
    for layer in layers.values():
        # Normalization works with constants that it takes from its variables.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
