"""Bundles on ARM processors, emulated: the wheels, the operators and the outputs that are there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compressor
from benchmarks.operators import measure
from compressor import runtimes
from compressor.data import Dataset
from deploy.operator_table import find_table
from deploy.profile import PROFILES
from deploy.runner.packing import pack
from deploy.signing import read_public_key

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "make-emulated-root.sh"
SAMPLE = ("BATCH_MATMUL", "CONV_2D", "DENSIFY", "FULLY_CONNECTED", "RESHAPE", "STABLEHLO_ADD")
NOT_HERE = 3

pytestmark = pytest.mark.slow


def emulated_root(architecture: str, folder: Path) -> Path:
    """A Python for this processor; skips, with the reason, where it cannot be had."""
    done = subprocess.run(
        [str(SCRIPT), architecture, str(folder), sys.executable],
        capture_output=True,
        text=True,
        timeout=900,
    )
    if done.returncode == NOT_HERE:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return folder / "python"


@pytest.fixture(scope="module")
def arm64(tmp_path_factory: Any) -> Path:
    return emulated_root("arm64", tmp_path_factory.mktemp("arm64"))


@pytest.fixture(scope="module")
def armhf(tmp_path_factory: Any) -> Path:
    return emulated_root("armhf", tmp_path_factory.mktemp("armhf"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: Any) -> dict[str, Any]:
    return compressor.keygen(tmp_path_factory.mktemp("keys") / "release")


@pytest.fixture(scope="module")
def runner(keys: dict[str, Any], tmp_path_factory: Any) -> Path:
    """The runner as it is installed on a device, with the public key pinned."""
    path = tmp_path_factory.mktemp("runner") / "runner.pyz"
    path.write_bytes(pack([read_public_key(keys["public"])]))
    return path


@pytest.fixture(scope="module")
def images(tiny_data: Dataset, tmp_path_factory: Any) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, tiny_data.x_test[:8])
    return path


def run(python: Path, *arguments: object) -> str:
    """What a program under emulation wrote; it must end well."""
    done = subprocess.run(
        [str(python), *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(python: Path, runner: Path, key: str, bundle: Path, images: Path, data: Dataset) -> None:
    """The bundle is trusted by the installed runner, is right there, and answers."""
    verified = json.loads(run(python, "-I", runner, "verify", bundle, "--json"))
    assert verified["signed_by"] == key
    assert verified["check"]["passed"] is True
    assert verified["check"]["examples"] > 0
    assert "not proven: this shows integrity" in run(python, bundle, "verify")
    answers = run(python, "-I", runner, "run", bundle, images, "--json").splitlines()
    found = np.array([json.loads(answer)["class"] for answer in answers])
    assert np.mean(found == data.y_test[:8]) >= 7 / 8


@pytest.mark.parametrize("name", ["float.tflite", "small.tflite"])
def test_litert_on_aarch64(arm64, runner, keys, images, artefacts, tiny_data, tmp_path, name):
    bundle = tmp_path / "pi4.bundle"
    compressor.package([artefacts / name], "raspberrypi-4", bundle, sign=keys["private"])

    check(arm64, runner, keys["identifier"], bundle, images, tiny_data)


def test_onnxruntime_on_aarch64(arm64, runner, keys, images, artefacts, tiny_data, tmp_path):
    text = (PROFILES / "linux-x86-64.toml").read_text()
    for old, new in (("linux-x86-64", "linux-arm64"), ('"x86-64"', '"aarch64"')):
        text = text.replace(old, new)
    profile, bundle = tmp_path / "linux-arm64.toml", tmp_path / "arm.bundle"
    profile.write_text(text)
    compressor.package([artefacts / "small.onnx"], profile, bundle, sign=keys["private"])

    check(arm64, runner, keys["identifier"], bundle, images, tiny_data)


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_tflite_runtime_on_armhf(
    armhf, runner, keys, images, pruned_file, tiny_data, tmp_path, quantize
):
    if runtimes.state("tflite-runtime").version is None:
        pytest.skip(f"tflite-runtime {runtimes.state('tflite-runtime').reason}")
    artefact, bundle = tmp_path / "small.tflite", tmp_path / "pi3.bundle"
    compressor.export(pruned_file, artefact, tiny_data, runtime="tflite-runtime", quantize=quantize)
    compressor.package([artefact], "raspberrypi-3", bundle, sign=keys["private"])

    check(armhf, runner, keys["identifier"], bundle, images, tiny_data)


@pytest.mark.parametrize(
    ("root", "runtime"),
    [("arm64", "litert"), ("arm64", "onnxruntime"), ("armhf", "tflite-runtime")],
)
def test_the_operators_are_those_measured_on_x86(root, runtime, request):
    found = measure(runtime, str(request.getfixturevalue(root)), SAMPLE)
    table = find_table(runtime, found.version)

    assert table is not None
    assert table.version == found.version
    if runtime != "onnxruntime":
        assert found.operators == {
            name: table.operators[name] for name in SAMPLE if name in table.operators
        }
    else:
        assert found.operators == table.operators
