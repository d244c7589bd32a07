"""What a sweep leaves, and that it is the same every time."""

from __future__ import annotations

import csv
import json
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from command_line import compressor, results_of, without_times

from compressor import load_dataset
from compressor.experiment.paper_checkpoint import read_sparse_checkpoint
from compressor.models.files import data_digest
from compressor.pruning.plan import make_plan
from compressor.runs import results_schema

WEIGHTS = {"conv1": 5 * 5 * 32, "conv2": 5 * 5 * 32 * 64, "fc1": 256 * 1024, "fc2": 1024 * 4}
BIASES = 32 + 64 + 1024 + 4


@pytest.fixture(scope="module")
def two_seeds(undisturbed: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All layers, at one proportion, over two seeds."""
    run = tmp_path_factory.mktemp("two-seeds") / "run"
    outcome = compressor(
        *undisturbed.words(run, "--sparsities", "0.9", "--layers", "all", "--seeds", "0,1")
    )
    assert outcome.code == 0, outcome.stderr
    return run


def test_the_results_follow_their_schema(undisturbed: Any) -> None:
    assert undisturbed.outcome.code == 0, undisturbed.outcome.stderr
    jsonschema.Draft202012Validator(results_schema()).validate(undisturbed.results)


@pytest.mark.slow
def test_the_results_of_two_seeds_follow_their_schema(two_seeds: Path) -> None:
    jsonschema.Draft202012Validator(results_schema()).validate(results_of(two_seeds))


def test_the_paper_s_counts(undisturbed: Any) -> None:
    for row in undisturbed.results["proportions"]:
        kept = {layer["layer"]: layer["kept"] for layer in row["layers"]}
        assert kept == {
            name: WEIGHTS[name] - math.floor(WEIGHTS[name] * round(10 * row["sparsity"]) / 10) - 1
            for name in ("fc1", "fc2")
        }


def test_the_sizes_are_those_of_the_files(undisturbed: Any) -> None:
    seed = undisturbed.run / "seed-0"
    (dense,) = undisturbed.results["dense"]

    assert dense["parameters"] == sum(WEIGHTS.values()) + BIASES
    assert dense["checkpoint_bytes"] == (seed / "step_1" / "model.keras").stat().st_size
    for row in undisturbed.results["proportions"]:
        folder = seed / f"{row['sparsity']:g}"
        checkpoint = (folder / "step_2_2" / "model.keras").stat().st_size
        sparse = (folder / "step_3" / "sparse.npz").stat().st_size
        assert row["retrained"]["checkpoint_bytes"] == checkpoint
        assert row["sparse"]["bytes"] == sparse
        kept = sum(layer["kept"] for layer in row["layers"])
        stay_dense = dense["parameters"] - WEIGHTS["fc1"] - WEIGHTS["fc2"]
        assert row["encodings"]["coo-paper"] == 24 * kept + 4 * stay_dense
        assert 0 < sparse - row["encodings"]["coo-paper"] < 16_000


def test_the_model_learns_and_sparse_is_as_good_as_retrained(undisturbed: Any) -> None:
    (dense,) = undisturbed.results["dense"]

    assert dense["accuracy"] > 0.9
    for row in undisturbed.results["proportions"]:
        assert row["retrained"]["accuracy"] > 0.9
        assert row["sparse"]["accuracy"] == row["retrained"]["accuracy"]


def test_the_report_and_its_figures(undisturbed: Any) -> None:
    page = (undisturbed.run / "report.md").read_text()
    with open(undisturbed.run / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))

    figures = sorted((undisturbed.run / "figures").iterdir())
    names = {figure.stem for figure in figures}
    assert {"figure_5_size", "figure_6_accuracy", "figure_7_prediction_time"} <= names
    for figure in figures:
        if figure.suffix == ".svg":
            assert ElementTree.parse(figure).getroot().tag.endswith("svg")
        else:
            assert figure.suffix == ".png"
            assert figure.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert {f.suffix for f in figures if f.stem == "figure_5_size"} == {".png", ".svg"}
    assert "figures/figure_5_size" in page
    assert "90 %" in page
    assert "0.9" in {row["sparsity"] for row in rows}


def test_what_is_printed(undisturbed: Any) -> None:
    text = undisturbed.outcome.stdout

    for row in undisturbed.results["proportions"]:
        assert f"{100 * row['sparse']['accuracy']:.2f}" in text
    assert text.splitlines()[-1] == f"report: {undisturbed.run / 'report.html'}"
    stages = undisturbed.outcome.stderr.splitlines()
    for stage in ("train the basic model", "50 %, prune", "90 %, retrain", "90 %, sparsify"):
        assert stage in stages


@pytest.mark.slow
def test_json_is_results_json(undisturbed: Any) -> None:
    # Every step is finished, so the results are only put together again.
    outcome = compressor(*undisturbed.words(undisturbed.run, "--json"))

    assert outcome.json() == undisturbed.results


@pytest.mark.slow
def test_seeds_differ_and_do_not_depend_on_each_other(undisturbed: Any, two_seeds: Path) -> None:
    first, second = without_times(results_of(two_seeds)["dense"])

    assert first == without_times(undisturbed.results["dense"][0])
    assert (first["seed"], second["seed"]) == (0, 1)
    weights = [
        json.loads((two_seeds / f"seed-{seed}" / "0.9/step_2_1/record.json").read_text())
        for seed in (0, 1)
    ]
    thresholds = [[row["threshold"] for row in w["result"]["layers"]] for w in weights]
    assert all(a != b for a, b in zip(*thresholds, strict=True))


@pytest.mark.slow
def test_all_layers(two_seeds: Path) -> None:
    for row in results_of(two_seeds)["proportions"]:
        kept = {layer["layer"]: layer["kept"] for layer in row["layers"]}
        assert kept == {n: w - math.floor(w * 9 / 10) - 1 for n, w in WEIGHTS.items()}
        assert row["encodings"]["coo-paper"] == 24 * sum(kept.values()) + 4 * BIASES


def test_proportions_that_nearly_agree_have_names_of_their_own(undisturbed: Any) -> None:
    near = (0.5, 0.12345678, 0.12345679)
    plan = make_plan(load_dataset(undisturbed.data / "d.npz"), sparsities=near)

    assert plan.describe()["retraining"].keys() == {"0.5", "0.12345678", "0.12345679"}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("part", ["0.9/step_2_2", "0.9/step_3", "step_1"])
def test_the_files_are_models_again(undisturbed: Any, part: str) -> None:
    described = compressor("inspect", undisturbed.run / "seed-0" / part, "--json").json()

    assert described["parameters"] == undisturbed.results["dense"][0]["parameters"]


@pytest.mark.slow
def test_inspect_the_whole_run(undisturbed: Any) -> None:
    described = compressor("inspect", undisturbed.run, "--json").json()

    assert described["kind"] == "run"
    assert described["experiment"]["sparsities"] == [0.5, 0.9]
    assert len(described["steps"]) == 7


def test_the_sweep_says_how_it_feeds_its_models(undisturbed: Any) -> None:
    assert "uint8 scaled to 0..1" in undisturbed.outcome.stdout
    assert "uint8 scaled to 0..1" in (undisturbed.run / "report.md").read_text()
    (rule,) = undisturbed.results["dense"][0]["inputs"]
    assert rule["scale"] == 1 / 255


def test_every_model_notes_the_data_that_it_was_trained_on(undisturbed: Any) -> None:
    digest = load_dataset(undisturbed.data / "d.npz").digest
    seed = undisturbed.run / "seed-0"

    for model in (seed / "step_1", *(seed / "0.9" / step for step in ("step_2_1", "step_2_2"))):
        assert data_digest(model / "model.keras") == digest
    assert read_sparse_checkpoint(seed / "0.9" / "step_3" / "sparse.npz").data == digest
