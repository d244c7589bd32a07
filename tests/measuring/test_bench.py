"""Measuring real artefacts in real runtimes, and runtimes that break."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import false_runtimes
import jsonschema
import numpy as np
import pytest
import runnable_files

from compressor import bench, load_dataset
from compressor.data import Dataset
from compressor.errors import CheckpointError, DataError, MissingRuntimeError, UsageError
from compressor.measuring.proof import verdict
from compressor.measuring.subjects import Subject
from compressor.runs.bench_document import bench_schema, read_bench
from compressor.runtimes import registry
from deploy import Artifact, read_artifact

QUICK: dict[str, Any] = {"rounds": 3, "round_seconds": 0.01, "starts": 2}


@pytest.fixture
def copied(artefacts: Path, tmp_path: Path) -> Path:
    """The artefacts in a folder of this test's own."""
    return Path(shutil.copytree(artefacts, tmp_path / "copied"))


def change_description(file: Path, change) -> None:
    path = file.with_name(file.name + ".json")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def measured(artefacts: Path, tiny_file: Path, tmp_path_factory) -> tuple[dict[str, Any], Path]:
    """A run over all artefacts, batch 1 and 7, and the file that keeps it."""
    output = tmp_path_factory.mktemp("measured") / "deep" / "bench.json"
    data = load_dataset(tiny_file)
    return bench([artefacts], data=data, batches=(1, 7), output=output, **QUICK), output


def test_the_result_keeps_to_its_schema_and_is_what_was_returned(measured) -> None:
    run, output = measured
    document = read_bench(output)

    jsonschema.validate(document, bench_schema())
    assert document["runs"] == [json.loads(json.dumps(run))]
    assert run["finished"] and not run["interrupted"]


def test_every_row_is_proven_measured_and_says_on_what(measured, artefacts) -> None:
    run, _ = measured
    rows = run["rows"]

    assert [(row["artefact"], row["batch"]) for row in rows] == [
        (number, batch) for batch in (1, 7) for number in range(3)
    ]
    for row in rows:
        assert row["status"] == "right" and row["reason"] is None
        assert row["examples"] == 40 and row["accuracy"] > 0.9
        assert row["check"]["passed"]
        latency = row["latency_ms"]
        assert 0 < latency["p50"]["low"] <= latency["p50"]["value"] <= latency["p50"]["high"]
        assert latency["p50"]["value"] <= latency["p90"]["value"] <= latency["p99"]["value"]
        assert latency["rounds"] == 3 and latency["samples"] >= 15
        assert row["throughput"]["value"] > 0
        assert row["load_ms"]["samples"] == row["first_ms"]["samples"] == 2
        assert row["peak_memory_bytes"] > 10_000_000
        assert len(row["cpus"]) == 1 and row["numpy"] and row["version"]
    assert rows[0]["ratio"]["value"] == rows[3]["ratio"]["value"] == 1
    onnx = rows[1]
    assert onnx["provider"] == "CPUExecutionProvider" and onnx["runtime"] == "onnxruntime"
    assert rows[0]["delegate"]["name"] == "XNNPACK"
    assert rows[0]["agreement"] == 1 and all(row["agreement"] > 0.9 for row in rows)
    described = run["artefacts"][2]
    assert described["bytes"] == (artefacts / described["name"]).stat().st_size
    assert described["quantize"] == "int8" and described["described"]


def test_a_batch_gives_more_examples_a_second_than_it_has_latencies(measured) -> None:
    for row in measured[0]["rows"]:
        latency = row["latency_ms"]["p50"]["value"]
        # Offline and single-stream measure the same runs, so they agree within noise.
        assert row["throughput"]["value"] == pytest.approx(1e3 * row["batch"] / latency, rel=0.9)


@pytest.mark.slow
def test_another_run_is_appended_and_the_first_stays(artefacts, tiny_file, tmp_path) -> None:
    output = tmp_path / "bench.json"
    options = {"data": load_dataset(tiny_file), "output": output, "examples": 10} | QUICK
    first = bench([artefacts / "small.onnx"], **options)
    second = bench([artefacts / "small.tflite"], threads=1, batches=1, **options)

    runs = read_bench(output)["runs"]
    assert [run["id"] for run in runs] == [first["id"], second["id"]]
    # Fewer examples than the description's accuracy stands for: the check vectors prove it.
    assert second["rows"][0]["examples"] == 10 and second["rows"][0]["status"] == "right"


@pytest.mark.slow
def test_an_artefact_that_computes_something_else_is_wrong(copied, tiny_file, keras) -> None:
    """A kernel that silently computes garbage, as it shows: the file gives other scores."""
    keras.utils.set_random_seed(9)
    layers = [
        keras.Input((8, 8, 1), name="quarters"),
        keras.layers.Flatten(),
        keras.layers.Dense(4),
    ]
    content = runnable_files.tflite_bytes(keras.Sequential(layers))
    path = copied / "float.tflite"
    path.write_bytes(content)
    import hashlib

    def describe(description: dict[str, Any]) -> None:
        description |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    change_description(path, describe)
    files = [copied / "small.tflite", path]

    run = bench(files, data=load_dataset(tiny_file), **QUICK)
    alone = bench(files, **QUICK)

    good, bad = run["rows"]
    assert good["status"] == "right" and bad["status"] == "wrong"
    assert "its description says" in bad["reason"] and bad["agreement"] < 0.9
    assert bad["latency_ms"]["samples"] > 0  # it is measured all the same
    # Without the data the check vectors tell.
    assert alone["data"] is None
    assert [row["status"] for row in alone["rows"]] == ["right", "wrong"]
    assert "check vectors" in alone["rows"][1]["reason"]


def test_an_accuracy_that_the_description_does_not_promise_is_wrong(copied, tiny_file) -> None:
    def lower(description: dict[str, Any]) -> None:
        description["verified"][0]["accuracy"] -= 0.2

    change_description(copied / "small.onnx", lower)

    run = bench([copied / "small.onnx"], data=load_dataset(tiny_file), **QUICK)

    assert run["rows"][0]["status"] == "wrong"


@pytest.mark.slow
def test_without_a_description_nothing_is_proven_but_all_is_measured(copied, tiny_file) -> None:
    for suffix in (".json", ".check.npz"):
        (copied / f"small.onnx{suffix}").unlink()

    run = bench([copied / "small.onnx"], data=load_dataset(tiny_file), **QUICK)

    (row,) = run["rows"]
    assert row["status"] == "unproven" and "no description" in row["reason"]
    assert row["accuracy"] > 0.9  # fed as images usually are
    assert not run["artefacts"][0]["described"] and run["artefacts"][0]["accuracy"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "at", "said"),
    [
        ("crash", "load", "signal 11 (SIGSEGV)"),
        ("killed", "warm_up", "signal 9 (SIGKILL); memory may have run out"),
        ("hang", "measure", "measure took more than 6 s"),
        ("memory", "load", "MemoryError"),
        ("nonsense", "stream", "protocol"),
    ],
)
def test_a_runtime_that_breaks_costs_its_own_row(
    artefacts, tmp_path, monkeypatch, how, at, said
) -> None:
    program = false_runtimes.write_false_runtime(tmp_path / "python", how, at)
    real = registry.python_of
    monkeypatch.setattr(
        registry, "python_of", lambda name: program if name == "tflite-runtime" else real(name)
    )
    output = tmp_path / "bench.json"

    run = bench(
        [artefacts / "float.tflite"],
        runtimes=("litert", "tflite-runtime"),
        output=output,
        time_limit=6.0 if how == "hang" else 60.0,
        **QUICK,
    )

    litert, broken = run["rows"]
    assert broken["status"] == "failed" and said in broken["reason"]
    assert broken["reason"].isprintable()
    assert litert["status"] == "right" and litert["latency_ms"]["rounds"] == 3
    jsonschema.validate(read_bench(output), bench_schema())


@pytest.mark.race
def test_an_interrupt_keeps_what_was_measured(artefacts, tiny_file, tmp_path, monkeypatch) -> None:
    from compressor.measuring.case_process import CaseProcess

    turns = []
    real = CaseProcess.round

    def third(self: CaseProcess) -> None:
        turns.append(self)
        if len(turns) == 3:
            signal.raise_signal(signal.SIGINT)
        real(self)

    monkeypatch.setattr(CaseProcess, "round", third)
    output = tmp_path / "bench.json"
    files = [artefacts / "float.tflite", artefacts / "small.tflite"]

    # A shell that runs the tests in the background has interrupts ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            bench(files, data=load_dataset(tiny_file), output=output, **QUICK)
    finally:
        signal.signal(signal.SIGINT, before)

    (run,) = read_bench(output)["runs"]
    assert run["interrupted"] and run["finished"] is None
    assert [row["latency_ms"]["rounds"] for row in run["rows"]] == [1, 1]
    assert all(process._runner is None for process in turns)


def test_a_runtime_that_is_not_there_ends_it_before_anything_is_measured(
    artefacts, tmp_path, rejected
) -> None:
    output = tmp_path / "bench.json"

    message = rejected(
        MissingRuntimeError,
        bench,
        [artefacts / "small.onnx"],
        runtimes=("onnxruntime", "cuda"),
        output=output,
    )

    assert "cuda" in message.lower() and not output.exists()


def test_what_is_in_the_way_is_refused_and_kept(artefacts, tmp_path, rejected, tiny_data) -> None:
    output = tmp_path / "bench.json"
    for text in ("{}", "[]", "not JSON", '{"schema": "compressor.bench", "schema_version": 2}'):
        output.write_text(text)
        rejected(CheckpointError, bench, [artefacts], output=output)
        assert output.read_text() == text
    rejected(UsageError, bench, [])
    rejected(UsageError, bench, [artefacts], rounds=0)
    rejected(UsageError, bench, [artefacts], examples=0, data=tiny_data)
    rejected(UsageError, bench, [artefacts], time_limit=float("nan"))


def test_data_that_do_not_fit_are_refused(artefacts, tmp_path, rejected) -> None:
    rows = np.zeros((20, 5, 5), np.uint8)
    labels = np.arange(20) % 2
    np.savez(tmp_path / "d.npz", x_train=rows, y_train=labels, x_test=rows, y_test=labels)

    message = rejected(UsageError, bench, [artefacts], data=load_dataset(tmp_path / "d.npz"))

    assert "[8, 8, 1]" in message and "--data" in message
    rejected(DataError, load_dataset, tmp_path / "missing.npz")


@pytest.mark.slow
def test_classes_are_told_apart_by_their_names(copied, tiny_file, tmp_path, rejected) -> None:
    def name(description: dict[str, Any]) -> None:
        description["labels"] = names

    artefact = copied / "small.onnx"
    given = load_dataset(tiny_file)
    names = [f"class {n:02}" for n in range(read_artifact(artefact).classes)]
    change_description(artefact, name)
    few = [np.flatnonzero(y != 0) for y in (given.y_train, given.y_test)]
    x_train, x_test = given.x_train[few[0]], given.x_test[few[1]]
    y_train, y_test = given.y_train[few[0]], given.y_test[few[1]]
    whole = Dataset.from_arrays("whole", x_train, y_train, x_test, y_test)
    less = (x_train, y_train - 1, x_test, y_test - 1)
    named = Dataset.from_arrays("named", *less, labels=names[1:])

    options = QUICK | {"output": tmp_path / "bench.json"}
    expected, found = (bench([artefact], data=data, **options) for data in (whole, named))

    assert found["rows"][0]["accuracy"] == expected["rows"][0]["accuracy"]
    other = Dataset.from_arrays("other", *less, labels=[*names[1:-1], "cat"])
    message = rejected(DataError, bench, [artefact], data=other)
    assert "classes that the artefact does not know: cat" in message


def test_a_description_is_what_its_class_reads(artefacts) -> None:
    content = json.loads((artefacts / "small.onnx.json").read_text())

    assert Artifact.parse(content).provenance.data_sha256


@pytest.mark.slow
def test_an_artefact_made_for_one_batch_is_not_measured_under_another(tmp_path) -> None:
    for name, batch in (("open", "batch"), ("four", 4)):
        runnable_files.write_onnx(tmp_path / f"{name}.onnx", batch=batch)
    files = [tmp_path / "open.onnx", tmp_path / "four.onnx"]

    run = bench(files, batches=(4, 8), output=tmp_path / "bench.json", **QUICK)

    assert [row["status"] for row in run["rows"]] == ["unproven", "unproven", "unproven", "failed"]
    assert "made for another batch" in run["rows"][3]["reason"]
    assert run["rows"][3]["ratio"] is None and run["rows"][3]["latency_ms"] is None


def test_outputs_that_are_no_numbers_are_wrong_even_where_the_accuracy_agrees() -> None:
    artifact = Artifact.parse(json.loads(_description()))
    subject = Subject(Path("x.onnx"), "onnx", "x.onnx", 1, "0" * 64, artifact)
    check = {"passed": False, "examples": 3, "difference": None, "tolerance": 0.1}

    assert verdict(subject, None, {"accuracy": 0.9}, check)[0] == "wrong"
    assert (
        verdict(subject, None, {"accuracy": 0.9}, check | {"difference": 0.05, "passed": True})[0]
        == "right"
    )
    assert verdict(subject, None, {"accuracy": 0.9}, None)[0] == "unproven"


def _description() -> str:
    port = {"name": "x", "shape": [None, 2], "dtype": "float32", "scale": None, "zero_point": None}
    rule = {"name": "x", "source": "", "shape": [2], "dtype": "float32", "scale": 1.0}
    names = ("sparsity", "seed", "data_sha256", "source_sha256")
    return json.dumps(
        {
            "schema": {"name": "compressor-artifact", "version": 2},
            **{"format": "onnx", "file": "x.onnx", "bytes": 1, "sha256": "0" * 64},
            "vectors_sha256": "0" * 64,
            **{"quantize": "none", "optimize": "size", "runtime": "onnxruntime"},
            **{"inputs": [port], "outputs": [port | {"name": "y"}]},
            **{"preprocessing": [rule | {"reason": "because"}], "outputs_are": "logits"},
            **{"classes": 2, "threshold": None, "labels": None, "tensors": [], "needs": {}},
            "verified": [],
            "provenance": dict.fromkeys(names) | {"versions": {}, "created_by": "a test"},
        }
    )
