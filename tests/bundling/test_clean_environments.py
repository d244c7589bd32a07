"""Bundles where nothing of ours is: a Python that has numpy and one runtime, and no more."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

import compressor
from compressor import runtimes
from compressor.data import Dataset
from deploy.runner.packing import pack
from deploy.signing import read_public_key

# Device -> the runtime there, and the distributions that an installation of it takes.
DEVICES = {
    "raspberrypi-4": ("litert", ("numpy", "ai-edge-litert", "flatbuffers", "protobuf")),
    "raspberrypi-3": ("tflite-runtime", ()),
    "linux-x86-64": ("onnxruntime", ("numpy", "onnxruntime-gpu", "flatbuffers", "protobuf")),
}
_ALONE = "import sys; [__import__(name) for name in sys.argv[1:]]"


@pytest.fixture(scope="session")
def clean_python(tmp_path_factory: pytest.TempPathFactory):
    """The Python of an environment that holds the runtime and numpy: asked for by the runtime."""
    base = tmp_path_factory.getbasetemp().parent / "clean"

    def python_of(runtime: str, distributions: tuple[str, ...]) -> Path:
        if runtimes.state(runtime).version is None:
            pytest.skip(f"{runtime} {runtimes.state(runtime).reason}")
        if not distributions:  # it lives in an environment of its own
            return Path(runtimes.python_of(runtime))
        base.mkdir(exist_ok=True)
        folder = base / runtime
        with FileLock(base / f"{runtime}.lock"):
            if not folder.exists():
                command = [sys.executable, "-m", "venv", "--without-pip", folder]
                subprocess.run(command, check=True)
                [packages] = folder.glob("lib/python3*/site-packages")
                for name in distributions:
                    _link(name, packages)
        return folder / "bin" / "python"

    return python_of


def _link(name: str, packages: Path) -> None:
    """Put an installed distribution into another environment."""
    files = importlib.metadata.files(name)
    assert files, name
    for top in {file.parts[0] for file in files if not file.parts[0].startswith((".", ".."))}:
        source = Path(str(importlib.metadata.distribution(name).locate_file(top)))
        if not (packages / top).exists():
            os.symlink(source, packages / top)  # noqa: PTH211


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
def test_a_bundle_is_verified_and_run_where_nothing_of_ours_is(
    device: str,
    clean_python,
    pruned_file: Path,
    tiny_data: Dataset,
    release: Path,
    tmp_path: Path,
) -> None:
    runtime, distributions = DEVICES[device]
    python = clean_python(runtime, distributions)
    for name in ("compressor", "tensorflow", "cryptography", "click"):
        done = subprocess.run([python, "-I", "-c", _ALONE, name], capture_output=True)
        assert done.returncode == 1, name
    suffix = runtimes.find(runtime).format
    artefact = tmp_path / f"model.{suffix}"
    labels = ["first", "second", "third", "fourth"]
    record = compressor.export(
        pruned_file, artefact, tiny_data, runtime=runtime, quantize="int8", labels=labels
    )
    bundle = tmp_path / "model.bundle"
    compressor.package([artefact], device, bundle, sign=release / "release.key")
    runner = tmp_path / "runner.pyz"
    runner.write_bytes(pack([read_public_key(release / "release.pub")]))
    images = tmp_path / "images.npy"
    np.save(images, tiny_data.x_test)

    for command in ([str(bundle), "verify"], [str(runner), "verify", str(bundle)]):
        done = subprocess.run(
            [python, "-I", *command, "--json"], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["check"]["passed"]
        assert found["runtime"]["name"] == runtime
        assert (found["signed_by"] is None) == (command[0] == str(bundle))
    done = subprocess.run(
        [python, "-I", runner, "run", bundle, images, "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(tiny_data.y_test)
    assert {answer["label"] for answer in answers} <= set(labels)
    right = np.mean([answer["class"] for answer in answers] == tiny_data.y_test)
    assert right == pytest.approx(record["verdict"]["accuracy"], abs=1e-9)
