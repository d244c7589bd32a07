"""The report of a search: what was found, what was tried and dropped, and the recipe."""

from __future__ import annotations

import json
import re

import pytest
from results_documents import make_results
from search_documents import search_document

import compressor
from compressor.errors import CheckpointError
from compressor.report import search_text

WHAT = ("channel", "weight")


@pytest.fixture
def reported(tmp_path):
    """Write a search document, and report it; the text and the page."""

    def of(document):
        run = tmp_path / "found"
        run.mkdir(exist_ok=True)
        (run / "search.json").write_text(json.dumps(document))
        done = compressor.report_run(run)
        return done.markdown.read_text(), done.page.read_text()

    return of


def test_it_leads_with_what_is_recommended(reported):
    text, page = reported(search_document())

    summary = text[: text.index("The front")]
    assert "11.6 kB" in summary and "8.43 kB" in summary and "98.97 %" in summary
    assert "18.0×" in summary and "faster" in summary
    assert "the smallest of 4 that keeps to the goal" in text
    assert "<script" not in page


def test_it_shows_the_front_and_every_trial_with_what_became_of_it(reported):
    text, page = reported(search_document())

    for said in (
        *("recommended", "on the front", "dropped: its accuracy is too low"),
        *("failed: it took longer than 60 s", "kept the accuracy; others are better"),
    ):
        assert said in text
    assert "search_trials.png" in text and "search_front.png" in text
    assert page.count("<svg") >= 2


def test_it_shows_the_structure_and_the_recipe(reported):
    text, _ = reported(search_document())

    assert re.search(r"narrowed \| conv1 8, conv2 16, fc1 62", text)
    assert re.search(r"pruned while trained \| conv1 30\.00 %", text)
    assert "onnx.recipe.json MODEL" in text


@pytest.mark.slow
def test_one_sparsity_may_hold_for_every_layer(reported):
    document = search_document()
    document["trials"][5]["steps"] = [{"kind": "prune", "sparsity": 0.8}]

    text, _ = reported(document)

    assert "pruned | every layer 80.00 %" in text


@pytest.mark.slow
def test_what_was_pruned_of_all_layers_together_is_said_so(reported):
    document = search_document()
    steps = [{"kind": "prune", "granularity": what, "sparsity": 0.125} for what in WHAT]
    document["trials"][5]["steps"] = steps

    text, _ = reported(document)

    assert "every layer" not in text
    for what in WHAT:
        assert f"pruned | {what}s, 12.50 % of all layers together" in text


def test_files_of_trials_are_no_artefacts(reported, tmp_path):
    document = search_document()
    trial = tmp_path / "found" / document["trials"][0]["trial"]
    trial.mkdir(parents=True)
    (trial / "model.onnx").write_bytes(b"pruned")

    text, _ = reported(document)

    assert "left out" not in text


def test_a_search_that_is_not_finished_is_reported(reported):
    document = search_document() | {"state": "searching", "front": [], "recommended": {}}

    text, _ = reported(document | {"reasons": {}, "runtimes": {}})

    assert "not finished" in text and "the best so far" in text


def test_names_of_a_search_are_shown_as_text(reported):
    document = search_document()
    document["trials"][-1]["error"] = "<script>alert(1)</script>\u202e"
    document["reasons"]["litert"] = "<img src=x onerror=alert(1)>"

    _, page = reported(document)

    assert "<script>alert" not in page and "<img src=x" not in page and "\u202e" not in page


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "compressor.results"},
        {"trials": [{"trial": "trial-1", "steps": [{"kind": 3}], "seconds": 1}]},
        {"runtimes": {"litert": {"bytes": "many", "latency_ms": 1}}},
        {"front": [{"file": "x"}]},
    ],
)
def test_a_damaged_document_is_refused(change, reported, rejected):
    assert "search" in rejected(CheckpointError, reported, search_document() | change)


@pytest.mark.slow
def test_another_task_is_shown_by_its_metric(reported):
    head = {"name": "", "task": "regression", "shape": [1], "classes": 0, "threshold": None}
    head |= {"metric": "mean_absolute_error", "shown": ["mean_absolute_error"]}
    document = search_document() | {"heads": [head]}
    for name in ("wanted", "accepted"):
        del document[f"{name}_accuracy"]
    document |= {"wanted_mean_absolute_error": 0.9, "accepted_mean_absolute_error": 0.9895}
    for row in (document["dense"], *document["trials"], *document["front"]):
        row["validation_mean_absolute_error"] = row.pop("validation_accuracy", None)
        row["mean_absolute_error"] = row.pop("accuracy", None)

    text, _ = reported(document)

    assert "artefact with mean absolute error 0.9, 8 trials" in text
    assert "0.9897 mean absolute error on the test examples" in text
    assert "bytes, latency and mean absolute error. Mean absolute error is judged" in text
    # What was above the accuracy that is accepted is above the error that is.
    assert text.count("dropped: its mean absolute error is too high") == 2
    assert "Accepted: 0.9895 on the validation examples" in text
    assert "accuracy" not in text[text.index("The front") :]


def test_of_several_outputs_it_says_which_does_not_keep_to_its_own(reported):
    error = {"metric": "mean_absolute_error", "shown": ["mean_absolute_error"]}
    kind = {"name": "kind", "task": "classification", "shape": [10], "classes": 10}
    size = {"name": "size", "task": "regression", "shape": [1], "classes": 0, **error}
    kind |= {"metric": "accuracy", "shown": ["accuracy"]}
    document = search_document()
    document["heads"] = [head | {"threshold": None} for head in (kind, size)]
    for name in ("wanted", "accepted"):
        document[f"kind/{name}_accuracy"] = document.pop(f"{name}_accuracy")
        document[f"size/{name}_mean_absolute_error"] = 2.0
    rows = (document["dense"], *document["trials"], *document["front"])
    for row in rows:
        for part in ("validation_", ""):
            row[f"kind/{part}accuracy"] = row.pop(f"{part}accuracy", None)
            row[f"size/{part}mean_absolute_error"] = 1.5
    dropped = next(t for t in document["trials"] if t["kind/validation_accuracy"] == 0.9893)
    dropped["size/validation_mean_absolute_error"] = 2.5

    text, _ = reported(document)

    assert "artefact with kind 99.00 %, size 2, 8 trials" in text
    assert "size 1.5 on the test examples, which" in text
    assert "latency and what is asked of each output. What is asked of each output is" in text
    assert text.count("dropped: its accuracy of kind is too low") == 2
    assert text.count("dropped: its mean absolute error of size is too high") == 1
    assert "trials keep what is accepted of each output; dashed: the accuracy of kind" in text
    assert "metric" not in text
    printed = search_text(document)
    assert ", size 2 on the validation examples, for kind 99.00 %, size 2" in printed


@pytest.mark.slow
def test_thousands_of_times_are_told_like_other_thousands(reported):
    document = search_document()

    text, _ = reported(document)

    assert "1,125 times smaller than" in search_text(document)
    assert "1,125 times smaller than" in text


def test_what_the_dense_model_reaches_on_test_examples_and_how_sure_that_is(reported):
    printed, (text, _) = search_text(search_document()), reported(search_document())

    (line, _) = [line for line in printed.splitlines() if "the model, dense" in line]
    assert line.split()[-2:] == ["99.13", "99.17"] and "99.17" in text
    assert "standard error on so many examples: 0.14 points\n" in printed
    assert "The standard error on so many is 0.14 points." in text


def test_names_that_lead_elsewhere_are_not_read(reported):
    document = search_document()
    document["front"][0]["trial"] = "../../secret"

    text, _ = reported(document)

    assert "A model is left out" not in text


@pytest.mark.slow
def test_the_report_of_a_sweep_leads_with_the_search_beside_it(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(make_results()))
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "search.json").write_text(json.dumps(search_document()))

    text = compressor.report_run(tmp_path).markdown.read_text()

    assert text.index("8.43 kB") < text.index("What the sweep found")
    assert text.index("The front") < text.index("The hypothesis")
