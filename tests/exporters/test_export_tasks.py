"""Models of every task through export, bench, and a bundle that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import bundle_of

import compressor as library
from compressor.data import Dataset, drawing
from compressor.errors import CheckFailedError, UsageError
from compressor.report import export_text
from compressor.runs import read_bench
from compressor.runtimes import state
from deploy import read_artifact

_TRAIN, _TEST = 240, 60
Case = tuple[Any, Dataset]


def _data(x: np.ndarray, y: Any) -> Dataset:
    def part(targets: Any, chosen: slice) -> Any:
        if isinstance(targets, dict):
            return {name: array[chosen] for name, array in targets.items()}
        return None if targets is None else targets[chosen]

    train, test = slice(0, _TRAIN), slice(_TRAIN, None)
    return Dataset.from_arrays("made", x[train], part(y, train), x[test], part(y, test))


def _fit(keras: Any, model: Any, x: np.ndarray, y: Any, loss: Any, epochs: int = 4) -> Any:
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(x[:_TRAIN], y, epochs=epochs, verbose=0)
    return model


def _regression(keras: Any, rng: Any) -> Case:
    x = rng.normal(size=(_TRAIN + _TEST, 13)).astype(np.float32)
    y = (3 * x[:, 0] - x[:, 1] + 20 + rng.normal(size=len(x))).astype(np.float32)
    layers = keras.layers
    model = keras.Sequential([keras.Input((13,)), layers.Dense(1300, "relu"), layers.Dense(1)])
    return _fit(keras, model, x, y[:_TRAIN], "mse"), _data(x, y)


def _autoencoder(keras: Any, rng: Any) -> Case:
    basis = rng.normal(size=(3, 16))
    x = rng.normal(size=(_TRAIN + _TEST, 3)) @ basis + 0.1 * rng.normal(size=(300, 16))
    x, anomalies = x.astype(np.float32), np.arange(_TRAIN + _TEST) % 6 == 0
    x[anomalies] += 2 * rng.normal(size=(anomalies.sum(), 16)).astype(np.float32)
    layers = keras.layers
    model = keras.Sequential([keras.Input((16,)), layers.Dense(4), layers.Dense(16)])
    model = _fit(keras, model, x, x[:_TRAIN], "mse", epochs=8)
    return model, _data(x, anomalies.astype(np.int64))


def _labels(keras: Any, rng: Any) -> Case:
    x = rng.normal(size=(_TRAIN + _TEST, 12)).astype(np.float32)
    y = (x @ rng.normal(size=(12, 4)) > 0).astype(np.uint8)
    layers = keras.layers
    model = keras.Sequential([keras.Input((12,)), layers.Dense(4, "sigmoid")])
    return _fit(keras, model, x, y[:_TRAIN], "binary_crossentropy"), _data(x, y)


def _masks(keras: Any, rng: Any) -> Case:
    """A U-Net of two levels, on bright squares."""
    x = 0.2 * rng.random((_TRAIN + _TEST, 8, 8, 1)).astype(np.float32)
    y = np.zeros((_TRAIN + _TEST, 8, 8), np.uint8)
    for number in range(len(x)):
        row, column = rng.integers(0, 5, 2)
        y[number, row : row + 4, column : column + 4] = 1
    x[..., 0] += y
    layers = keras.layers
    image = keras.Input((8, 8, 1))
    high = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    low = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.MaxPooling2D()(high))
    again = layers.Concatenate()([layers.Conv2DTranspose(4, 2, strides=2)(low), high])
    model = keras.Model(image, layers.Conv2D(2, 1, activation="softmax")(again))
    loss = "sparse_categorical_crossentropy"
    return _fit(keras, model, x, y[:_TRAIN], loss), _data(x, y)


def _two_heads(keras: Any, rng: Any) -> Case:
    """A box, and a class, whose output comes second."""
    x = rng.normal(size=(_TRAIN + _TEST, 8)).astype(np.float32)
    y = {"box": np.tanh(x[:, :4]), "kind": (x[:, 0] > 0).astype(np.int64) + (x[:, 5] > 0)}
    layers, row = keras.layers, keras.Input((8,))
    hidden = layers.Dense(16, "relu")(row)
    outputs = {"box": layers.Dense(4)(hidden), "kind": layers.Dense(3, "softmax")(hidden)}
    loss = {"box": "mse", "kind": "sparse_categorical_crossentropy"}
    train = {name: array[:_TRAIN] for name, array in y.items()}
    return _fit(keras, keras.Model(row, outputs), x, train, loss, epochs=12), _data(x, y)


CASES = {
    "regression": (_regression, ["mean_absolute_error"]),
    "autoencoder": (_autoencoder, ["reconstruction_error", "auc"]),
    "labels": (_labels, ["mean_average_precision"]),
    "masks": (_masks, ["mean_iou"]),
    "two": (_two_heads, ["box/mean_absolute_error", "kind/accuracy"]),
}


@pytest.fixture(scope="module")
def made(keras: Any) -> Any:
    """A trained model of each kind and its data, made when they are asked for."""
    found: dict[str, Case] = {}

    def case(name: str) -> Case:
        if name not in found:
            keras.utils.set_random_seed(0)
            found[name] = CASES[name][0](keras, np.random.default_rng(0))
        return found[name]

    return case


def _exported(made: Any, name: str, path: Path, **options: Any) -> dict[str, Any]:
    model, data = made(name)
    return library.export(model, path, data, **options)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("name", "file", "quantize"),
    [
        ("regression", "regression.onnx", "int8"),
        ("two", "two.onnx", "none"),
        *(
            pytest.param(name, file, quantize, marks=pytest.mark.slow)
            for name in CASES
            for file, quantize in ((f"{name}.tflite", "int8"), (f"{name}.onnx", "none"))
        ),
    ],
)
def test_a_model_of_any_task_becomes_an_artefact_and_a_bundle_that_runs(
    made: Any, tmp_path: Path, name: str, file: str, quantize: str
) -> None:
    path, keys = tmp_path / file, CASES[name][1]

    record = _exported(made, name, path, quantize=quantize)

    verdict, artifact = record["verdict"], read_artifact(path)
    assert verdict["passed"] and set(keys) <= set(verdict) and "accuracy" not in verdict
    assert all(artifact.verified[0].value(key) == verdict[key] for key in keys)
    assert artifact.heads is not None and len(artifact.heads) == len(artifact.outputs)
    assert "note: Task: " in export_text(record)
    runtime = artifact.runtime
    bundle = tmp_path / "one.bundle"
    bundle.write_bytes(bundle_of(path, runtime=runtime, version=state(runtime).version or ""))
    np.save(tmp_path / "x.npy", made(name)[1].x_test[:2])
    command = [sys.executable, "-I", str(bundle), "run", "--json", str(tmp_path / "x.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["index"] for row in rows] == [0, 1]
    said = {"regression": "values", "autoencoder": "reconstruction_error", "labels": "labels"}
    assert said.get(name, {"masks": "mask", "two": "outputs"}.get(name)) in rows[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CASES))
def test_bench_proves_an_artefact_by_its_metrics(made: Any, tmp_path: Path, name: str) -> None:
    path, keys = tmp_path / "some.onnx", CASES[name][1]
    _exported(made, name, path)

    run = library.bench([path], data=made(name)[1], rounds=1, round_seconds=0.01, starts=1)

    (row,) = run["rows"]
    assert row["status"] == "right" and row["reason"] is None
    verified = read_artifact(path).verified[0]
    assert [row[key] for key in keys] == pytest.approx([verified.value(key) for key in keys])
    assert read_bench(tmp_path / "bench.json")["runs"][0]["artefacts"][0]["heads"]


@pytest.mark.slow
def test_outputs_too_wide_for_memory_are_judged_on_some_examples_by_all(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "MOST_NUMBERS", 16 * 40)
    monkeypatch.setattr(drawing, "_LEAST", 8)
    path = tmp_path / "wide.onnx"

    record = _exported(made, "autoencoder", path)

    model, data = made("autoencoder")
    verified = read_artifact(path).verified[0]
    assert verified.examples == 40 < len(data.x_test)
    assert record["verdict"]["passed"]
    pruned = library.prune(model, data, library.PruningSpec(0.5), retrain=False)
    own = record["verdict"]["reference_reconstruction_error"]
    assert pruned.before["reconstruction_error"] == pytest.approx(own, rel=1e-3)
    run = library.bench([path], data=data, rounds=1, round_seconds=0.01, starts=1)
    (row,) = run["rows"]
    assert row["status"] == "right" and row["examples"] == 40


@pytest.mark.slow
def test_what_may_be_lost_is_asked_for(made: Any, tmp_path: Path) -> None:
    """Ternary weights, not retrained, cost far more than their quantisation should."""
    path = tmp_path / "regression.onnx"
    options = {"quantize": "ternary", "rounding": "nearest"}

    with pytest.raises(CheckFailedError, match=r"mean absolute error .* 3 % more is allowed"):
        _exported(made, "regression", path, **options)
    record = _exported(made, "regression", path, **options, max_drop=1.0, force=True)

    verdict = record["verdict"]
    assert verdict["allowed_drop"] == {"mean_absolute_error": 1.0}
    assert verdict["mean_absolute_error"] > 1.03 * verdict["reference_mean_absolute_error"]


@pytest.mark.slow
def test_labels_of_a_model_without_classes_are_refused(made: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this model gives 1 number, not classes"):
        _exported(made, "regression", tmp_path / "x.onnx", labels=["low", "high"])
    with pytest.raises(UsageError, match="a drop is a part"):
        _exported(made, "regression", tmp_path / "x.onnx", max_drop=5)


@pytest.mark.slow
def test_a_file_without_scores_is_held_against_itself(made: Any, tmp_path: Path) -> None:
    """A .onnx file of masks that nothing describes, and the data that say what they are."""
    data = made("masks")[1]
    _exported(made, "masks", tmp_path / "own.onnx")
    found = tmp_path / "found.onnx"
    found.write_bytes((tmp_path / "own.onnx").read_bytes())

    record = library.export(found, tmp_path / "small.onnx", data, quantize="dynamic")

    heads = read_artifact(tmp_path / "small.onnx").heads
    assert heads is not None and heads[0].task == "segmentation"
    assert record["verdict"]["mean_iou"] == pytest.approx(
        record["verdict"]["reference_mean_iou"], abs=0.01
    )


@pytest.mark.slow
def test_a_described_file_may_be_judged_by_another_metric_and_keeps_its_task(
    made: Any, tmp_path: Path
) -> None:
    """Its targets are masks that nothing but the description says it ignores a class of."""
    data = made("masks")[1]
    path = tmp_path / "own.onnx"
    _exported(made, "masks", path)
    description = path.with_name("own.onnx.json")
    said = json.loads(description.read_text())
    said["heads"][0]["ignored"] = 0
    description.write_text(json.dumps(said))

    library.export(path, tmp_path / "small.onnx", data, quantize="dynamic", metric="accuracy")

    (head,) = read_artifact(tmp_path / "small.onnx").heads or ()
    assert (head.task, head.metric, head.ignored) == ("segmentation", "accuracy", 0)
    assert set(head.shown) == {"accuracy", "mean_iou"}
    with pytest.raises(UsageError, match="segmentation has no such metric"):
        library.export(path, tmp_path / "other.onnx", data, metric="auc")
