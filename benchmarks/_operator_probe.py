"""Ask a runtime which files it loads: run by the runtime's own Python, without this project.

Reads a line of JSON, [runtime, [file as base64, ...]]; answers [version, [reason or null, ...]].
"""

from __future__ import annotations

import base64
import importlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable
from typing import Any

_TFLITE = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
}


def main() -> None:
    """Answer the one request of standard input on standard output."""
    runtime, files = json.loads(sys.stdin.readline())
    version, load = _tflite(runtime) if runtime in _TFLITE else _onnx()
    reasons: list[str | None] = []
    for file in files:
        try:
            load(base64.b64decode(file))
            reasons.append(None)
        # Runtimes raise errors of several kinds, without a base of their own.
        except Exception as error:
            reasons.append(str(error) or type(error).__name__)
    print(json.dumps([version, reasons]))


def _tflite(runtime: str) -> tuple[str, Callable[[bytes], Any]]:
    module, package = _TFLITE[runtime]
    interpreter = importlib.import_module(module).Interpreter
    return importlib.metadata.version(package), lambda file: interpreter(model_content=file)


def _onnx() -> tuple[str, Callable[[bytes], Any]]:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    return onnxruntime.__version__, lambda file: onnxruntime.InferenceSession(
        file, options, providers=providers
    )


if __name__ == "__main__":
    main()
