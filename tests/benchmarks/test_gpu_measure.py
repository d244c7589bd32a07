"""The script that goes to the GPU's machine, as a dry run on the CPU, without compressor."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu
from compressor.errors import UsageError
from deploy import CheckVectors
from deploy.runner.packing import pack

ROOT = Path(__file__).parents[2]
# What a runtime that crashes does, for a file of this name.
CRASHING = """
import functools, os
from deploy.runner import protocol
load = protocol.Server._load
@functools.wraps(load)
def _load(self, **fields):
    if "crash" in str(fields["path"]):
        os.abort()
    return load(self, **fields)
protocol.Server._load = _load
"""
QUICK = ["--runtime", "onnxruntime", "--rounds", "2", "--round-seconds", "0.002"]
QUICK += ["--warmup-seconds", "0.1"]


def write_classifier(path: Path, kernel: np.ndarray) -> None:
    """scores = image @ kernel, of images (batch, 2, 2, 1)."""
    onnx = importlib.import_module("onnx")
    make, types = onnx.helper, onnx.TensorProto
    graph = make.make_graph(
        [
            make.make_node("Reshape", ["image", "shape"], ["flat"]),
            make.make_node("MatMul", ["flat", "kernel"], ["scores"]),
        ],
        "classifier",
        [make.make_tensor_value_info("image", types.FLOAT, ["batch", 2, 2, 1])],
        [make.make_tensor_value_info("scores", types.FLOAT, ["batch", 4])],
        [
            onnx.numpy_helper.from_array(kernel, "kernel"),
            onnx.numpy_helper.from_array(np.array([-1, 4], np.int64), "shape"),
        ],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder as `benchmarks.gpu` makes it, of one right artefact and three others."""
    folder = tmp_path_factory.mktemp("gpu")
    images = np.random.default_rng(0).integers(0, 256, (60, 2, 2), dtype=np.uint8)
    fed = images.reshape(60, 2, 2, 1).astype(np.float32) / np.float32(255)
    labels = fed.reshape(60, 4).argmax(axis=1)
    rows = []
    for name in ("right", "wrong", "garbage", "crash"):
        path = folder / f"{name}.onnx"
        write_classifier(path, np.eye(4, dtype=np.float32)[:, :: -1 if name == "wrong" else 1])
        if name == "garbage":
            path.write_bytes(b"no model")
        vectors = CheckVectors({"image": fed[:3]}, fed[:3].reshape(3, 4), 1e-4)
        (folder / f"{name}.onnx.check.npz").write_bytes(vectors.to_bytes())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(
            {"file": path.name, "name": name, "format": "onnx", "bytes": path.stat().st_size}
            | {"sha256": digest, "quantize": "none", "optimize": None, "sparsity": 0.5}
            | {"accuracy": 1.0, "reference_accuracy": 1.0, "made": "by hand"}
        )
    plan = {
        "compressor_version": "1.2.3",
        "data": {"name": "toy", "sha256": "0" * 64, "examples": 60},
        "input": "image",
        "row": [2, 2, 1],
        "artefacts": rows,
    }
    (folder / "artefacts.json").write_text(json.dumps(plan))
    np.savez_compressed(folder / "images.npz", images=images, labels=labels)
    with (
        zipfile.ZipFile(io.BytesIO(pack())) as packed,
        zipfile.ZipFile(folder / "runner.pyz", "w") as runner,
    ):
        for name in packed.namelist():
            content = packed.read(name)
            runner.writestr(name, CRASHING.encode() + content if name == "__main__.py" else content)
    shutil.copyfile(ROOT / "benchmarks" / "gpu_measure.py", folder / "measure.py")
    return folder


def measure(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(folder / "measure.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)


def test_a_dry_run_measures_every_row_and_says_that_it_is_of_the_cpu(prepared) -> None:
    done = measure(prepared, *QUICK, "--batches", "8")
    document = json.loads((prepared / "cpu.json").read_text())
    (run,) = document["runs"]
    schema = json.loads((ROOT / "compressor" / "runs" / "bench.schema.json").read_text())
    importlib.import_module("jsonschema").validate(document, schema)

    assert done.returncode == 1 and "cpu.json" in done.stdout  # rows that are not right
    assert run["benchmark"] == "cpu" and run["machine"]["gpu"] is None
    assert "numpy" in run["machine"]["packages"] and run["finished"] and not run["interrupted"]
    table = {(row["artefact"], row["batch"], row["transfer"]): row for row in run["rows"]}
    assert len(table) == len(run["rows"]) == 4 * 2  # no CUDA graph on a CPU
    for (number, _, transfer), row in table.items():
        assert row["status"] == ("right", "wrong", "failed", "failed")[number]
        if row["status"] == "failed":
            assert "latency_ms" not in row and row["reason"]
            continue
        assert row["provider"] == "CPUExecutionProvider" and row["gpu_memory_bytes"] is None
        latency = row["latency_ms"]
        assert 0 < latency["p50"]["value"] <= latency["p99"]["value"] and latency["rounds"] == 2
        assert row["throughput"]["value"] > 0 and row["ratio"]["value"] > 0
        assert ("first_ms" in row) == (transfer == "copies")
    assert table[0, 8, "device"]["ratio"]["value"] == 1
    assert table[0, 8, "device"]["accuracy"] == table[0, 8, "device"]["agreement"] == 1
    assert (
        table[1, 8, "copies"]["accuracy"] < 0.5
        and "1.0000 on the CPU" in table[1, 8, "copies"]["reason"]
    )
    assert "refuses the artefact" in table[2, 8, "copies"]["reason"]
    assert "SIG" in table[3, 8, "copies"]["reason"] or "-6" in table[3, 8, "copies"]["reason"]
    text = (prepared / "cpu.md").read_text()
    assert "onnxruntime (CPUExecutionProvider), device" in text
    assert "WRONG" in text and "failed" in text and "no GPU" in text


def test_a_run_goes_on_with_what_is_not_measured_yet(prepared) -> None:
    out = prepared / "again.json"
    arguments = [*QUICK, "--batches", "1,8", "--transfers", "copies", "--out", str(out)]
    measure(prepared, *arguments)
    whole = json.loads(out.read_text())
    (run,) = whole["runs"]
    run["rows"], kept = [row for row in run["rows"] if row["batch"] == 1], run["rows"][0]
    run["finished"] = None
    out.write_text(json.dumps(whole))
    done = measure(prepared, *arguments)
    (run,) = json.loads(out.read_text())["runs"]

    assert "batch 8" in done.stdout and "batch 1," not in done.stdout
    assert run["rows"][0] == kept and len(run["rows"]) == 8 and run["finished"]
    other = measure(prepared, *arguments, "--threads", "2")
    assert other.returncode == 2 and "is of another run" in other.stderr
    out.write_text("[")
    assert measure(prepared, *arguments).returncode == 2


@pytest.mark.parametrize("runtime", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_one_line_and_no_file(prepared, runtime) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is an NVIDIA GPU")
    done = measure(prepared, "--runtime", runtime, "--out", "x.json")

    assert done.returncode == 3 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and f"{runtime} cannot run here" in done.stderr
    assert not (prepared / "x.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--runtime", "onnxruntime", "--out", "gpu.json"], "must not be called gpu.json"),
        (["--runtime", "onnxruntime,cuda"], "by itself"),
        (["--runtime", "cobol"], "choose from cuda"),
        (["--batches", "0"], "no batch sizes"),
        (["--rounds", "0"], "above zero"),
    ],
)
def test_what_cannot_be_measured_is_refused(prepared, arguments, said) -> None:
    done = measure(prepared, *arguments)

    assert done.returncode == 2 and said in done.stderr
    assert not (prepared / "gpu.json").exists()


def test_a_file_that_changed_on_its_way_is_not_measured(prepared, tmp_path) -> None:
    shutil.copytree(prepared, tmp_path / "there")
    with open(tmp_path / "there" / "right.onnx", "ab") as file:
        file.write(b"\0")
    done = measure(tmp_path / "there", "--runtime", "onnxruntime")

    assert done.returncode == 2 and "right.onnx is not what was prepared" in done.stderr


def test_models_that_are_not_there_are_said_so(tmp_path, rejected) -> None:
    message = rejected(UsageError, gpu.prepare, tmp_path / "work", tmp_path)

    assert "there is no dense model" in message and "benchmarks.export" in message
    assert not (tmp_path / "work").exists()
