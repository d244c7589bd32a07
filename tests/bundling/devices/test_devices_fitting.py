"""Which artefacts run where: what each needs against what the device has."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from compressor.bundling import compatibility, devices
from deploy.artifact import Artifact
from deploy.artifact_parts import InputRule, Port, Provenance, StoredTensor, Verification
from deploy.profile import DeviceProfile

RPI3, RPI4 = devices.find_device("raspberrypi-3"), devices.find_device("raspberrypi-4")
LINUX, BROWSER = devices.find_device("linux-x86-64"), devices.find_device("browser")


def artefact(runtime: str = "litert", **changes: Any) -> Artifact:
    """A description of a small TFLite file, verified in `runtime`."""
    found = Artifact(
        format="tflite",
        file="model.tflite",
        bytes=50_000,
        sha256="0" * 64,
        vectors_sha256="0" * 64,
        quantize="none",
        optimize="latency",
        runtime=runtime,
        inputs=(Port("image", (None, 28, 28, 1), "float32"),),
        outputs=(Port("scores", (None, 10), "float32"),),
        preprocessing=(InputRule("image", "", (28, 28, 1), "float32", 1 / 255, "scaled"),),
        outputs_are="logits",
        classes=10,
        threshold=None,
        labels=None,
        tensors=(
            StoredTensor("fc/kernel", (10, 784), 0, "dense", "float32", 31_360),
            StoredTensor("fc/bias", (10,), 0, "dense", "float32", 40),
        ),
        needs={"FULLY_CONNECTED": 1, "RESHAPE": 1},
        verified=(Verification(runtime, "1.0.0", None, 1, 100, 0.99, 0.99, 0.0),),
        provenance=Provenance(0.9, 0, None, None, {}, "tests"),
    )
    return dataclasses.replace(found, **changes)


def onnx(runtime: str = "onnxruntime", **changes: Any) -> Artifact:
    return artefact(
        runtime, **{"format": "onnx", "file": "model.onnx", "needs": {"ai.onnx": 18}, **changes}
    )


def with_(profile: DeviceProfile, **changes: Any) -> DeviceProfile:
    return dataclasses.replace(profile, **changes)


def test_what_fits_meets_no_obstacle():
    assert compatibility.obstacles(artefact(), RPI4) == ()
    assert compatibility.obstacles(artefact("tflite-runtime"), RPI3) == ()
    assert compatibility.obstacles(onnx(), LINUX) == ()


def test_another_format_is_all_that_is_said():
    assert compatibility.obstacles(onnx(), RPI4) == ("is onnx, litert executes tflite",)


def test_what_was_verified_in_another_runtime_only_is_refused_with_what_to_do():
    (reason,) = compatibility.obstacles(artefact("litert"), RPI3)

    assert "verified in litert 1.0.0, not in tflite-runtime" in reason
    assert "--format tflite --for tflite-runtime" in reason
    (reason,) = compatibility.obstacles(artefact(verified=()), RPI4)
    assert "verified in no runtime" in reason


@pytest.mark.parametrize("name", ["browser", "jetson-orin", "linux-gpu"])
def test_onnxruntime_on_the_cpu_stands_in_for_what_cannot_run_on_every_host(name):
    assert compatibility.obstacles(onnx(), devices.find_device(name)) == ()


def test_operator_versions_are_those_that_the_runtime_was_measured_to_have():
    def needing(version: int) -> Artifact:
        return artefact("tflite-runtime", needs={"FULLY_CONNECTED": version, "RESHAPE": 1})

    # What tflite-runtime 2.14.0 loads and refuses, tried with the wheel.
    assert compatibility.obstacles(needing(10), RPI3) == ()
    assert compatibility.obstacles(needing(12), RPI3) == (
        "needs FULLY_CONNECTED 12 (tflite-runtime 2.14.0 has up to 10)",
    )
    assert compatibility.obstacles(artefact(needs={"FULLY_CONNECTED": 12}), RPI4) == ()


def test_an_operator_that_is_not_there_is_named():
    found = compatibility.obstacles(artefact("tflite-runtime", needs={"STABLEHLO_ADD": 1}), RPI3)

    assert found == ("needs STABLEHLO_ADD 1 (tflite-runtime 2.14.0 has none)",)


def test_an_operator_set_that_is_too_new_is_refused():
    (reason,) = compatibility.obstacles(
        onnx(needs={"ai.onnx": 24}), devices.find_device("jetson-orin")
    )

    assert reason == "needs ai.onnx 24 (cuda 1.23.0 has up to 23)"
    (reason,) = compatibility.obstacles(onnx(needs={"ai.onnx": 18, "com.mine": 1}), LINUX)
    assert "needs com.mine 1 (onnxruntime 1.31.1 has none)" in reason


def test_a_profile_may_list_operators_of_its_own():
    own = with_(RPI4, operators={"FULLY_CONNECTED": 4, "RESHAPE": 1})

    assert compatibility.obstacles(artefact(), own) == ()
    (reason,) = compatibility.obstacles(artefact(needs={"FULLY_CONNECTED": 5}), own)
    assert reason == "needs FULLY_CONNECTED 5 (the device has up to 4)"


def test_a_runtime_from_before_every_measured_one_is_refused_and_a_later_one_is_not():
    (reason,) = compatibility.obstacles(artefact(), with_(RPI4, runtime_version="0.9.0"))
    assert "the operators of litert 0.9.0 were not measured" in reason

    assert compatibility.obstacles(artefact(), with_(RPI4, runtime_version="99.0.0")) == ()


def test_memory_counts_what_the_runtime_unpacks():
    """A sparse tensor of 98 % zeros takes as much as a dense one once it is loaded."""
    shape = (10_000, 784)
    sparse = StoredTensor("fc/kernel", shape, 7_683_200, "csr", "int8", 156_800)
    found = artefact(tensors=(sparse,), bytes=200_000)

    assert compatibility.memory_bytes(found) == 200_000 + 10_000 * 784
    dense = dataclasses.replace(sparse, encoding="dense")
    assert compatibility.memory_bytes(artefact(tensors=(dense,), bytes=200_000)) == 200_000
    skipping = dataclasses.replace(sparse, encoding="1x16")
    assert compatibility.memory_bytes(artefact(tensors=(skipping,), bytes=200_000)) == 200_000
    codebook = dataclasses.replace(sparse, encoding="gap4", values="codebook4")
    assert (
        compatibility.memory_bytes(artefact(tensors=(codebook,), bytes=9)) == 9 + 4 * 10_000 * 784
    )


def test_too_little_memory_or_storage_is_refused_with_both_numbers():
    sparse = StoredTensor("fc/kernel", (1000, 784), 0, "csr", "float32", 100)
    small = with_(RPI4, available_memory_bytes=1_000_000, storage_bytes=49_999)

    memory, storage = compatibility.obstacles(artefact(tensors=(sparse,)), small)
    assert memory == "needs 3,186,000 bytes of memory at least (the device has 1,000,000)"
    assert storage == "needs 50,000 bytes of storage at least (the device has 49,999)"


def test_the_memory_of_a_gpu_counts_apart():
    gpu = devices.find_device("linux-gpu")
    assert gpu.gpu is not None
    small = with_(gpu, gpu=dataclasses.replace(gpu.gpu, memory_bytes=10))

    (reason,) = compatibility.obstacles(onnx(), small)
    assert "memory of the GPU" in reason


def test_all_that_stands_against_it_is_said():
    bad = artefact(needs={"FULLY_CONNECTED": 12, "CAST": 8}, bytes=10**12)

    assert len(compatibility.obstacles(bad, RPI3)) == 5


def test_a_fast_device_takes_its_quantisation_then_latency_then_widths_then_bytes():
    size = artefact(quantize="int8", optimize="size", bytes=10)
    fast = artefact(quantize="int8", bytes=40)
    odd = artefact(
        quantize="int8",
        bytes=20,
        tensors=(StoredTensor("hidden/bias", (62,), 0, "dense", "float32", 248),),
    )
    even = artefact(
        quantize="int8",
        bytes=30,
        tensors=(StoredTensor("hidden/bias", (64,), 0, "dense", "float32", 256),),
    )
    plain = artefact(quantize="none", bytes=1)

    assert compatibility.choose([plain, size, fast, odd, even], RPI4) is even
    assert compatibility.choose([plain, size, fast, odd], RPI4) is fast
    assert compatibility.choose([plain, size, odd], RPI4) is odd
    assert compatibility.choose([plain, size], RPI4) is size
    assert compatibility.choose([plain], RPI4) is plain


def test_a_small_device_takes_the_fewest_bytes_of_what_it_names():
    codebook, int8 = onnx(quantize="codebook", bytes=30), onnx(quantize="int8", bytes=20)
    unnamed = with_(BROWSER, prefer=dataclasses.replace(BROWSER.prefer, quantize=("codebook",)))

    assert compatibility.choose([codebook, int8], BROWSER) is int8
    assert compatibility.choose([codebook, int8], unnamed) is codebook


def test_where_an_artefact_runs():
    assert compatibility.runs_on(artefact()) == ("android-arm64", "raspberrypi-4")
    assert compatibility.runs_on(artefact("tflite-runtime")) == ("raspberrypi-3",)
    assert compatibility.runs_on(onnx()) == ("browser", "jetson-orin", "linux-gpu", "linux-x86-64")
    assert compatibility.runs_on(onnx(needs={"ai.onnx": 99})) == ()
