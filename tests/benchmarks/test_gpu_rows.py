"""Rows in the order of their importance, until the time is over; tables of what is there."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from benchmarks import tables
from benchmarks.gpu.publish import publish
from benchmarks.gpu.there import bench as benching
from benchmarks.gpu.there.bench import Bench
from benchmarks.gpu.there.material import Material
from benchmarks.gpu.there.plan import Row, planned
from benchmarks.gpu.there.process import OutOfTimeError, RowError
from benchmarks.gpu.there.record import open_record
from compressor.errors import CheckpointError, UsageError
from deploy.arrays import read_arrays
from deploy.errors import RequestError

GPU = {"name": "NVIDIA Toy", "driver": "580.65.06", "memory_bytes": 1}
MODELS = ("dense", "90 %", "channels", "2:4")
PRECISIONS = ("float32", "int8", "float16 computed", "int8 symmetric")
ALL = [f"{model}, {precision}" for model in MODELS for precision in PRECISIONS]


def artefact(name: str) -> dict[str, Any]:
    quantize = name.partition(", ")[2].replace("float32", "none")
    return {
        "file": f"{name}.onnx",
        "name": name,
        "format": "onnx",
        "bytes": 10,
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",  # of nothing
        "quantize": quantize,
        "optimize": None,
        "sparsity": 0.5,
        "accuracy": 1.0,
        "reference_accuracy": 1.0,
        "made": "by hand",
    }


class Clock:
    """Seconds left: as many as it is told."""

    seconds = 100.0

    def left(self) -> float:
        return self.seconds


class Runner:
    """Answers at once: outputs are the inputs. `plan` says at which request what is raised."""

    asked: ClassVar[list[tuple[str, str]]] = []
    plan: ClassVar[dict[tuple[str, str], list[Exception | None]]] = {}
    alive: ClassVar[int] = 0

    def __init__(self, package: Path, runtime: str, limit: float, clock: Clock) -> None:
        Runner.alive += 1
        self.name = ""

    def close(self) -> None:
        Runner.alive -= 1

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        if op == "load":
            self.name = Path(fields["path"]).stem
        self.asked.append((op, self.name))
        planned = self.plan.get((op, self.name), [])
        error = planned.pop(0) if planned else None
        if error is not None:
            raise error
        if op == "predict":
            (images,) = read_arrays(fields["inputs"], 2**20).values()
            np.save(fields["outputs"], images)
        return {
            "load": dict.fromkeys(("version", "numpy", "python", "cpus", "delegate"))
            | {"provider": "CUDAExecutionProvider", "import_ms": 1.0, "load_ms": 1.0},
            "warm_up": {"runs": 3, "settled": True, "timer_ns": 1.0, "call_ns": 1.0}
            | {"peak_memory_bytes": 7, "device_memory_bytes": 9}
            | {"median_ns": 1e6, "first_ns": 1e6},
            "check": {"passed": True, "examples": 3, "difference": 0.0, "tolerance": 1.0},
            "measure": {"ns": [1_000_000] * 5},
            "stream": {"examples": 5, "ns": 1000},
        }.get(op, {})


class Run:
    """A folder, and runs in it with the `Runner` above."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        names = ["dense, float32", "90 %, float32"]
        images = np.eye(4, dtype=np.uint8)
        np.savez(folder / "images.npz", images=images, labels=np.arange(4))
        plan = {"compressor_version": "1", "input": "x", "row": [4]}
        plan |= {"data": {"name": "toy", "sha256": "0" * 64, "examples": 4}}
        plan |= {"artefacts": [artefact(name) for name in names]}
        (folder / "artefacts.json").write_text(json.dumps(plan))
        for name in names:
            (folder / f"{name}.onnx").touch()
        self.options = argparse.Namespace(
            **{"out": folder / "gpu.json", "work": folder / "work", "package": folder},
            **{"benchmark": "gpu", "threads": 1, "batches": [1, 4], "rounds": 1},
            **{"round_seconds": 0.001, "warmup_seconds": 0.1, "time_limit": 60.0},
            **{"runtime": ["cuda"], "transfers": ["copies", "graph"]},
        )
        self.options.work.mkdir()

    def __call__(self, **plan: list[Exception | None]) -> dict[str, Any]:
        """The results after one more run; `plan` is by OP_MODEL, a model's first word."""
        Runner.asked.clear()
        Runner.plan.clear()
        for key, errors in plan.items():
            op, _, model = key.rpartition("_")
            Runner.plan[op, {"dense": "dense, float32", "other": "90 %, float32"}[model]] = errors
        material = Material(self.folder, self.options.work)
        record = open_record(self.options, material, GPU)
        with Bench(self.options, material, record, self.clock) as bench:
            bench.run()
        assert Runner.alive == 0
        (found,) = json.loads(self.options.out.read_text())["runs"]
        return found


@pytest.fixture
def run(tmp_path, monkeypatch) -> Run:
    monkeypatch.setattr(benching, "Runner", Runner)
    return Run(tmp_path)


def test_what_was_asked_first_comes_first() -> None:
    settings = {"runtimes": ["cuda"], "batches": [1, 4, 1024], "transfers": ["copies", "graph"]}
    rows = planned([artefact(name) for name in ALL], settings)
    shown = [(ALL[row.artefact], row.batch, row.transfer) for row in rows]

    def block(precisions: tuple[str, ...], batch: int) -> list[tuple[str, int, str]]:
        names = [f"{model}, {name}" for model in MODELS[:3] for name in precisions]
        return [(name, batch, transfer) for transfer in ("copies", "graph") for name in names]

    int8 = ("int8", "int8 symmetric")
    wanted = [*block(("float32",), 1), *block(("float32",), 1024)]
    wanted += [*block(("float16 computed",), 1), *block(("float16 computed",), 1024)]
    wanted += [*block(int8, 1), *block(int8, 1024)]
    assert shown[: len(wanted)] == wanted
    assert len(set(rows)) == len(rows) == len(ALL) * 3 * 2
    settings["runtimes"] = ["onnxruntime"]
    assert {row.transfer for row in planned([artefact(ALL[0])], settings)} == {"copies"}


def test_a_process_serves_all_rows_of_its_artefact(run) -> None:
    found = run()
    assert [row["status"] for row in found["rows"]] == ["right"] * 8 and found["finished"]
    loads = [name for op, name in Runner.asked if op == "load"]
    assert sorted(loads) == sorted(2 * ["dense, float32", "90 %, float32"])  # one as a graph
    # The memory of a process that has run a larger batch is not that of a smaller one.
    by_row = {Row(*(row[key] for key in Row._fields)): row for row in found["rows"]}
    assert by_row[Row(1, "cuda", 1, "copies")]["gpu_memory_bytes"] == 9
    assert by_row[Row(1, "cuda", 4, "copies")]["gpu_memory_bytes"] is None  # 100 for the accuracy
    assert by_row[Row(1, "cuda", 4, "graph")]["gpu_memory_bytes"] == 9


def test_time_that_runs_out_costs_the_row_at_hand_and_says_what_is_missing(run, capsys) -> None:
    begun = run(warm_up_other=[OutOfTimeError()])
    said = capsys.readouterr().out
    assert len(begun["rows"]) == 1 and begun["interrupted"] and begun["finished"] is None
    assert "Not measured: 7 of 8 rows" in said
    assert "- 90 %, float32: cuda, batch 1 (copies)" in said
    assert "- all artefacts: cuda, batch 1 (graph); cuda, batch 4 (copies, graph)" in said
    run.clock.seconds = 0.0
    assert run()["rows"] == begun["rows"] and Runner.asked == []
    run.clock.seconds = 100.0
    found = run()
    assert found["rows"][0] == begun["rows"][0] and len(found["rows"]) == 8 and found["finished"]
    assert "Not measured" not in capsys.readouterr().out.rpartition("graph")[2]


def test_what_cannot_be_loaded_is_tried_once(run) -> None:
    found = run(load_other=[RowError("no")])
    assert [row["status"] for row in found["rows"]] == ["right", "failed"] * 4
    assert Runner.asked.count(("load", "90 %, float32")) == 1


@pytest.mark.slow
def test_a_first_artefact_that_fails_costs_ratios_only(run) -> None:
    run.options.rounds = 2
    found = run(measure_dense=[None, None, None, RowError("crashed")])
    first, second = found["rows"][:2]
    assert first["ratio"]["value"] == 1
    assert second["status"] == "right" and second["latency_ms"]["rounds"] == 2
    assert found["rows"][2]["status"] == "right"  # in a new process


def test_a_process_that_dies_is_replaced(run) -> None:
    found = run(predict_dense=[RowError("died")], check_other=[RowError("died")])
    assert [row["status"] for row in found["rows"][:2]] == ["failed", "failed"]
    assert [row["status"] for row in found["rows"][2:]] == ["right"] * 6
    assert Runner.asked.count(("load", "dense, float32")) == 3


def test_only_a_run_of_the_same_things_goes_on(run) -> None:
    run()
    run.options.threads = 2
    with pytest.raises(RequestError, match="are of another run"):
        run()
    for text in ("[", "{}", '{"runs": [{"artefacts": 1}]}'):
        run.options.out.write_text(text)
        with pytest.raises(RequestError, match="cannot be read"):
            run()


def test_an_unfinished_run_is_published_with_what_is_missing(run, tmp_path, rejected) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text("a\n<!-- table gpu -->\nnone yet\n<!-- end -->\n")
    run(warm_up_other=[OutOfTimeError()])
    results = tmp_path / "results"
    results.mkdir()
    said = publish(run.options.out, results, page)
    text = page.read_text()

    assert said.startswith("Not measured: 7 of 8 rows") and said in text
    assert "### cuda (CUDAExecutionProvider), copies" in text
    assert "| dense, float32 | 10 | 100.00 | 1.000 (1.00) |" in text and "NVIDIA Toy" in text
    assert "| 90 %, float32 | 10 | — | — |" in text
    kept = json.loads((results / "gpu.json").read_text())
    assert kept == json.loads(run.options.out.read_text())
    assert tables.fill(text, results) == text
    run()
    assert publish(run.options.out, results, page) == "All rows are there."
    assert "Not measured" not in page.read_text()


def test_what_is_no_run_on_a_gpu_is_not_published(run, tmp_path, rejected) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text("")
    document: dict[str, Any] = {"schema": "compressor.bench", "schema_version": 1, "runs": []}
    run()
    (whole,) = json.loads(run.options.out.read_text())["runs"]
    for said, runs in (
        ("no run on a GPU", []),
        ("no run on a GPU", [whole | {"benchmark": "cpu"}]),
        ("no run on a GPU", [whole | {"machine": whole["machine"] | {"gpu": None}}]),
        ("nothing was measured", [whole | {"rows": []}]),
    ):
        run.options.out.write_text(json.dumps(document | {"runs": runs}))
        assert said in rejected(UsageError, publish, run.options.out, tmp_path, page)
    del whole["settings"]["transfers"]
    run.options.out.write_text(json.dumps(document | {"runs": [whole]}))
    message = rejected(CheckpointError, publish, run.options.out, tmp_path, page)
    assert "not what measure.py writes" in message and not page.read_text()
