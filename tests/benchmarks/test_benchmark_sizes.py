"""A row of the sizes is what it says: on a small model, with the tools that this Python has."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import sizes
from benchmarks.peers.files import CONVERTER, KERAS, StockFile, stock_files
from compressor.errors import CheckFailedError, MissingRuntimeError
from compressor.exporters.job import ExportJob
from compressor.runtimes.runner import Runner
from deploy import ArtifactError, CheckVectors, read_artifact

HERE = (CONVERTER, KERAS)
"""Tools that need no environment of their own."""


@pytest.fixture(scope="module")
def job(pruned_file, tiny_data) -> ExportJob:
    return ExportJob(pruned_file, tiny_data)


@pytest.fixture(scope="module")
def measured(job, tmp_path_factory) -> tuple[list[dict[str, Any]], Path]:
    folder = tmp_path_factory.mktemp("sizes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sizes, "stock_files", lambda *given: [f for f in stock_files(*given) if f.tool in HERE]
        )
        patch.setattr(sizes, "QUANTIZATIONS", ("none", "int8", "codebook"))
        rows = [{"model": "small"} | row for row in sizes.model_rows(job, folder, ["wide"])]
    sizes.mark(rows)
    return rows, folder


def of(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


@pytest.mark.slow
def test_every_row_has_the_bytes_of_its_file(measured):
    rows, folder = measured
    assert {row["tool"] for row in rows} == {*HERE, sizes.OURS, sizes.PAPER}
    assert {row["form"] for row in of(rows, tool=CONVERTER, kind="artefact")} == {
        "dense",
        "dynamic range",
        "EXPERIMENTAL_SPARSITY",
        "both",
    }
    for row in rows:
        assert row["bytes"] == (folder / row["file"]).stat().st_size, row
        assert row["loads"] == (row["reason"] is None), row


@pytest.mark.slow
def test_the_accuracy_is_that_of_the_file_in_its_runtime(measured, job, tiny_data):
    rows, folder = measured
    for row in [*of(rows, tool=KERAS, loads=True), *of(rows, tool=CONVERTER, form="dense")]:
        with Runner(row["runtime"]) as runner:
            name = runner.load(folder / row["file"])["inputs"][0]["name"]
            images = tiny_data.x_test[..., None].astype(np.float32) / 255
            scores = runner.predict({name: images}, batch=8)
        assert row["accuracy"] == np.mean(scores.argmax(-1) == tiny_data.y_test)
        assert row["version"]


@pytest.mark.slow
def test_each_artefact_that_loads_can_be_measured_with_proof(measured):
    rows, folder = measured
    for row in of(rows, kind="artefact"):
        path = folder / row["file"]
        if not row["loads"]:
            with pytest.raises(ArtifactError):
                read_artifact(path)
            continue
        artifact = read_artifact(path)
        assert artifact.verified[0].accuracy == row["accuracy"]
        assert (artifact.provenance.created_by == row["tool"]) == (row["tool"] != sizes.OURS)
        vectors = CheckVectors.read(path.with_name(path.name + ".check.npz"))
        with Runner(row["runtime"]) as runner:
            runner.load(path)
            assert runner.check(path.with_name(path.name + ".check.npz"))["passed"]
        assert len(vectors.outputs) == sizes.VECTORS


@pytest.mark.slow
def test_packed_rows_unpack_to_the_file_and_have_its_accuracy(measured):
    rows, folder = measured
    unpack = {".gz": gzip.decompress, ".xz": lzma.decompress}
    packed = of(rows, kind="packed")
    assert len(packed) == 2 * len(of(rows, kind="artefact")) - 2 * len(of(rows, tool=sizes.OURS))
    for row in packed:
        path = folder / row["file"]
        assert unpack[path.suffix](path.read_bytes()) == (folder / row["unpacked"]).read_bytes()
        (origin,) = of(rows, file=row["unpacked"])
        assert row["accuracy"] == origin["accuracy"]
        assert not row["loads"] and "must be unpacked" in row["reason"]


@pytest.mark.slow
def test_a_pruned_kernel_is_marked_smaller_than_the_stock_tools_files(measured):
    rows, _ = measured
    (ours,) = of(rows, tool=sizes.OURS, format="tflite", form="none")
    stock = of(rows, tool=CONVERTER, kind="artefact", loads=True)
    least = min(row["bytes"] for row in stock if row["accuracy"] >= ours["accuracy"] - 0.001)
    assert ours["beside"]["loads"]["bytes"] == least
    assert ours["beside"]["loads"]["ratio"] == round(ours["bytes"] / least, 4)
    assert ours["beside"]["loads"]["verdict"] == ("smaller" if ours["bytes"] < least else "larger")


@pytest.mark.parametrize(
    ("make", "reason", "written"),
    [
        (lambda path: path.write_bytes(b"no model"), "does not load: ", 8),
        (lambda path: _fail(CheckFailedError("it failed", value="node 7")), "not made: node 7", 0),
        (lambda path: _fail(MissingRuntimeError("it is not there")), "not made: it is not", 0),
    ],
)
def test_a_refused_row_says_why(job, tmp_path, make, reason, written):
    stock = StockFile("a tool", "a form", "stock-it.tflite", "int8", make)
    row = sizes.stock_row(job, stock, tmp_path)
    assert row["reason"].startswith(reason) and len(row["reason"]) > len("does not load: ")
    assert not row["loads"] and row["accuracy"] is None
    assert row["bytes"] == (written or None)
    assert not list(tmp_path.glob("*.json"))
    assert "\n" not in sizes.line({"model": "small"} | row)


def test_an_older_file_is_not_taken_for_the_one_that_failed(job, tmp_path):
    (tmp_path / "stock-it.onnx").write_bytes(b"older")
    (tmp_path / "stock-it.onnx.json").write_text("{}")
    stock = StockFile("t", "f", "stock-it.onnx", "none", lambda _: _fail(CheckFailedError("no")))
    row = sizes.stock_row(job, stock, tmp_path)
    assert row["bytes"] is None
    assert list(tmp_path.iterdir()) == []


def _fail(error: Exception) -> None:
    raise error


def test_mark_compares_at_equal_accuracy_only_and_says_where_we_lose():
    def row(tool: str, size: int, accuracy: float | None, **more: Any) -> dict[str, Any]:
        same = {"model": "m", "format": "tflite", "form": "f", "kind": "artefact"}
        same["quantize"] = "int8" if tool == sizes.OURS else "int4"
        return same | {"tool": tool, "bytes": size, "accuracy": accuracy, "file": tool} | more

    rows = [
        row(sizes.OURS, 100, 0.99),
        row("less accurate", 10, 0.98),
        row("does not load", 20, None),
        row("another format", 30, 0.99, format="onnx"),
        row("as accurate", 80, 0.9891),
        row("packed", 120, None, kind="packed", unpacked="as accurate"),
        row("packed refused", 5, None, kind="packed", unpacked="does not load"),
    ]
    sizes.mark(rows)
    assert rows[0]["beside"]["loads"] == {
        "tool": "as accurate",
        "form": "f",
        "bytes": 80,
        "accuracy": 0.9891,
        "ratio": 1.25,
        "verdict": "larger",
    }
    assert rows[0]["beside"]["alike"] is None
    assert rows[0]["beside"]["packed"]["tool"] == "packed"
    assert rows[0]["beside"]["packed"]["verdict"] == "smaller"
    assert all("beside" not in other for other in rows[1:])
