"""What `inspect` says of .tflite and .onnx files, alone and beside the model they came from."""

import hashlib
import json
import warnings

import numpy as np
import pytest
from artifact_files import sparse_tensor, tflite_bytes, tflite_model
from command_line import compressor
from onnx import helper, numpy_helper

from compressor.errors import CheckpointError
from compressor.foundation import quiet_tensorflow
from compressor.report.inspection import inspect
from compressor.report.terminal import inspection_text

KERNEL = np.where(np.arange(64 * 12).reshape(64, 12) % 10, 0, 1.5).astype("float32")


def gap_model(name="hidden/kernel"):
    """KERNEL as gaps and float16 values, decoded by nodes; and a bias."""
    flat = np.flatnonzero(KERNEL)
    arrays = {
        f"{name}/gaps": np.diff(flat, prepend=0).astype("uint8"),
        f"{name}/values": KERNEL.ravel()[flat].astype("float16"),
        f"{name}/size": np.array([KERNEL.size]),
        f"{name}/shape": np.array(KERNEL.shape),
        "axis": np.array(0, "int32"),
        "hidden/bias": np.arange(12, dtype="float32"),
    }
    node = helper.make_node
    nodes = [
        node("Cast", [f"{name}/gaps"], ["1"], to=6),
        node("CumSum", ["1", "axis"], ["2"]),
        node("Cast", [f"{name}/values"], ["3"], to=1),
        node("ConstantOfShape", [f"{name}/size"], ["4"]),
        node("ScatterElements", ["4", "2", "3"], ["5"], axis=0),
        node("Reshape", ["5", f"{name}/shape"], ["w"], name=f"decode/gap8/{name}"),
        node("MatMul", ["x", "w"], ["z"]),
        node("Add", ["z", "hidden/bias"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    inputs, outputs = [value("x", 1, ["N", 64])], [value("y", 1, ["N", 12])]
    constants = [numpy_helper.from_array(array, key) for key, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.fixture(scope="module")
def files(small_net, tmp_path_factory):
    """The same two-layer model as .keras, as dense, sparse and int8 TFLite; its layer as ONNX."""
    folder = tmp_path_factory.mktemp("artefacts")
    tensorflow, _ = quiet_tensorflow.load()
    model = small_net()
    model.get_layer("hidden").kernel.assign(KERNEL)
    model.save(folder / "model.keras")
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
    (folder / "dense.tflite").write_bytes(converter.convert())
    converter.optimizations = [tensorflow.lite.Optimize.EXPERIMENTAL_SPARSITY]
    (folder / "sparse.tflite").write_bytes(converter.convert())
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: [
        [np.random.default_rng(0).random((4, 8, 8, 1), "float32")]
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the converter doubts its own arguments
        (folder / "int8.tflite").write_bytes(converter.convert())
    (folder / "gaps.onnx").write_bytes(gap_model().SerializeToString())
    named = {"hidden/kernel": sparse_tensor(KERNEL.T.copy(), indices="uint8")}
    (folder / "named.tflite").write_bytes(tflite_bytes(tflite_model(**named)))
    return folder


def row_of(found, shape):
    (row,) = (row for row in found["layers"] if row["shape"] == list(shape))
    return row


@pytest.mark.parametrize("name", ["dense", "sparse", "int8"])
def test_files_of_the_stock_converter(files, name):
    found = inspect(files / f"{name}.tflite")
    json.dumps(found, allow_nan=False)
    assert found["kind"] == "tflite"
    assert found["file_bytes"] == (files / f"{name}.tflite").stat().st_size
    row = row_of(found, (12, 64))
    assert (row["parameters"], row["zeros"]) == (768, 768 - np.count_nonzero(KERNEL))
    assert row["storage"] == ("csr" if name == "sparse" else "dense")
    assert row["values"] == ("int8" if name == "int8" else "float32")
    stored = np.count_nonzero(KERNEL)
    if name == "dense":
        assert row["bytes"] == 4 * 768
    elif name == "sparse":
        assert 5 * stored <= row["bytes"] < 4 * 768
    else:
        # 12 channels with a scale of 4 and a zero point of 8 bytes each.
        assert row["bytes"] == 768 + 12 * 12
    (operator,) = (one for one in found["operators"] if one["name"] == "FULLY_CONNECTED")
    assert operator["count"] == 2 and operator["version"] >= 1
    assert found["inputs"][0]["shape"] == [None, 8, 8, 1]
    assert found["signatures"] == ["serving_default"]
    assert found["macs"] is None and found["description"] is None


def test_weights_that_decode_themselves(files):
    found = inspect(files / "gaps.onnx")
    json.dumps(found, allow_nan=False)
    kernel, bias = found["layers"]
    stored = np.count_nonzero(KERNEL)
    assert (kernel["layer"], kernel["variable"]) == ("hidden", "kernel")
    assert (kernel["storage"], kernel["values"]) == ("gap8", "float16")
    assert kernel["zeros"] == 768 - stored
    assert kernel["bytes"] == 3 * stored + 4 + 8 + 16
    assert (bias["layer"], bias["variable"], bias["storage"]) == ("hidden", "bias", "dense")
    assert (found["parameters"], found["nonzeros"]) == (780, stored + 11)
    assert found["opsets"] == {"ai.onnx": 18}
    assert {"name": "Cast", "version": 18, "custom": False, "count": 2} in found["operators"]


def test_an_artefact_beside_its_model(files):
    found = inspect(files / "model.keras", files / "named.tflite")
    assert found["kind"] == "comparison"
    (hidden,) = (row for row in found["layers"] if row["layer"] == "hidden")
    stored = np.count_nonzero(KERNEL)
    assert hidden["before"]["parameters"] == 780 and hidden["before"]["macs"] == 768
    assert (hidden["after"]["parameters"], hidden["after"]["nonzeros"]) == (768, stored)
    assert hidden["after"]["macs"] is None
    assert found["totals"]["ratio"]["file_bytes"] > 1
    assert found["totals"]["ratio"]["macs"] is None
    assert "hidden" in inspection_text(found)


def test_two_artefacts(files):
    found = inspect(files / "dense.tflite", files / "sparse.tflite")
    totals = found["totals"]
    assert totals["before"]["nonzeros"] == totals["after"]["nonzeros"]
    assert totals["before"]["bytes"] > totals["after"]["bytes"]


def test_the_command_prints_a_line_a_weight(files):
    result = compressor("inspect", files / "gaps.onnx")
    assert result.code == 0
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("hidden/kernel"))
    assert line.split()[-2:] == ["gap8", "float16"]
    assert "MatMul v18" in result.stdout and "x (float32 * x 64)" in result.stdout
    assert compressor("inspect", files / "gaps.onnx", "--json").json() == inspect(
        files / "gaps.onnx"
    )


def test_weights_that_cannot_be_told_are_not_guessed(tmp_path):
    model = gap_model()
    model.graph.node[2].op_type = "Sin"
    (tmp_path / "odd.onnx").write_bytes(model.SerializeToString())
    found = inspect(tmp_path / "odd.onnx")
    kernel = found["layers"][0]
    assert (kernel["shape"], kernel["parameters"], kernel["zeros"]) == (None, None, None)
    assert kernel["bytes"] > 0
    assert found["parameters"] is None and found["nonzeros"] is None
    assert inspection_text(found).splitlines()[0].endswith("– parameters, – not zero")
    compared = inspect(tmp_path / "odd.onnx", tmp_path / "odd.onnx")
    assert compared["totals"]["before"]["nonzeros"] is None
    assert "hidden" in inspection_text(compared)


def test_values_in_another_file_are_not_guessed(tmp_path):
    model = tflite_model(**{"fc/kernel": KERNEL})
    tensor = model.subgraphs[0].tensors[0]
    tensor.buffer, tensor.externalBuffer = 0, 1
    (tmp_path / "m.tflite").write_bytes(tflite_bytes(model))
    found = inspect(tmp_path / "m.tflite")
    (row,) = found["layers"]
    assert (row["storage"], row["bytes"], row["zeros"]) == ("external", 0, None)
    assert (found["parameters"], found["nonzeros"]) == (768, None)


def test_names_do_not_reach_the_terminal_as_they_are(tmp_path):
    (tmp_path / "m.onnx").write_bytes(gap_model("\x1b[2Jfc\n/kernel").SerializeToString())
    text = inspection_text(inspect(tmp_path / "m.onnx"))
    assert "\x1b" not in text
    assert len([line for line in text.splitlines() if line.endswith("gap8  float16")]) == 1
    both = inspection_text(inspect(tmp_path / "m.onnx", tmp_path / "m.onnx"))
    assert "\x1b" not in both


def test_a_damaged_file_is_refused_in_one_line(files, tmp_path, rejected):
    for name in ("sparse.tflite", "gaps.onnx"):
        content = (files / name).read_bytes()
        damaged = tmp_path / name
        damaged.write_bytes(content[: len(content) // 2])
        assert str(damaged) in rejected(CheckpointError, inspect, damaged)
        refusal = compressor("inspect", damaged).refusal()
        assert str(damaged) in refusal and "file" in refusal


def test_a_rejected_artefact_can_be_looked_into(files, tmp_path):
    for name in ("sparse.tflite", "gaps.onnx"):
        kept = tmp_path / f"{name}.rejected"
        kept.write_bytes((files / name).read_bytes())
        assert inspect(kept)["layers"] == inspect(files / name)["layers"]


def described(content, name):
    """A description that fits the file, as JSON."""
    port = {"dtype": "float32", "scale": None, "zero_point": None}
    rule = {"name": "x", "source": "", "shape": [64], "dtype": "float32", "scale": 1.0}
    check = {"runtime": "onnxruntime", "version": "1.31", "provider": "CPUExecutionProvider"}
    check |= {"batch": 32, "examples": 40, "accuracy": 0.975, "reference_accuracy": 1.0}
    check |= {"validation_accuracy": 0.95, "validation_reference_accuracy": None}
    return {
        "schema": {"name": "compressor-artifact", "version": 2},
        "format": "onnx",
        "file": name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "vectors_sha256": "0" * 64,
        "quantize": "float16",
        "optimize": "size",
        "runtime": "onnxruntime",
        "inputs": [{"name": "x", "shape": [None, 64], **port}],
        "outputs": [{"name": "y", "shape": [None, 12], **port}],
        "preprocessing": [rule | {"reason": "as stored"}],
        "outputs_are": "logits",
        "classes": 12,
        "threshold": None,
        "labels": None,
        "tensors": [],
        "needs": {"ai.onnx": 18},
        "verified": [check | {"difference": 0.01}],
        "provenance": {
            "sparsity": 0.9,
            "seed": 0,
            "data_sha256": None,
            "source_sha256": None,
            "versions": {},
            "created_by": "compressor 0",
        },
    }


def test_the_description_beside_it_is_shown_if_it_is_its_own(files, tmp_path):
    content = (files / "gaps.onnx").read_bytes()
    path, beside = tmp_path / "m.onnx", tmp_path / "m.onnx.json"
    path.write_bytes(content)
    beside.write_text(json.dumps(described(content, "m.onnx")))
    found = inspect(path)
    assert found["description"] == described(content, "m.onnx")
    assert "accuracy 97.50 % (Keras model 100.00 %)" in inspection_text(found)
    beside.write_text(json.dumps(described(content + b"!", "m.onnx")))
    found = inspect(path)
    assert found["description"] is None
    assert found["description_error"] == "the description belongs to another file"
    assert "the description belongs to another file\n" in inspection_text(found)
    beside.write_text("{")
    assert "\n" not in inspect(path)["description_error"]
