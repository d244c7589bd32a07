"""Random inputs for a model, and the largest difference of two models on a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from compressor.errors import DataError, ModelError
from compressor.foundation import quiet_tensorflow
from compressor.models.files import reason_of
from compressor.models.input_uses import embeddings_in
from compressor.models.open_sizes import Sizes
from compressor.models.preprocessing import input_names
from compressor.models.tracing import graph_of, trace

SAMPLES = 64
_BATCH = 256
_UNKNOWN_SIZE = 8


def random_inputs(
    model: Any,
    samples: int = SAMPLES,
    seed: int = 0,
    *,
    sizes: Sizes | None = None,
    between: tuple[float, float] = (0.0, 1.0),
) -> Any:
    """Random inputs in the structure that `model(...)` takes, each (samples, ...).

    `real_inputs` are uniform `between` two bounds, in their own dtype, the others integers that
    every Embedding accepts. Open sizes are those of `sizes`, whole shapes by the names of the
    inputs, else 8.
    """
    _, keras = quiet_tensorflow.load()
    embeddings = (embeddings_in(call.layer) for call in trace(model).calls)
    tables = [layer.input_dim for found in embeddings for layer in found]
    real = real_inputs(model)
    low, width = np.float32(between[0]), np.float32(between[1] - between[0])
    generator = np.random.default_rng(seed)

    def draw(tensor: Any, name: str) -> np.ndarray:
        batch, *own = tensor.shape
        given = (sizes or {}).get(name, own)
        shape = (batch or samples, *(size or _UNKNOWN_SIZE for size in given))
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if dtype == "string":
            hint = "turn the text into numbers before the model"
            raise ModelError("an input of the model is text", value=tensor.name, hint=hint)
        if name not in real:
            return generator.integers(0, min(tables, default=2), shape).astype(dtype)
        return (low + width * generator.random(shape, np.float32)).astype(dtype)

    graph = graph_of(model)
    drawn = [draw(*each) for each in zip(graph.inputs, input_names(model), strict=True)]
    return keras.tree.pack_sequence_as(graph.input, drawn)


def real_inputs(model: Any) -> tuple[str, ...]:
    """The names of the inputs that take real numbers: of a float's dtype, and no Embedding's."""
    _, keras = quiet_tensorflow.load()
    traced = trace(model)
    whole = {number for call in traced.calls if embeddings_in(call.layer) for number in call.inputs}
    each = zip(graph_of(model).inputs, traced.inputs, input_names(model), strict=True)
    return tuple(
        name
        for tensor, number, name in each
        if number not in whole
        and keras.backend.standardize_dtype(tensor.dtype).startswith(("float", "bfloat"))
    )


def largest_difference(model: Any, other: Any, inputs: Any) -> float:
    """max |difference| of the outputs on a batch, relative to max |output| of `model`.

    The worst of several outputs; NaN where either gives NaN. `inputs` is an array, or a list or
    dict of arrays. Raises DataError when they do not fit the model.
    """
    _, keras = quiet_tensorflow.load()
    arrays = keras.tree.map_structure(np.asarray, inputs)
    sizes = {array.shape[:1] for array in keras.tree.flatten(arrays)}
    if len(sizes) != 1 or sizes & {(), (0,)}:
        raise DataError(
            "all inputs must have the same number of samples, at least one",
            value=", ".join(str(array.shape) for array in keras.tree.flatten(arrays)),
        )
    ((samples,),) = sizes
    tops: list[np.ndarray] = []
    for start in range(0, samples, _BATCH):
        part = keras.tree.map_structure(lambda array: array[start : start + _BATCH], arrays)  # noqa: B023
        expected = _outputs(model, part)
        try:
            found = _outputs(other, part)
        except DataError as error:
            raise ModelError(
                "the smaller model does not run",
                value=str(error.value),
                hint="this is a bug; report it with the model",
            ) from error
        pairs = zip(expected, found, strict=True)
        tops.append(np.array([[np.abs(a - b).max(), np.abs(a).max()] for a, b in pairs]))
    difference, scale = np.max(tops, axis=0).T
    return float(np.max(np.where(difference == 0, 0.0, difference / np.where(scale, scale, 1.0))))


def _outputs(model: Any, inputs: Any) -> list[np.ndarray]:
    _, keras = quiet_tensorflow.load()
    try:
        outputs = model(inputs, training=False)
    except Exception as error:  # TensorFlow raises many kinds for shapes that do not fit
        shapes = [array.shape for array in keras.tree.flatten(inputs)]
        raise DataError(
            "the inputs do not fit the model",
            value=f"{shapes} ({reason_of(error)})",
            hint="give what the model takes, already preprocessed",
        ) from error
    arrays = [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(outputs)]
    return [np.asarray(array, np.float64) for array in arrays]
