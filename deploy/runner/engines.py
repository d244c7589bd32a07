"""The class that runs artefacts in each runtime, imported when it is needed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from deploy.errors import MissingEngineError

if TYPE_CHECKING:
    from deploy.runner.engine import Engine

ENGINES = {
    "litert": ("deploy.runner.tflite_engines", "LitertEngine"),
    "tflite-runtime": ("deploy.runner.tflite_engines", "TfliteRuntimeEngine"),
    "tflite-micro": ("deploy.runner.micro_engine", "TfliteMicroEngine"),
    "onnxruntime": ("deploy.runner.onnx_engines", "OnnxruntimeEngine"),
    "cuda": ("deploy.runner.onnx_engines", "CudaEngine"),
    "tensorrt": ("deploy.runner.onnx_engines", "TensorrtEngine"),
    "c": ("deploy.runner.c_engine", "CEngine"),
}
"""Runtime -> module and class."""

NATIVE = ("c",)
"""Runtimes whose artefacts are programs: they are run where the user named the file, never from a
bundle, whoever signed it."""


def engine_class(runtime: str) -> type[Engine]:
    """Raises MissingEngineError for an unknown runtime."""
    if runtime not in ENGINES:
        raise MissingEngineError(
            "unknown runtime", value=runtime, hint=f"this program knows {', '.join(ENGINES)}"
        )
    module, name = ENGINES[runtime]
    found: type[Engine] = getattr(importlib.import_module(module), name)
    return found
