"""A sweep whose exports fail in part: the rest is reported, and the next one tries again."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from command_line import compressor, results_of, step_times

import compressor as package
from compressor.errors import CheckFailedError, MissingRuntimeError, StorageError
from compressor.experiment import sweeping
from compressor.runs import results_schema

REASON = "outputs are NaN or infinite"


class FakeVariants:
    """Makes no file; fails as `failing` says, by format and method."""

    failing: dict[tuple[str, str], Exception]

    def __init__(self, job: Any, file_format: str, runtime: str, *_: Any) -> None:
        self.facts = {"format": file_format, "runtime": runtime}

    def one(self, quantize: str) -> dict[str, Any]:
        return self._made("float32") | {"quantize": quantize}

    def best(self) -> dict[str, Any]:
        return self._made("smallest") | {"quantize": "int8"}

    def _made(self, form: str) -> dict[str, Any]:
        if error := self.failing.get((self.facts["format"], form)):
            raise error
        return self.facts | {"bytes": 1000}


def write(job: Any, made: dict[str, Any], target: Path) -> dict[str, Any]:
    target.write_bytes(b"file")
    verdict: dict[str, Any] = {"accuracy": 0.9, "difference": 0.0, "agreement": 1.0}
    verdict["validation"] = {"accuracy": 0.9}
    facts = {"path": str(target), "runtime_version": "1", "speed": None}
    return made | facts | {"verdict": verdict}


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Exception]:
    """Exports that take no time, and what fails of them."""
    FakeVariants.failing = {}
    monkeypatch.setattr(sweeping, "ExportJob", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(sweeping, "Variants", FakeVariants)
    monkeypatch.setattr(sweeping, "write_artifact", write)
    return FakeVariants.failing


@pytest.mark.slow
def test_the_rest_is_reported_and_the_row_says_why(
    undisturbed: Any, tmp_path: Path, exports: Any
) -> None:
    run = undisturbed.copy(tmp_path)
    exports["onnx", "smallest"] = CheckFailedError(
        "the artefact does not do what the model does", value=REASON, hint="kept as .artefacts.new"
    )
    exports["tflite", "float32"] = MissingRuntimeError("litert is not available")

    outcome = compressor(*undisturbed.words(run, "--export"))

    assert outcome.code == 1
    last = outcome.stderr.splitlines()[-1]
    assert last.startswith("error: artefacts could not be made") and ": 6;" in last
    results = results_of(run)
    jsonschema.Draft202012Validator(results_schema()).validate(results)
    for row in (*results["dense"], *results["proportions"]):
        assert [found["file"] for found in row["artefacts"]] == [
            *("smallest.tflite", "float32.onnx")
        ]
        assert [(one["format"], one["form"]) for one in row["export_errors"]] == [
            *(("tflite", "float32"), ("onnx", "smallest"))
        ]
        assert REASON in row["export_errors"][1]["error"]
        assert ".artefacts.new" not in row["export_errors"][1]["error"]
    for shown in ((run / "report.md").read_text(), (run / "report.html").read_text()):
        assert "FAILED" in shown and REASON in shown and "litert is not available" in shown
    assert "FAILED: 90 %, seed 0, ONNX smallest: the artefact does not do" in outcome.stdout
    with open(run / "results.csv", newline="") as file:
        assert [row["onnx_smallest_error"] != "" for row in csv.DictReader(file)] == [True, True]


@pytest.mark.slow
def test_the_next_export_does_only_what_failed_again(
    undisturbed: Any, tmp_path: Path, exports: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = undisturbed.copy(tmp_path)
    monkeypatch.setattr(package, "report_run", lambda *_, **__: SimpleNamespace(page="-"))
    exports["onnx", "float32"] = CheckFailedError("it is wrong")
    assert compressor(*undisturbed.words(run, "--export")).code == 1
    before = step_times(run)

    # Without the option nothing is tried, and what failed is not forgotten.
    assert compressor(*undisturbed.words(run)).code == 1
    assert step_times(run) == before
    exports.clear()
    assert compressor(*undisturbed.words(run, "--export")).code == 0

    assert all("export_errors" not in row for row in results_of(run)["proportions"])
    changed = {name for name, time in step_times(run).items() if before[name] != time}
    assert changed == {f"seed-0/{part}artefacts" for part in ("", "0.5/", "0.9/")}
    after = step_times(run)
    assert compressor(*undisturbed.words(run, "--export")).code == 0
    assert step_times(run) == after


@pytest.mark.slow
def test_a_full_disk_is_no_failed_export(undisturbed: Any, tmp_path: Path, exports: Any) -> None:
    run = undisturbed.copy(tmp_path)
    exports["onnx", "float32"] = StorageError("the disk is full", value=run)

    assert "the disk is full" in compressor(*undisturbed.words(run, "--export")).refusal(
        after_stages=True
    )
    assert not (run / "seed-0" / "artefacts").exists()
