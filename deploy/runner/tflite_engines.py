"""TFLite files in LiteRT and in the older tflite-runtime."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from deploy.artifact_parts import Port
from deploy.errors import EngineError, MissingEngineError
from deploy.runner.engine import Engine, checked_dtype


class TfliteEngine(Engine):
    """An interpreter of TFLite files, with the XNNPACK delegate if it takes the graph."""

    module: ClassVar[str]
    package: ClassVar[str]

    def _import(self) -> None:
        try:
            self._module = importlib.import_module(self.module)
            self._interpreter_class = self._module.Interpreter
            self.version = _version(self.module.partition(".")[0], self.package)
        except (ImportError, AttributeError) as error:
            raise MissingEngineError(
                f"{self.runtime} is not installed", value=error, hint=f"pip install {self.package}"
            ) from error

    def _load(self, path: str, threads: int) -> None:
        kernels: dict[str, Any] = {}
        if self.reference:
            kernels["experimental_op_resolver_type"] = self._module.OpResolverType.BUILTIN_REF
        try:
            # A path is mapped, so the file is not in memory twice.
            self._interpreter = self._interpreter_class(
                model_path=path, num_threads=threads, **kernels
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError, MemoryError) as error:
            raise EngineError(f"{self.runtime} refuses the artefact", value=error) from error
        self.delegate = _delegate(self._interpreter)
        self._details = self._interpreter.get_input_details()
        self._shapes = [tuple(detail["shape"]) for detail in self._details]

    def _ports(self) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        outputs = self._interpreter.get_output_details()
        self._outputs = [output["index"] for output in outputs]
        return tuple(map(_port, self._details)), tuple(map(_port, outputs))

    def _run(self, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        self._set(arrays)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def _bind(self, arrays: Sequence[np.ndarray]) -> Callable[[], Any]:
        self._set(arrays)
        run: Callable[[], Any] = self._interpreter.invoke
        return run

    def _set(self, arrays: Sequence[np.ndarray]) -> None:
        shapes = [array.shape for array in arrays]
        if shapes != self._shapes:
            self._shapes = []  # of neither, should the resize fail
            for detail, shape in zip(self._details, shapes):  # noqa: B905 - Python 3.9
                self._interpreter.resize_tensor_input(detail["index"], shape)
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for detail, array in zip(self._details, arrays):  # noqa: B905 - Python 3.9
            self._interpreter.set_tensor(detail["index"], array)


class LitertEngine(TfliteEngine):
    """LiteRT, the successor of TensorFlow Lite."""

    runtime = "litert"
    module = "ai_edge_litert.interpreter"
    package = "ai-edge-litert"


class TfliteRuntimeEngine(TfliteEngine):
    """tflite-runtime, the last TensorFlow Lite without TensorFlow: Python up to 3.11, numpy < 2."""

    runtime = "tflite-runtime"
    module = "tflite_runtime.interpreter"
    package = "tflite-runtime"


def _version(module: str, package: str) -> str:
    """The module's own version, else that of its package, which takes longer to find."""
    said = getattr(importlib.import_module(module), "__version__", None)
    if isinstance(said, str):
        return said
    from importlib.metadata import version

    return version(package)


def _delegate(interpreter: Any) -> dict[str, Any] | None:
    """How many of the graph's `of` nodes XNNPACK, the default delegate, computes; None: unknown.

    The interpreter lists the nodes of the file and then those that stand for delegated ones. Nodes
    reached from the outputs run as they are; the rest was delegated.
    """
    try:
        nodes = interpreter._get_ops_details()
        wanted = [detail["index"] for detail in interpreter.get_output_details()]
    except (AttributeError, RuntimeError, ValueError):  # not a public method
        return None
    makers: dict[int, int] = {}
    # The delegate's nodes come last, and make these outputs now.
    for number, node in enumerate(nodes):
        makers.update({int(tensor): number for tensor in node["outputs"]})
    reached: set[int] = set()
    while wanted:
        number = makers.get(int(wanted.pop()), -1)
        if number >= 0 and number not in reached:
            reached.add(number)
            wanted += list(nodes[number]["inputs"])
    own = [number for number, node in enumerate(nodes) if node["op_name"] != "DELEGATE"]
    taken = sum(number not in reached for number in own) if len(own) < len(nodes) else 0
    return {"name": "XNNPACK", "nodes": taken, "of": len(own)}


def _port(detail: dict[str, Any]) -> Port:
    """An input or output as the interpreter describes it; -1 in its shape is an open size."""
    name = str(detail["name"])
    dtype = checked_dtype(np.dtype(detail["dtype"]).name, name)
    scale, zero_point = detail["quantization"]
    return Port(
        name,
        tuple(None if size < 0 else int(size) for size in detail["shape_signature"]),
        dtype,
        # A scale of zero means that there is none.
        float(scale) if scale else None,
        int(zero_point) if scale else None,
    )
