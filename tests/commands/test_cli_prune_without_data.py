"""Pruning by magnitude without retraining goes without data, and measures no accuracy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Outcome, compressor

from compressor.models.files import load_model
from compressor.pruning.masks import load_masks

NOTE = "without data, accuracy is not measured"


@pytest.fixture(scope="module")
def model(residual_net: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that does not say what it was trained on."""
    path = tmp_path_factory.mktemp("dataless") / "net.keras"
    residual_net().save(path)
    return path


@pytest.fixture(scope="module")
def run(model: Path) -> tuple[Path, Outcome]:
    """The run directory of pruning it without data, not to be written to, and the outcome."""
    return model.with_name("run"), _prune(model, model.with_name("run"))


def _prune(model: Path, run: Path, *words: object) -> Outcome:
    return compressor("prune", model, "--sparsity", 0.5, "--no-retrain", "-o", run, *words)


def _text(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.stderr
    return outcome.stdout


def test_half_of_the_weights_go_and_no_accuracy_is_said(run: tuple[Path, Outcome]) -> None:
    folder, outcome = run
    text = _text(outcome)
    assert f"dense: {NOTE}" in text
    assert f"step_2_1: 50 % pruned, {NOTE}" in text
    masks = load_masks(folder / "step_2_1" / "masks.npz")
    pruned = load_model(folder / "step_2_1" / "model.keras")
    assert set(masks) == {"stem", "inner", "head"}
    for name, mask in masks.items():
        kernel = pruned.get_layer(name).kernel.numpy()
        assert mask.sum() == mask.size - mask.size // 2 - 1
        assert not kernel[~mask].any() and kernel[mask].all()
    for step in ("dense", "step_2_1"):
        result = json.loads((folder / step / "record.json").read_text())["result"]
        assert result["accuracy_note"] == NOTE
        assert not {"accuracy", "validation_accuracy", "objective"} & set(result)


def test_the_same_command_reuses_the_steps(model: Path, run: tuple[Path, Outcome]) -> None:
    before = [path.stat().st_mtime_ns for path in sorted(run[0].rglob("record.json"))]
    records = _prune(model, run[0], "--json").json()
    assert list(records) == ["dense", "step_2_1"]
    assert all(record["accuracy_note"] == NOTE for record in records.values())
    assert [path.stat().st_mtime_ns for path in sorted(run[0].rglob("record.json"))] == before


def test_data_named_later_make_another_pruning(
    model: Path, run: tuple[Path, Outcome], quadrants: Path
) -> None:
    line = _prune(model, run[0], "--data", quadrants).refusal(after_stages=True)
    assert "data was null, is now" in line
    assert "--force" in line


@pytest.mark.slow
def test_what_follows_works_without_data(run: tuple[Path, Outcome], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    assert "step_2_1" in _text(compressor("inspect", folder))
    assert NOTE in _text(compressor("export", folder, "-o", folder / "m.onnx"))
    _text(compressor("report", folder))
    page = (folder / "report.md").read_text()
    assert f"dense, step_2_1: {NOTE}" in page
    assert "m.onnx" in page


@pytest.mark.parametrize(
    "words",
    [
        ["--criterion", "taylor"],
        ["--criterion", "reconstruct"],
        ["--retrain"],
    ],
)
def test_what_looks_at_examples_asks_for_data(
    model: Path, tmp_path: Path, words: list[str]
) -> None:
    line = _prune(model, tmp_path / "run", *words).refusal()
    assert "it is not known which data the model was trained on" in line
    assert "--data" in line
    assert not (tmp_path / "run").exists()


def test_a_layer_that_is_not_there_is_refused_before_anything_is_written(
    model: Path, tmp_path: Path
) -> None:
    line = _prune(model, tmp_path / "run", "--layers", "haed").refusal(after_stages=True)
    assert "did you mean head?" in line
    assert not (tmp_path / "run").exists()
