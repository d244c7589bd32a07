"""ONNX files in ONNX Runtime: on the CPU, and on an NVIDIA GPU with CUDA or TensorRT."""

from __future__ import annotations

import abc
import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from deploy import quiet_onnxruntime
from deploy.artifact_parts import Port
from deploy.errors import EngineError, MissingEngineError
from deploy.runner.engine import Engine, checked_dtype
from deploy.runner.gpu import describe_gpu, gpu_memory_bytes
from deploy.runner.gpu_binding import GpuBinding
from deploy.runner.gpu_libraries import cudnn_version, library_error, load_libraries
from deploy.runner.onnx_precisions import precisions

_ERRORS_ONLY = 3
_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}

_ON_THE_CPU = "assigned to the default CPU EP"
_NO_GRAPH = "graph capture"
_MOST_BINDINGS = 8

# y = relu(x) of float32 (1, 4) in opset 13, which every provider runs: an ONNX file.
_TINY_MODEL = (
    b'\x08\x07:;\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01gZ\x13\n\x01x\x12\x0e\n\x0c\x08\x01\x12\x08'
    b"\n\x02\x08\x01\n\x02\x08\x04b\x13\n\x01y\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x01\n\x02\x08\x04"
    b"B\x04\n\x00\x10\r"
)


class OnnxEngine(Engine):
    """ONNX Runtime with one execution provider and all graph optimisations."""

    provider: str
    package: ClassVar[str]
    """the pip package of the provider"""

    def _import(self) -> None:
        hint = f"pip install {self.package}"
        try:
            self._onnxruntime = quiet_onnxruntime.load()
            self.version = str(self._onnxruntime.__version__)
            providers = self._onnxruntime.get_available_providers()
        except (ImportError, AttributeError) as error:
            raise MissingEngineError(
                "onnxruntime is not installed", value=error, hint=hint
            ) from error
        if self.provider not in providers:
            raise MissingEngineError(
                f"this onnxruntime has no {self.provider}",
                value=f"{self.version} has {', '.join(providers)}",
                hint=f"pip uninstall onnxruntime, then {hint}",
            )

    def _load(self, path: str, threads: int) -> None:
        self._session = self._open(path, threads)
        providers = self._session.get_providers()
        if providers[:1] != [self.provider]:
            raise EngineError("another provider computes than the requested one", value=providers)

    @abc.abstractmethod
    def _open(self, path: str, threads: int) -> Any:
        """A session for the file."""

    def _session_options(self, threads: int) -> Any:
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        levels = self._onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = (
            levels.ORT_DISABLE_ALL if self.reference else levels.ORT_ENABLE_ALL
        )
        return options

    def _ports(self) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._names = [value.name for value in inputs]
        self._outputs = [value.name for value in outputs]
        return tuple(map(_port, inputs)), tuple(map(_port, outputs))

    def _run(self, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        feeds = dict(zip(self._names, arrays))  # noqa: B905 - Python 3.9
        outputs: list[np.ndarray] = self._session.run(self._outputs, feeds)
        return outputs


class OnnxruntimeEngine(OnnxEngine):
    """ONNX Runtime on the CPU."""

    runtime = "onnxruntime"
    provider = "CPUExecutionProvider"
    package = "onnxruntime"

    def _open(self, path: str, threads: int) -> Any:
        try:
            return self._onnxruntime.InferenceSession(
                path, self._session_options(threads), providers=[self.provider]
            )
        # Its errors have no common base.
        except Exception as error:
            raise EngineError(f"{self.runtime} refuses the artefact", value=error) from error

    def _bind(self, arrays: Sequence[np.ndarray]) -> Callable[[], Any]:
        binding = self._session.io_binding()
        for name, array in zip(self._names, arrays):  # noqa: B905 - Python 3.9
            binding.bind_cpu_input(name, array)
        for name in self._outputs:
            binding.bind_output(name)
        return lambda: self._session.run_with_iobinding(binding)


class GpuEngine(OnnxEngine):
    """ONNX Runtime on the first NVIDIA GPU, which runs every node, or the artefact is refused.

    ONNX Runtime falls back to the CPU in four ways: a provider that cannot start is left out with a
    log line, nodes that it does not take go to the CPU, a session that cannot be made is made again
    without it, and so is one whose run fails. All are off here. So is TF32, which keeps only 10
    bits of a float32 factor.
    """

    copies_apart = True
    hint: ClassVar[str]
    """how to install the libraries that only this provider needs"""

    def device_memory_bytes(self) -> int | None:
        return gpu_memory_bytes()

    def _import(self) -> None:
        gpu = describe_gpu()
        super()._import()
        load_libraries(self._onnxruntime, gpu, f"pip install {self.package}")
        self.device = {**gpu, "cudnn": cudnn_version(self._onnxruntime)}
        self._graphs = itertools.count(1)
        self._bindings: dict[tuple[tuple[int, ...], ...], GpuBinding] = {}

    @abc.abstractmethod
    def _provider_options(self, path: str) -> dict[str, Any]:
        """The options of the provider for the file."""

    def _open(self, path: str, threads: int) -> Any:
        options = self._session_options(threads)
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            session = self._onnxruntime.InferenceSession(
                path,
                options,
                providers=[(self.provider, self._provider_options(path))],
                enable_fallback=False,
            )
        # Its errors have no common base.
        except Exception as error:
            self._prove()
            raise self._refusal(path, error) from error
        session.disable_fallback()
        return session

    def _prove(self) -> None:
        """The provider must run a tiny model."""
        try:
            options = self._session_options(threads=1)
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            session = self._onnxruntime.InferenceSession(
                _TINY_MODEL, options, providers=[self.provider], enable_fallback=False
            )
            started = session.get_providers()[:1] == [self.provider]
            session.run(None, {"x": np.zeros((1, 4), np.float32)})
            reason: object = None if started else session.get_providers()
        except Exception as error:
            started, reason = False, error
        if not started:
            raise MissingEngineError(
                f"{self.provider} cannot start",
                value=library_error(self._onnxruntime, self.provider) or reason,
                hint=self.hint,
            )

    def _refusal(self, path: str, error: Exception) -> EngineError:
        if _ON_THE_CPU in str(error):
            left = self._left_over(path)
            return EngineError(
                f"{self.provider} does not take every node of the artefact",
                value=f"the CPU would compute {', '.join(left)}" if left else error,
            )
        if self.graph and _NO_GRAPH in str(error):
            return EngineError("the artefact cannot be run as a CUDA graph", value=error)
        return EngineError(f"{self.runtime} refuses the artefact", value=error)

    def _left_over(self, path: str) -> list[str]:
        """The operators that another provider would run; empty if that is unknown."""
        with contextlib.suppress(Exception):  # since ONNX Runtime 1.24
            options = self._session_options(threads=1)
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
            session = self._onnxruntime.InferenceSession(path, options, providers=[self.provider])
            return sorted(
                {
                    node.op_type
                    for part in session.get_provider_graph_assignment_info()
                    if part.ep_name != self.provider
                    for node in part.get_nodes()
                }
            )
        return []

    def _run(self, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        if not self.graph:
            return super()._run(arrays)
        # Through the graph, so that what is checked is also what is timed.
        binding = self._bound(arrays)
        binding.run()
        return binding.outputs()

    def _bind(self, arrays: Sequence[np.ndarray]) -> Callable[[], Any]:
        return self._bound(arrays).run

    def _bound(self, arrays: Sequence[np.ndarray]) -> GpuBinding:
        """The arrays on the GPU, at the addresses of earlier ones of the same shapes."""
        shapes = tuple(array.shape for array in arrays)
        if shapes in self._bindings:
            self._bindings[shapes].update(arrays)
            return self._bindings[shapes]
        if len(self._bindings) >= _MOST_BINDINGS:
            self._bindings.clear()
        self._bindings[shapes] = GpuBinding(
            self._onnxruntime,
            self._session,
            list(zip(self._names, arrays)),  # noqa: B905 - Python 3.9
            self._outputs,
            # A graph is bound to addresses: each batch size has its own.
            next(self._graphs) if self.graph else None,
        )
        return self._bindings[shapes]


class CudaEngine(GpuEngine):
    """ONNX Runtime with CUDA and cuDNN."""

    runtime = "cuda"
    provider = "CUDAExecutionProvider"
    package = "onnxruntime-gpu[cuda,cudnn]"
    hint = "pip install onnxruntime-gpu[cuda,cudnn]"

    def _provider_options(self, path: str) -> dict[str, Any]:
        return {"device_id": 0, "use_tf32": False, "enable_cuda_graph": self.graph}


class TensorrtEngine(GpuEngine):
    """ONNX Runtime with TensorRT, which compiles the graph while it loads; nothing is cached.

    A graph of float16 or int8 is computed in these, one of float32 in nothing narrower.
    """

    runtime = "tensorrt"
    provider = "TensorrtExecutionProvider"
    package = "onnxruntime-gpu[cuda,cudnn]"
    hint = "pip install tensorrt-cu13, of the same major version as that library"

    def _provider_options(self, path: str) -> dict[str, Any]:
        found = precisions(path)
        return {
            "device_id": 0,
            "trt_engine_cache_enable": False,
            "trt_timing_cache_enable": False,
            "trt_fp16_enable": found.float16,
            "trt_int8_enable": found.int8,
            "trt_cuda_graph_enable": self.graph,
        }


def _port(value: Any) -> Port:
    """An input or output as the session describes it; a size that is not a number is open."""
    kind = str(value.type)
    dtype = _TYPES.get(kind, kind[len("tensor(") : -1])
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in value.shape)
    return Port(str(value.name), shape, checked_dtype(dtype, value.name))
