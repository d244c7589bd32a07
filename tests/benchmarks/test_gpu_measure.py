"""The script that goes to the GPU's machine, as a dry run on the CPU, without compressor."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import fake_gpu
import numpy as np
import pytest
from small_wheel import write_wheel

from benchmarks.gpu import prepare
from compressor.errors import UsageError
from deploy import CheckVectors

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "compressor" / "runs" / "bench.schema.json"
# What a runtime that crashes does, for a file of this name; beside a file `hold` it hangs.
CRASHING = """
import functools, os, time
from deploy.runner import protocol
load = protocol.Server._load
@functools.wraps(load)
def _load(self, **fields):
    if "crash" in str(fields["path"]):
        if os.path.exists(os.path.join(os.path.dirname(fields["path"]), "hold")):
            time.sleep(3600)
        os.abort()
    return load(self, **fields)
protocol.Server._load = _load
"""
QUICK = ["--runtime", "onnxruntime", "--rounds", "2", "--round-seconds", "0.002"]
QUICK += ["--warmup-seconds", "0.1"]


# ONNX Runtime as it is installed here, of another version and in another place.
FORWARDING = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location(
    "onnxruntime", {importlib.util.find_spec("onnxruntime").origin!r}
)
module = sys.modules["onnxruntime"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.__version__ = "9.9.9"
"""
# One for a GPU that is not there: y = 2 x, and whatever is called int8 would fall to the CPU.
FAKE = """
class Picky(Session):
    def __init__(self, path, *arguments, **options):
        if "int8" in str(path):
            raise RuntimeError("nodes that are assigned to the default CPU EP")
        super().__init__(path, *arguments, **options)

import sys
made = sys.modules[__name__] = FakeRuntime()
made.InferenceSession, made.load = Picky, libraries(Driver())
"""
WITH_A_DRIVER = """
import ctypes, onnxruntime
cdll = ctypes.CDLL
ctypes.CDLL = lambda name, *rest: onnxruntime.load(name) if name else cdll(name)
"""


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


def write_folder(
    folder: Path,
    names: Sequence[str],
    images: np.ndarray,
    outputs: np.ndarray,
    port: str,
    code: str,
) -> None:
    """What `benchmarks.gpu` prepares, with `code` at the start of the runner.

    `folder` has the file NAME.onnx of each of `names`, which are MODEL, PRECISION.
    """
    rows = []
    for name in names:
        path = folder / f"{name}.onnx"
        vectors = CheckVectors({port: images[:3] / np.float32(255)}, outputs[:3], 1e-4)
        (folder / f"{name}.onnx.check.npz").write_bytes(vectors.to_bytes())
        quantize = name.partition(", ")[2].replace("float32", "none") or "none"
        rows.append(
            {"file": path.name, "name": name, "format": "onnx", "bytes": path.stat().st_size}
            | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "quantize": quantize}
            | {"optimize": None, "sparsity": 0.5, "made": "by hand"}
            | {"accuracy": 1.0, "reference_accuracy": 1.0}
        )
    plan = {
        "compressor_version": "1.2.3",
        "data": {"name": "toy", "sha256": "0" * 64, "examples": len(images)},
        "input": port,
        "row": images.shape[1:],
        "artefacts": rows,
    }
    (folder / "artefacts.json").write_text(json.dumps(plan))
    np.savez_compressed(folder / "images.npz", images=images, labels=outputs.argmax(axis=1))
    prepare.write_program(folder)
    with zipfile.ZipFile(folder / "runner.pyz") as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    members["__main__.py"] = code.encode() + members["__main__.py"]
    with zipfile.ZipFile(folder / "runner.pyz", "w") as runner:
        for name, content in members.items():
            runner.writestr(name, content)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """A folder as `benchmarks.gpu` makes it, of one right artefact and three others."""
    folder = tmp_path_factory.mktemp("prepared")
    names = ("right", "wrong", "garbage", "crash")
    for name in names:
        path = folder / f"{name}.onnx"
        write_classifier(path, np.eye(4, dtype=np.float32)[:, :: -1 if name == "wrong" else 1])
    (folder / "garbage.onnx").write_bytes(b"no model")
    images = np.random.default_rng(0).integers(0, 256, (60, 2, 2, 1), dtype=np.uint8)
    outputs = images.reshape(60, 4) / np.float32(255)
    write_folder(folder, names, images, outputs, "image", CRASHING)
    return folder


def measure(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(folder / "measure.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)


@pytest.mark.slow
def test_a_dry_run_measures_every_row_and_says_that_it_is_of_the_cpu(prepared) -> None:
    done = measure(prepared, *QUICK, "--batches", "8")
    document = json.loads((prepared / "cpu.json").read_text())
    (run,) = document["runs"]
    importlib.import_module("jsonschema").validate(document, json.loads(SCHEMA.read_text()))

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


@pytest.mark.slow
def test_parts_to_rows_in_one_command_which_goes_on_after_an_interruption(
    prepared, tmp_path
) -> None:
    folder = tmp_path / "there"
    shutil.copytree(prepared, folder, ignore=shutil.ignore_patterns("cpu.*"))
    parts = write_wheel(folder, "onnxruntime_gpu", FORWARDING)
    last = parts[-1].read_bytes()
    parts[-1].write_bytes(last[:-1])
    arguments = [*QUICK, "--rounds", "1", "--batches", "1,8", "--transfers", "copies"]
    arguments += ["--out", "x.json"]
    done = measure(folder, *arguments)
    assert done.returncode == 2 and not (folder / "x.json").exists()
    assert done.stderr.count("\n") == 1 and parts[-1].name in done.stderr

    parts[-1].write_bytes(last)
    (folder / "hold").touch()  # so that it cannot end before it is told to
    process = subprocess.Popen(
        [sys.executable, "-I", "measure.py", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    assert process.stdout is not None and "installing" in process.stdout.readline()
    while "batch 1, copies: right" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    (begun,) = json.loads((folder / "x.json").read_text())["runs"]
    assert process.returncode == 130 and said.count("\n") == 1 and "are kept" in said
    (folder / "hold").unlink()
    assert 1 <= len(begun["rows"]) < 4 and begun["interrupted"] and not begun["finished"]
    assert "Not measured" in (folder / "x.md").read_text()

    done = measure(folder, *arguments)
    (run,) = json.loads((folder / "x.json").read_text())["runs"]
    assert done.returncode == 1 and "installing" not in done.stdout
    assert run["rows"][: len(begun["rows"])] == begun["rows"] and len(run["rows"]) == 8
    assert run["finished"] and not run["interrupted"] and "Not measured" not in done.stdout
    versions = {row["version"] for row in run["rows"] if row["status"] != "failed"}
    assert versions == {"9.9.9"} and run["machine"]["packages"]["onnxruntime-gpu"] == "9.9.9"


@pytest.mark.slow
def test_the_path_of_a_gpu_without_one(tmp_path) -> None:
    names = ("dense, float32", "90 %, float32", "dense, int8")
    for name in names:
        (tmp_path / f"{name}.onnx").write_bytes(b"what the fake takes for y = 2 x")
    images = np.random.default_rng(0).integers(0, 256, (60, 3), dtype=np.uint8)
    outputs = images / np.float32(255) * 2
    write_folder(tmp_path, names, images, outputs, "x", WITH_A_DRIVER)
    write_wheel(tmp_path, "onnxruntime_gpu", Path(fake_gpu.__file__).read_text() + FAKE)
    done = measure(tmp_path, *QUICK[2:], "--rounds", "1", "--batches", "1")
    document = json.loads((tmp_path / "gpu.json").read_text())
    importlib.import_module("jsonschema").validate(document, json.loads(SCHEMA.read_text()))
    (run,) = document["runs"]

    assert done.returncode == 1 and run["machine"]["gpu"]["name"] == "NVIDIA Toy"
    assert run["benchmark"] == "gpu" and run["finished"]
    shown = [(names[row["artefact"]], row["batch"], row["transfer"]) for row in run["rows"]]
    three = ("copies", "device", "graph")
    first = [(name, 1, transfer) for transfer in three for name in names[:2]]
    assert shown == [*first, *(("dense, int8", 1, transfer) for transfer in three)]
    for row in run["rows"]:
        if "int8" in names[row["artefact"]]:
            assert row["status"] == "failed" and "does not take every node" in row["reason"]
        else:
            assert row["status"] == "right" and row["accuracy"] == 1
            assert row["provider"] == "CUDAExecutionProvider" and row["ratio"]["value"] > 0


def test_time_that_is_over_at_once_is_one_line(prepared, tmp_path) -> None:
    out = tmp_path / "short.json"
    done = measure(prepared, *QUICK, "--out", str(out), "--minutes", "0.00001")

    assert done.returncode == 1 and done.stderr.count("\n") == 1 and not out.exists()
    assert "the time is over" in done.stderr


@pytest.mark.sampled(1)
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
        (["--minutes", "nan"], "at most a day"),
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
    message = rejected(UsageError, prepare.prepare, tmp_path / "run", tmp_path / "work")

    assert "there is no dense model" in message and "make demo" in message
    files = {name: tmp_path / f"{name}.keras" for name in prepare.STEPS}
    message = rejected(UsageError, prepare.prepare, tmp_path / "run", tmp_path / "work", files)
    assert "there is no dense model" in message and "dense.keras" in message
    assert not (tmp_path / "work").exists()
