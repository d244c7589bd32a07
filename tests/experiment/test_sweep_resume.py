"""A sweep that is killed goes on where it was, and ends in the same results."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from command_line import (
    compressor,
    files,
    results_of,
    signal_when,
    start,
    step_times,
    without_times,
)

from compressor.foundation.files import atomic_path
from compressor.runs.run_directory import RunDirectory


@pytest.mark.slow
@pytest.mark.race
def test_killed_again_and_again(undisturbed: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    seed = run / "seed-0"
    words = undisturbed.words(run)
    moments = (
        (seed / ".step_1.new", set()),
        (seed / "0.5" / ".step_2_2.new", {"seed-0/step_1", "seed-0/0.5/step_2_1"}),
        (seed / "0.9" / ".step_3.new", {"seed-0/0.5/step_3", "seed-0/0.9/step_2_2"}),
        (run / "results.json", {"break_even", "seed-0/prediction_time"}),
    )
    before: dict[str, int] = {}
    for path, finished in moments:
        killed = signal_when(start(*words), path.exists, signal.SIGKILL)

        assert killed.code == -signal.SIGKILL
        after = step_times(run)
        assert finished <= after.keys()
        # What was finished before this start was not done again.
        assert before.items() <= after.items()
        assert not (run / "report.md").exists()
        before = after

    outcome = compressor(*words)

    assert outcome.code == 0, outcome.stderr
    assert step_times(run) == before
    assert without_times(results_of(run)) == without_times(undisturbed.results)
    assert files(run).keys() == files(undisturbed.run).keys()


@pytest.mark.race
def test_a_second_process_is_refused_while_the_first_works(
    undisturbed: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start(*undisturbed.words(run))
    refusals = []

    def moment() -> bool:
        if not (run / "experiment.json").exists():
            return False
        refusals.append(compressor(*undisturbed.words(run)))
        refusals.append(compressor(*undisturbed.words(run, "--force")))
        return True

    interrupted = signal_when(process, moment, signal.SIGINT)

    for refusal in refusals:
        assert f"another process is working in the run directory: {run}" in refusal.refusal()
    assert interrupted.code == 130, interrupted.stderr


@pytest.mark.slow
def test_a_step_that_was_being_replaced_comes_back(undisturbed: Any, tmp_path: Path) -> None:
    run = undisturbed.copy(tmp_path)
    before = files(run)
    part = run / "seed-0" / "0.9"
    # As if killed between the two renames, and in the middle of an atomic write.
    (part / "step_3").rename(part / ".step_3.old")
    shutil.copytree(part / "step_2_2", part / ".step_3.new")
    (part / "step_2_2" / ".model.k3x_9ab2.tmp.keras").write_text("half")

    assert compressor(*undisturbed.words(run)).code == 0

    assert files(run) == before


@pytest.mark.slow
def test_one_lost_step_is_done_again_alone(undisturbed: Any, tmp_path: Path) -> None:
    lost = "0.9/step_2_1"
    run = undisturbed.copy(tmp_path)
    before = step_times(run)
    shutil.rmtree(run / "seed-0" / lost)

    outcome = compressor(*undisturbed.words(run))

    assert outcome.code == 0, outcome.stderr
    after = step_times(run)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {f"seed-0/{lost}"}
    assert without_times(results_of(run)) == without_times(undisturbed.results)


@pytest.mark.parametrize(
    "name",
    [
        *("model.keras", "masks.npz", "sparse.npz", "record.json", "experiment.json"),
        *("results.json", "results.csv", "report.md", "report.html", "bench.json"),
        *("figure_5_size.svg", "structure_layers.png", "mask_0_0_fc1.png", "variables.json"),
        *("weights_0_fc1.svg", "accuracy_bytes.png"),
    ],
)
def test_what_a_killed_write_leaves_is_removed(tmp_path: Path, name: str) -> None:
    below = tmp_path / "seed-0" / "step_1"
    with RunDirectory(tmp_path, {"kind": "test"}):
        pass
    with pytest.raises(LookupError), atomic_path(below / name) as temporary:
        temporary.write_text("half")
        left = below / temporary.name
        kept = temporary.read_bytes()
        raise LookupError
    left.write_bytes(kept)
    with RunDirectory(tmp_path, {"kind": "test"}):
        assert not left.exists()
