"""The engine of TFLite Micro, with a stand-in for the runtime."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.errors import EngineError, MissingEngineError
from deploy.runner.engines import engine_class

PACKAGE = "tflite_micro"


class Interpreter:
    """Doubles what it is given, and says what it takes as the real one does."""

    refusal = ""

    @classmethod
    def from_bytes(cls, content: bytes, arena_size: int) -> Interpreter:
        if cls.refusal:
            os.write(2, f"\n{cls.refusal}\nNode 0 failed\n".encode())
            raise RuntimeError("TFLM failed to allocate tensors")
        return cls()

    def print_allocations(self) -> None:
        os.write(2, b"[RecordingMicroAllocator] Arena allocation total 1234 bytes\n")

    def _details(self, place: int) -> dict[str, Any]:
        scales = np.array([0.5], np.float32)
        parameters = {"scales": scales, "zero_points": np.array([1]), "quantized_dimension": 0}
        return {"dtype": np.int8, "shape": [1, 3], "quantization_parameters": parameters}

    get_input_details = get_output_details = _details

    def set_input(self, array: np.ndarray, place: int) -> None:
        assert place == 0 and array.shape == (1, 3)
        self._given = array

    def invoke(self) -> None:
        self._made = (self._given - 1) * 2 + 1

    def get_output(self, place: int) -> np.ndarray:
        return self._made


class Tables:
    """Model, subgraph and tensor of the schema, all in one."""

    def GetRootAsModel(self, content: bytes, offset: int) -> Tables:  # noqa: N802 - the schema's
        return self

    def Subgraphs(self, number: int) -> Tables:  # noqa: N802
        return self

    def Tensors(self, number: int) -> Any:  # noqa: N802
        return types.SimpleNamespace(Name=lambda: [b"image", None][number])

    InputsLength = OutputsLength = lambda self: 1
    Inputs, Outputs = (lambda self, place: 0), (lambda self, place: 1)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> type[Interpreter]:
    base = f"{PACKAGE}.python.tflite_micro.runtime"
    schema = f"{PACKAGE}.tensorflow.lite.micro.python.schema_py_generated"
    for name in (base, schema):
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module = types.ModuleType(".".join(parts[:end]))
            monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sys.modules[base], "Interpreter", Interpreter, raising=False)
    monkeypatch.setattr(sys.modules[schema], "Model", Tables(), raising=False)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")
    monkeypatch.setattr(Interpreter, "refusal", "")
    return Interpreter


def loaded(folder: Path) -> Any:
    path = folder / "model.tflite"
    path.write_bytes(b"TFL3")
    return engine_class("tflite-micro")(str(path), threads=1)


def test_names_scales_and_the_arena_are_those_of_the_file(runtime, tmp_path):
    engine = loaded(tmp_path)
    assert engine.arena_bytes == 1234 and engine.version == "1.0"
    (given,), (made,) = engine.inputs, engine.outputs
    assert (given.name, given.shape, given.dtype) == ("image", (1, 3), "int8")
    assert (given.scale, given.zero_point, made.name) == (0.5, 1, "output0")


def test_examples_run_one_at_a_time(runtime, tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(4, 3) / 2
    np.testing.assert_array_equal(loaded(tmp_path).predict({"image": x}, 32), 2 * x)


def test_a_refusal_says_what_the_runtime_says(runtime, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "refusal", "Hybrid models are not supported")
    with pytest.raises(EngineError, match="refuses the artefact: Hybrid models"):
        loaded(tmp_path)


def test_without_its_package_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(MissingEngineError, match="tflite-micro is not installed"):
        engine_class("tflite-micro").probe()
