"""Quantise a .onnx file by ONNX Runtime's own tools: runs in an environment of its own.

    python run_onnxruntime_quantizer.py static|dynamic|4bit IN.onnx OUT.onnx [CALIBRATION.npy]

The calibration is a float32 array (examples, *shape) for the one input of the file, which `static`
wants.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# ruff: noqa: TID251 - this program cannot import `deploy`
from onnxruntime import quantization
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process


def main() -> None:
    """Quantise the file that is named."""
    how, source, target, *calibration = sys.argv[1:]
    if how == "4bit":
        # Not preprocessed: it takes MatMul, and that makes Gemm of it.
        tool = MatMulNBitsQuantizer(onnx.load(source), bits=4)
        tool.process()
        tool.model.save_model_to_file(target, False)
        return
    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder) / "prepared.onnx")
        quant_pre_process(source, prepared)
        if how == "dynamic":
            quantization.quantize_dynamic(prepared, target)
            return
        reader = _Examples(onnx.load(source).graph.input[0].name, calibration[0])
        quantization.quantize_static(
            prepared,
            target,
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
        )


class _Examples(quantization.CalibrationDataReader):
    """The rows of a .npy file, one at a time."""

    def __init__(self, name: str, path: str) -> None:
        self._rows = ({name: row[None]} for row in np.load(path, allow_pickle=False))

    def get_next(self) -> dict[str, Any] | None:
        """The next row by the name of the input; None after the last."""
        return next(self._rows, None)


if __name__ == "__main__":
    main()
