"""The paper's commands, spelled as in its Tables 1 to 3, on a small data set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor, files, step_times

from compressor.pruning.magnitude import kept_weights

MINUS = "\N{MINUS SIGN}"
FC1, FC2 = (256, 1024), (1024, 4)


def _kept(shape: tuple[int, int], sparsity: float) -> int:
    return kept_weights(shape[0] * shape[1], sparsity)


@pytest.mark.slow
def test_every_step_leaves_its_folder(paper_line: Any) -> None:
    assert paper_line.outcome.code == 0, paper_line.outcome.stderr
    assert {path.name for path in paper_line.run.iterdir() if path.is_dir()} == {
        *("step_1", "step_2_1", "step_2_2", "step_3")
    }
    for step in ("step_1", "step_2_1", "step_2_2"):
        assert (paper_line.run / step / "model.keras").is_file()
    assert (paper_line.run / "step_3" / "sparse.npz").is_file()
    assert sorted(files(paper_line.variables)) == ["masks.npz", "model.keras", "variables.json"]


def test_what_is_printed_says_what_was_done(paper_line: Any) -> None:
    lines = paper_line.outcome.stdout.splitlines()

    steps = [line.partition(":")[0] for line in lines if line.startswith("step_")]
    assert steps == ["step_1", "step_2_1", "step_2_2", "step_3"]
    assert "90 % pruned" in paper_line.outcome.stdout
    for shape in (FC1, FC2):
        assert f"{_kept(shape, 0.9):,}" in paper_line.outcome.stdout
    assert lines[-1] == f"written to: {paper_line.run}"
    stages = paper_line.outcome.stderr
    assert "train the basic model" in stages
    assert "step 10/10, loss " in stages


def test_step_2_keeps_the_paper_s_count_and_retraining_keeps_the_zeros(paper_line: Any) -> None:
    described = compressor("inspect", paper_line.run, "--json").json()["steps"]

    for step in ("step_2_1", "step_2_2", "step_3"):
        kernels = {
            row["layer"]: row["parameters"] - row["zeros"]
            for row in described[step]["layers"]
            if row["variable"] == "kernel"
        }
        assert kernels["fc1"] == _kept(FC1, 0.9)
        assert kernels["fc2"] == _kept(FC2, 0.9)
        assert kernels["conv2"] == 5 * 5 * 32 * 64


def test_step_3_is_smaller_than_the_checkpoint(paper_line: Any) -> None:
    dense = (paper_line.run / "step_2_2" / "model.keras").stat().st_size
    sparse = (paper_line.run / "step_3" / "sparse.npz").stat().st_size

    assert sparse < dense / 4


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("step", "kind"), [("step_1", "dense"), ("step_2_2", "dense"), ("step_3", "sparse")]
)
def test_the_two_predictors(paper_line: Any, step: str, kind: str) -> None:
    outcome = compressor(
        *("evaluate", "--checkpoint_dir", paper_line.run / step, "--test_data_dir"),
        *(paper_line.data, "--batch_size", "32", "--max_steps", "10", "--json"),
    )

    evaluation = outcome.json()
    assert evaluation["kind"] == kind
    assert evaluation["images"] == 200
    assert evaluation["accuracy"] > 0.9
    assert evaluation["prediction_time"]["batch_size"] == 32
    assert evaluation["prediction_time"]["batches"] == 10
    assert evaluation["prediction_time"]["batch_ms"]["p50"] > 0


def test_the_predictors_text_says_accuracy_and_time(paper_line: Any) -> None:
    outcome = compressor(
        *("evaluate", paper_line.run / "step_3", "--data", paper_line.data, "--max-steps", "2")
    )

    record = json.loads((paper_line.run / "step_3" / "record.json").read_text())["result"]
    lines = outcome.stdout.splitlines()
    assert lines[0] == f"sparse network: {paper_line.run / 'step_3' / 'sparse.npz'}"
    assert lines[1] == f"accuracy: {100 * record['accuracy']:.2f} % of 200 images"
    assert lines[2].startswith("prediction time: ")
    assert "ms for 2 batches of 32" in lines[2]


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(lambda words: [_dashes(word) for word in words], id="dashes"),
        pytest.param(
            lambda words: " ".join(words).replace("w_fc1,w_fc2", "w_fc1, w_fc2").split(),
            id="a space in the list",
        ),
        pytest.param(
            lambda words: [word.replace("w_fc1,w_fc2", "w_fc1, w_fc2") for word in words],
            id="a quoted space",
        ),
        pytest.param(
            lambda words: [_unicode_minus(word) for word in words], id="the minus of the paper"
        ),
        pytest.param(
            lambda words: [word.replace("--sparse_ratio", "--sparsity") for word in words],
            id="our name",
        ),
    ],
)
def test_other_spellings_are_the_same_command(paper_line: Any, spell: Any, tmp_path: Path) -> None:
    # A finished step is done again for no spelling, and is refused if an option has changed.
    run = shutil.copytree(paper_line.run, tmp_path / "run")
    words = paper_line.words(run, shutil.copytree(paper_line.variables, tmp_path / "kept"))
    before = step_times(run)

    outcome = compressor(*spell(words), "--json")

    assert set(outcome.json()) == {"step_1", "step_2_1", "step_2_2", "step_3"}
    assert step_times(run) == before
    assert outcome.stderr.splitlines()[-1] == f"written to: {run}"


def _dashes(word: str) -> str:
    return word.replace("_", "-") if word.startswith("--") else word


def _unicode_minus(word: str) -> str:
    dashes = len(word) - len(word.lstrip("-"))
    return MINUS * dashes + word[dashes:]


@pytest.mark.slow
def test_the_minus_of_the_paper_from_scratch(paper_line: Any, tmp_path: Path) -> None:
    words = paper_line.words(tmp_path / "run", tmp_path / "kept")

    outcome = compressor(*map(_unicode_minus, words), "--json")

    # The same seed gives the same model, so this is also the same experiment done twice.
    first = json.loads((paper_line.run / "step_3" / "record.json").read_text())
    assert outcome.json()["step_3"] == first["result"]
    with (
        np.load(tmp_path / "run" / "step_3" / "sparse.npz") as again,
        np.load(paper_line.run / "step_3" / "sparse.npz") as once,
    ):
        for name in once.files:
            np.testing.assert_array_equal(again[name], once[name])


@pytest.mark.slow
def test_other_options_are_refused_and_force_does_the_step_again(
    paper_line: Any, tmp_path: Path
) -> None:
    run, kept = tmp_path / "run", tmp_path / "kept"
    words = ["train", "-1", "--data", paper_line.data, "--train-dir", run]
    words += ["--variables-dir", kept, "--batch-size", "32"]
    assert compressor(*words, "--max-steps", "3").code == 0
    before = files(run)

    refusal = compressor(*words, "--max-steps", "4").refusal(after_stages=True)

    assert "steps was 3, is now 4" in refusal
    assert "--force" in refusal
    assert files(run) == before

    failed = compressor(*words, "--max-steps", "4", "--layers", "w_fc9", "--force")

    assert "w_fc9" in failed.refusal()
    assert files(run) == before

    forced = compressor(*words, "--max-steps", "4", "--force", "--json")

    assert forced.json()["step_1"]
    record = json.loads((run / "step_1" / "record.json").read_text())
    assert record["config"]["steps"] == 4
    assert (kept / "model.keras").read_bytes() == (run / "step_1" / "model.keras").read_bytes()


def test_step_2_without_a_trained_model_writes_nothing(quadrants: Path, tmp_path: Path) -> None:
    outcome = compressor("train", "-2", "--data", quadrants, "--train-dir", tmp_path / "run")

    assert "-1" in outcome.refusal()
    assert not (tmp_path / "run").exists()
