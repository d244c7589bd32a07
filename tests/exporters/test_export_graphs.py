"""Exporting .tflite and .onnx files of any origin: smaller, in the same format, and right."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import compressor
from graph_files import WRITERS, dense_onnx, dense_tflite, onnx_model, weights
from onnx import helper
from onnx_styles import STYLES, write_style

import compressor as library
from compressor.errors import CheckpointError, CompressorError, UsageError
from compressor.exporters.graphs.job import GraphJob

FORMATS = ("tflite", "onnx")

_QUICK = ("GRU", "attention", "batch normalization 7", "if", "local functions", "several outputs")
"""Styles that are not left to `make test-all`."""


def _answers(path: Path, x: np.ndarray) -> np.ndarray:
    """What the runtime gives, by its own Python interface."""
    if path.suffix == ".onnx":
        session = importlib.import_module("onnxruntime").InferenceSession(str(path))
        found: np.ndarray = session.run(None, {session.get_inputs()[0].name: x})[0]
        return found
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter(str(path))
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(place, x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_a_sparse_file_is_stored_sparse_and_computes_the_same(kind: str, tmp_path: Path) -> None:
    source = WRITERS[kind](tmp_path / f"found.{kind}", sparsity=0.9, hidden=256)
    small = tmp_path / f"small.{kind}"

    said = compressor("export", source, "-o", small)

    assert said.code == 0, said.stderr
    assert small.stat().st_size < source.stat().st_size / 2
    x = np.random.default_rng(1).random((4, 32), np.float32)
    assert np.allclose(_answers(small, x), _answers(source, x), atol=1e-6)
    again = library.inspect(small)
    assert again["description"]["verified"][0]["accuracy"] is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int4"])
def test_weights_are_quantised(kind: str, quantize: str, tmp_path: Path) -> None:
    source = WRITERS[kind](tmp_path / f"found.{kind}", hidden=512)

    record = library.export(source, tmp_path / f"small.{kind}", quantize=quantize)

    # A scale for each of many small rows is a part of the file.
    most = {"float16": 0.6, "dynamic": 0.5, "int4": 0.4}[quantize]
    assert record["bytes"] < most * source.stat().st_size
    assert record["verdict"]["passed"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_activations_are_quantised_with_calibration_data(kind: str, tmp_path: Path) -> None:
    source = WRITERS[kind](tmp_path / f"found.{kind}", hidden=256)
    small = tmp_path / f"small.{kind}"

    assert "--input-range" in compressor("export", source, "--quantize", "int8").refusal(
        after_stages=True
    )
    record = library.export(source, small, quantize="int8", input_range=(0, 1))

    assert record["bytes"] < source.stat().st_size / 2
    x = np.random.default_rng(1).random((4, 32), np.float32)
    assert np.allclose(_answers(small, x), _answers(source, x), atol=0.02)
    assert any("made-up inputs" in note for note in record["notes"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_is_quantised_keeps_its_values(kind: str, tmp_path: Path) -> None:
    source = WRITERS[kind](tmp_path / f"found.{kind}", hidden=128, sparsity=0.9)
    small, again = tmp_path / f"small.{kind}", tmp_path / f"again.{kind}"
    library.export(source, small, quantize="int8", input_range=(0, 1), encoding="dense")

    record = library.export(small, again, quantize="dynamic")

    assert record["bytes"] <= small.stat().st_size
    assert any("already" in note or "as it came" in note for note in record["notes"])
    assert record["quantize"] == "int8"
    x = np.random.default_rng(1).random((4, 32), np.float32)
    assert np.array_equal(_answers(again, x), _answers(small, x))


@pytest.mark.slow
def test_integers_that_compute_otherwise_encoded_stay_dense(
    tmp_path: Path, monkeypatch: Any
) -> None:
    source = WRITERS["onnx"](tmp_path / "found.onnx", hidden=128, sparsity=0.9)
    quantized, small = tmp_path / "quantized.onnx", tmp_path / "small.onnx"
    library.export(source, quantized, quantize="int8", input_range=(0, 1), encoding="dense")
    check = GraphJob.check

    def strict(job: Any, file_format: str, request: Any, file: Any) -> Any:
        checked = check(job, file_format, request, file)
        if all(tensor.encoding == "dense" for tensor in file.tensors):
            return checked
        return dataclasses.replace(checked, verdict=checked.verdict.failed("outputs differ"))

    monkeypatch.setattr(GraphJob, "check", strict)

    record = library.export(quantized, small)

    assert small.stat().st_size <= quantized.stat().st_size
    assert {row["encoding"] for row in record["tensors"]} == {"dense"}
    assert any("encoded it does not pass, outputs differ" in note for note in record["notes"])
    assert not any("larger than in float32" in note for note in record["notes"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_what_cannot_be_made_smaller_is_left_as_it_came(kind: str, tmp_path: Path) -> None:
    source = WRITERS[kind](tmp_path / f"found.{kind}", hidden=16)
    dense = tmp_path / f"dense.{kind}"
    library.export(source, dense)

    record = library.export(dense, tmp_path / f"again.{kind}")

    assert (tmp_path / f"again.{kind}").read_bytes() == dense.read_bytes()
    assert any("as it came" in note for note in record["notes"])


@pytest.mark.slow
def test_units_that_nothing_reads_go(tmp_path: Path) -> None:
    source, small = dense_onnx(tmp_path / "found.onnx", hidden=64), tmp_path / "small.onnx"
    model = onnx.load(source)
    last = next(one for one in model.graph.initializer if one.name == "fc2.weight")
    values = onnx.numpy_helper.to_array(last).copy()
    values[:, ::4] = 0
    last.CopyFrom(onnx.numpy_helper.from_array(values, last.name))
    onnx.save(model, source)

    record = library.export(source, small)

    shapes = {one["name"]: one["shape"] for one in record["tensors"]}
    assert shapes["fc1.weight"] == [48, 32] and shapes["fc2.weight"] == [5, 48]
    x = np.random.default_rng(1).random((4, 32), np.float32)
    assert np.allclose(_answers(small, x), _answers(source, x), atol=1e-6)


def test_the_other_format_and_the_model_itself_are_no_outputs(tmp_path: Path) -> None:
    source = dense_tflite(tmp_path / "found.tflite")
    before = source.read_bytes()

    assert "stays one" in compressor("export", source, "-o", tmp_path / "m.onnx").refusal()
    assert "overwritten" in compressor("export", source, "-o", source, "--force").refusal()
    with pytest.raises(UsageError, match="stays one"):
        library.export_all(source, tmp_path / "all", runtimes=("onnxruntime",))
    assert source.read_bytes() == before
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.slow
def test_by_default_the_variant_is_called_small(tmp_path: Path) -> None:
    record = library.export(dense_onnx(tmp_path / "found.onnx"), quantize="dynamic")

    assert record["path"] == str(tmp_path / "found-small.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(STYLES)
    ],
)
def test_the_styles_of_other_exporters(name: str, tmp_path: Path) -> None:
    source = write_style(tmp_path / "found.onnx", name)
    record = library.export(source, tmp_path / "small.onnx")

    verdict = record["verdict"]
    assert verdict["difference"] <= 1e-4 * verdict["scale"]
    assert record["bytes"] <= source.stat().st_size


def _hostile() -> dict[str, tuple[Any, str]]:
    make = helper.make_node
    table = {"w": weights(32, 5)}
    flat = ({"x": ["N", 32]}, {"y": ["N", 5]})
    circle = [make("Add", ["x", "b"], ["a"]), make("Relu", ["a"], ["b"])]
    own = [make("Mystery", ["x", "w"], ["y"], domain="com.nobody")]
    opset = helper.make_opsetid("own", 1)

    def function(name: str, *calls: str) -> Any:
        nodes = [make(call, ["a"], [f"b{i}"], domain="own") for i, call in enumerate(calls)]
        nodes.append(make("Identity", ["b0"], ["b"]))
        opsets = [helper.make_opsetid("", 18), opset]
        return helper.make_function("own", name, ["a"], ["b"], nodes, opsets)

    call = [make("f0", ["x"], ["h"], domain="own"), make("MatMul", ["h", "w"], ["y"])]
    doubling = [function(f"f{i}", *[f"f{i + 1}"] * 2) for i in range(40)]
    doubling.append(function("f40", "g"))
    huge = ({"x": ["N", 2**31, 2**10]}, {"y": ["N", 2**10]})
    largest = make("ReduceMax", ["x", "axes"], ["y"], keepdims=0)
    return {
        "circle": (onnx_model([*circle, make("MatMul", ["b", "w"], ["y"])], table, *flat), ""),
        "custom operator": (
            onnx_model(own, table, *flat, opsets=[helper.make_opsetid("com.nobody", 1)]),
            "Mystery",
        ),
        "recursion": (
            onnx_model(call, table, *flat, functions=[function("f0", "f0")], opsets=[opset]),
            "calls itself",
        ),
        "doubling": (
            onnx_model(call, table, *flat, functions=doubling, opsets=[opset]),
            "functions",
        ),
        "huge input": (
            onnx_model([largest], {"axes": np.array([1])}, *huge),
            "too large",
        ),
    }


@pytest.mark.parametrize(
    "name", ["circle", "custom operator", "recursion", "doubling", "huge input"]
)
def test_hostile_graphs_are_refused_in_a_line(name: str, tmp_path: Path) -> None:
    model, reason = _hostile()[name]
    onnx.save(model, tmp_path / "found.onnx")

    with pytest.raises(CompressorError) as caught:
        library.export(tmp_path / "found.onnx", tmp_path / "small.onnx", quantize="dynamic")

    assert str(caught.value).isprintable() and reason in str(caught.value)
    assert not (tmp_path / "small.onnx").exists()


def test_external_data_stay_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    source = dense_onnx(folder / "found.onnx", hidden=128)
    whole = onnx.load(source)
    onnx.save(whole, source, save_as_external_data=True, location="found.data", size_threshold=0)

    record = library.export(source, tmp_path / "small.onnx", quantize="dynamic")
    assert record["verdict"]["passed"]

    (folder / "found.data").rename(tmp_path / "elsewhere.data")
    (folder / "found.data").symlink_to(tmp_path / "elsewhere.data")
    with pytest.raises(CheckpointError, match="outside the folder"):
        library.export(source, tmp_path / "other.onnx")
    (folder / "found.data").unlink()
    (folder / "found.data").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="external data"):
        library.export(source, tmp_path / "other.onnx")
