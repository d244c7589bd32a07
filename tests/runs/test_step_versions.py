"""The versions that a step was done with: part of it, and said in the report."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import RunDirectoryError
from compressor.report.run_contents import read_run
from compressor.report.sections import build_report
from compressor.runs import RECORD, RunDirectory, read_record
from compressor.runs.run_directory import write_record

IDENTITY = {"kind": "model"}


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that another version of a library is installed."""
    installed = importlib.metadata.version

    def pretend(library: str, version: str) -> None:
        monkeypatch.setattr(
            importlib.metadata,
            "version",
            lambda name: version if name == library else installed(name),
        )

    return pretend


def do(folder: Path, step: str, *, force: bool = False) -> Any:
    with RunDirectory(folder, IDENTITY) as run:
        return run.step(step, lambda _: {"accuracy": 0.5}, config={"steps": 3}, force=force)


@pytest.mark.parametrize("library", ["tensorflow", "keras", "numpy", "scipy"])
def test_a_step_of_other_versions_is_not_taken(tmp_path, upgrade, rejected, library):
    upgrade(library, "1.0")
    do(tmp_path, "step_1")
    content = (tmp_path / "step_1" / RECORD).read_bytes()

    upgrade(library, "2.0")
    message = rejected(RunDirectoryError, do, tmp_path, "step_1")

    assert f'versions.{library} was "1.0", is now "2.0"' in message
    assert "with other versions" in message and "--force" in message
    assert (tmp_path / "step_1" / RECORD).read_bytes() == content


def test_forced_it_is_done_again_and_says_so(tmp_path, upgrade):
    upgrade("numpy", "1.0")
    do(tmp_path, "step_1")
    upgrade("numpy", "2.0")

    do(tmp_path, "step_1", force=True)

    assert read_record(tmp_path / "step_1")["config"]["versions"]["numpy"] == "2.0"
    do(tmp_path, "step_1")


@pytest.mark.parametrize("config", [{"steps": 3}, None])
def test_a_record_without_versions_is_not_taken(tmp_path, rejected, config):
    do(tmp_path, "step_1")
    (tmp_path / "step_1" / RECORD).unlink()
    write_record(tmp_path / "step_1", {}, config)

    assert "was" in rejected(RunDirectoryError, do, tmp_path, "step_1")


def test_the_report_says_what_each_step_was_made_with(tmp_path, upgrade):
    upgrade("tensorflow", "1.0")
    do(tmp_path, "step_1")
    upgrade("tensorflow", "2.0")
    do(tmp_path, "step_2_1")
    do(tmp_path, "step_2_2")

    shown = repr(build_report(read_run(tmp_path)))

    for steps, version in (("step_1", "1.0"), ("step_2_1, step_2_2", "2.0")):
        assert f" {steps}: made with compressor" in shown
        made = shown.split(f" {steps}: made with ")[1].partition(".  ")[0]
        assert f"tensorflow {version}, " in made.split("step_")[0]


def test_versions_in_a_record_cannot_write_to_the_page(tmp_path):
    (tmp_path / "step_1").mkdir(parents=True)
    (tmp_path / "experiment.json").write_text(json.dumps(IDENTITY))
    for hostile in ({"a\x1b[2J\n": "\u202e" + "x" * 10**5}, [1], "x", None, 7):
        write_record(tmp_path / "step_1", {"accuracy": 0.5}, {"versions": hostile})

        versions = read_run(tmp_path).versions["step_1"]

        assert versions.isprintable() and len(versions) <= 240
