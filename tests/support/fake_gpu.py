"""An NVIDIA driver and an ONNX Runtime for GPUs, without a GPU: they do what the real ones do.

The model is y = 2 x. A run leaves the GPU busy until it is waited for; a CUDA graph, once captured,
is replayed on the memory that it was captured with, whatever is bound.
"""

from __future__ import annotations

import ctypes
import types
from collections.abc import Callable
from typing import Any

import numpy as np

CPU, CUDA, TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))


class Driver:
    """libcuda and libnvidia-ml at once; `codes` are what functions give instead of zero."""

    def __init__(self, **codes: int) -> None:
        self.codes, self.processes, self.cuda, self.devices = codes, {7: 10}, 13020, 1

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            if self.codes.get(name):
                return self.codes[name]
            numbers = {
                "cuDeviceGetCount": self.devices,
                "cuDriverGetVersion": self.cuda,
                "cuDeviceTotalMem_v2": 80 * 2**30,
            }
            texts = {
                "cuDeviceGetName": b"NVIDIA Toy",
                "cuDeviceGetPCIBusId": b"0000:0A:00.0",
                "nvmlSystemGetDriverVersion": b"580.65.06",
            }
            if name in numbers:
                arguments[0]._obj.value = numbers[name]
            elif name in texts:
                arguments[0].value = texts[name]
            elif name == "cuDeviceGetAttribute":
                arguments[0]._obj.value = {75: 9, 76: 0}[arguments[1]]
            elif name == "cuGetErrorName":
                arguments[1]._obj.value = b"CUDA_ERROR_NO_DEVICE"
            elif name == "nvmlDeviceGetComputeRunningProcesses_v3":
                for number, (pid, used) in enumerate(self.processes.items()):
                    arguments[2][number].pid, arguments[2][number].used_bytes = pid, used
                arguments[1]._obj.value = len(self.processes)
            return 0

        return call


class _Cudnn:
    restype: Any = None

    def __call__(self) -> int:
        return 91002


def libraries(driver: Driver | None, *missing: str) -> Callable[..., Any]:
    """What stands in for `ctypes.CDLL`: the driver, and every library that is not `missing`."""

    def load(name: str, *arguments: Any, **options: Any) -> Any:
        if (driver is None and "libcuda" in name) or any(part in name for part in missing):
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")
        if "libcudnn" in name:
            return types.SimpleNamespace(cudnnGetVersion=_Cudnn())
        return driver if "libcuda" in name or "libnvidia-ml" in name else ctypes.c_int()

    return load


class Memory:
    """An OrtValue."""

    def __init__(self, array: np.ndarray, place: str) -> None:
        self.array, self.place = array.copy(), place

    def device_name(self) -> str:
        return self.place

    def update_inplace(self, array: np.ndarray) -> None:
        assert array.shape == self.array.shape and array.dtype == self.array.dtype
        self.array[...] = array

    def numpy(self) -> np.ndarray:
        return self.array.copy()


class Options:
    """SessionOptions, or RunOptions."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value

    add_run_config_entry = add_session_config_entry


class Binding:
    def __init__(self, runtime: FakeRuntime) -> None:
        self.runtime, self.inputs, self.outputs = runtime, {}, {}
        self.made: list[Memory] = []

    def bind_ortvalue_input(self, name: str, value: Memory) -> None:
        self.inputs[name] = value

    def bind_ortvalue_output(self, name: str, value: Memory) -> None:
        self.outputs[name] = value

    def bind_output(self, name: str, place: str, number: int) -> None:
        self.outputs[name] = (self.runtime.outputs_lie or place, number)

    def synchronize_inputs(self) -> None:
        pass

    def synchronize_outputs(self) -> None:
        self.runtime.busy = False

    def get_outputs(self) -> list[Memory]:
        return self.made


class Session:
    def __init__(
        self,
        path: str | bytes,
        options: Options,
        *,
        providers: list[Any],
        enable_fallback: bool = True,
    ) -> None:
        self.runtime = FakeRuntime.current
        (asked,) = providers  # one, and no CPU behind it
        self.asked, given = asked if isinstance(asked, tuple) else (asked, {})
        self.provider_options = given
        self.options, self.fallback = options, enable_fallback
        self.graphs: dict[str, tuple[Memory, Memory]] = {}
        self.runtime.sessions.append(self)
        if self.runtime.refusal and not isinstance(path, bytes):
            raise RuntimeError(self.runtime.refusal)
        if self.runtime.broken:
            raise RuntimeError(self.runtime.broken)

    def get_providers(self) -> list[str]:
        return self.runtime.really or [self.asked, CPU]

    def disable_fallback(self) -> None:
        self.fallback = False

    def get_inputs(self) -> list[Any]:
        return [types.SimpleNamespace(name="x", type="tensor(float)", shape=["batch", 3])]

    def get_outputs(self) -> list[Any]:
        return [types.SimpleNamespace(name="y", type="tensor(float)", shape=["batch", 3])]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        assert self.options.entries["session.record_ep_graph_assignment_info"] == "1"
        shape, conv = (types.SimpleNamespace(op_type=name) for name in ("Shape", "Conv"))
        return [
            types.SimpleNamespace(ep_name=CPU, get_nodes=lambda: [shape, shape]),
            types.SimpleNamespace(ep_name=self.asked, get_nodes=lambda: [conv]),
        ]

    def io_binding(self) -> Binding:
        return Binding(self.runtime)

    def run(self, names: Any, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.runtime.events.append("run")
        return [2 * feeds["x"]]

    def run_with_iobinding(self, binding: Binding, options: Options | None = None) -> None:
        graph = options.entries["gpu_graph_id"] if options else "-1"
        self.runtime.events.append(f"bound {graph}" if options else "bound")
        self.runtime.busy = True
        given = binding.inputs["x"]
        if graph != "-1":
            if self.runtime.no_capture:
                raise RuntimeError("operation not permitted when stream is capturing")
            given, found = self.graphs.setdefault(graph, (given, binding.outputs["y"]))
            found.array[...] = 2 * given.array
            return
        if isinstance(binding.outputs["y"], Memory):
            binding.outputs["y"].array[...] = 2 * given.array
        else:
            binding.made = [Memory(2 * given.array, binding.outputs["y"][0])]


class FakeRuntime(types.ModuleType):
    """The module onnxruntime. Its attributes say what goes wrong; `events` are the runs."""

    __version__ = "1.31.1"
    cuda_version = "13.0"
    current: FakeRuntime
    SessionOptions = RunOptions = Options
    InferenceSession = Session
    GraphOptimizationLevel = types.SimpleNamespace(ORT_ENABLE_ALL=99)
    OrtValue = types.SimpleNamespace(
        ortvalue_from_numpy=lambda array, place, number: Memory(array, place)
    )

    def __init__(self) -> None:
        super().__init__("onnxruntime")
        FakeRuntime.current = self
        self.__file__ = "/nowhere/onnxruntime/__init__.py"
        self.available = [TENSORRT, CUDA, CPU]
        self.sessions: list[Session] = []
        self.events: list[str] = []
        self.really: list[str] | None = None
        """the providers of every session, where they are not those asked for"""
        self.refusal = self.broken = ""
        """what sessions of files raise, and what every session raises"""
        self.no_capture = self.busy = False
        self.outputs_lie = ""
        self.preloaded = 0

    def get_available_providers(self) -> list[str]:
        return self.available

    def preload_dlls(self) -> None:
        self.preloaded += 1
        print("Failed to load something")

    def _get_nvidia_dll_paths(self, windows: bool) -> list[tuple[str, ...]]:
        names = ("libcublasLt.so.13", "libcufft.so.12", "libcudart.so.13", "libcudnn.so.9")
        return [("nvidia", "cudnn" if "cudnn" in name else "cu13", "lib", name) for name in names]
