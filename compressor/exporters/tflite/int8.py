"""Full int8: weights and activations are integers, and the file takes and gives float32.

The converter of TensorFlow quantises after running the model on examples, which give the range
of every activation. Weights are symmetric, with zero point 0, so a weight that is zero stays
exactly zero. Source: the 8-bit quantisation specification of LiteRT.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from compressor.errors import UsageError
from compressor.exporters.half_precision import input_type
from compressor.exporters.tflite.convert import convert
from compressor.foundation import quiet_tensorflow

ONE_SCALE = ("tflite-runtime",)
"""Runtimes of which FULLY_CONNECTED wants one scale for all weights: 2.14 is right with a scale
for each row where the weights are dense, and silently wrong where they are sparse."""


def convert_int8(model: Any, calibration: Sequence[np.ndarray], runtime: str) -> Any:
    """Convert a Keras model to a ModelT in int8.

    `calibration` has one array (examples, *shape) an input, in the order of model.inputs.
    Convolutions have a scale for each output channel; fully connected layers too, but for the
    runtimes in `ONE_SCALE`. An operator that has no integer kernel stays float32, between
    DEQUANTIZE and QUANTIZE. Raises UsageError without examples, and as `convert` does.
    """
    tensorflow, _ = quiet_tensorflow.load()
    if not len(calibration) or not len(calibration[0]):
        raise UsageError(
            "int8 needs examples to calibrate with",
            hint="give a data set with --data, or choose --quantize dynamic",
        )
    types = [input_type(tensor) for tensor in model.inputs]

    def examples() -> Iterator[list[np.ndarray]]:
        for row in range(len(calibration[0])):
            yield [
                np.asarray(part[row : row + 1], dtype)
                for part, dtype in zip(calibration, types, strict=True)
            ]

    options = {
        "optimizations": [tensorflow.lite.Optimize.DEFAULT],
        "representative_dataset": examples,
        "_experimental_disable_per_channel_quantization_for_dense_layers": (runtime in ONE_SCALE),
    }
    return convert(model, options)
