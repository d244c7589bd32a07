"""A search: its artefacts, its recipe, going on with it, and what may not choose."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import shutil

import numpy as np
import pytest

import compressor
from compressor import Evolution, Goal, TrainingOptions, training
from compressor.data import Dataset, TrainingData
from compressor.errors import RunDirectoryError, UsageError
from compressor.foundation import SilentListener, sha256
from compressor.models.files import load_model
from compressor.parallel.processes import Processes
from compressor.pruning import all_kernels
from compressor.searching import base, finishing, laboratory, read_recipe, strategy

GOAL = Goal(max_drop=40, runtimes=("onnxruntime",))
HOW = {
    "trials": 6,
    "max_steps": 16,
    "validation": 24,
    "threads": 2,
    "evolution": Evolution(population=5, generations=1),
}


@pytest.fixture(scope="module", autouse=True)
def latencies():
    """Times that follow from the sizes: nothing here is about measuring."""

    def times(contents, runtime, *, rounds):
        return np.full((rounds, len(contents)), [len(content) / 1e5 for content in contents])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finishing, "median_latencies", times)
        patch.setattr(base, "_EXPORTED", 1)
        patch.setattr(strategy, "_CANDIDATES", 1)
        yield


@pytest.fixture(scope="module")
def dense(keras, tiny_data, tmp_path_factory):
    """A wide network that knows `tiny_data`."""
    keras.utils.set_random_seed(2)
    layers = [
        keras.Input((8, 8, 1), name="quarters"),
        keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(256, activation="relu", name="wide"),
        keras.layers.Dense(4, name="scores"),
    ]
    model = keras.Sequential(layers, name="wide")
    options = TrainingOptions(steps=60, batch_size=32, learning_rate=3e-3)
    training.fit(model, tiny_data.x_train, tiny_data.y_train, options, seed=0)
    path = tmp_path_factory.mktemp("dense") / "wide.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def searched(dense, tiny_data, tmp_path_factory):
    """A finished search, not to be written to: its folder and its document."""
    folder = tmp_path_factory.mktemp("search") / "found"
    return folder, compressor.search(dense, tiny_data, GOAL, folder, **HOW)


def _artefacts(folder):
    return {path.name: sha256(path) for path in (folder / "artefacts").glob("*.onnx")}


def _stopped_before_the_last_trial(searched, folder):
    """A copy of the search as it is when it is killed during its last trial."""
    source, document = searched
    shutil.copytree(source, folder)
    shutil.rmtree(folder / "artefacts")
    shutil.rmtree(folder / document["trials"][-1]["trial"])
    (folder / f".{document['trials'][-1]['trial']}.new").mkdir()
    return folder


def test_it_finds_a_far_smaller_artefact_that_keeps_to_the_goal(searched):
    folder, found = searched

    assert found["met"] and found["state"] == "done"
    row = next(row for row in found["front"] if row["file"] in found["recommended"].values())
    assert (folder / "artefacts" / row["file"]).stat().st_size == row["bytes"]
    assert row["bytes"] < found["runtimes"]["onnxruntime"]["bytes"] / 5
    assert row["validation_accuracy"] >= found["accepted_accuracy"]
    assert json.loads((folder / "search.json").read_text()) == found


def test_it_narrows_first_and_prunes_single_weights_then(searched):
    _, found = searched
    kinds = [[step["kind"] for step in trial["steps"]] for trial in found["trials"]]

    assert kinds[0] == ["narrow", "train"]
    assert kinds[-1][0] == "narrow" and kinds[-1][-1] == "sparse"
    assert len(found["trials"]) == HOW["trials"]


def test_what_was_pruned_is_exactly_zero(searched):
    folder, found = searched
    trial = found["trials"][-1]
    kernels = all_kernels(load_model(folder / trial["trial"] / "model.keras")).items()
    wanted = trial["steps"][-1]["sparsity"]

    for name, kernel in kernels:
        zeros = float(np.mean(kernel.numpy() == 0))
        assert zeros >= wanted[name] - 1 / kernel.numpy().size


@pytest.mark.slow
def test_the_recipe_makes_the_same_file_again(searched, dense, tiny_data, tmp_path):
    folder, found = searched
    file = found["recommended"]["onnxruntime"]
    recipe = folder / "artefacts" / f"{file}.recipe.json"

    done = compressor.apply_recipe(recipe, dense, tmp_path / "again.onnx", tiny_data)

    assert done["same"]
    assert (tmp_path / "again.onnx").read_bytes() == (folder / "artefacts" / file).read_bytes()
    assert not any("differs" in note for note in done["notes"])


@pytest.mark.slow
def test_images_are_shifted_while_training_and_the_recipe_does_so_again(keras, tiny_data, tmp_path):
    """The quarters again, four times as large: a pixel does not matter."""
    own = tiny_data
    parts = (own.x_train, own.x_test)
    x, x_test = (np.kron(part, np.ones((1, 4, 4), np.uint8)) for part in parts)
    data = Dataset.from_arrays("large quarters", x, own.y_train, x_test, own.y_test)
    keras.utils.set_random_seed(2)
    layers = [keras.layers.MaxPooling2D(4), keras.layers.Flatten(), keras.layers.Dense(64, "relu")]
    model = keras.Sequential([keras.Input((32, 32, 1)), *layers, keras.layers.Dense(4)])
    training.fit(model, x, own.y_train, TrainingOptions(60, 32, 3e-3), seed=0)
    model.save(tmp_path / "model.keras")

    found = compressor.search(tmp_path / "model.keras", data, GOAL, tmp_path / "found", **HOW)

    file = found["recommended"]["onnxruntime"]
    trained = [s for t in found["trials"] for s in t["steps"] if s["kind"] != "narrow"]
    assert trained and all(step["shift"] == 1 for step in trained)
    recipe = tmp_path / "found" / "artefacts" / f"{file}.recipe.json"
    assert read_recipe(recipe).steps[-1]["shift"] == 1
    again = tmp_path / "again.onnx"
    assert compressor.apply_recipe(recipe, tmp_path / "model.keras", again, data)["same"]


@pytest.mark.slow
def test_a_recipe_says_where_it_is_applied_to_another_model(
    searched, dense, keras, tiny_data, tmp_path
):
    folder, found = searched
    recipe = read_recipe(
        folder / "artefacts" / f"{found['recommended']['onnxruntime']}.recipe.json"
    )
    other = load_model(dense)
    other.get_layer("scores").bias.assign(np.full(4, 0.01, np.float32))
    other.save(tmp_path / "other.keras")

    done = compressor.apply_recipe(recipe, tmp_path / "other.keras", None, tiny_data)

    assert not done["same"]
    assert any("model is not what the recipe was made with" in note for note in done["notes"])
    assert (tmp_path / "other.onnx").is_file()


def test_a_recipe_of_other_layers_is_refused(searched, small_file, tiny_data, tmp_path, rejected):
    folder, found = searched
    recipe = folder / "artefacts" / f"{found['recommended']['onnxruntime']}.recipe.json"

    message = rejected(
        UsageError, compressor.apply_recipe, recipe, small_file, tmp_path / "x.onnx", tiny_data
    )

    assert "does not fit" in message and not (tmp_path / "x.onnx").exists()


def test_the_same_call_goes_on_and_ends_in_the_same_artefacts(
    searched, dense, tiny_data, tmp_path, monkeypatch
):
    folder = _stopped_before_the_last_trial(searched, tmp_path / "found")
    trained = []
    real = laboratory.Laboratory.do
    monkeypatch.setattr(
        laboratory.Laboratory, "do", lambda *given: trained.append(given) or real(*given)
    )

    found = compressor.search(dense, tiny_data, GOAL, folder, **HOW)

    assert len(trained) == 1
    assert _artefacts(folder) == _artefacts(searched[0])
    assert found["recommended"] == searched[1]["recommended"]
    assert not list(folder.glob(".*.new"))


@pytest.mark.slow
def test_a_search_goes_on_with_another_number_of_workers(searched, dense, tiny_data, tmp_path):
    folder = shutil.copytree(searched[0], tmp_path / "found")

    found = compressor.search(dense, tiny_data, GOAL, folder, **(HOW | {"trials": 1}), workers=2)

    assert found["trials"] == searched[1]["trials"][:1]


@pytest.mark.slow
def test_test_labels_choose_nothing(searched, dense, tiny_data, tmp_path):
    swapped = Dataset.from_arrays(
        "quarters", tiny_data.x_train, tiny_data.y_train, tiny_data.x_test,
        (np.asarray(tiny_data.y_test) + 1) % 4,
    )  # fmt: skip

    found = compressor.search(dense, swapped, GOAL, tmp_path / "found", **HOW)

    assert _artefacts(tmp_path / "found") == _artefacts(searched[0])
    assert found["recommended"] == searched[1]["recommended"]
    assert found["front"][0]["accuracy"] != searched[1]["front"][0]["accuracy"]


def test_a_trial_that_fails_costs_itself(searched, dense, tiny_data, tmp_path, monkeypatch):
    folder = _stopped_before_the_last_trial(searched, tmp_path / "found")

    def fail(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(laboratory.Laboratory, "train", fail)

    found = compressor.search(dense, tiny_data, GOAL, folder, **HOW)

    assert "MemoryError: no room" in found["trials"][-1]["error"]
    assert found["front"]


def test_an_interrupt_leaves_what_is_best_so_far(searched, dense, tiny_data, tmp_path, monkeypatch):
    folder = _stopped_before_the_last_trial(searched, tmp_path / "found")
    (folder / "search.json").unlink()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(laboratory.Laboratory, "train", interrupt)

    with pytest.raises(KeyboardInterrupt):
        compressor.search(dense, tiny_data, GOAL, folder, **HOW)

    told = json.loads((folder / "search.json").read_text())
    assert told["state"] == "searching"
    assert len(told["trials"]) == HOW["trials"] - 1
    assert (folder / told["best"] / "model.keras").is_file()
    assert not list(folder.glob(".*.new"))


def test_going_on_and_stopping_again_keeps_the_artefacts_that_were_found(
    searched, dense, tiny_data, tmp_path, monkeypatch
):
    folder = shutil.copytree(searched[0], tmp_path / "found")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(laboratory.Laboratory, "train", interrupt)

    with pytest.raises(KeyboardInterrupt):
        compressor.search(dense, tiny_data, GOAL, folder, **(HOW | {"trials": 7}))

    told = json.loads((folder / "search.json").read_text())
    assert told["state"] == "searching" and told["met"]
    assert len(told["trials"]) == HOW["trials"]
    assert told["front"] == searched[1]["front"]


@pytest.mark.slow
def test_a_goal_that_cannot_be_met_ends_with_the_nearest(searched, dense, tiny_data, tmp_path):
    folder = shutil.copytree(searched[0], tmp_path / "found")
    goal = dataclasses.replace(GOAL, max_bytes=100)

    found = compressor.search(dense, tiny_data, goal, folder, **HOW)

    assert not found["met"]
    assert "100 are allowed" in found["reasons"]["onnxruntime"]
    assert (folder / "artefacts" / found["recommended"]["onnxruntime"]).is_file()


def test_another_model_is_refused_in_the_same_folder(
    searched, small_file, tiny_data, tmp_path, rejected
):
    folder = shutil.copytree(searched[0], tmp_path / "found")

    message = rejected(
        RunDirectoryError, compressor.search, small_file, tiny_data, GOAL, folder, **HOW
    )

    assert "another experiment" in message


@pytest.mark.slow
def test_without_time_for_any_trial_the_dense_model_is_exported(dense, tiny_data, tmp_path):
    said = []
    listener = SilentListener()
    listener.stage = lambda title, images=0: said.append(title)

    found = compressor.search(
        dense, tiny_data, GOAL, tmp_path / "found", time_budget=0.001, validation=24,
        listener=listener,
    )  # fmt: skip

    assert found["trials"] == [] and found["met"]
    row = next(row for row in found["front"] if row["file"] in found["recommended"].values())
    assert (tmp_path / "found" / "artefacts" / row["file"]).stat().st_size == row["bytes"]
    assert row["bytes"] < found["runtimes"]["onnxruntime"]["bytes"]
    assert any("--time-budget" in title for title in said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"time_budget": 0}, "time budget"),
        ({"trials": 0}, "trials"),
        ({"workers": 0}, "workers"),
        ({"max_steps": 0}, "training steps"),
    ],
)
def test_limits_that_cannot_be_used_are_refused(options, said, dense, tmp_path, rejected):
    message = rejected(
        UsageError, compressor.search, dense, None, GOAL, tmp_path / "found", **options
    )

    assert said in message
    assert not (tmp_path / "found").exists()


@pytest.mark.slow
def test_workers_find_what_one_finds_in_each_trial(dense, tiny_data, tmp_path):
    found = compressor.search(
        dense, tiny_data, GOAL, tmp_path / "found", trials=3, max_steps=4, validation=24, workers=2
    )

    assert len(found["trials"]) == 3
    assert not any("error" in trial for trial in found["trials"])


@pytest.mark.slow
@pytest.mark.race
def test_a_worker_that_is_killed_costs_nothing_else(dense, tiny_data):
    part = TrainingData.of(tiny_data, 24)
    step = {
        "kind": "train",
        "steps": 4,
        "batch_size": 16,
        "learning_rate": 0.01,
        "dropout_scale": 1.0,
        "distillation": {"weight": 0.5, "temperature": 2.0},
        "teacher": 0,
        "seed": 1,
    }
    task = laboratory.Task(dense, dense, step)

    with laboratory.laboratories(Processes(1, 1), part, None) as pool:
        workers = laboratory.Workers(pool)
        first = workers.submit(task)()
        again = workers.submit(task)
        for process in multiprocessing.active_children():
            process.kill()
        second = again()

    assert first.model is not None
    assert second.result["validation_loss"] == first.result["validation_loss"]


@pytest.mark.slow
def test_it_searches_for_latency_in_widths_alone(dense, tiny_data, tmp_path):
    goal = Goal("latency", max_drop=60, runtimes=("onnxruntime",))

    found = compressor.search(
        dense, tiny_data, goal, tmp_path / "found", trials=3, max_steps=6, validation=24
    )

    kinds = {step["kind"] for trial in found["trials"] for step in trial["steps"]}
    assert kinds == {"narrow", "train"}
    assert found["front"]
