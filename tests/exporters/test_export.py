"""What an export leaves: the artefact, its description, its check vectors, and a verdict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stock_runtimes import run_artefact

import compressor
from compressor import training
from compressor.data import Dataset
from compressor.errors import UsageError
from compressor.models.files import load_model
from deploy import CheckVectors, read_artifact

FORMATS = ("tflite", "onnx")


def _inputs(data: Dataset) -> np.ndarray:
    return (data.x_test.astype(np.float32) / 255)[..., None]


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_artefact_computes_what_the_model_does(
    pruned_file: Path, tiny_data: Dataset, tmp_path: Path, file_format: str
) -> None:
    path = tmp_path / f"model.{file_format}"

    record = compressor.export(pruned_file, path, tiny_data)

    expected = np.asarray(load_model(pruned_file).predict_on_batch(_inputs(tiny_data)))
    found = run_artefact(path, {"quarters": _inputs(tiny_data)})
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    assert record["bytes"] == path.stat().st_size
    assert record["verdict"]["passed"]
    assert record["verdict"]["examples"] == 40


@pytest.mark.sampled(1)
@pytest.mark.parametrize("file_format", FORMATS)
def test_what_lies_beside_it_says_all_that_packaging_needs(
    pruned_file: Path, tiny_data: Dataset, tmp_path: Path, file_format: str
) -> None:
    path = tmp_path / f"model.{file_format}"

    record = compressor.export(pruned_file, path, tiny_data, quantize="float16")

    assert {child.name for child in tmp_path.iterdir()} == {
        path.name,
        f"{path.name}.json",
        f"{path.name}.check.npz",
    }
    artifact = read_artifact(path)
    assert artifact.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert artifact.format == file_format
    assert [port.name for port in artifact.inputs] == ["quarters"]
    assert artifact.inputs[0].shape == (None, 8, 8, 1)
    (rule,) = artifact.preprocessing
    assert (rule.name, rule.dtype, rule.shape) == ("quarters", "float32", (8, 8, 1))
    assert rule.scale == pytest.approx(1 / 255)
    assert artifact.outputs_are == "logits"
    assert artifact.classes == 4
    assert artifact.verified[0].accuracy == record["verdict"]["accuracy"]
    assert artifact.verified[0].version == record["runtime_version"]
    assert artifact.provenance.data_sha256 == tiny_data.digest
    assert 0.7 < (artifact.provenance.sparsity or 0) < 0.95
    assert sum(tensor.bytes for tensor in artifact.tensors) < artifact.bytes
    vectors = CheckVectors.read(tmp_path / f"{path.name}.check.npz")
    assert vectors.inputs["quarters"].shape == (16, 8, 8, 1)
    expected = load_model(pruned_file).predict_on_batch(vectors.inputs["quarters"])
    np.testing.assert_allclose(vectors.outputs, expected, atol=vectors.tolerance)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    "quantize",
    [
        "none",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("float16", "dynamic")),
        "int8",
    ],
)
def test_sparse_is_smaller_than_dense(
    pruned_file: Path, tiny_data: Dataset, tmp_path: Path, file_format: str, quantize: Any
) -> None:
    sizes = {}
    for encoding in (None, "dense"):
        path = tmp_path / f"{encoding}.{file_format}"
        record = compressor.export(
            pruned_file, path, tiny_data, quantize=quantize, optimize="size", encoding=encoding
        )
        sizes[encoding] = record["bytes"]
        assert record["verdict"]["accuracy"] >= record["verdict"]["reference_accuracy"] - 1 / 40
        stored = {tensor["name"]: tensor["encoding"] for tensor in record["tensors"]}
        assert (stored["wide/kernel"] == "dense") == (encoding == "dense")

    assert sizes[None] < 0.6 * sizes["dense"]


@pytest.mark.slow
@pytest.mark.sampled(1)
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_dense_model_is_not_stored_larger_than_dense(
    small_file: Path, tiny_data: Dataset, tmp_path: Path, file_format: str
) -> None:
    chosen, dense = (
        compressor.export(
            small_file, tmp_path / f"{encoding}.{file_format}", tiny_data, encoding=encoding
        )["bytes"]
        for encoding in (None, "dense")
    )

    assert chosen <= dense


@pytest.mark.sampled(1)
@pytest.mark.parametrize("file_format", FORMATS)
def test_the_same_export_gives_the_same_bytes(
    pruned_file: Path, tiny_data: Dataset, tmp_path: Path, file_format: str
) -> None:
    written = []
    for number in range(2):
        folder = tmp_path / str(number)
        compressor.export(pruned_file, folder / f"m.{file_format}", tiny_data, quantize="int8")
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})

    assert written[0] == written[1]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.slow
def test_auto_is_the_smallest_of_all_that_pass(
    pruned_file: Path, tiny_data: Dataset, tmp_path: Path, file_format: str
) -> None:
    runtime = {"tflite": "litert", "onnx": "onnxruntime"}[file_format]
    rows = compressor.export_all(pruned_file, tmp_path / "all", tiny_data, runtimes=[runtime])
    path = tmp_path / f"auto.{file_format}"

    # However long each takes, which differs from one time to the next.
    record = compressor.export(
        pruned_file, path, tiny_data, quantize="auto", optimize="size", max_slowdown=None
    )

    passed = [row for row in rows if "error" not in row]
    assert len(passed) >= 4
    assert record["bytes"] == min(row["bytes"] for row in passed)
    for row in passed:
        assert Path(row["path"]).stat().st_size == row["bytes"]
    if file_format == "tflite":
        (refused,) = (row for row in rows if row["quantize"] == "codebook")
        assert "codebook" in refused["error"]
        assert refused["exit_code"] == 2


@pytest.mark.slow
def test_the_fastest_is_measured_and_passes(
    pruned_file: Path, tiny_data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "fast.tflite"

    record = compressor.export(pruned_file, path, tiny_data, quantize="auto", optimize="latency")

    assert record["verdict"]["passed"]
    assert read_artifact(path).optimize == "latency"


@pytest.mark.slow
def test_a_model_in_memory_without_data_is_compared_on_random_inputs(
    residual_net: Callable, tmp_path: Path
) -> None:
    model = residual_net()
    path = tmp_path / "residual.tflite"

    record = compressor.export(model, path)

    x = np.random.default_rng(1).random((5, 8, 8, 1), np.float32)
    expected = np.asarray(model.predict_on_batch(x))
    found = run_artefact(path, {"picture": x})
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert record["verdict"]["accuracy"] is None
    assert read_artifact(path).verified[0].accuracy is None
    assert json.loads(json.dumps(record, allow_nan=False)) == record


@pytest.mark.slow
def test_a_run_directory_gets_its_artefact_beside_the_steps(
    keras: Any, tiny_data: Dataset, tmp_path: Path
) -> None:
    layers = [keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(4, name="scores")]
    model = keras.Sequential(layers)
    training.fit(
        model,
        tiny_data.x_train,
        tiny_data.y_train,
        compressor.TrainingOptions(steps=10, batch_size=32, learning_rate=1e-2),
        seed=0,
    )
    model.save(tmp_path / "model.keras")
    plan = compressor.make_plan(tiny_data, sparsities=(0.5,), steps=5)
    run = tmp_path / "run"
    compressor.prune_run(tmp_path / "model.keras", run, compressor.PruningSpec(0.5), plan)

    record = compressor.export(run, None, tiny_data, format="onnx")

    assert record["path"] == str(run / "model.onnx")
    assert read_artifact(run / "model.onnx").verified


def test_labels_go_with_the_artefact(
    pruned_file: Path, tiny_data: Dataset, tmp_path: Path, rejected: Callable[..., str]
) -> None:
    names = ("top left", "top right", "bottom left", "bottom right")

    compressor.export(pruned_file, tmp_path / "model.tflite", tiny_data, labels=names)

    assert read_artifact(tmp_path / "model.tflite").labels == names
    for wrong in (names[:3], ("", *names[1:]), ("a\nb", *names[1:]), (*names[:3], names[0])):
        message = rejected(
            UsageError, compressor.export, pruned_file, tmp_path / "x.tflite", labels=wrong
        )
        assert "label" in message
