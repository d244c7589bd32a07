"""Records of steps that somebody altered, digest and all: one line, whoever reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import CheckpointError
from compressor.report import records_text, report_run
from compressor.runs.run_directory import RECORD, _digest, read_record, read_step, write_record

LAYER = {"layer": "fc1", "parameters": 9, "threshold": 0.1, "kept": 1}
RESULT = {"accuracy": 0.9, "nonzeros": 5, "bytes": 7, "layers": [LAYER], "warnings": ["w"]}


@pytest.fixture
def step(tmp_path: Path) -> Path:
    """A finished step."""
    folder = tmp_path / "run" / "step_2_1"
    folder.mkdir(parents=True)
    (folder / "model.keras").write_bytes(b"model")
    write_record(folder, RESULT, {"model": "m"})
    return folder


def alter(step: Path, **changes: Any) -> None:
    """Change parts of the record, and give it the digest of what it is then."""
    record = json.loads((step / RECORD).read_text())
    del record["digest"]
    record |= changes
    (step / RECORD).write_text(json.dumps({**record, "digest": _digest(record)}))


def test_a_sound_one_is_read(step: Path) -> None:
    assert read_step(step) == RESULT
    assert "accuracy 90.00 %" in records_text({"step_2_1": RESULT})
    assert report_run(step.parent).page.is_file()


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"config": []},
        {"sha256": "x"},
        {"sha256": {"model.keras": 5}},
        {"result": [1]},
        {"result": {**RESULT, "accuracy": ["x"]}},
        {"result": {**RESULT, "accuracy": 1e300}},
        {"result": {**RESULT, "nonzeros": "many"}},
        {"result": {**RESULT, "layers": {"fc1": 1}}},
        {"result": {**RESULT, "layers": [{"kept": 1, "threshold": 0.1}]}},
        {"result": {**RESULT, "layers": [{"layer": "fc1", "kept": 1}]}},
        {"result": {**RESULT, "left_alone": 0.5}},
        {"result": {**RESULT, "warnings": 0.5}},
        {"result": {**RESULT, "pruning": "x" * 9999}},
        {"result": {**RESULT, "objective": {}}},
        {"result": {**RESULT, "inputs": [{}]}},
    ],
)
def test_what_is_none_is_refused(step: Path, rejected: Any, changes: dict[str, Any]) -> None:
    alter(step, **changes)

    for read, folder in ((read_record, step), (read_step, step), (report_run, step.parent)):
        assert len(rejected(CheckpointError, read, folder)) < 1000


def test_names_that_no_file_has(step: Path, rejected: Any) -> None:
    for name in ("x" * 9999, "a\0b", "", "../model.keras", "é" * 200):
        alter(step, sha256={name: "0" * 64})
        assert len(rejected(CheckpointError, read_step, step)) < 1000
