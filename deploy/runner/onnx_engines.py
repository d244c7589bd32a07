"""ONNX files in ONNX Runtime."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deploy.artifact_parts import Port
from deploy.errors import EngineError, MissingEngineError
from deploy.runner.engine import Engine, checked_dtype

_ERRORS_ONLY = 3
_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}


class OnnxruntimeEngine(Engine):
    """ONNX Runtime on the CPU, with all optimisations of the graph."""

    runtime = "onnxruntime"
    provider = "CPUExecutionProvider"

    def _import(self) -> None:
        try:
            self._onnxruntime = importlib.import_module("onnxruntime")
            self.version = str(self._onnxruntime.__version__)
        except (ImportError, AttributeError) as error:
            raise MissingEngineError(
                f"{self.runtime} is not there", value=error, hint="pip install onnxruntime"
            ) from error

    def _load(self, path: str, threads: int) -> None:
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.graph_optimization_level = self._onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        try:
            self._session = self._onnxruntime.InferenceSession(
                path, options, providers=[self.provider]
            )
        # Its errors have no base of their own.
        except Exception as error:
            raise EngineError(f"{self.runtime} refuses the artefact", value=error) from error
        providers = self._session.get_providers()
        if providers != [self.provider]:
            raise EngineError("another provider computes than was asked for", value=providers)

    def _ports(self) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._names = [value.name for value in inputs]
        self._outputs = [value.name for value in outputs[:1]]
        return tuple(map(_port, inputs)), tuple(map(_port, outputs))

    def _run(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        feeds = dict(zip(self._names, arrays))  # noqa: B905 - Python 3.9
        output: np.ndarray = self._session.run(self._outputs, feeds)[0]
        return output

    def _bind(self, arrays: Sequence[np.ndarray]) -> Callable[[], Any]:
        binding = self._session.io_binding()
        for name, array in zip(self._names, arrays):  # noqa: B905 - Python 3.9
            binding.bind_cpu_input(name, array)
        for name in self._outputs:
            binding.bind_output(name)
        return lambda: self._session.run_with_iobinding(binding)


def _port(value: Any) -> Port:
    """What the session says of an input or output; a size that is no number is open."""
    kind = str(value.type)
    dtype = _TYPES.get(kind, kind[len("tensor(") : -1])
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in value.shape)
    return Port(str(value.name), shape, checked_dtype(dtype, value.name))
