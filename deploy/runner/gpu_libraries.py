"""Loading the libraries that a provider for NVIDIA GPUs needs, or naming the missing ones."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.errors import MissingEngineError

_OPTIONAL = ("cufft", "nvrtc")
"""In the names of libraries that providers load only when an operator needs them."""

_PROVIDERS = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "tensorrt"}


def load_libraries(onnxruntime: Any, device: Mapping[str, Any], hint: str) -> None:
    """Load CUDA and cuDNN, from NVIDIA's packages or the system's folders.

    ONNX Runtime would only log what is missing. Raises MissingEngineError, naming the library, or
    if the driver is too old for the CUDA that this ONNX Runtime was built with.
    """
    built_with = str(getattr(onnxruntime, "cuda_version", "") or "")
    if _major(device["cuda"]) < _major(built_with):
        raise MissingEngineError(
            "the NVIDIA driver is too old",
            value=f"it runs CUDA {device['cuda']}, onnxruntime {onnxruntime.__version__} needs "
            f"{built_with}",
            hint="install a newer driver",
        )
    # Read when the libraries are loaded: float32 must be multiplied as float32.
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    _load_installed(onnxruntime)
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        # It prints what it does not find.
        with contextlib.redirect_stdout(sys.stderr):
            preload()
    with contextlib.suppress(Exception):  # TensorRT's package loads its own
        importlib.import_module("tensorrt_libs")
    for name in _needed(onnxruntime):
        try:
            ctypes.CDLL(name)
        except OSError as error:
            product = "cuDNN" if "cudnn" in name else "CUDA"
            raise MissingEngineError(
                f"{product} cannot be loaded", value=error, hint=hint
            ) from error


def cudnn_version(onnxruntime: Any) -> str | None:
    """The version of the loaded cuDNN, such as "9.10.2"; None if it is unknown."""
    for name in _needed(onnxruntime):
        if "cudnn" in name:
            with contextlib.suppress(OSError, AttributeError):
                get = ctypes.CDLL(name).cudnnGetVersion
                get.restype = ctypes.c_size_t
                version = int(get())
                return f"{version // 10000}.{version % 10000 // 100}.{version % 100}"
    return None


def library_error(onnxruntime: Any, provider: str) -> str | None:
    """Why the provider's own library cannot be loaded, such as one that it needs in turn.

    Only for a provider that ONNX Runtime has tried to start: it must load its own libraries first.
    """
    prefix, suffix = ("", ".dll") if sys.platform == "win32" else ("lib", ".so")
    folder = Path(str(onnxruntime.__file__)).parent / "capi"
    path = folder / f"{prefix}onnxruntime_providers_{_PROVIDERS[provider]}{suffix}"
    if path.is_file():
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            return str(error)
    return None


def _load_installed(onnxruntime: Any) -> None:
    """Load the libraries that NVIDIA's packages hold, wherever Python finds these packages.

    preload_dlls looks for them beside onnxruntime only, which may lie in a folder of its own
    (pip install --target).
    """
    for path in _listed(onnxruntime):
        for folder in sys.path:
            library = Path(folder, *path)
            if library.is_file():
                with contextlib.suppress(OSError):  # told where the library is needed
                    ctypes.CDLL(str(library))
                break


def _needed(onnxruntime: Any) -> list[str]:
    """The libraries of CUDA and cuDNN in the order to load them; empty if that is unknown."""
    names = [path[-1] for path in _listed(onnxruntime)]
    return [name for name in names if not any(part in name for part in _OPTIONAL)]


def _listed(onnxruntime: Any) -> list[tuple[str, ...]]:
    """Where the libraries lie in the folder that NVIDIA's packages are in, in the order to load."""
    listed = getattr(onnxruntime, "_get_nvidia_dll_paths", None)
    try:
        return [tuple(map(str, path)) for path in listed(sys.platform == "win32")] if listed else []
    except Exception:  # not a public function: it may change
        return []


def _major(version: str) -> int:
    """13 for "13.0"; 0 without a number."""
    head = version.partition(".")[0]
    return int(head) if head.isdigit() else 0
