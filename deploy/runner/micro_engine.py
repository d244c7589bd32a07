"""TFLite files in TFLite Micro, the interpreter of microcontrollers, built for this machine."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from deploy.artifact_parts import Port
from deploy.errors import EngineError, MissingEngineError
from deploy.runner.engine import Engine, checked_dtype

_PACKAGE = "tflite_micro"
_MODULE = "tflite_micro.python.tflite_micro.runtime"
_SCHEMA = "tflite_micro.tensorflow.lite.micro.python.schema_py_generated"
_LARGEST_ARENA = 2**28
"""Bytes that are reserved; what the model needs of them is measured."""
_MOST_SAID = 2**16
_TOTAL = re.compile(r"Arena allocation total (\d{1,12}) bytes")


class TfliteMicroEngine(Engine):
    """The interpreter with its reference kernels, on one thread."""

    runtime = "tflite-micro"

    def _import(self) -> None:
        try:
            self._module = importlib.import_module(_MODULE)
            self._schema = importlib.import_module(_SCHEMA)
            from importlib.metadata import version

            self.version = version(_PACKAGE)
        except (ImportError, AttributeError) as error:
            raise MissingEngineError(
                f"{self.runtime} is not installed", value=error, hint=f"pip install {_PACKAGE}"
            ) from error

    def _load(self, path: str, threads: int) -> None:
        if self.reference:
            raise EngineError("the runtime has no other kernels", value=self.runtime)
        content = Path(path).read_bytes()
        with _standard_error() as said:
            try:
                self._names = _names(self._schema.Model.GetRootAsModel(content, 0))
                self._interpreter = self._module.Interpreter.from_bytes(
                    content, arena_size=_LARGEST_ARENA
                )
                self._interpreter.print_allocations()
            except Exception as error:  # the schema's classes raise what they like
                lines = [line for line in _text(said).splitlines() if line.strip()]
                value = lines[0].strip() if lines else error
                raise EngineError(f"{self.runtime} refuses the artefact", value=value) from error
            found = _TOTAL.search(_text(said))
        self.arena_bytes = int(found.group(1)) if found else None

    def _ports(self) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        given, made = self._names
        interpreter = self._interpreter
        inputs = tuple(
            _port(name, interpreter.get_input_details(place)) for place, name in enumerate(given)
        )
        outputs = tuple(
            _port(name, interpreter.get_output_details(place)) for place, name in enumerate(made)
        )
        return inputs, outputs

    def _run(self, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        self._bind(arrays)()
        return [self._interpreter.get_output(place) for place in range(len(self.outputs))]

    def _bind(self, arrays: Sequence[np.ndarray]) -> Callable[[], Any]:
        for place, array in enumerate(arrays):
            self._interpreter.set_input(array, place)
        run: Callable[[], Any] = self._interpreter.invoke
        return run


def _names(model: Any) -> tuple[list[str], list[str]]:
    """Of the inputs and the outputs; the interpreter does not know them."""
    graph = model.Subgraphs(0)

    def name(index: int, place: int, kind: str) -> str:
        return (graph.Tensors(index).Name() or b"").decode("utf-8", "replace") or f"{kind}{place}"

    return (
        [name(graph.Inputs(place), place, "input") for place in range(graph.InputsLength())],
        [name(graph.Outputs(place), place, "output") for place in range(graph.OutputsLength())],
    )


def _port(name: str, detail: dict[str, Any]) -> Port:
    dtype = checked_dtype(np.dtype(detail["dtype"]).name, name)
    parameters = detail["quantization_parameters"]
    scales, zeros = parameters["scales"], parameters["zero_points"]
    return Port(
        name,
        tuple(int(size) for size in detail["shape"]),
        dtype,
        float(scales[0]) if len(scales) else None,
        int(zeros[0]) if len(zeros) else None,
    )


@contextlib.contextmanager
def _standard_error() -> Iterator[IO[bytes]]:
    """Within, what C++ writes to standard error goes to a file."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield file
            finally:
                os.dup2(saved, 2)
    finally:
        os.close(saved)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_MOST_SAID).decode("utf-8", "replace")
