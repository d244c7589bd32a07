"""The NVIDIA GPU that a runtime in this process would use, from the driver's libraries alone.

libcuda describes the GPU and obeys CUDA_VISIBLE_DEVICES; NVML knows the driver's version and how
much GPU memory each process uses. Sources: the CUDA Driver API and NVML reference manuals.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from pathlib import Path
from typing import Any

from deploy.errors import MissingEngineError

CUDA_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
"""The driver's library."""

_NVML_LIBRARY = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_NAME_BYTES = 96
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_MOST_PROCESSES = 1024
_UNKNOWN_BYTES = 2**64 - 1  # NVML_VALUE_NOT_AVAILABLE


@functools.lru_cache(maxsize=1)
def describe_gpu() -> dict[str, Any]:
    """The first GPU that this process sees, as a JSON object.

    `name`, `driver` (its version, or null if unknown), `memory_bytes` (in total),
    `compute_capability` such as "9.0", and `cuda`, the newest CUDA that the driver runs, such as
    "13.0". Raises MissingEngineError without a driver or a GPU. Call it before a runtime uses the
    GPU: `gpu_memory_bytes` counts from then on.
    """
    driver = _Driver()
    memory = _meter(driver.bus)
    return {
        "name": driver.name,
        "driver": memory.driver if memory else _driver_of_linux(),
        "memory_bytes": driver.memory_bytes,
        "compute_capability": driver.compute_capability,
        "cuda": driver.cuda,
    }


def gpu_memory_bytes() -> int | None:
    """Bytes of the GPU's memory that this process holds; None if the driver does not say.

    In a container the driver lists processes by other numbers than those inside. Then the only
    process that was not listed when `describe_gpu` was first called is taken for this one; if
    there are several, the answer is None.
    """
    return _METERS[0].bytes() if _METERS else None


class _Driver:
    """The first GPU as libcuda describes it; raises MissingEngineError if there is none."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(CUDA_LIBRARY)
        except OSError as error:
            raise MissingEngineError(
                "no NVIDIA driver", value=f"{CUDA_LIBRARY} cannot be loaded"
            ) from error
        self._call("cuInit", 0)
        count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        if count.value < 1:
            raise MissingEngineError("the NVIDIA driver shows no GPU", value=count.value)
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._device = device.value
        self._call("cuDriverGetVersion", ctypes.byref(version))
        self.cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
        self.name = self._text("cuDeviceGetName")
        self.bus = self._text("cuDeviceGetPCIBusId")
        memory = ctypes.c_size_t()
        self._call("cuDeviceTotalMem_v2", ctypes.byref(memory), self._device)
        self.memory_bytes = memory.value
        self.compute_capability = f"{self._attribute(_MAJOR)}.{self._attribute(_MINOR)}"

    def _attribute(self, number: int) -> int:
        found = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(found), number, self._device)
        return found.value

    def _text(self, function: str) -> str:
        buffer = ctypes.create_string_buffer(_NAME_BYTES)
        self._call(function, buffer, _NAME_BYTES, self._device)
        return buffer.value.decode(errors="replace")

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            raise MissingEngineError(
                "the NVIDIA driver finds no working GPU",
                value=f"{function} gives {self._error(code)}",
            )

    def _error(self, code: int) -> str:
        name = ctypes.c_char_p()
        if self._library.cuGetErrorName(code, ctypes.byref(name)) or not name.value:
            return str(code)
        return f"{code} ({name.value.decode(errors='replace')})"


class _Process(ctypes.Structure):
    """nvmlProcessInfo_v2_t."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used_bytes", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class _Meter:
    """NVML for the GPU at a PCI bus; raises OSError or AttributeError without NVML."""

    def __init__(self, bus: str) -> None:
        self._library = ctypes.CDLL(_NVML_LIBRARY)
        self._call("nvmlInit_v2")
        version = ctypes.create_string_buffer(_NAME_BYTES)
        self._call("nvmlSystemGetDriverVersion", version, _NAME_BYTES)
        self.driver = version.value.decode(errors="replace")
        self._device = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByPciBusId_v2", bus.encode(), ctypes.byref(self._device))
        self._before = set(self._processes())

    def bytes(self) -> int | None:
        """Bytes that this process holds; None if that is unknown."""
        try:
            processes = self._processes()
        except OSError:
            return None
        ours = processes.get(os.getpid())
        if ours is None:
            new = [used for pid, used in processes.items() if pid not in self._before]
            ours = new[0] if len(new) == 1 else None
        return None if ours == _UNKNOWN_BYTES else ours

    def _processes(self) -> dict[int, int]:
        found, count = (_Process * _MOST_PROCESSES)(), ctypes.c_uint(_MOST_PROCESSES)
        self._call(
            "nvmlDeviceGetComputeRunningProcesses_v3", self._device, ctypes.byref(count), found
        )
        return {one.pid: one.used_bytes for one in found[: count.value]}

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            raise OSError(f"{function} gives {code}")


_METERS: list[_Meter] = []


def _meter(bus: str) -> _Meter | None:
    """The meter of this process from now on; None without an NVML that knows the GPU."""
    _METERS.clear()
    with contextlib.suppress(OSError, AttributeError):
        _METERS.append(_Meter(bus))
    return _METERS[0] if _METERS else None


def _driver_of_linux() -> str | None:
    """The version of the kernel module: "NVRM version: NVIDIA ... Kernel Module  580.65.06 ..."."""
    with contextlib.suppress(OSError):
        for word in _DRIVER_FILE.read_text(errors="replace").split():
            if word[0].isdigit() and "." in word:
                return word
    return None
