"""The sources of a bundle for TFLite Micro: the model, its operators, its arena and its check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from compressor.bundling.resolver import resolver_method
from compressor.errors import BundleError, UsageError
from compressor.exporters import load_untrusted
from compressor.exporters.c.text import commented, identifier
from compressor.exporters.request import MICRO
from compressor.runtimes import Runner
from deploy.artifact import Artifact
from deploy.artifact_parts import Port
from deploy.profile import DeviceProfile
from deploy.vectors import CheckVectors

FOLDER = "firmware/"
EXAMPLES = 4
"""check vectors in the sources: they lie in the program's flash"""
_ALIGNMENT = 16
_WIDTH = 100
_TYPES = {
    **{"float32": "float", "int8": "int8_t", "uint8": "uint8_t", "bool": "bool"},
    **{"int16": "int16_t", "int32": "int32_t", "int64": "int64_t"},
}
"""The types of TFLite Micro's inputs and outputs -> those of C++."""

_MODEL_H = Template("""\
// $file: $bytes bytes, sha256 $sha256
#ifndef ${guard}_MODEL_H_
#define ${guard}_MODEL_H_

extern const unsigned char ${name}_model[];
extern const unsigned int ${name}_model_bytes;

#endif
""")
_MODEL_CC = Template("""\
#include "${name}_model.h"

alignas($alignment) const unsigned char ${name}_model[] = {
$values
};
const unsigned int ${name}_model_bytes = sizeof ${name}_model;
""")
_RESOLVER_H = Template("""\
// The operators that $file needs, no others, and its arena.
#ifndef ${guard}_RESOLVER_H_
#define ${guard}_RESOLVER_H_

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

// Measured on $machine with the reference kernels of
// $runtime $version. Pointers of a microcontroller take less, the
// buffers of optimised kernels (CMSIS-NN) more.
constexpr int ${name}_arena_bytes = $arena;

constexpr unsigned int ${name}_operators = $count;

inline TfLiteStatus ${name}_add_operators(
    tflite::MicroMutableOpResolver<${name}_operators>& resolver) {
$calls
  return kTfLiteOk;
}

#endif
""")
_CHECK_H = Template("""\
// $examples inputs of $file, and what it must give for them.
#ifndef ${guard}_CHECK_H_
#define ${guard}_CHECK_H_

#include "tensorflow/lite/micro/micro_interpreter.h"

// How many of the $examples examples come out wrong; -1 where one does not run.
int ${name}_check(tflite::MicroInterpreter& interpreter);

#endif
""")
_CHECK_CC = Template("""\
#include "${name}_check.h"

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

constexpr int kExamples = $examples;
constexpr int kOutputs = $outputs;
constexpr float kTolerance = $tolerance;

$arrays
}  // namespace

int ${name}_check(tflite::MicroInterpreter& interpreter) {
  int wrong = 0;
  for (int example = 0; example < kExamples; ++example) {
$copies
    if (interpreter.Invoke() != kTfLiteOk) return -1;
    const $type* found = static_cast<const $type*>(interpreter.output(0)->data.data);
    for (int i = 0; i < kOutputs; ++i) {
      const float value = $value;
      if (!(std::fabs(value - kExpected[example * kOutputs + i]) <= kTolerance)) {
        ++wrong;
        break;
      }
    }
  }
  return wrong;
}
""")


def micro_members(
    artifact: Artifact, model: bytes, vectors: CheckVectors, profile: DeviceProfile
) -> dict[str, bytes]:
    """The members of the folder firmware/; the model is loaded once, which measures its arena.

    Raises MissingRuntimeError where TFLite Micro is not installed here, and UsageError for an
    arena that the device has no room for, an operator that no method of the resolver adds, or an
    input of another type.
    """
    name = identifier(Path(artifact.file).stem)
    arena, version, machine = _arena(artifact.file, model)
    if arena > profile.available_memory_bytes:
        raise UsageError(
            f"its arena does not fit on {profile.name}",
            value=f"{arena:,} bytes, the device has {profile.available_memory_bytes:,}",
            hint="export it with --optimize ram",
        )
    common = {"name": name, "guard": name.upper(), "file": commented(artifact.file)}
    calls = "\n".join(
        f"  TF_LITE_ENSURE_STATUS(resolver.{method}());" for method in _methods(artifact)
    )
    files = {
        f"{name}_model.h": _MODEL_H.substitute(
            common, bytes=f"{len(model):,}", sha256=artifact.sha256
        ),
        f"{name}_model.cc": _MODEL_CC.substitute(
            common, alignment=_ALIGNMENT, values=_lines(map(str, model))
        ),
        f"{name}_resolver.h": _RESOLVER_H.substitute(
            common,
            arena=arena,
            machine=machine,
            runtime=MICRO,
            version=version,
            count=len(artifact.needs),
            calls=calls,
        ),
        **_check(name, common, artifact, vectors),
    }
    return {f"{FOLDER}{file}": text.encode() for file, text in files.items()}


def _arena(file: str, model: bytes) -> tuple[int, str, str]:
    """Bytes, rounded up, the runtime's version, and the processor that they were measured on."""
    from compressor.foundation import temporary_folder
    from deploy import describe_machine

    with temporary_folder("compressor-arena-") as folder, Runner(MICRO, threads=1) as runner:
        path = folder / "model.tflite"
        path.write_bytes(model)
        facts = load_untrusted(runner, path)
    arena = facts["arena_bytes"] or 0
    if not arena:
        raise UsageError("the runtime does not say what arena the model takes", value=file)
    machine = str(describe_machine()["system"])
    return -(-arena // _ALIGNMENT) * _ALIGNMENT, str(facts["version"]), machine


def _methods(artifact: Artifact) -> Iterator[str]:
    for operator in artifact.needs:
        method = resolver_method(operator)
        if method is None:
            raise UsageError("TFLite Micro's resolver has no such operator", value=operator)
        yield method


def _check(
    name: str, common: dict[str, str], artifact: Artifact, vectors: CheckVectors
) -> dict[str, str]:
    if len(artifact.outputs) > 1:
        value = f"{artifact.file} has {len(artifact.outputs)}"
        raise UsageError("sources for TFLite Micro check models of one output", value=value)
    examples = min(EXAMPLES, len(vectors.outputs))
    arrays, copies = [], []
    for place, port in enumerate(artifact.inputs):
        if port.name not in vectors.inputs:
            raise BundleError("the check vectors have no such input", value=port.name)
        given = _stored(vectors.inputs[port.name][:examples], port)
        size = given.nbytes // examples
        arrays.append(_array(f"kInput{place}", given, _type(port)))
        copies.append(
            f"    std::memcpy(interpreter.input({place})->data.data,\n"
            f"                kInput{place} + example * {given.size // examples}, {size});"
        )
    output = artifact.outputs[0]
    expected = np.asarray(vectors.outputs[:examples], np.float32)
    arrays.append(_array("kExpected", expected, "float"))
    value = "static_cast<float>(found[i])"
    if output.scale is not None:
        value = f"(found[i] - {output.zero_point}) * {_number(np.float32(output.scale))}"
    return {
        f"{name}_check.h": _CHECK_H.substitute(common, examples=examples),
        f"{name}_check.cc": _CHECK_CC.substitute(
            common,
            examples=examples,
            outputs=expected.size // examples,
            tolerance=_number(np.float32(vectors.tolerance)),
            arrays="\n".join(arrays),
            copies="\n".join(copies),
            type=_type(output),
            value=value,
        ),
    }


def _stored(values: np.ndarray, port: Port) -> np.ndarray:
    """The inputs as the file takes them."""
    if port.scale is None or values.dtype.kind != "f":
        return np.ascontiguousarray(values.astype(port.dtype))
    bounds = np.iinfo(port.dtype)
    levels = np.rint(values / np.float32(port.scale)) + (port.zero_point or 0)
    return np.clip(levels, bounds.min, bounds.max).astype(port.dtype)


def _type(port: Port) -> str:
    if port.dtype not in _TYPES:
        raise UsageError("TFLite Micro takes and gives no such type", value=port.dtype)
    return _TYPES[port.dtype]


def _array(name: str, values: np.ndarray, kind: str) -> str:
    body = _lines(_number(value) for value in values.reshape(-1))
    return f"alignas({_ALIGNMENT}) const {kind} {name}[] = {{\n{body}\n}};\n"


def _number(value: Any) -> str:
    if isinstance(value, np.floating):
        text = f"{float(value):.9g}"
        return f"{text}f" if any(mark in text for mark in ".e") else f"{text}.0f"
    return str(int(value))


def _lines(values: Iterator[str] | Sequence[str]) -> str:
    lines, line = [], " "
    for value in values:
        if len(line) + len(value) + 2 > _WIDTH:
            lines.append(line)
            line = " "
        line += f" {value},"
    return "\n".join([*lines, line])
