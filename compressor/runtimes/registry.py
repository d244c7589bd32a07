"""The runtimes: what each executes, where it is, how it is installed."""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from typing import Any, Literal

from compressor.errors import MissingRuntimeError, UsageError
from compressor.runtimes.environments import Environment
from compressor.runtimes.onnxruntime_web import PACKAGE, NpmPackage
from compressor.runtimes.tflite_micro import TFLITE_MICRO
from deploy.artifact_parts import C_INTERFACE

Format = Literal["tflite", "onnx", "c"]

# As in deploy.runner.gpu, which imports numpy.
_COMPILERS = ("cc", "gcc", "clang")
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"

TFLITE_RUNTIME = Environment(
    name="tflite-runtime",
    version="2.14.0",
    requirements=(
        (
            "numpy==1.26.4",  # the last before 2, with which tflite-runtime was not built
            (
                "666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5",
                "7ab55401287bfec946ced39700c053796e7cc0e3acbef09993a9ad2adba6ca6e",
                "ffa75af20b44f8dba823498024771d5ac50620e6915abac414251bd971b4529f",
                "d209d8969599b27ad20994c8e41936ee0964e6da07478d6c35016bc386b66ad4",
                "f870204a840a60da0b12273ef34f7051e98c3b5961b61b0c2c1be6dfd64fbcd3",
                "d5241e0a80d808d70546c697135da2c613f30e28251ff8307eb72ba696945764",
            ),
        ),
        (
            "tflite-runtime==2.14.0",
            (
                "195ab752e7e57329a68e54dd3dd5439fad888b9bff1be0f0dc042a3237a90e4d",
                "ce9fa5d770a9725c746dcbf6f59f3178233b3759f09982e8b2db8d2234c333b0",
                "bb11df4283e281cd609c621ac9470ad0cb5674408593272d7593a2c6bde8a808",
                "d38c6885f5e9673c11a61ccec5cad7c032ab97340718d26b17794137f398b780",
                "4aa740210a0fd9e4db4a46e9778914846b136e161525681b41575ca4896158fb",
                "be198b7dc4401204be54a15884d9e336389790eb707439524540f5a9329fdd02",
            ),
        ),
    ),
    pythons=((3, 11), (3, 10), (3, 9)),
    # There are wheels for armv7l, too, but none of numpy to go with them.
    machines=(("Linux", "x86_64"), ("Linux", "aarch64")),
    check="import numpy, tflite_runtime.interpreter",
)


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A program that executes artefacts of one format."""

    name: str
    format: Format
    module: str
    """what is imported of it"""
    packages: tuple[str, ...]
    """distributions that bring it, any of them"""
    environment: Environment | None = None
    """its own; None where it runs in this Python"""
    substitute: str | None = None
    """the runtime that verifies its artefacts, where it cannot run here"""
    tarball: NpmPackage | None = None
    """packed into bundles for browsers"""
    gpu: bool = False
    """whether it needs an NVIDIA GPU"""

    @property
    def verified_in(self) -> str:
        return self.substitute or self.name


@dataclasses.dataclass(frozen=True)
class State:
    """A runtime's installed version, or None and the reason."""

    version: str | None
    reason: str
    hint: str = ""
    """what to do, other than to install its package"""


def _onnx(name: str, *packages: str, **options: Any) -> Runtime:
    return Runtime(name, "onnx", "onnxruntime", packages, **options)


RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        Runtime("litert", "tflite", "ai_edge_litert", ("ai-edge-litert",)),
        Runtime("tflite-runtime", "tflite", "tflite_runtime", ("tflite-runtime",), TFLITE_RUNTIME),
        Runtime("tflite-micro", "tflite", "tflite_micro", ("tflite-micro",), TFLITE_MICRO),
        _onnx("onnxruntime", "onnxruntime-gpu", "onnxruntime"),
        _onnx("onnxruntime-gpu", "onnxruntime-gpu", substitute="onnxruntime"),
        _onnx("onnxruntime-web", "onnxruntime-web", substitute="onnxruntime", tarball=PACKAGE),
        *(_onnx(name, "onnxruntime-gpu[cuda,cudnn]", gpu=True) for name in ("cuda", "tensorrt")),
        Runtime("c", "c", "ctypes", ()),
    )
}
"""Name -> runtime, in the order in which they are shown."""


def find(name: str) -> Runtime:
    """The runtime of this name. Raises UsageError for an unknown one."""
    if name not in RUNTIMES:
        raise UsageError("unknown runtime", value=name, hint=f"choose from {', '.join(RUNTIMES)}")
    return RUNTIMES[name]


def state(name: str) -> State:
    """Whether artefacts for a runtime can be run here, in it or in its substitute.

    Nothing is imported; of a GPU only the driver is looked for, `describe` tries it. Raises
    UsageError for an unknown name.
    """
    runtime = find(find(name).verified_in)
    if runtime.environment is not None:
        reason = runtime.environment.missing()
        return State(None if reason else runtime.environment.version, reason)
    if runtime.gpu and not _driver_is_there():
        return State(
            None,
            f"has no NVIDIA driver: {_DRIVER} cannot be loaded",
            f"it takes an NVIDIA GPU, its driver, and pip install {runtime.packages[-1]}",
        )
    if runtime.format == "c":
        hint = "install gcc or clang, or name one in CC"
        return State(C_INTERFACE, "") if c_compiler() else State(None, "has no C compiler", hint)
    if importlib.util.find_spec(runtime.module) is None:
        return State(None, "is not installed")
    for package in runtime.packages:
        try:
            return State(importlib.metadata.version(package.partition("[")[0]), "")
        except importlib.metadata.PackageNotFoundError:
            continue
    return State(None, f"is there without its package {' or '.join(runtime.packages)}")


def python_of(name: str) -> str:
    """The Python that executes artefacts for a runtime.

    Raises UsageError for an unknown name, MissingRuntimeError where it is not installed.
    """
    runtime = find(find(name).verified_in)
    if runtime.environment is not None:
        return str(runtime.environment.python())
    found = state(name)
    what = f"{runtime.name} {found.reason}"
    if found.hint:
        raise MissingRuntimeError(what, hint=found.hint)
    if found.reason:
        hint = f"pip install {runtime.packages[-1]}"
        raise MissingRuntimeError(what, value=sys.executable, hint=hint)
    return sys.executable


def c_compiler() -> str | None:
    """The C compiler of this machine: CC, else the first of cc, gcc and clang; None without."""
    named = os.environ.get("CC", "").strip()
    return next(filter(None, map(shutil.which, [named] if named else _COMPILERS)), None)


def _driver_is_there() -> bool:
    """Whether NVIDIA's driver can be loaded; it is not initialised, as that forbids forking."""
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True
