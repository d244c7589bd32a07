"""Searching over .tflite and .onnx files: pruned without retraining, quantised, made again."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
from command_line import compressor
from graph_files import WRITERS, dense_onnx, gray_onnx
from onnx_styles import write_style

import compressor as library
from compressor.data import TrainingData
from compressor.errors import ModelError, RunDirectoryError
from compressor.exporters.graphs.reconstruction import calibration_inputs
from compressor.exporters.onnx import kernels
from compressor.exporters.reference import Reference
from compressor.models import Objective
from compressor.searching import base, finishing, graph_search

FORMATS = ("onnx", "tflite")


@pytest.fixture(autouse=True)
def few_levels(monkeypatch: Any) -> None:
    levels = {"channel": (0.25,), "weight": (0.5, 0.97)}
    monkeypatch.setattr(graph_search, "_LEVELS", levels)
    monkeypatch.setattr(graph_search, "_CALIBRATION", 256)


def _data(path: Path, source: Path) -> Path:
    """Examples with the labels that a wide model gives them."""
    model = {
        one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(source).graph.initializer
    }
    x = np.random.default_rng(0).random((1600, 32), np.float32)
    hidden = np.maximum(x @ model["fc1.weight"].T + model["fc1.bias"], 0)
    y = (hidden @ model["fc2.weight"].T + model["fc2.bias"]).argmax(axis=1)
    np.savez(path, x_train=x[:1400], y_train=y[:1400], x_test=x[1400:], y_test=y[1400:])
    return path


@pytest.mark.slow
def test_the_smallest_that_holds_is_found_and_made_again(tmp_path: Path) -> None:
    source = dense_onnx(tmp_path / "found.onnx", hidden=128)
    data = _data(tmp_path / "data.npz", source)
    command = ("search", source, "--data", data, "-o", tmp_path / "run", "--max-drop", 3)

    said = compressor(*command, "--trials", 4)

    assert said.code == 0, said.stderr
    document = json.loads((tmp_path / "run" / "search.json").read_text())
    assert document["met"] and document["state"] == "done"
    kinds = [[step["granularity"] for step in trial["steps"]] for trial in document["trials"]]
    assert ["channel"] in kinds and ["weight"] in kinds
    best = document["recommended"]["onnxruntime"]
    row = next(row for row in document["front"] if row["file"] == best)
    assert row["bytes"] < source.stat().st_size / 4
    assert row["validation_accuracy"] >= document["accepted_accuracy"]
    artefact = tmp_path / "run" / "artefacts" / best
    recipe = artefact.with_name(f"{best}.recipe.json")
    again = compressor("apply", recipe, source, "--data", data, "-o", tmp_path / "again.onnx")
    assert again.code == 0, again.stderr
    digests = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (artefact, tmp_path / "again.onnx")
    ]
    assert digests[0] == digests[1]
    trial = next((tmp_path / "run").glob("trial-*/record.json"))
    before = trial.stat().st_mtime_ns
    assert compressor(*command, "--trials", 4).code == 0
    assert trial.stat().st_mtime_ns == before


def test_what_has_no_effect_or_no_data_is_refused(tmp_path: Path) -> None:
    source = dense_onnx(tmp_path / "found.onnx")
    data = _data(tmp_path / "data.npz", source)
    plain = ("search", source, "-o", tmp_path / "run")

    assert "give --data" in compressor(*plain).refusal(after_stages=True)
    for more, reason in (
        (("--format", "tflite"), "a .onnx file stays one"),
        (("--format", "tflite"), "litert; that reads .tflite: leave --format and --device out"),
        (("--max-steps", 5), "--max-steps has no effect"),
        (("--de-scale", 0.5), "--de-scale has no effect"),
        (("--de-population", 5, "--workers", 2), "--workers, --de-population have no effect"),
    ):
        message = compressor(*plain, "--data", data, *more).refusal(after_stages=True)
        assert reason in message
    write_style(source, "integers")
    message = compressor(*plain, "--data", data).refusal(after_stages=True)
    assert "the weights are integers" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_tflite_file_is_searched_too(tmp_path: Path) -> None:
    source = WRITERS["tflite"](tmp_path / "found.tflite", hidden=128)
    twin = dense_onnx(tmp_path / "twin.onnx", hidden=128)
    data = library.load_dataset(_data(tmp_path / "data.npz", twin))
    goal = library.Goal(min_accuracy=0.05)

    document = library.search(source, data, goal, tmp_path / "run", trials=3)

    assert document["met"] and list(document["recommended"]) == ["litert"]
    assert len(document["trials"]) == 3


@pytest.mark.slow
def test_a_file_that_cannot_be_opened_unchanged_is_not_searched(
    tmp_path: Path, monkeypatch: Any, rejected: Any
) -> None:
    def changed(content: bytes) -> Any:
        model = open_model(content)
        weights = onnx.numpy_helper.to_array(model.graph.initializer[0])
        kernels.store(model, {model.graph.initializer[0].name: 1.01 * weights})
        return model

    open_model = kernels.open_model
    monkeypatch.setattr(kernels, "open_model", changed)

    source, data = dense_onnx(tmp_path / "found.onnx"), tmp_path / "data.npz"
    given = library.load_dataset(_data(data, source))
    message = rejected(ModelError, library.search, source, given, None, tmp_path / "run")

    assert "computes something else in the form that can be pruned" in message
    assert not [*(tmp_path / "run").glob("trial-*")]


class _Job(contextlib.AbstractContextManager[Any]):
    """Stands in for `GraphJob`: a file that gives every class the same score."""

    def __init__(self, source: Path, data: Any, **_: Any) -> None:
        self.split = TrainingData.of(data)
        self.graph = SimpleNamespace(content=source.read_bytes())
        objective = Objective.of_classes(5, "probabilities")
        scores, feed = np.full((50, 5), 0.2, np.float32), cast("Any", None)
        self.reference = Reference(scores, feed, scores, np.zeros(50, int), objective)

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def finished(monkeypatch: Any) -> list[str | None]:
    """Instead of artefacts, a made-up one of the likeliest trial; where it was measured each time.

    The first time there is too little time for all. Trials are the file as it was.
    """
    calls: list[str | None] = []
    row = {"quantize": "none", "optimize": "size", "bytes": 5, "nonzeros": 5, "accuracy": None}
    row |= {"validation_accuracy": 1.0, "latency_ms": 1.0, "ratio": 1.0, "runtime": "onnxruntime"}

    def finish(folder: Path, plain: Any, chosen: Any, *_: Any, **how: Any) -> dict[str, Any]:
        trial, host = chosen[0][0].name, how["host"]
        calls.append(host and host.name)
        return {
            "front": [row | {"file": f"{trial}.onnx", "trial": trial}],
            "recommended": {"onnxruntime": f"{trial}.onnx"},
            "reasons": {"onnxruntime": "it is the only one"},
            **{"dense": {}, "failed": [], "cut": len(calls) == 1},
        }

    monkeypatch.setattr(base, "finish", finish)
    monkeypatch.setattr(graph_search, "GraphJob", _Job)
    monkeypatch.setattr(graph_search, "check_opened", lambda job: None)
    monkeypatch.setattr(
        graph_search, "pruned_file", lambda job, _: (job.graph.content, None, {"accuracy": 0.9})
    )
    return calls


def _search(folder: Path, trials: int = 2, **more: Any) -> dict[str, Any]:
    """A search in `folder` over a network of its own, for an accuracy that all have."""
    source, data = folder / "found.onnx", folder / "data.npz"
    if not source.exists():
        _data(data, dense_onnx(source))
    given, goal = library.load_dataset(data), library.Goal(min_accuracy=0.05)
    return library.search(source, given, goal, folder / "run", trials=trials, **more)


def test_a_trial_that_fails_costs_itself(
    tmp_path: Path, finished: list[str | None], monkeypatch: Any
) -> None:
    def fail(job: Any, spec: Any) -> Any:
        if spec.granularity == "channel":
            raise ValueError("of a library")
        return job.graph.content, None, {"accuracy": 0.9}

    monkeypatch.setattr(graph_search, "pruned_file", fail)

    document = _search(tmp_path)

    first, second = document["trials"]
    assert first["error"] == "ValueError: of a library"
    assert document["best"] == second["trial"] and document["met"]


def test_a_trial_for_which_memory_was_short_is_tried_again(
    tmp_path: Path, finished: list[str | None], monkeypatch: Any
) -> None:
    tried = []

    def prune(job: Any, spec: Any) -> Any:
        tried.append(spec)
        if len(tried) == 1:
            raise MemoryError
        return job.graph.content, None, {"accuracy": 0.9}

    monkeypatch.setattr(graph_search, "pruned_file", prune)

    first = _search(tmp_path, trials=1)["trials"]
    _search(tmp_path, trials=1, time_budget=1e-3)

    assert "error" in first[0] and len(tried) == 1  # there was no time for it
    for _ in range(2):
        assert "error" not in _search(tmp_path, trials=1)["trials"][0] and len(tried) == 2


def test_what_was_found_stays_while_it_goes_on(
    tmp_path: Path, finished: list[str | None], monkeypatch: Any
) -> None:
    before = _search(tmp_path, trials=1)

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(base.BaseSearch, "_finish", interrupt)
        _search(tmp_path, trials=2)

    told = json.loads((tmp_path / "run" / "search.json").read_text())
    assert len(told["trials"]) == 2 and told["state"] == "searching"
    for name in ("front", "recommended", "met"):
        assert told[name] == before[name] and told[name]


def test_artefacts_are_made_again_where_time_was_short_or_elsewhere(
    tmp_path: Path, finished: list[str | None], monkeypatch: Any
) -> None:
    monkeypatch.setattr(graph_search, "check_runtimes", lambda *_: None)

    for host in (None, None, None, "pi@device", "pi@device"):
        _search(tmp_path, trials=1, host=host)

    assert finished == [None, None, "pi@device"]


def test_the_seed_draws_what_pruning_looks_at(
    tmp_path: Path, finished: list[str | None], monkeypatch: Any
) -> None:
    drawn = []

    def prune(job: Any, spec: Any) -> Any:
        drawn.append(calibration_inputs(job, spec.calibration))
        return job.graph.content, None, {"accuracy": 0.9}

    monkeypatch.setattr(graph_search, "pruned_file", prune)
    _search(tmp_path, trials=1)

    with pytest.raises(RunDirectoryError):
        _search(tmp_path, trials=1, seed=1)
    for _ in range(2):
        _search(tmp_path, trials=1, seed=1, force=True)

    assert [np.array_equal(drawn[0], found) for found in drawn] == [True, False, False]
    assert np.array_equal(*drawn[1:])


@pytest.mark.slow
def test_test_labels_choose_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    def times(contents: Any, runtime: str, rounds: int) -> np.ndarray:
        return np.full((rounds, len(contents)), [float(len(content)) for content in contents])

    monkeypatch.setattr(finishing, "median_latencies", times)
    source = dense_onnx(tmp_path / "found.onnx")
    given = dict(np.load(_data(tmp_path / "data.npz", source)))
    for part in ("y_train", "y_test"):
        given[part] = np.random.default_rng(1).integers(0, 5, len(given[part]))
    documents = []
    for name in ("given", "swapped"):
        np.savez(tmp_path / "data.npz", **given)
        data = library.load_dataset(tmp_path / "data.npz")
        goal = library.Goal(min_accuracy=0.05)
        documents.append(library.search(source, data, goal, tmp_path / name, trials=2))
        given["y_test"] = (given["y_test"] + 1) % 5

    first, second = documents
    assert first["recommended"] == second["recommended"]
    tried = [[trial["validation_accuracy"] for trial in found["trials"]] for found in documents]
    assert tried[0] == tried[1]
    accuracies = [[row["accuracy"] for row in found["front"]] for found in documents]
    assert accuracies[0] != accuracies[1]


@pytest.mark.slow
def test_what_the_description_says_holds_for_what_is_made_of_the_file(tmp_path: Path) -> None:
    plain = dense_onnx(tmp_path / "plain.onnx", hidden=128)
    data = library.load_dataset(_data(tmp_path / "data.npz", plain))
    source = tmp_path / "found.onnx"
    library.export(plain, source, data, metric="mean_recall")

    goal = library.Goal(max_drop=50)
    found = library.search(source, data, goal, tmp_path / "run", trials=1)

    assert found["dense"]["validation_mean_recall"] > 0.9
    assert found["trials"][0]["validation_mean_recall"] > 0.5
    pruned = [row for row in found["front"] if row["trial"] == found["trials"][0]["trial"]]
    assert pruned and all(row["validation_mean_recall"] > 0.5 for row in pruned)
    recipe = next((tmp_path / "run" / "artefacts").glob("*.recipe.json"))
    assert library.apply_recipe(recipe, source, tmp_path / "again.onnx", data)["same"]


@pytest.mark.slow
def test_images_of_one_channel(tmp_path: Path) -> None:
    source = gray_onnx(tmp_path / "found.onnx")
    generator = np.random.default_rng(0)
    x, y = generator.random((600, 1, 6, 6), np.float32), generator.integers(0, 5, 600)
    np.savez(
        tmp_path / "data.npz", x_train=x[:500], y_train=y[:500], x_test=x[500:], y_test=y[500:]
    )
    data = library.load_dataset(tmp_path / "data.npz")
    goal = library.Goal(min_accuracy=0.05)

    document = library.search(source, data, goal, tmp_path / "run", trials=1)

    assert document["met"] and not [trial for trial in document["trials"] if "error" in trial]
