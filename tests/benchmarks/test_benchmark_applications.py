"""Networks of keras.applications: both formats compute them, in bounded memory."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import applications
from compressor.exporters.request import Request
from compressor.importing import load_model
from tests.support.stock_runtimes import run_artefact

MANY_MEGABYTES = 300


@pytest.fixture(scope="module")
def small_net(tmp_path_factory) -> Any:
    path = tmp_path_factory.mktemp("applications") / "net.keras"
    applications.build("MobileNetV3Small", path)
    return load_model(path)


@pytest.mark.parametrize(
    ("file_format", "runtime"), [("tflite", "litert"), ("onnx", "onnxruntime")]
)
@pytest.mark.slow
def test_float32_of_mobilenet_is_near_keras(small_net, tmp_path, file_format, runtime):
    exporter = importlib.import_module(f"compressor.exporters.{file_format}")
    made = exporter.export(small_net, Request(runtime))
    path = tmp_path / f"net.{file_format}"
    path.write_bytes(made.content)
    x = np.random.default_rng(3).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    wanted = np.asarray(small_net(x))
    assert np.ptp(wanted, axis=0).max() > 1e-3
    found = run_artefact(path, {made.inputs[0]: x})
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    weights = sum(variable.numpy().nbytes for variable in small_net.variables)
    assert len(made.content) < 1.02 * weights


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_the_memory_of_all_processes_counts():
    child = f"x = b'1' * {MANY_MEGABYTES * 10**6}; import time; time.sleep(1)"
    code = (
        f"import subprocess, sys; x = b'1' * {MANY_MEGABYTES * 10**6}; "
        f'subprocess.run([sys.executable, "-c", {child!r}]); print("done")'
    )
    found = applications.measure([sys.executable, "-c", code])
    assert found["status"] == 0 and found["output"] == "done\n"
    assert 2 * MANY_MEGABYTES * 10**6 < found["memory"] < 3 * MANY_MEGABYTES * 10**6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("name", ["NASNetMobile", "VGG16", "ConvNeXtTiny"])
def test_large_and_deep_networks_are_exported_within_the_limit(name, tmp_path: Path):
    row = applications.row(name, tmp_path)
    for file_format in ("tflite", "onnx"):
        assert row[file_format]["status"] == 0
        assert row[file_format]["memory"] < applications.MOST_BYTES
        assert row[file_format]["difference"] < 1e-4
        assert row[file_format]["bytes"] < 1.03 * 4 * row["parameters"]
