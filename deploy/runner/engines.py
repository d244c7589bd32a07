"""Which class runs artefacts in which runtime; imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from deploy.errors import MissingEngineError

if TYPE_CHECKING:
    from deploy.runner.engine import Engine

ENGINES = {
    "litert": ("deploy.runner.tflite_engines", "LitertEngine"),
    "tflite-runtime": ("deploy.runner.tflite_engines", "TfliteRuntimeEngine"),
    "onnxruntime": ("deploy.runner.onnx_engines", "OnnxruntimeEngine"),
    "cuda": ("deploy.runner.onnx_engines", "CudaEngine"),
    "tensorrt": ("deploy.runner.onnx_engines", "TensorrtEngine"),
}
"""Runtime -> module and class."""


def engine_class(runtime: str) -> type[Engine]:
    """The class that runs artefacts in `runtime`; raises MissingEngineError where there is none."""
    if runtime not in ENGINES:
        raise MissingEngineError(
            "no runtime of this program", value=runtime, hint=f"it knows {', '.join(ENGINES)}"
        )
    module, name = ENGINES[runtime]
    found: type[Engine] = getattr(importlib.import_module(module), name)
    return found
