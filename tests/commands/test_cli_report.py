"""report: a page of a run, and one line where there is none to make."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from bench_documents import bench_document
from command_line import compressor

from compressor.runs.run_directory import RunDirectory


@pytest.fixture
def run(paper_line: Any, tmp_path: Path) -> Path:
    """A copy of the run of the paper's line."""
    return Path(shutil.copytree(paper_line.run, tmp_path / "run"))


@pytest.mark.slow
def test_a_run_of_train_gets_its_page(run: Path) -> None:
    done = compressor("report", run)

    assert done.code == 0, done.stderr
    assert done.stdout == f"report: {run / 'report.html'}\n"
    page = (run / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "90 % pruned" in page
    assert "<svg" in page
    assert "data:image/png;base64," in page
    assert "step_2_2" in (run / "report.md").read_text()


@pytest.mark.slow
def test_json_names_both_files(run: Path) -> None:
    found = compressor("report", run, "--json").json()

    assert found == {"page": str(run / "report.html"), "markdown": str(run / "report.md")}
    assert all(Path(path).is_file() for path in found.values())


@pytest.mark.slow
def test_training_goes_on_in_a_run_that_has_a_report(run: Path, paper_line: Any) -> None:
    (run / "bench.json").write_text(json.dumps(bench_document()))
    assert compressor("report", run).code == 0

    again = compressor(*paper_line.words(run, run.with_name("kept")))

    assert again.code == 0, again.stderr
    assert (run / "report.html").is_file()


def test_force_removes_the_report_with_the_run(run: Path) -> None:
    ours = ("report.html", "report.md", "bench.json")
    for name in (*ours, "notes.txt", ".report.ab12_cde.tmp.html", ".bench.ab12_cde.tmp.json"):
        (run / name).write_text("{}")

    with RunDirectory(run, {"kind": "sweep"}, force=True):
        left = {path.name for path in run.iterdir()}

    assert left == {"notes.txt", "experiment.json", ".lock"}


@pytest.mark.parametrize("name", ["results.json", "bench.json"])
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 1}', "\0", "[" * 100_000])
def test_a_damaged_document_is_one_line(run: Path, name: str, content: str) -> None:
    (run / name).write_text(content)

    line = compressor("report", run).refusal()

    assert name in line
    assert not (run / "report.html").exists()
    assert not (run / "report.md").exists()


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    assert "nothing to report" in compressor("report", tmp_path).refusal()
    assert "no such" in compressor("report", tmp_path / "gone").refusal()
    assert not list(tmp_path.iterdir())


def test_a_sweep_that_is_not_finished_says_so(run: Path, tmp_path: Path) -> None:
    shutil.move(run, tmp_path / "sweep" / "seed-0")

    line = compressor("report", tmp_path / "sweep").refusal()

    assert "the sweep is not finished" in line
