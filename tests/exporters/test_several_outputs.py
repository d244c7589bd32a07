"""Graph files with several outputs: all are compared, the scores give the classes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from command_line import compressor
from graph_files import dense_tflite, onnx_model, weights
from onnx import TensorProto, helper

import compressor as library
from compressor.errors import CheckFailedError
from compressor.exporters import onnx as exporter
from deploy import CheckVectors, read_artifact


def _onnx(path: Path, width: int = 5) -> Path:
    """Labels first, as skl2onnx has it; then scores, and a map of values in the thousands."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2"], ["scores"], transB=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        helper.make_node("MatMul", ["r", "w3"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["map"]),
    ]
    arrays = {
        **{"w1": weights(64, 32), "b1": weights(64), "w2": weights(width, 64)},
        **{"w3": 5000 * weights(64, 12), "shape": np.array([-1, 3, 4])},
    }
    outputs = {"label": ["N"], "scores": ["N", width], "map": ["N", 3, 4]}
    types = {"label": TensorProto.INT64}
    onnx.save(onnx_model(nodes, arrays, {"x": ["N", 32]}, outputs, types=types), path)
    return path


def _tflite(path: Path) -> Path:
    """The hidden layer is the first output."""
    model = schema.ModelT.InitFromPackedBuf(dense_tflite(path).read_bytes())
    graph = model.subgraphs[0]
    graph.outputs = [graph.outputs[0], graph.operators[0].outputs[0]]
    flatbuffers = importlib.import_module("flatbuffers")
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


WRITERS = {"onnx": _onnx, "tflite": _tflite}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    x, y = generator.random((60, 32), np.float32), np.arange(60) % 5
    path = tmp_path / "data.npz"
    np.savez(path, x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    return path


def _answers(path: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    if path.suffix == ".onnx":
        session = importlib.import_module("onnxruntime").InferenceSession(str(path))
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(None, {"x": x}), strict=True))
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter(str(path))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    outputs = interpreter.get_output_details()
    return {str(at): interpreter.get_tensor(one["index"]) for at, one in enumerate(outputs)}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", WRITERS)
def test_all_outputs_are_kept_and_described(kind: str, tmp_path: Path, data: Path) -> None:
    source, small = WRITERS[kind](tmp_path / f"found.{kind}"), tmp_path / f"small.{kind}"

    said = compressor("export", source, "-o", small, "--data", data, "--quantize", "float16")

    assert said.code == 0, said.stderr
    x = np.random.default_rng(1).random((4, 32), np.float32)
    before, after = _answers(source, x), _answers(small, x)
    assert list(after) == list(before)
    for name, values in before.items():
        assert np.allclose(after[name], values, atol=1e-2 * np.abs(values).max())
    described = library.inspect(small)["description"]
    assert described["classes"] == 5
    assert len(described["outputs"]) == len(before)
    scores = before["scores" if kind == "onnx" else "0"]
    vectors = CheckVectors.read(f"{small}.check.npz")
    assert np.abs(vectors.outputs[:, :5]).max() == pytest.approx(np.abs(scores).max(), rel=0.5)
    assert np.abs(vectors.outputs).max() < 10  # all are as large as the scores
    quick = {"rounds": 2, "round_seconds": 0.01, "starts": 1}
    found = library.bench([small], data=library.load_dataset(data), **quick)
    assert [row["status"] for row in found["rows"]] == ["right"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITERS)
def test_each_output_is_held_to_its_own_size(kind: str, tmp_path: Path) -> None:
    source = WRITERS[kind](tmp_path / f"found.{kind}")

    record = library.prune_graph(source, tmp_path / f"pruned.{kind}", library.PruningSpec(0.5))

    assert record["comparison"]["scale"] < 10


@pytest.mark.slow
def test_a_wrong_second_output_is_noticed(tmp_path: Path, monkeypatch: Any) -> None:
    source, plain = _onnx(tmp_path / "found.onnx"), exporter.export_graph

    def broken(content: bytes, *given: Any) -> Any:
        model = onnx.load_from_string(content)
        for one in model.graph.initializer:
            if one.name == "w2":  # scores, which are small beside the map
                values = onnx.numpy_helper.to_array(one) * np.float32(1.05)
                one.CopyFrom(onnx.numpy_helper.from_array(values, "w2"))
        return plain(model.SerializeToString(), *given)

    monkeypatch.setattr(exporter, "export_graph", broken)
    with pytest.raises(CheckFailedError, match="outputs differ"):
        library.export(source, tmp_path / "small.onnx", quantize="float16")


@pytest.mark.slow
def test_a_bundle_answers_with_the_scores(tmp_path: Path, data: Path) -> None:
    source, bundle = _onnx(tmp_path / "found.onnx"), tmp_path / "found.bundle"

    packed = compressor(
        *("package", source, "--device", "linux-x86-64", "-o", bundle),
        *("--data", data, "--labels", "a,b,c,d,e"),
    )

    assert packed.code == 0, packed.stderr
    verified = compressor("verify", bundle)
    assert verified.code == 0, verified.stderr
    said = compressor("package", source, "--device", "browser", "-o", tmp_path / "site")
    assert said.code == 2 and "several outputs" in said.stderr


@pytest.mark.slow
def test_outputs_without_scores_are_numbers(tmp_path: Path) -> None:
    model = onnx.load(_onnx(tmp_path / "found.onnx"))
    del model.graph.output[1]
    onnx.save(model, tmp_path / "found.onnx")

    record = library.export(tmp_path / "found.onnx", tmp_path / "small.onnx")

    heads = read_artifact(tmp_path / "small.onnx").heads
    assert heads is not None and {head.task for head in heads} == {"regression"}
    assert [(head.name, head.shape) for head in heads] == [("label", (1,)), ("map", (3, 4))]
    assert record["verdict"]["passed"] and record["verdict"]["validation"] is None
