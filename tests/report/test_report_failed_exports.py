"""The report of a sweep whose exports failed in part, or all of them."""

from __future__ import annotations

import copy
import csv
import io
from typing import Any

import jsonschema
import pytest
from results_documents import make_results

from compressor.report import artefact_text
from compressor.report.artefacts import artefact_table, failed_exports
from compressor.report.run_contents import RunContents
from compressor.report.sections import build_report
from compressor.report.writing import results_csv
from compressor.runs import results_schema

HOSTILE = "gone\x1b[2J\n| a | b |" + "x" * 10_000


def failed(error: str = "it is wrong") -> list[dict[str, str]]:
    return [
        {"form": form, "format": file_format, "runtime": "litert", "error": error}
        for file_format in ("tflite", "onnx")
        for form in ("float32", "smallest")
    ]


@pytest.fixture
def nothing_made() -> dict[str, Any]:
    results = copy.deepcopy(make_results(seeds=2))
    for row in (*results["dense"], *results["proportions"]):
        row |= {"artefacts": [], "export_errors": failed(HOSTILE)}
    return results


def test_where_nothing_could_be_exported_all_else_is_reported(nothing_made) -> None:
    jsonschema.Draft202012Validator(results_schema()).validate(nothing_made)

    shown = repr(build_report(RunContents("run", nothing_made)))

    assert "FAILED" in shown and "gone" in shown and "hypothesis" in shown
    assert "figure_artefacts" not in shown


def test_errors_are_cleaned_and_not_too_many(nothing_made) -> None:
    lines = failed_exports(nothing_made)

    assert len(lines) == 21 and lines[-1] == "and 36 more, in results.json"
    assert all(line.isprintable() and len(line) < 400 for line in lines)
    assert "\x1b" not in artefact_text(nothing_made)
    assert lines[0].startswith("dense, seed 0, TFLite float32: gone")


def test_what_failed_is_in_its_cell_and_its_column() -> None:
    results = make_results()
    results["proportions"][-1] |= {"artefacts": [], "export_errors": failed()[:1]}

    assert artefact_table(results).rows[-1][:4] == ["90 %", "FAILED", "–", "–"]
    rows = list(csv.DictReader(io.StringIO(results_csv(results))))
    assert [row["tflite_float32_error"] for row in rows] == [*[""] * 5, "it is wrong"]
