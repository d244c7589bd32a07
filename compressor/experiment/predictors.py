"""The paper's two predictors: dense networks, and sparse ones computed from their encoding."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from compressor.data import Dataset, Inputs, draw_examples, rows, take
from compressor.errors import CheckpointError, ModelError, UsageError
from compressor.experiment.paper_checkpoint import (
    SparseCheckpoint,
    is_sparse_checkpoint,
    read_sparse_checkpoint,
)
from compressor.foundation import quiet_tensorflow
from compressor.importing import load_model
from compressor.models import (
    accuracy_of,
    all_layers,
    check_asked,
    dense_variables,
    missing_class,
    objective_for,
    preprocessing,
    reason_of,
    sizes_fed,
    sparse_layer_classes,
    trained_on,
)
from compressor.runs import find_checkpoint
from deploy import LatencyStatistics, describe_machine, measure_latency


@dataclasses.dataclass(frozen=True)
class Predictor:
    """`predict` takes what `model` takes, and gives float32 (n, classes)."""

    kind: Literal["dense", "sparse"]
    model: Any
    """a Keras model"""
    predict: Callable[[Any], np.ndarray]
    path: Path
    """the file that was loaded"""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one (the first) input."""
        return tuple(self.model.inputs[0].shape[1:])


def load_predictor(checkpoint: Path | str) -> Predictor:
    """Load the predictor of a model file, a sparse checkpoint (.npz), or a step's folder.

    step_1, step_2_1 and step_2_2 are dense, step_3 is sparse. Raises CheckpointError or ModelError.
    """
    path = find_checkpoint(Path(checkpoint))
    if is_sparse_checkpoint(path):
        return sparse_predictor(read_sparse_checkpoint(path), path)
    return dense_predictor(load_model(path), path)


def dense_predictor(model: Any, path: Path) -> Predictor:
    tensorflow, _ = quiet_tensorflow.load()
    return Predictor("dense", model, _compiled(tensorflow, model), path)


def sparse_predictor(checkpoint: SparseCheckpoint, path: Path) -> Predictor:
    """A predictor that computes with the encoded kernels, and never decodes them.

    Raises CheckpointError when the arrays do not fit the configuration.
    """
    tensorflow, _ = quiet_tensorflow.load()
    model = trained_on(_sparse_model(checkpoint, path), checkpoint.data)
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
    inputs: list[dict[str, Any]]
    """how each input was fed, as `Preprocessing.describe` has it"""

    def describe(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"path": str(self.path)}


def evaluate_predictor(
    predictor: Predictor,
    data: Dataset,
    *,
    batch_size: int = 32,
    max_steps: int = 10,
) -> Evaluation:
    """Accuracy on the whole test set, and the time of `max_steps` batches of `batch_size` images.

    The time is taken after a warm-up, over several rounds. Raises DataError when the images do not
    fit the model.
    """
    feed = preprocessing.preprocessing_of(predictor.model, data.x_test)
    sizes_fed(predictor.model, feed)
    accuracy = predictor_accuracy(predictor, data)
    (time,) = prediction_times(
        {"checkpoint": predictor}, data.x_test, batch_size=batch_size, batches=max_steps
    ).values()
    fed = feed.describe()
    return Evaluation(predictor.kind, accuracy, rows(data.x_test), time, predictor.path, fed)


def predictor_accuracy(predictor: Predictor, data: Dataset) -> float:
    """Test accuracy, 0 to 1, of a classifier with one output.

    Raises DataError when the data do not fit the model, or lack targets, UsageError for a model
    that is no such classifier.
    """
    model, predict = predictor.model, predictor.predict
    objective = objective_for(model, data)
    if not objective.is_classifier:
        raise UsageError(
            "this measures the accuracy of a classifier with one output",
            value=", ".join(
                f"{head.name or 'the output'}: {head.task}" for head in objective.heads
            ),
            hint="compressor bench measures any model that was exported",
        )
    return accuracy_of(model, data.x_test, data.y_test, objective, predict)


def prediction_times(
    predictors: Mapping[str, Predictor],
    x: Inputs,
    *,
    batch_size: int = 32,
    batches: int = 10,
) -> dict[str, LatencyStatistics]:
    """Time predictors of one kind of input on `batches` batches of `batch_size` of the inputs `x`.

    They take turns, so that their times can be compared. TensorFlow uses the threads that it was
    given; the product with a sparse kernel uses one.
    """
    if batch_size < 1 or batches < 1:
        value = f"{batch_size}, {batches}"
        raise UsageError("batch size and steps must be at least 1", value=value)
    tensorflow, _ = quiet_tensorflow.load()
    feed = preprocessing.preprocessing_of(next(iter(predictors.values())).model, x)
    drawn = draw_examples(x, None, batches * batch_size)
    wanted = np.resize(drawn, (batches, batch_size))
    threads = tensorflow.config.threading.get_intra_op_parallelism_threads()
    return measure_latency(
        {name: predictor.predict for name, predictor in predictors.items()},
        [feed(take(x, indices)) for indices in wanted],
        threads=threads or describe_machine()["cores"],
    )


def _compiled(tensorflow: Any, model: Any) -> Callable[[Any], np.ndarray]:
    if len(model.outputs) != 1:
        raise ModelError("only models with one output are supported", value=len(model.outputs))
    specs = tensorflow.nest.map_structure(
        # The last batch of the data may be smaller than the size that an Input layer names.
        lambda part: tensorflow.TensorSpec((None, *part.shape[1:]), part.dtype),
        preprocessing.structure(model),
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
        stored = sum(array.size for array in checkpoint.dense.values())
        check_asked(json.dumps(config).encode(), stored, sparse_layer_classes())
        model = keras.saving.deserialize_keras_object(
            config, custom_objects=sparse_layer_classes(), safe_mode=True
        )
        _fill(model, checkpoint)
    except CheckpointError:
        raise
    except Exception as error:  # Keras raises whatever a damaged configuration makes it raise
        what = "the sparse checkpoint does not hold a model that can be built"
        told = missing_class(error, path) or ModelError(what, value=f"{path} ({reason_of(error)})")
        raise CheckpointError(told.what, value=told.value, hint=told.hint) from error
    return model


def _replace_layers(config: Any, shapes: dict[str, Any], prefix: str = "") -> Any:
    """A copy of a model's configuration with sparse classes for the layers in `shapes`."""
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
            kind, own = f"Sparse{layer['class_name']}", layer["config"]
            layer = layer | {
                **{"module": None, "class_name": kind, "registered_name": kind},
                "config": {"name": own["name"], "layer": own, "kernel_shape": list(shapes[name])},
            }
            layer.pop("build_config", None)
        layers.append(layer)
    return config | {"config": config["config"] | {"layers": layers}}


def _check_kernel(name: str, shape: tuple[int, ...], layer: dict[str, Any]) -> None:
    # (*kernel_size, inputs, outputs); the inputs are checked when the layer is built.
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
        # Normalization computes with constants made of its variables.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
