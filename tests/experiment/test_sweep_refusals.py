"""Run directories that are refused: one line, exit code 2, and nothing changed."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import (
    compressor,
    files,
    locked_by_another_process,
    results_of,
    step_times,
    without_times,
    write_quadrants,
)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        (["--sparsities", "0.5,0.8"], "sparsities was [0.5, 0.9], is now [0.5, 0.8]"),
        (["--seeds", "1"], "seeds was [0], is now [1]"),
        (["--layers", "all"], 'layers was ["fc1", "fc2"], is now ["all"]'),
        (["--max-steps", "11"], "training.steps was 10, is now 11"),
        (["--batch-size", "16"], "training.batch_size was 32, is now 16"),
        (["--learning-rate", "0.001"], "training.learning_rate was 0.002, is now 0.001"),
        (["--validation", "60"], "validation_images was 50, is now 60"),
        (["--preset", "paper"], 'preset was "quick", is now "paper"'),
    ],
)
def test_a_run_of_another_experiment(
    undisturbed: Any, tmp_path: Path, changes: list[str], difference: str
) -> None:
    run = undisturbed.copy(tmp_path)
    before, times = files(run), step_times(run)

    refusal = compressor(*undisturbed.words(run, *changes)).refusal()

    assert "the run directory belongs to another experiment" in refusal
    assert difference in refusal
    assert "--force" in refusal
    assert (files(run), step_times(run)) == (before, times)


def test_a_run_with_other_versions(
    undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = undisturbed.copy(tmp_path)
    before, times = files(run), step_times(run)
    installed = importlib.metadata.version
    changed = {"keras": "3.99.0"}
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: changed.get(name) or installed(name)
    )

    for words in (undisturbed.words(run), undisturbed.words(run, "--export")):
        refusal = compressor(*words).refusal(after_stages=True)

        assert "this step was done before with other versions" in refusal
        assert f'versions.keras was "{installed("keras")}", is now "3.99.0"' in refusal
        assert "--force" in refusal
        assert (files(run), step_times(run)) == (before, times)


def test_a_run_on_other_data(undisturbed: Any, tmp_path: Path) -> None:
    run = undisturbed.copy(tmp_path)
    other = write_quadrants(tmp_path / "other" / "d.npz", seed=2)
    before = files(run)

    refusal = compressor(*undisturbed.words(run, "--data", other)).refusal()

    assert "data.digest was " in refusal
    assert files(run) == before


def test_train_in_the_folder_of_a_sweep(undisturbed: Any, tmp_path: Path) -> None:
    run = undisturbed.copy(tmp_path)
    before = files(run)

    refusal = compressor(
        *("train", "-1", "--force", "--data", undisturbed.data, "--train-dir", run)
    ).refusal()

    assert 'kind was "sweep", is now "model"' in refusal
    # It would not help here.
    assert "--force" not in refusal
    assert files(run) == before


def test_a_folder_with_other_files(undisturbed: Any, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("sea")
    (tmp_path / "seed-corn.txt").write_text("maize")

    for force in ([], ["--force"]):
        refusal = compressor(*undisturbed.words(tmp_path, *force)).refusal()
        assert "holiday.jpg" in refusal
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holiday.jpg", "seed-corn.txt"]


def test_files_that_only_look_like_ours(undisturbed: Any, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").write_text("a year of work")
    (tmp_path / "results.csv").write_text("1,2")
    (tmp_path / "experiment.json").write_text("{}")

    for force in ([], ["--force"]):
        assert "other files" in compressor(*undisturbed.words(tmp_path, *force)).refusal()
    assert (tmp_path / "figures" / "mine.png").read_text() == "a year of work"
    assert (tmp_path / "results.csv").read_text() == "1,2"


@pytest.mark.slow
def test_hidden_files_beside_a_run_stay(undisturbed: Any, tmp_path: Path) -> None:
    run = undisturbed.copy(tmp_path)
    (run / ".bashrc.old").write_text("alias")
    (run / ".vim.new").mkdir()
    (run / ".notes.tmp.txt").write_text("note")
    assert compressor(*undisturbed.words(run)).code == 0
    assert {".bashrc.old", ".vim.new", ".notes.tmp.txt"} <= {path.name for path in run.iterdir()}


@pytest.mark.parametrize("inside", ["run", "run/below"])
def test_a_file_in_the_way(undisturbed: Any, tmp_path: Path, inside: str) -> None:
    (tmp_path / "run").write_text("precious")

    for force in ([], ["--force"]):
        refusal = compressor(*undisturbed.words(tmp_path / inside, *force)).refusal()
        assert str(tmp_path / inside) in refusal
    assert (tmp_path / "run").read_text() == "precious"


@pytest.mark.slow
def test_a_run_that_another_process_holds(undisturbed: Any, tmp_path: Path) -> None:
    run = undisturbed.copy(tmp_path)
    before = files(run)

    with locked_by_another_process(run):
        for changes in ([], ["--force"]):
            refusal = compressor(*undisturbed.words(run, *changes)).refusal()
            assert f"another process is working in the run directory: {run}" in refusal

    assert files(run) == before
    assert compressor(*undisturbed.words(run)).code == 0


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "bad",
    [
        ["--layers", "w_fc3"],
        ["--sparsities", "1.0"],
        ["--seeds", "0,0"],
        ["--learning-rate", "0"],
        ["--validation", "600"],
        ["--data", "missing"],
        ["--data", "rows.npz"],
        ["--data", "small.npz"],
    ],
    ids=" ".join,
)
def test_force_with_a_bad_option_leaves_the_old_run(
    undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: list[str]
) -> None:
    run = undisturbed.copy(tmp_path)
    monkeypatch.chdir(tmp_path)
    labels = np.arange(48, dtype=np.uint8) % 4
    for name, shape in (("rows", (20,)), ("small", (2, 2))):
        x = np.zeros((48, *shape), np.uint8)
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=labels, x_test=x, y_test=labels)
    before = files(run)

    assert compressor(*undisturbed.words(run, "--force", *bad)).refusal()

    assert files(run) == before


@pytest.mark.slow
def test_force_replaces_the_run_and_nothing_else(undisturbed: Any, tmp_path: Path) -> None:
    run = undisturbed.copy(tmp_path)
    mine = {".git/config": "mine", "notes.md": "mine", "step_by_step.txt": "mine", ".env": "mine"}
    for name, text in mine.items():
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text(text)

    outcome = compressor(*undisturbed.words(run, "--force", "--sparsities", "0.9"))

    assert outcome.code == 0, outcome.stderr
    assert {name: (run / name).read_text() for name in mine} == mine
    assert {path.name for path in (run / "seed-0").iterdir()} == {
        *("step_1", "0.9", "prediction_time")
    }
    # The same seed gives the same numbers, whatever other proportions there are.
    results, first = without_times(results_of(run)), without_times(undisturbed.results)
    assert results["experiment"]["sparsities"] == [0.9]
    assert results["dense"] == first["dense"]
    assert results["proportions"] == [first["proportions"][1]]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["0.5/step_2_1/model.keras", "0.9/step_3/sparse.npz"])
@pytest.mark.parametrize("what", ["altered", "missing"])
def test_an_altered_file_of_a_finished_step(
    undisturbed: Any, tmp_path: Path, name: str, what: str
) -> None:
    run = undisturbed.copy(tmp_path)
    path = run / "seed-0" / name
    content = bytearray(path.read_bytes())
    path.unlink()
    if what == "altered":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    before = files(run)

    refusal = compressor(*undisturbed.words(run)).refusal(after_stages=True)

    assert f"missing or was altered: {path}" in refusal
    assert f"remove the folder {path.parent}" in refusal
    assert files(run) == before


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:50],
        lambda text: "[1, 2]",
        lambda text: "{}",
        lambda text: text.replace('"accuracy": ', '"accuracy": 0'),
        lambda text: json.dumps(json.loads(text) | {"result": {}}),
        lambda text: json.dumps(json.loads(text) | {"sha256": {}}),
        lambda text: "\0" * 40,
        lambda text: "[" * 100_000,
    ],
    ids=["empty", "cut", "list", "object", "number", "result", "files", "zeros", "deep"],
)
def test_a_damaged_record(undisturbed: Any, tmp_path: Path, damage: Any) -> None:
    run = undisturbed.copy(tmp_path)
    path = run / "seed-0" / "0.5" / "step_2_1" / "record.json"
    text = path.read_text()
    path.unlink()
    path.write_text(damage(text))
    before = files(run)

    assert str(path) in compressor(*undisturbed.words(run)).refusal(after_stages=True)
    assert str(path) in compressor("inspect", path.parent).refusal()
    assert files(run) == before


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff"])
def test_a_damaged_experiment(undisturbed: Any, tmp_path: Path, content: str) -> None:
    run = undisturbed.copy(tmp_path)
    path = run / "experiment.json"
    path.unlink()
    path.write_bytes(content.encode("latin-1"))
    before = files(run)

    refusal = compressor(*undisturbed.words(run)).refusal()

    assert f"experiment.json is damaged: {path}" in refusal
    assert "--force" in refusal
    assert files(run) == before
