"""The runner as a device runs it: one file, a JSON object a line, and nothing of compressor."""

from __future__ import annotations

import ast
import importlib.metadata
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import runnable_files
from empty_home import EmptyHome

import deploy
from deploy import CheckVectors
from deploy.arrays import write_arrays
from deploy.runner.packing import pack
from deploy.runner.protocol import LONGEST_LINE

ROWS = 11


@pytest.fixture(scope="module")
def runner(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runner") / "runner.pyz"
    path.write_bytes(pack())
    return path


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(2).random((ROWS, 8, 8, 1), np.float32)


@pytest.fixture(scope="module")
def float_file(residual_net, images, tmp_path_factory) -> tuple[Path, np.ndarray]:
    """A TFLite file of any batch, and the scores of its model."""
    model = residual_net()
    path = tmp_path_factory.mktemp("float") / "residual.tflite"
    path.write_bytes(runnable_files.tflite_bytes(model))
    return path, model.predict_on_batch(images)


@pytest.fixture(scope="module")
def int8_file(small_net, images, tmp_path_factory) -> tuple[Path, np.ndarray]:
    """A TFLite file of int8 inputs and outputs, and the scores of its model."""
    model = small_net()
    path = tmp_path_factory.mktemp("int8") / "small.tflite"
    path.write_bytes(runnable_files.tflite_bytes(model, images))
    return path, model.predict_on_batch(images)


def ask(runner: Path, *requests: Any, python: str = sys.executable) -> list[dict[str, Any]]:
    """The answers to some requests, objects or raw lines, of one process."""
    lines = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in requests]
    done = subprocess.run(
        [python, "-I", str(runner), "protocol"],
        input=b"".join(line + b"\n" for line in lines),
        capture_output=True,
        timeout=120,
        check=True,
        cwd="/",
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def load(path: Path, runtime: str, threads: int = 1, **options: Any) -> dict[str, Any]:
    request = {"op": "load", "runtime": runtime, "path": str(path), "threads": threads}
    return request | {"cpus": None, "graph": False, "reference": False} | options


def predict(folder: Path, inputs: dict[str, np.ndarray], batch: int) -> dict[str, Any]:
    with open(folder / f"in{batch}.npz", "wb") as file:
        write_arrays(file, inputs)
    source, target = str(folder / f"in{batch}.npz"), str(folder / f"out{batch}.npy")
    return {"op": "predict", "inputs": source, "outputs": target, "batch": batch}


def test_the_packed_runner_holds_the_device_side_alone_and_is_always_the_same(runner) -> None:
    names = zipfile.ZipFile(io.BytesIO(pack())).namelist()

    assert pack() == runner.read_bytes()
    assert "deploy/runner/protocol.py" in names
    assert {name.partition("/")[0] for name in names} == {"__main__.py", "deploy"}
    assert all(name.endswith(".py") for name in names)


def test_the_device_side_is_written_in_the_python_of_old_devices() -> None:
    for path in Path(str(deploy.__file__)).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        keywords = {(getattr(c.func, "id", ""), k.arg) for c in calls for k in c.keywords}
        assert ("zip", "strict") not in keywords, path
        assert any(
            isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body
        ) or path.name in ("__init__.py",), path


def test_a_tflite_file_gives_the_model_s_scores_at_any_batch(
    runner, float_file, images, tmp_path
) -> None:
    path, expected = float_file
    facts, *answers = ask(
        runner,
        load(path, "litert", threads=2),
        # The name that a user knows does as well as the file's own.
        *[predict(tmp_path, {"picture": images}, batch) for batch in (1, 4, 11, 64)],
    )
    (port,) = facts["inputs"]

    assert facts["ok"] and facts["runtime"] == "litert" and facts["threads"] == 2
    assert facts["version"][0].isdigit() and facts["numpy"] == np.__version__
    assert facts["load_ms"] > 0 and facts["import_ms"] > 0
    assert 10**7 < facts["peak_memory_bytes"] < 10**9
    assert port["shape"] == [None, 8, 8, 1] and port["dtype"] == "float32"
    assert port["scale"] is None and facts["provider"] is None
    assert facts["outputs"][0]["shape"] == [None, 4]
    for batch, answer in zip((1, 4, 11, 64), answers, strict=True):
        assert answer["ok"] and answer["shape"] == [ROWS, 4], answer
        found = np.load(tmp_path / f"out{batch}.npy")
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_integers_stand_for_real_numbers_at_both_ends(runner, int8_file, images, tmp_path) -> None:
    path, expected = int8_file
    facts, real, raw = ask(
        runner,
        load(path, "litert"),
        predict(tmp_path, _named(path, images), 3),
        predict(tmp_path, _named(path, np.zeros(images.shape, np.int8)), 2),
    )
    (port,) = facts["inputs"]

    assert port["dtype"] == "int8" and 0 < port["scale"] < 0.01 and port["zero_point"] == -128
    assert facts["outputs"][0]["dtype"] == "int8"
    assert real["ok"] and raw["ok"], (real, raw)
    found = np.load(tmp_path / "out3.npy")
    step = facts["outputs"][0]["scale"]
    assert np.max(np.abs(found - expected)) < 4 * step
    np.testing.assert_allclose(found / step, np.rint(found / step), atol=1e-3)
    assert len(np.unique(np.load(tmp_path / "out2.npy"), axis=0)) == 1


def _named(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """The images by the name of the file's one input."""
    from ai_edge_litert.interpreter import Interpreter

    (detail,) = Interpreter(model_path=str(path)).get_input_details()
    return {detail["name"]: images}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("made_for", ["batch", 4], ids=["any batch", "batch 4"])
def test_an_onnx_file_takes_several_inputs_and_its_own_batch(runner, tmp_path, made_for) -> None:
    path = tmp_path / "two.onnx"
    table, kernel = runnable_files.write_onnx(path, batch=made_for)
    generator = np.random.default_rng(3)
    image = generator.random((ROWS, 6), np.float32)
    tokens = np.arange(ROWS) % 5
    inputs = {"tokens": tokens.astype(np.int32), "image": image.astype(np.float64)}
    facts, *answers = ask(
        runner,
        load(path, "onnxruntime"),
        *[predict(tmp_path, inputs, batch) for batch in (1, 3, 4)],
        predict(tmp_path, {"tokens": tokens, "image": image[:, :5]}, 5),
        predict(tmp_path, {"tokens": tokens, "imago": image}, 6),
        predict(tmp_path, {"tokens": tokens[:2], "image": image}, 7),
        predict(tmp_path, {"tokens": tokens + 0.5, "image": image}, 8),
        predict(tmp_path, {"tokens": tokens[:0], "image": image[:0]}, 9),
        predict(tmp_path, {"tokens": tokens + 7, "image": image}, 10),
    )
    shape = facts["inputs"][0]["shape"]

    assert facts["provider"] == "CPUExecutionProvider"
    assert shape == [None if made_for == "batch" else 4, 6]
    for batch, answer in zip((1, 3, 4), answers, strict=False):
        assert answer["ok"], answer
        found = np.load(tmp_path / f"out{batch}.npy")
        np.testing.assert_allclose(found, table[tokens] + image @ kernel, atol=1e-5)
    wrong = answers[3:]
    assert [answer["kind"] for answer in wrong] == ["request"] * 5 + ["engine"]
    assert "(11, 5)" in wrong[0]["error"] and "imago" in wrong[1]["error"]
    assert not (tmp_path / "out5.npy").exists()


def test_vectors_are_checked(runner, float_file, images, tmp_path) -> None:
    path, expected = float_file
    inputs = {"serving_default_picture:0": images}
    (tmp_path / "right.npz").write_bytes(CheckVectors(inputs, expected, 1e-3).to_bytes())
    (tmp_path / "wrong.npz").write_bytes(CheckVectors(inputs, expected + 1, 1e-3).to_bytes())
    (tmp_path / "none.npz").write_bytes(b"PK")
    _, right, wrong, none = ask(
        runner,
        load(path, "litert"),
        *[
            {"op": "check", "vectors": str(tmp_path / f"{name}.npz"), "batch": 2}
            for name in ("right", "wrong", "none")
        ],
    )

    assert right["passed"] is True and right["examples"] == ROWS and right["difference"] < 1e-4
    assert wrong["passed"] is False and wrong["difference"] == pytest.approx(1, abs=1e-3)
    assert none["kind"] == "request"


def test_every_run_of_a_round_is_timed(runner, float_file, tmp_path) -> None:
    onnx = tmp_path / "two.onnx"
    runnable_files.write_onnx(onnx)
    inputs = {"image": np.ones((2, 6), np.float32), "tokens": np.array([1, 4])}
    source = predict(tmp_path, inputs, 1)["inputs"]
    round_of = {"op": "measure", "batch": 3, "warmup": 2, "runs": 6, "inputs": None}
    answers = ask(
        runner,
        load(float_file[0], "litert"),
        round_of | {"copies": False},
        round_of | {"copies": True},
        load(onnx, "onnxruntime"),
        round_of | {"copies": False},
        round_of | {"copies": False, "inputs": source},
        round_of | {"copies": True, "inputs": source},
    )

    assert all(answer["ok"] for answer in answers), answers
    for answer in [answer for answer in answers if "ns" in answer]:
        assert len(answer["ns"]) == 6 and min(answer["ns"]) > 0 and answer["batch"] == 3
        assert all(isinstance(time, int) for time in answer["ns"])


def test_a_warm_up_settles_and_says_what_every_time_holds(runner, float_file) -> None:
    rows = {"batch": 2, "inputs": None, "copies": True}
    facts, cold, warm, stream = ask(
        runner,
        load(float_file[0], "litert", cpus=[min(os.sched_getaffinity(0))]),
        {"op": "warm_up", "seconds": 0, **rows},
        {"op": "warm_up", "seconds": 20, **rows},
        {"op": "stream", "runs": 9, **rows},
    )

    assert facts["cpus"] == [min(os.sched_getaffinity(0))]
    assert cold["runs"] == 1 and not cold["settled"] and cold["first_ns"] > 0
    assert warm["settled"] and warm["runs"] > 20
    assert 0 < warm["timer_ns"] <= warm["call_ns"] < warm["median_ns"]
    assert warm["peak_memory_bytes"] > 10_000_000 and warm["device_memory_bytes"] is None
    assert stream["examples"] == 18 and stream["ns"] > 9 * warm["median_ns"] / 10


def test_as_a_reference_plain_kernels_run_it(runner, float_file, images, tmp_path) -> None:
    path, expected = float_file
    facts, answer, refused = ask(
        runner,
        load(path, "litert", reference=True),
        predict(tmp_path, {"picture": images}, 4),
        load(path, "cuda", reference=True),
    )

    assert facts["ok"] and facts["delegate"]["nodes"] == 0
    assert answer["ok"]
    np.testing.assert_allclose(np.load(tmp_path / "out4.npy"), expected, atol=1e-4)
    assert not refused["ok"] and "no reference kernels" in refused["error"]


def test_the_delegate_s_share_of_the_graph_is_counted(runner, float_file, tmp_path) -> None:
    (facts,) = ask(runner, load(float_file[0], "litert"))

    assert facts["delegate"]["name"] == "XNNPACK"
    assert 0 < facts["delegate"]["nodes"] <= facts["delegate"]["of"]


def test_a_runtime_is_probed_without_an_artefact(runner) -> None:
    litert, onnxruntime = ask(
        runner, *({"op": "probe", "runtime": name} for name in ("litert", "onnxruntime"))
    )

    assert litert["version"] == importlib.metadata.version("ai-edge-litert")
    assert onnxruntime["provider"] == "CPUExecutionProvider" and onnxruntime["device"] is None


def test_a_bad_request_gets_an_error_and_the_runner_goes_on(runner, tmp_path) -> None:
    measure = {"op": "measure", "batch": 1, "warmup": 0, "inputs": None, "copies": False}
    bad = [
        b"",
        b"garbage",
        b"\xff\xfe",
        b"[]",
        b"[" * 50_000,
        b'{"op": NaN}',
        b'{"op": "load"}',
        b'{"op": "frobnicate"}',
        b'{"op": "exit", "op": "exit"}',
        b'{"op": "' + b"x" * 2 * LONGEST_LINE + b'"}',
        load(tmp_path / "missing", "litert"),
        load(tmp_path, "litert"),
        load(tmp_path, "cobol"),
        load(tmp_path, "litert", threads=0),
        load(Path(__file__), "litert", cpus=[10**9]),
        load(Path(__file__), "litert", cpus=[]),
        load(Path(__file__), "litert", graph=True),
        {"op": "probe", "runtime": "cobol"},
        {"op": "predict", "inputs": "a", "outputs": "b", "batch": 1},
        measure | {"runs": 1},
        measure | {"runs": 10**12},
    ]
    *answers, last = ask(runner, *bad, {"op": "exit"}, {"op": "exit"})

    assert len(answers) == len(bad) and last == {"ok": True}
    for answer in answers:
        assert answer["ok"] is False and answer["kind"] == "request", answer
        assert answer["error"].isprintable() and len(answer["error"]) < 800


def test_a_runtime_s_refusal_is_one_line(runner, float_file, tmp_path) -> None:
    (tmp_path / "cut.tflite").write_bytes(float_file[0].read_bytes()[:500])
    (tmp_path / "text.onnx").write_bytes(b"no protocol buffer")
    litert, onnxruntime, again = ask(
        runner,
        load(tmp_path / "cut.tflite", "litert"),
        load(tmp_path / "text.onnx", "onnxruntime"),
        load(float_file[0], "litert"),
    )

    assert litert["kind"] == onnxruntime["kind"] == "engine"
    assert "litert refuses" in litert["error"] and "onnxruntime refuses" in onnxruntime["error"]
    assert again["ok"]


def test_only_answers_reach_standard_output() -> None:
    program = (
        "import os, sys\n"
        "from deploy.runner import __main__, engines\n"
        "class Loud(engines.engine_class('litert')):\n"
        "    def __init__(self, path, threads, graph, reference):\n"
        "        os.write(1, b'INFO: delegate created\\n'); print('hello')\n"
        "        raise SystemError('two\\nlines')\n"
        "engines.engine_class = lambda runtime: Loud\n"
        "sys.exit(__main__.main(['protocol']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(load(Path(__file__), "litert")).encode() + b"\n",
        capture_output=True,
        timeout=60,
        check=True,
    )

    (line,) = done.stdout.splitlines()
    assert json.loads(line)["error"] == "SystemError: two lines"
    assert b"delegate created" in done.stderr and b"hello" in done.stderr


@pytest.mark.parametrize("name", ["small.onnx", "small.tflite"])
def test_a_run_leaves_nothing_in_an_empty_home(
    runner: Path, artefacts: Path, tmp_path: Path, name: str
) -> None:
    home = EmptyHome(tmp_path)
    runtime = "onnxruntime" if name.endswith("onnx") else "litert"
    measure = {"op": "measure", "warmup": 1, "runs": 3, "batch": 1, "inputs": None, "copies": True}
    requests = [load(artefacts / name, runtime), measure]
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    done = home.run(sys.executable, "-I", str(runner), "protocol", input=lines)

    assert done.returncode == 0, done.stderr
    assert all(json.loads(line)["ok"] for line in done.stdout.splitlines())
    assert home.left() == []
