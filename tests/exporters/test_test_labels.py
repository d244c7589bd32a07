"""Test labels decide nothing: with others in their place, every file and every choice is the same.

The labels are chosen to deceive: under one set the smallest variant is right on every test example,
under the other it is wrong wherever quantising changed the class.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from made_up_latencies import latencies_by_size
from results_documents import make_results
from stock_runtimes import run_artefact

import compressor
from compressor.data import Dataset
from compressor.models.files import load_model
from compressor.report.headline import headline
from compressor.report.run_contents import RunContents
from compressor.runs import fastest

QUICK = {"rounds": 2, "round_seconds": 0.02, "starts": 1}
FORMATS = ("tflite", "onnx")


class Swapped(NamedTuple):
    """The same data twice, but for the test labels."""

    kind: Dataset
    """labels as the quantised file has them"""
    cruel: Dataset
    """labels as the model has them"""


@pytest.fixture(scope="module")
def model(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow network that nobody trained, so that quantising changes many classes."""
    keras.utils.set_random_seed(8)
    layers = [
        keras.Input((40,), name="row"),
        keras.layers.Dense(300, activation="relu", name="wide"),
        keras.layers.Dense(6, name="scores"),
    ]
    path = tmp_path_factory.mktemp("labels") / "narrow.keras"
    keras.Sequential(layers, name="narrow").save(path)
    return path


@pytest.fixture(scope="module", params=FORMATS)
def swapped(request: Any, model: Path, tmp_path_factory: Any) -> tuple[str, Swapped]:
    """A format, and data whose labels depend on its smallest file."""
    file_format = request.param
    generator = np.random.default_rng(4)
    x = generator.normal(size=(6000, 40)).astype(np.float32)
    loaded = load_model(model)
    classes = np.asarray(loaded.predict_on_batch(x)).argmax(axis=1)
    path = tmp_path_factory.mktemp(file_format) / f"int4.{file_format}"
    compressor.export(model, path, quantize="int4")
    quantized = run_artefact(path, {"row": x}).argmax(axis=1)
    assert np.mean(quantized != classes) > 0.01, "the labels would not tell the variants apart"
    train, test = slice(None, 1000), slice(1000, None)
    parts = (x[train], classes[train], x[test])
    kind, cruel = (
        Dataset.from_arrays("rows", *parts, labels[test]) for labels in (quantized, classes)
    )
    return file_format, Swapped(kind, cruel)


@pytest.fixture
def same_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies that are made up, since measured ones differ from one time to the next."""
    from compressor.exporters import variants

    monkeypatch.setattr(variants, "median_latencies", latencies_by_size)


@pytest.mark.slow
def test_auto_writes_the_same_file(
    model: Path, swapped: tuple[str, Swapped], tmp_path: Path, same_latency: None
) -> None:
    file_format, data = swapped
    optimize: Any = {"tflite": "size", "onnx": "latency"}[file_format]
    written, accuracies = [], []
    for name, one in zip(Swapped._fields, data, strict=True):
        path = tmp_path / f"{name}.{file_format}"
        record = compressor.export(model, path, one, quantize="auto", optimize=optimize)
        vectors = path.with_name(f"{path.name}.check.npz")
        written.append((path.read_bytes(), vectors.read_bytes()))
        accuracies.append((record["verdict"]["accuracy"], record["verdict"]["validation"]))

    assert written[0] == written[1]
    assert accuracies[0][0] != accuracies[1][0]  # the test labels do report
    assert accuracies[0][1] == accuracies[1][1]


@pytest.mark.sampled(1)
def test_test_labels_refuse_no_file(
    model: Path, swapped: tuple[str, Swapped], tmp_path: Path
) -> None:
    """Test accuracy falls by more than is tolerated, validation accuracy does not."""
    file_format, data = swapped
    one = data.cruel
    labels = np.arange(len(one.y_train)) % 6  # of which neither model nor file knows anything
    blind = Dataset.from_arrays("rows", one.x_train, labels, one.x_test, one.y_test)

    record = compressor.export(model, tmp_path / f"m.{file_format}", blind, quantize="dynamic")

    verdict = record["verdict"]
    assert verdict["accuracy"] < verdict["reference_accuracy"] - verdict["allowed_drop"]
    assert verdict["passed"]


@pytest.mark.slow
def test_bench_calls_the_same_row_fastest(
    model: Path, swapped: tuple[str, Swapped], tmp_path: Path
) -> None:
    file_format, data = swapped
    statuses = []
    for name, one in zip(Swapped._fields, data, strict=True):
        folder = tmp_path / name
        for quantize in ("none", "float16"):
            path = folder / f"{quantize}.{file_format}"
            path.parent.mkdir(exist_ok=True)
            compressor.export(model, path, one, quantize=quantize)
        run = compressor.bench([folder], data=one, output=tmp_path / f"{name}.json", **QUICK)
        assert fastest(run) is not None
        statuses.append([row["status"] for row in run["rows"]])

    assert statuses[0] == statuses[1] == ["right", "right"]


@pytest.mark.slow
def test_a_sweep_exports_the_same_files(tmp_path: Path, same_latency: None) -> None:
    mnist = compressor.load_dataset(None)
    parts = (mnist.x_train[:600], mnist.y_train[:600], mnist.x_test[:200])
    written = []
    for name, labels in (("true", mnist.y_test[:200]), ("false", (mnist.y_test[:200] + 1) % 10)):
        plan = compressor.make_plan(
            Dataset.from_arrays("few", *parts, labels), sparsities=(0.5,), steps=5
        )
        compressor.sweep(tmp_path / name, plan, export=True)
        files = sorted(
            path
            for path in (tmp_path / name).rglob("artefacts/*")
            if path.suffix in (".tflite", ".onnx")
        )
        written.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})

    assert len(written[0]) == 8
    assert written[0] == written[1]


@pytest.mark.parametrize("lie", [0.0, 0.5, 1.0])
def test_the_report_leads_with_the_same_file(lie: float) -> None:
    def best(change: Callable[[float], float]) -> str:
        results = make_results()
        for row in results["proportions"]:
            row["retrained"]["accuracy"] = change(row["sparsity"])
        results["dense"][0]["accuracy"] = 0.99
        facts = headline(RunContents("run", results)).facts
        return next(fact.note for fact in facts if fact.name == "smaller")

    assert best(lambda sparsity: 0.99) == best(lambda sparsity: 0.2 + lie * sparsity / 2)
