"""A run directory that is interrupted, at any line: nothing unfinished, and nobody locked out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from interrupting import interrupted_everywhere

from compressor.runs.run_directory import RunDirectory
from deploy import files

pytestmark = pytest.mark.race


def _work(folder: Path) -> dict[str, Any]:
    (folder / "model.keras").write_bytes(b"model")
    return {"accuracy": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize(("again", "step"), [(None, 13), (2, 23)])
def test_a_step_is_finished_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: int | None, step: int
) -> None:
    monkeypatch.setattr(files, "sync", lambda path: None)
    run = tmp_path / "run"

    def work() -> None:
        with RunDirectory(run, {"kind": "test"}) as directory:
            directory.step("step_1", _work)

    for done in interrupted_everywhere(work, again=again, step=step):
        found = {path.name for path in run.iterdir()} if run.exists() else set()
        # A second interrupt may keep it from cleaning up, which the next process does.
        unfinished = {".step_1.new"} if again else set()
        assert found <= {".lock", "experiment.json", "step_1"} | unfinished
        if "step_1" in found:
            assert {path.name for path in (run / "step_1").iterdir()} == {
                *("model.keras", "record.json")
            }
        assert not done or "step_1" in found
        work()  # the next one is not locked out
        assert {path.name for path in run.iterdir()} == {".lock", "experiment.json", "step_1"}
        shutil.rmtree(run)


@pytest.mark.slow
def test_a_step_that_is_done_again_stays_until_the_new_one_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "sync", lambda path: None)
    with RunDirectory(tmp_path / "run", {"kind": "test"}) as directory:
        directory.step("step_1", _work)
        step = directory.path / "step_1"

        for _ in interrupted_everywhere(
            lambda: directory.step("step_1", _work, force=True), step=3
        ):
            assert {path.name for path in step.iterdir()} == {"model.keras", "record.json"}
            assert {path.name for path in directory.path.iterdir()} == {
                *(".lock", "experiment.json", "step_1")
            }
