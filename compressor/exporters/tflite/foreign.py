"""TFLite graphs of any converter, made to look as those of our own conversion."""

from __future__ import annotations

import collections
import importlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from compressor.errors import ModelError
from compressor.exporters.isolation import quantize_apart
from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.convert import ONE_SCALE
from compressor.exporters.tflite.hostile import damaged_tflite
from compressor.exporters.tflite.reading import read_tflite
from compressor.foundation import quiet_tensorflow


def standard_form(content: bytes) -> Any:
    """The ModelT of a file that nobody vouches for.

    Ensures: float16 constants that are made float32 before they are used are float32 ones. Raises
    CheckpointError for a damaged file, and ModelError for one whose weights lie behind the graph.
    """
    read_tflite(content)
    try:
        graph = graphs.read_graph(content)
    except (struct.error, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise damaged_tflite(f"{type(error).__name__} where it was read as a whole") from error
    if any(buffer.offset > 1 for buffer in graph.buffers):
        what = "a file whose weights lie behind the flatbuffer is not changed"
        raise ModelError(what, value="buffers with offsets")
    for view in graphs.views(graph):
        _fold_float16(view)
    return graph


def quantize_int8(
    plain: Any, inputs: Sequence[str], calibration: Sequence[np.ndarray], runtime: str
) -> Any:
    """A ModelT in standard form, computing in int8, with float32 inputs and outputs.

    `calibration` has one array (examples, *shape) for each of the `inputs`. The file is run in a
    process of its own. Raises as `calibrated` does.
    """
    content, main = graphs.write_graph(plain), graphs.main(plain)
    names = [graphs.text(main.tensors[index].name) for index in graphs.indices(main.inputs)]
    arrays = [calibration[list(inputs).index(name)] for name in names]
    one_scale = runtime in ONE_SCALE
    return graphs.read_graph(quantize_apart("tflite", content, arrays, one_scale=one_scale))


def calibrated(content: bytes, calibration: Sequence[np.ndarray], one_scale: bool) -> bytes:
    """The int8 file of one in standard form, which is run for that.

    By the calibrator and the quantiser of TensorFlow's own converter; weights of products get one
    scale, or one an output. Raises ModelError where they refuse the graph.
    """
    quiet_tensorflow.load()
    calibrator = importlib.import_module("tensorflow.lite.python.optimize.calibrator")
    convert = importlib.import_module("tensorflow.lite.python.convert")

    def examples() -> Iterator[list[np.ndarray]]:
        for row in range(len(calibration[0])):
            yield [array[row : row + 1] for array in calibration]

    try:
        measured = calibrator.Calibrator(content).calibrate(examples)
        quantized = convert.mlir_quantize(measured, disable_per_channel_for_dense_layers=one_scale)
    except Exception as error:  # they raise whatever an operator makes them raise
        reason = next((line for line in str(error).splitlines() if line.strip()), "")[:200]
        raise ModelError(
            "the file cannot be quantised to int8",
            value=reason or type(error).__name__,
            hint="choose --quantize dynamic",
        ) from error
    return bytes(quantized)


def weight_names(graph: Any) -> list[dict[int, str]]:
    """For each subgraph: constant of numbers -> the first of the names that its own is made of."""
    given: set[str] = set()
    alike = collections.Counter[str]()
    found = []
    for view in graphs.views(graph):
        names: dict[int, str] = {}
        for index, tensor in enumerate(graphs.main(view).tensors):
            values = graphs.constant(view, index)
            name = graphs.text(tensor.name).split(";")[0]
            if values is None or not values.ndim or not name:
                continue
            if values.dtype.kind == "f" or (values.dtype == np.int8 and values.ndim > 1):
                own = name
                while own in given:
                    alike[name] += 1
                    own = f"{name}_{alike[name]}"
                given.add(own)
                names[index] = own
        found.append(names)
    return found


def _fold_float16(graph: Any) -> None:
    main = graphs.main(graph)
    kept = []
    for operator in main.operators or []:
        source = graphs.indices(operator.inputs)[:1]
        values = graphs.constant(graph, source[0]) if source else None
        folded = graphs.operator_name(graph, operator) == "DEQUANTIZE" and values is not None
        if not folded or values is None or values.dtype != np.float16:
            kept.append(operator)
            continue
        target = graphs.indices(operator.outputs)[0]
        name = main.tensors[source[0]].name
        graphs.set_constant(graph, target, values.astype(np.float32))
        main.tensors[target].name = name
    main.operators = kept
