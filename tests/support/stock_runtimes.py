"""Running artefacts in this process by the stock interpreters, not by our runner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from deploy import quiet_onnxruntime


def run_artefact(path: Path, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first output of a .tflite or .onnx file for inputs by name."""
    if path.suffix == ".onnx":
        onnxruntime = quiet_onnxruntime.load()
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, dict(inputs))[0])
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    details = interpreter.get_input_details()
    for detail in details:
        array = inputs[_plain(detail["name"])]
        interpreter.resize_tensor_input(detail["index"], array.shape)
    interpreter.allocate_tensors()
    for detail in details:
        interpreter.set_tensor(detail["index"], inputs[_plain(detail["name"])])
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def _plain(name: str) -> str:
    return name.removeprefix("serving_default_").partition(":")[0]
