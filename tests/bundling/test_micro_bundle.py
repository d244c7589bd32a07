"""Bundles for TFLite Micro: the sources compile, and their check tells right from wrong."""

from __future__ import annotations

import copy
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from descriptions import DESCRIPTION

from compressor.bundling import compatibility, devices, micro
from compressor.bundling.resolver import METHODS, resolver_method
from compressor.errors import UsageError
from deploy.artifact import Artifact
from deploy.operator_table import find_table
from deploy.vectors import CheckVectors

DEVICE = "nrf52840-tflm"
MODEL = b"TFL3" + bytes(range(256))
RESOLVER = """
#pragma once
#include "tensorflow/lite/micro/micro_interpreter.h"
#define TF_LITE_ENSURE_STATUS(a) do { if ((a) != kTfLiteOk) return kTfLiteError; } while (0)
namespace tflite {
template <unsigned int kMost> struct MicroMutableOpResolver {
  unsigned int added = 0;
  TfLiteStatus add() { return ++added > kMost ? kTfLiteError : kTfLiteOk; }
  TfLiteStatus AddFullyConnected() { return add(); }
  TfLiteStatus AddDecode() { return add(); }
};
}
"""
INTERPRETER = """
#pragma once
#include <cstdint>
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
struct TfLiteTensor { struct { void* data; } data; };
namespace tflite {
// Adds 1 to each of three integers, or 2 where it is broken.
struct MicroInterpreter {
  int8_t given[3], made[3];
  int step = 1;
  TfLiteTensor in{{given}}, out{{made}};
  TfLiteTensor* input(int) { return &in; }
  TfLiteTensor* output(int) { return &out; }
  TfLiteStatus Invoke() {
    for (int i = 0; i < 3; ++i) made[i] = given[i] + step;
    return kTfLiteOk;
  }
};
}
"""
MAIN = """
#include "digits_check.h"
#include "digits_model.h"
#include "digits_resolver.h"
#include <cstdio>
int main() {
  tflite::MicroMutableOpResolver<digits_operators> resolver;
  tflite::MicroInterpreter right, wrong;
  wrong.step = 2;
  const int status = digits_add_operators(resolver);
  std::printf("%d %u %d %d %d %u\\n", status, resolver.added,
              digits_arena_bytes, digits_check(right), digits_check(wrong), digits_model_bytes);
  for (unsigned int i = 0; i < digits_model_bytes; ++i) std::printf("%02x", digits_model[i]);
}
"""


def artifact(**changes: Any) -> Artifact:
    ports = {"shape": [1, 3], "dtype": "int8", "scale": 0.5, "zero_point": 0}
    content = copy.deepcopy(DESCRIPTION) | {
        "runtime": "tflite-micro",
        "bytes": len(MODEL),
        "sha256": hashlib.sha256(MODEL).hexdigest(),
        "inputs": [ports | {"name": "x"}],
        "outputs": [ports | {"name": "scores"}],
        "preprocessing": [DESCRIPTION["preprocessing"][0] | {"name": "x", "shape": [3]}],
        "classes": 3,
        "labels": None,
        "needs": {"FULLY_CONNECTED": 4, "TFLM_DECODE": 1},
        **changes,
    }
    return Artifact.parse(content)


def vectors() -> CheckVectors:
    x = np.arange(18, dtype=np.float32).reshape(6, 3) / 2
    return CheckVectors({"x": x}, x + 0.5, 0.01)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro, "_arena", lambda *_: (10_400, "1.0", "Linux x86_64"))


def test_the_sources_compile_and_their_check_tells_right_from_wrong(measured, tmp_path):
    if (compiler := shutil.which("c++")) is None:
        pytest.skip("there is no C++ compiler")
    members = micro.micro_members(artifact(), MODEL, vectors(), devices.find_device(DEVICE))
    headers = tmp_path / "tensorflow" / "lite" / "micro"
    headers.mkdir(parents=True)
    (headers / "micro_interpreter.h").write_text(INTERPRETER)
    (headers / "micro_mutable_op_resolver.h").write_text(RESOLVER)
    (tmp_path / "main.cc").write_text(MAIN)
    for name, content in members.items():
        (tmp_path / Path(name).name).write_bytes(content)
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-I", str(tmp_path), "-o"]
    sources = [str(path) for path in sorted(tmp_path.glob("*.cc"))]
    subprocess.run([compiler, *flags, str(tmp_path / "main"), *sources], check=True, timeout=60)
    found = subprocess.run([tmp_path / "main"], check=True, timeout=10, capture_output=True)
    first, _, model = found.stdout.decode().partition("\n")
    assert first == f"0 2 10400 0 {micro.EXAMPLES} {len(MODEL)}"
    assert bytes.fromhex(model) == MODEL


def test_an_arena_that_the_device_has_no_room_for_is_refused(monkeypatch, rejected):
    monkeypatch.setattr(micro, "_arena", lambda *_: (200_000, "1.0", "Linux x86_64"))
    profile = devices.find_device(DEVICE)
    message = rejected(UsageError, micro.micro_members, artifact(), MODEL, vectors(), profile)
    assert "200,000 bytes, the device has 196,608" in message and "--optimize ram" in message


def test_memory_is_that_of_the_largest_decoded_weight(monkeypatch):
    profile = devices.find_device(DEVICE)
    weights = [
        {"name": name, "shape": shape, "zeros": 0, "encoding": "prune", "values": "int8"}
        for name, shape in (("a", [300, 400]), ("b", [200, 400]))
    ]
    verified = [DESCRIPTION["verified"][0] | {"runtime": "tflite-micro"}]

    def obstacles(tensors: list[dict[str, Any]]) -> tuple[str, ...]:
        tensors = [tensor | {"bytes": 9} for tensor in tensors]
        return compatibility.obstacles(artifact(tensors=tensors, verified=verified), profile)

    assert obstacles(weights) == ()
    (reason,) = obstacles([weights[0] | {"shape": [500, 400]}])
    assert "needs 200,000 bytes of memory" in reason


def test_every_operator_of_the_table_has_a_method():
    table = find_table("tflite-micro", "0.dev20261023182759")
    methods = [resolver_method(name) for name in table.operators]
    assert sorted(methods) == sorted(f"Add{name}" for name in (*METHODS, "Decode"))
    assert resolver_method("CONV_2D") == "AddConv2D" and resolver_method("CONV_3D") is None
