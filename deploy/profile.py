"""A device and the runtime that executes artefacts there: a TOML file of exactly these fields.

schema        {name = "compressor-device", version = 1}
name          lower-case letters, digits and dashes, as given to `--device`
description   one line
[cpu]         architecture (x86-64, aarch64, armhf, wasm32, armv6-m, armv7e-m or xtensa), model,
              cores, features (a list)
[memory]      bytes (of the device), available_bytes (for an artefact and its values, without the
              system, Python and the runtime)
[storage]     available_bytes (for bundles)
[gpu]         only for a GPU runtime: model, memory_bytes
[microcontroller]  only for the runtime c, which is none: C code on the bare chip. processor (as gcc
              names it), clock_hz, flash_start and ram_start (addresses; their bytes are those of
              storage and memory), boot (none, or rp2040: what lies in front of the program)
[runtime]     name (litert, tflite-runtime, tflite-micro, onnxruntime, cuda, tensorrt,
              onnxruntime-web or c) and version
[python]      versions (a list such as ["3.11"]; empty if there is none: then a bundle holds no
              program) and numpy (its version; "" without Python)
[prefer]      format (tflite, onnx or c), quantize (a list, the best first), optimize (size,
              latency or ram), width_multiple (the preferred multiple of a layer's units; 1 for any)
[operators]   optional, for a custom runtime: operator -> its largest version there; for TFLite all
              operators that it has, for ONNX "ai.onnx" = the operator set. The default is the
              measured table of the runtime's version (`deploy.operator_table`)

Profiles are read on the host, by a Python that has tomllib (3.11).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.artifact import OPTIMIZATIONS, QUANTIZATIONS
from deploy.artifact_parts import C_INTERFACE
from deploy.errors import ArtifactError
from deploy.fields import Fields, Reader, made
from deploy.files import read_regular
from deploy.microcontroller import Microcontroller

SCHEMA = {"name": "compressor-device", "version": 1}
PROFILES = Path(__file__).parent / "devices"
"""The folder of the built-in profiles."""
SUFFIX = ".toml"

ARCHITECTURES = ("x86-64", "aarch64", "armhf", "wasm32", "armv6-m", "armv7e-m", "xtensa")
RUNTIME_FORMATS = {
    "litert": "tflite",
    "tflite-runtime": "tflite",
    "tflite-micro": "tflite",
    "onnxruntime": "onnx",
    "cuda": "onnx",
    "tensorrt": "onnx",
    "onnxruntime-web": "onnx",
    "c": "c",
}
"""Runtime -> the format that it executes."""
GPU_RUNTIMES = ("cuda", "tensorrt")
_FORMATS = tuple(dict.fromkeys(RUNTIME_FORMATS.values()))

_MOST_BYTES = 2**16
# tomllib takes half a minute for the 32,000 tables of one key a.a.a...
_LONGEST_LINE = 2000
_MOST_MEMORY = 2**50
_MOST_CORES = 4096
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_LONGEST_NAME = 64
_OPERATOR = re.compile(r"[A-Z][A-Z0-9_]*")
_PYTHON = re.compile(r"3\.[0-9]{1,2}")
_OLDEST_PYTHON = 9
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){2,3}|0\.dev[0-9]{8,14}")


@dataclasses.dataclass(frozen=True)
class Cpu:
    """The processor."""

    architecture: str
    model: str
    cores: int
    features: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Gpu:
    """The accelerator that the runtime computes on."""

    model: str
    memory_bytes: int


@dataclasses.dataclass(frozen=True)
class Preference:
    """Which artefact to choose among those that run there."""

    format: str
    quantize: tuple[str, ...]
    optimize: str
    width_multiple: int

    @classmethod
    def read(cls, fields: Fields) -> Preference:
        found = fields.make(cls, _READERS)
        for quantize in found.quantize:
            if quantize not in QUANTIZATIONS:
                raise ArtifactError(
                    f"profile.prefer.quantize is not one of {', '.join(QUANTIZATIONS)}",
                    value=quantize,
                )
        if not found.quantize or len(set(found.quantize)) < len(found.quantize):
            raise ArtifactError(
                "profile.prefer.quantize is empty, or names one twice",
                value=", ".join(found.quantize),
            )
        return found


@dataclasses.dataclass(frozen=True)
class DeviceProfile:
    """A device; the module says what the fields mean."""

    name: str
    description: str
    cpu: Cpu
    memory_bytes: int
    available_memory_bytes: int
    storage_bytes: int
    gpu: Gpu | None
    microcontroller: Microcontroller | None
    runtime: str
    runtime_version: str
    pythons: tuple[str, ...]
    numpy: str
    prefer: Preference
    operators: dict[str, int] | None
    """the table of a custom runtime; None: the measured one of the runtime's version"""

    @property
    def format(self) -> str:
        return RUNTIME_FORMATS[self.runtime]

    def for_code(self) -> DeviceProfile:
        """As which the device takes generated C code: a browser runs it without a runtime."""
        if self.cpu.architecture != "wasm32":
            return self
        prefer = dataclasses.replace(self.prefer, format="c")
        return dataclasses.replace(
            self, runtime="c", runtime_version=C_INTERFACE, prefer=prefer, operators=None
        )

    def describe(self) -> dict[str, Any]:
        described: dict[str, Any] = {
            "schema": dict(SCHEMA),
            "name": self.name,
            "description": self.description,
            "cpu": {**dataclasses.asdict(self.cpu), "features": list(self.cpu.features)},
            "memory": {"bytes": self.memory_bytes, "available_bytes": self.available_memory_bytes},
            "storage": {"available_bytes": self.storage_bytes},
            "runtime": {"name": self.runtime, "version": self.runtime_version},
            "python": {"versions": list(self.pythons), "numpy": self.numpy},
            "prefer": {**dataclasses.asdict(self.prefer), "quantize": list(self.prefer.quantize)},
        }
        if self.gpu is not None:
            described["gpu"] = dataclasses.asdict(self.gpu)
        if self.microcontroller is not None:
            described["microcontroller"] = dataclasses.asdict(self.microcontroller)
        if self.operators is not None:
            described["operators"] = dict(sorted(self.operators.items()))
        return described

    @classmethod
    def parse(cls, content: Any) -> DeviceProfile:
        """Read an untrusted profile.

        Raises ArtifactError for a field that is missing, unknown, of the wrong type or out of
        range, for another schema, and for fields that contradict each other.
        """
        if isinstance(content, Mapping):
            # TOML has no null: an optional table that is left out is null here.
            content = {"gpu": None, "microcontroller": None, "operators": None, **content}
        fields = Fields(content, "profile")
        fields.schema("schema", SCHEMA, "profile")
        memory = fields.one("memory", _read_memory)
        runtime, version = fields.one("runtime", _read_runtime)
        pythons, numpy = fields.one("python", _read_python)
        profile = cls(
            name=fields.text("name", longest=_LONGEST_NAME),
            description=fields.text("description"),
            cpu=fields.one("cpu", made(Cpu, _READERS)),
            memory_bytes=memory[0],
            available_memory_bytes=memory[1],
            storage_bytes=fields.one("storage", lambda of: _memory(of, "available_bytes")),
            gpu=fields.optional("gpu", fields.one, made(Gpu, _READERS)),
            microcontroller=fields.optional("microcontroller", fields.one, Microcontroller.read),
            runtime=runtime,
            runtime_version=version,
            pythons=pythons,
            numpy=numpy,
            prefer=fields.one("prefer", Preference.read),
            operators=fields.optional("operators", fields.mapping, _read_operator),
        )
        fields.done()
        _check_agreement(profile)
        return profile


def read_profile(path: Path | str) -> DeviceProfile:
    """Raises ArtifactError, naming the file, for anything but a profile."""
    import tomllib

    text = read_regular(path, _MOST_BYTES)
    if max(map(len, text.splitlines()), default=0) > _LONGEST_LINE:
        most = f"{path} (a line of more than {_LONGEST_LINE:,} bytes)"
        raise ArtifactError("not a device profile", value=most)
    try:
        content = tomllib.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ArtifactError("not a TOML file", value=f"{path} ({reason})") from error
    try:
        return DeviceProfile.parse(content)
    except ArtifactError as error:
        shown = "" if error.value is None else f"{error.value} "
        raise ArtifactError(error.what, value=f"{shown}(in {path})", hint=error.hint) from error


def _memory(fields: Fields, key: str) -> int:
    return fields.integer(key, 1, _MOST_MEMORY)


_READERS: dict[str, Reader] = {
    "architecture": lambda fields, key: fields.choice(key, ARCHITECTURES),
    "cores": lambda fields, key: fields.integer(key, 1, _MOST_CORES),
    "memory_bytes": _memory,
    "format": lambda fields, key: fields.choice(key, _FORMATS),
    "optimize": lambda fields, key: fields.choice(key, OPTIMIZATIONS),
    "width_multiple": lambda fields, key: fields.integer(key, 1, 1024),
}


def _read_memory(fields: Fields) -> tuple[int, int]:
    total = _memory(fields, "bytes")
    return total, fields.integer("available_bytes", 1, total)


def _read_runtime(fields: Fields) -> tuple[str, str]:
    name, version = fields.choice("name", tuple(RUNTIME_FORMATS)), fields.text("version")
    if name == "c" and version != C_INTERFACE:
        raise ArtifactError(f"profile.runtime.version of c is {C_INTERFACE}", value=version)
    if name != "c":
        _check_version(version, "runtime.version")
    return name, version


def _read_python(fields: Fields) -> tuple[tuple[str, ...], str]:
    versions, numpy = fields.texts("versions"), fields.text("numpy", empty=True)
    for version in versions:
        if not _PYTHON.fullmatch(version):
            raise ArtifactError(
                'profile.python.versions is not a list like ["3.11"]', value=version
            )
        if _minor(version) < _OLDEST_PYTHON:
            raise ArtifactError(
                f"the runner needs Python 3.{_OLDEST_PYTHON} or newer", value=version
            )
    if bool(versions) != bool(numpy):
        raise ArtifactError(
            "profile.python: versions and numpy go together",
            value=f"{len(versions)} versions, numpy {numpy!r}",
            hint='without Python: versions = [] and numpy = ""',
        )
    if numpy:
        _check_version(numpy, "python.numpy")
    return versions, numpy


def _read_operator(fields: Fields, name: str) -> int:
    return fields.integer(name, 1, 1000)


def _check_version(text: str, where: str) -> None:
    if not _VERSION.fullmatch(text):
        raise ArtifactError(f"profile.{where} is not a version like 2.14.0", value=text)


def _minor(python: str) -> int:
    """11 for "3.11"."""
    return int(python.partition(".")[2])


def _check_agreement(profile: DeviceProfile) -> None:
    if not _NAME.fullmatch(profile.name):
        raise ArtifactError(
            "profile.name may only have lower-case letters, digits and dashes", value=profile.name
        )
    if profile.prefer.format != profile.format:
        raise ArtifactError(
            f"profile.prefer.format is not the format that {profile.runtime} executes",
            value=profile.prefer.format,
            hint=f"set {profile.format}",
        )
    if (profile.runtime in GPU_RUNTIMES) != (profile.gpu is not None):
        raise ArtifactError(
            "a GPU runtime needs profile.gpu, and no other runtime may have it",
            value=f"{profile.runtime}, {'no gpu' if profile.gpu is None else profile.gpu.model}",
        )
    if (profile.runtime == "c") != (profile.microcontroller is not None):
        raise ArtifactError(
            "the runtime c needs profile.microcontroller, and no other runtime may have it",
            value=profile.runtime,
        )
    if profile.microcontroller is not None:
        _check_microcontroller(profile, profile.microcontroller)
    if profile.operators is not None and not _fits(profile.operators, profile.format):
        raise ArtifactError(
            f"profile.operators does not fit {profile.format}",
            value=", ".join(sorted(profile.operators)) or "it is empty",
            hint='like CONV_2D = 5 for TFLite, "ai.onnx" = 21 for ONNX',
        )
    where = {"onnxruntime-web": "browser", "tflite-micro": "microcontroller"}.get(profile.runtime)
    if where is not None and profile.pythons:
        raise ArtifactError(f"a {where} has no Python", value=", ".join(profile.pythons))
    if profile.runtime == "tflite-runtime":
        _check_tflite_runtime(profile)


def _check_microcontroller(profile: DeviceProfile, chip: Microcontroller) -> None:
    if profile.pythons or profile.operators is not None:
        raise ArtifactError(
            "a microcontroller runs C code: it has no Python and no [operators]", value=profile.name
        )
    chip.check(profile.storage_bytes, profile.memory_bytes)


def _fits(operators: Mapping[str, int], file_format: str) -> bool:
    if file_format == "onnx":
        return "ai.onnx" in operators
    return bool(operators) and all(map(_OPERATOR.fullmatch, operators))


def _check_tflite_runtime(profile: DeviceProfile) -> None:
    """The last wheels, of 2023, are for Python up to 3.11 and built against numpy 1."""
    late = [version for version in profile.pythons if _minor(version) > 11]
    if late or (profile.numpy and profile.numpy.partition(".")[0] != "1"):
        raise ArtifactError(
            "tflite-runtime needs Python 3.11 or older and numpy 1",
            value=f"Python {', '.join(profile.pythons)}, numpy {profile.numpy}",
        )
