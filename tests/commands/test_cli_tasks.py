"""prune and sensitivity on models that are no classifiers, and on classes that are rare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor

import compressor as library
from compressor.data import Dataset
from compressor.foundation import quiet_tensorflow
from compressor.report import records_text

ROWS = 400


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression, number.keras and number.npz, and a rare class, rare.keras and rare.npz.

    Their weights are set, not trained: what pruning removes is what counts least, but for the
    rare class.
    """
    _, keras = quiet_tensorflow.load()
    folder = tmp_path_factory.mktemp("tasks")
    x = np.random.default_rng(4).normal(size=(ROWS, 4)).astype(np.float32)
    weights = np.array([[2.0], [1.0], [0.1], [0.2]], np.float32)
    number = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="last")])
    number.compile("adam", "mse", metrics=["mae"])
    number.layers[0].set_weights([weights, np.zeros(1)])
    number.save(folder / "number.keras")
    _save(folder / "number.npz", x, (x @ weights)[:, 0] + 5)
    number.layers[0].set_weights([weights, np.full(1, 5)])
    number.save(folder / "number.keras")
    number.layers[0].set_weights([weights, np.zeros(1)])
    number.save(folder / "knows-nothing.keras")
    # The third class has the small weights, of which pruning takes most.
    kernel = np.zeros((4, 3), np.float32)
    kernel[0, 0], kernel[0, 1], kernel[3, 2] = 3, -3, 0.5
    rare = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="scores")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rare.compile("adam", loss, metrics=["accuracy"])
    rare.layers[0].set_weights([kernel, np.zeros(3)])
    rare.save(folder / "rare.keras")
    some = x.copy()
    some[::10, 0], some[::10, 3] = 0.0, 4.0
    _save(folder / "rare.npz", some, np.asarray(some @ kernel).argmax(1))
    return folder


def _save(path: Path, x: np.ndarray, y: np.ndarray) -> None:
    np.savez(path, x_train=x[::2], y_train=y[::2], x_test=x[1::2], y_test=y[1::2])


def run(made: Path, name: str, *words: object, data: str = "") -> Any:
    data = data or name
    return compressor("prune", made / f"{name}.keras", "--data", made / f"{data}.npz", *words)


def test_a_regression_is_judged_by_its_error(made, tmp_path, refusing):
    out = tmp_path / "out"
    words = ("--no-retrain", "--sparsity", 0.5, "-o", out)
    found = run(made, "number", *words)
    assert found.code == 0, found.stderr
    assert "task: regression, by its compiled loss mse and its targets" in found.stdout
    assert "mean absolute error" in found.stdout
    assert "% worse" in found.stdout.splitlines()[-2]
    record = json.loads((out / "step_2_1" / "record.json").read_text())["result"]
    assert "accuracy" not in record
    assert record["heads"][0]["task"] == "regression"
    assert record["mean_absolute_error"] > 0
    # Too large a loss is a check that failed; what was written stays.
    again = run(made, "number", *words, "--max-drop", 3)
    assert again.code == 1
    assert "lost more than it may: mean_absolute_error" in again.stderr
    assert (out / "step_2_1" / "model.keras").is_file()


@pytest.mark.slow
def test_another_metric_decides(made, tmp_path, refusing):
    words = ("--no-retrain", "--sparsity", 0.5, "-o", tmp_path / "out", "--json")
    found = run(made, "number", *words, "--metric", "root_mean_squared_error")
    records = json.loads(found.stdout)
    (head,) = records["step_2_1"]["heads"]
    assert head["metric"] == "root_mean_squared_error"
    assert head["shown"] == ["root_mean_squared_error", "mean_absolute_error"]
    refused = run(made, "number", *words, "--metric", "accuracy", "--force")
    assert (refused.code, refused.stderr.count("\n")) == (2, 1)
    assert "regression has no such metric: accuracy; choose box_iou, mean_abs" in refused.stderr
    refused = run(made, "number", *words, "--task", "classification", "--force")
    assert (refused.code, "classification needs one score per class" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_export_judges_as_prune_was_told(made, tmp_path, refusing):
    out, small = tmp_path / "out", tmp_path / "small.onnx"
    words = ("--no-retrain", "--sparsity", 0.2, "--metric", "root_mean_squared_error", "-o", out)
    assert run(made, "number", *words).code == 0

    def exported(*more: object) -> tuple[str, str]:
        words = (out / "step_2_1", "-o", small, "--data", made / "number.npz", "--force", *more)
        found = compressor("export", *words)
        assert found.code == 0, found.stderr
        described = json.loads(small.with_name("small.onnx.json").read_text())
        return found.stdout, described["heads"][0]["metric"]

    text, metric = exported()
    assert metric == "root_mean_squared_error"
    assert "its targets, metric root_mean_squared_error as prune was given" in text
    text, metric = exported("--metric", "mean_absolute_error")
    assert (metric, "as prune was given" in text) == ("mean_absolute_error", False)


def test_a_model_that_knows_nothing_is_not_retrained(made, tmp_path, refusing):
    words = ("--max-steps", 2, "-o", tmp_path / "out")
    found = run(made, "knows-nothing", *words, data="number")
    assert found.code == 2
    assert "regression: the model is no better than the mean, mean absolute error" in found.stderr
    assert "nothing was trained" in found.stderr
    assert not (tmp_path / "out" / "step_2_2").exists()
    assert run(made, "knows-nothing", *words, "--force", data="number").code == 0


def test_a_rare_class_that_is_lost_is_warned_of(made, tmp_path, refusing):
    words = ("--no-retrain", "--sparsity", 0.8, "-o", tmp_path / "out")
    found = run(made, "rare", *words)
    assert found.code == 0, found.stderr
    assert "worst class 2: recall" in found.stdout
    assert "class 2 lost most: recall 100.00 % before, 0.00 % after, of" in found.stdout
    assert "warning: class 2 lost 100.00 points of recall; 5 are allowed" in found.stdout
    allowed = run(made, "rare", *words, "--max-class-drop", 100)
    assert "warning: class 2" not in allowed.stdout
    record = json.loads((tmp_path / "out" / "step_2_1" / "record.json").read_text())["result"]
    assert record["class_recalls"][2] == 0
    assert sum(record["class_counts"]) == ROWS // 2
    # What a classifier has always had is as it was.
    assert "heads" not in record
    assert {"accuracy", "validation_accuracy"} <= set(record)


def test_classes_are_named_where_the_data_name_them(made, tmp_path):
    with np.load(made / "rare.npz") as part:
        arrays = [part[name] for name in ("x_train", "y_train", "x_test", "y_test")]
    data = Dataset.from_arrays("weather", *arrays, labels=("sun", "rain", "\u202efog"))
    spec = library.PruningSpec(0.8)
    plan = library.make_plan(data, sparsities=(0.8,))

    out = tmp_path / "out"
    records = library.prune_run(made / "rare.keras", out, spec, plan, retrain=False)

    assert records["step_2_1"]["class_labels"] == ["sun", "rain", "\u202efog"]
    text = records_text(records)
    assert "worst class 2 (\\u202efog): recall 0.00 %" in text
    assert "class 2 (\\u202efog) lost most: recall 100.00 % before" in text
    assert "warning: class 2 (\\u202efog) lost 100.00 points" in text
    page = library.report_run(out).markdown.read_text()
    assert "step_2_1: worst class 2 (" in page and "\u202e" not in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--class-weight", "0=1,x=2"), "class weights are not numbers: 0=1,x=2; give balanced"),
        (("--class-weight", "0=1,1"), "class weights are not like 0=1,1=14: 0=1,1"),
        (("--class-weight", "missing.json"), "class weights cannot be read: missing.json"),
        (("--class-weight", "0=1,7=2"), "a class that the model does not have: 7; its classes are"),
        (("--task", "size=regression"), "an output that the model does not have: size"),
        (("--task", "guessing"), "there is no such task: guessing; choose classification"),
        (("--metric", "auc", "--metric", "recall"), "give one, or OUTPUT=VALUE once for each"),
    ],
)
def test_what_cannot_be_used_ends_in_a_line(made, tmp_path, words, message):
    found = run(made, "rare", "-o", tmp_path / "out", "--max-steps", 1, *words)
    assert found.code == 2
    assert message in found.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_class_weights_of_a_file(made, tmp_path):
    path = tmp_path / "weights.json"
    path.write_text('{"0": 1, "1": 1, "2": 9}')
    words = ("--class-weight", path, "--max-steps", 2, "-o", tmp_path / "out", "--json")
    found = run(made, "rare", *words)
    assert found.code == 0, found.stderr
    training = json.loads(found.stdout)["step_2_2"]["training"]
    assert training["class_weight"] == {"0": 1.0, "1": 1.0, "2": 9.0}


@pytest.mark.slow
def test_sensitivity_says_what_a_layer_costs(made, tmp_path):
    words = ("sensitivity", made / "number.keras", "--data", made / "number.npz")
    found = compressor(*words, "--sparsities", "0.1,0.5", "-o", tmp_path / "out")
    assert found.code == 0, found.stderr
    assert "dense mean absolute error" in found.stdout
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"sensitivity.{kind}" for kind in ("json", "csv", "png", "svg")}
    header = (tmp_path / "out" / "sensitivity.csv").read_text().splitlines()[0]
    assert "mean_absolute_error,dense_mean_absolute_error" in header
