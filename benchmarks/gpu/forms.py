"""The variants of a model that are measured on a GPU."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from compressor.exporters import ExportJob
from compressor.exporters.onnx.quiet import quiet
from deploy import quiet_onnxruntime

_OPERATORS = ("Conv", "Gemm", "MatMul", "MaxPool")


@dataclasses.dataclass(frozen=True)
class Form:
    """One artefact: what it computes in, and how it was made of the model."""

    quantize: str
    optimize: str | None
    made: str
    content: bytes


def forms(job: ExportJob) -> Iterator[Form]:
    """A model in float32, float16 and int8, as ONNX.

    - float32 and int8 as `compressor export --optimize latency` makes them;
    - float16 as ONNX Runtime's converter makes it of the float32 file with dense tensors: it
      computes in float16, where `--quantize float16` stores float16 and computes in float32;
      inputs and outputs stay float32;
    - int8 with symmetric activations and float biases, by ONNX Runtime's quantiser of the same
      file and calibration images: TensorRT takes no other.
    """
    for quantize in ("none", "int8"):
        request = job.request("onnxruntime", quantize, "latency", None)
        made = f"compressor export --quantize {quantize} --optimize latency"
        yield Form(quantize, "latency", made, job.build("onnx", request).content)
    request = job.request("onnxruntime", "int8", "latency", "dense")
    plain = dataclasses.replace(request, quantize="none", calibration=())
    dense = job.build("onnx", plain).content
    with quiet():
        half = _half(dense)
        symmetric = _symmetric(dense, request.calibration)
    yield Form("float16 computed", None, "onnxruntime.transformers.float16", half)
    yield Form("int8 symmetric", None, "onnxruntime.quantization.quantize_static", symmetric)


def _half(content: bytes) -> bytes:
    import onnx

    float16 = quiet_onnxruntime.load("onnxruntime.transformers.float16")
    model = float16.convert_float_to_float16(onnx.load_from_string(content), keep_io_types=True)
    converted: bytes = model.SerializeToString()
    return converted


def _symmetric(content: bytes, calibration: Sequence[np.ndarray]) -> bytes:
    import onnx

    quantization = quiet_onnxruntime.load("onnxruntime.quantization")
    model = onnx.load_from_string(content)
    name = model.graph.input[0].name

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        rows = iter([{name: row[None]} for row in calibration[0]])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rows, None)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model,
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATORS),
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
            },
        )
        return path.read_bytes()
