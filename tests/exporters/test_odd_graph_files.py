"""Files of any origin that look unlike what exporters write: odd names, shapes, values, offsets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from artifact_files import tflite_bytes
from command_line import compressor
from graph_files import WRITERS, dense_onnx, dense_tflite, onnx_model, weights
from onnx import helper, numpy_helper
from onnx_styles import write_style

import compressor as library
from compressor.errors import CheckpointError, CompressorError, ModelError, UsageError
from compressor.exporters import describe_graph_file, isolation
from compressor.exporters.graphs.file import read_graph_file
from compressor.exporters.onnx import export_graph, integer
from compressor.exporters.onnx.decoding import insert, make_chain
from compressor.exporters.onnx.merging import whole_model
from compressor.exporters.onnx.passes import reshape_transposes
from compressor.exporters.onnx.weights import FloatWeight, store_int8, store_ternary, value_types
from compressor.exporters.request import Request
from compressor.exporters.targets import check_for_c
from compressor.exporters.tflite import kernels
from compressor.exporters.tflite.foreign import standard_form, weight_names
from compressor.exporters.tflite.weight import encodable_weights
from compressor.remote import SshHost
from deploy import quiet_onnxruntime


def test_a_library_is_no_graph(tmp_path: Path) -> None:
    path = dense_onnx(tmp_path / "found.onnx").rename(tmp_path / "lib.so")

    for call in (library.export_all, library.prune_graph, read_graph_file):
        with pytest.raises(CompressorError) as caught:
            call(path)
        assert str(path) in str(caught.value)


def test_nodes_without_inputs_are_passed_over() -> None:
    constant = helper.make_node("Constant", [], ["w"], value_floats=[1.0])
    model = onnx_model([constant, helper.make_node("Add", ["x", "w"], ["y"])], {}, *_flat())

    reshape_transposes(model.graph)

    assert [node.op_type for node in model.graph.node] == ["Constant", "Add"]


def _flat() -> tuple[dict[str, Any], dict[str, Any]]:
    return {"x": ["N", 32]}, {"y": ["N", 32]}


def _external(path: Path, array: np.ndarray, offset: str) -> Any:
    model = onnx_model([helper.make_node("Add", ["x", "w"], ["y"])], {"w": array}, *_flat())
    tensor = model.graph.initializer[0]
    (path / "data").write_bytes(tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, "data", int(offset))
    tensor.ClearField("raw_data")
    return model


def test_offsets_of_external_data_lie_in_the_file(tmp_path: Path) -> None:
    model = _external(tmp_path, weights(32), "9" * 19)

    with pytest.raises(CheckpointError, match="0 bytes of external data, not 128"):
        whole_model(model.SerializeToString(), tmp_path)


def test_external_data_that_are_no_weights_go_inside_too(tmp_path: Path) -> None:
    index = _external(tmp_path, np.arange(32), "0")
    onnx.save(index, tmp_path / "found.onnx")

    content = read_graph_file(tmp_path / "found.onnx").content

    found = onnx.load_model_from_string(content).graph.initializer[0]
    np.testing.assert_array_equal(numpy_helper.to_array(found), np.arange(32))


def test_a_ternary_file_is_known_as_one(tmp_path: Path) -> None:
    weight = FloatWeight("w", weights(128, 128), 1)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = onnx_model(nodes, {"w": weight.values}, {"x": ["N", 128]}, {"y": ["N", 128]})
    chain = make_chain("w", store_ternary(weight, zero=True), "dense")
    assert chain is not None
    insert(model.graph, [chain])
    onnx.save(model, tmp_path / "own.onnx")

    assert read_graph_file(tmp_path / "own.onnx").quantized == "ternary"


def test_names_of_chains_meet_none_of_the_file(tmp_path: Path) -> None:
    arrays = {"a": weights(32, 32), "a/scale": weights(32, 32, seed=1)}
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["decode/axis"]),
        helper.make_node("MatMul", ["decode/axis", "a/scale"], ["y"]),
    ]
    model = onnx_model(nodes, arrays, *_flat())
    made = [store_int8(FloatWeight(name, values, 1)) for name, values in arrays.items()]
    chains = [make_chain(name, one, "gap8") for name, one in zip(arrays, made, strict=True)]

    insert(model.graph, [chain for chain in chains if chain is not None])

    onnx.checker.check_model(model, full_check=True)
    x = weights(2, 32)
    exact = x @ arrays["a"] @ arrays["a/scale"]
    (found,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
    assert np.abs(found - exact).max() < 0.02 * np.abs(exact).max()


def test_a_mask_with_infinities_stays_as_it_is() -> None:
    mask = np.triu(np.full((32, 32), -np.inf, np.float32), 1)

    assert [one.kind for one in value_types(FloatWeight("mask", mask, 1), "dynamic")] == ["float32"]


@pytest.mark.parametrize("shape", [None, []])
def test_convolutions_of_unknown_shapes_are_left(shape: Any) -> None:
    content = _convolution(shape)

    assert encodable_weights(standard_form(content)) == []
    assert list(kernels.layers_of(kernels.open_model(content))) == []
    assert len(encodable_weights(standard_form(_convolution([1, 4, 4, 8])))) == 1


def _convolution(shape: Any) -> bytes:
    """RELU and CONV_2D, with a tensor of this shape between."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], []
    kernel = weights(8, 1, 1, 8)
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(kernel.tobytes(), np.uint8)
    graph.tensors, graph.operators = [], []
    for name, sizes in (
        ("x", [1, 4, 4, 8]),
        ("h", shape),
        ("w", kernel.shape),
        ("y", [1, 4, 4, 8]),
    ):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, sizes, int(name == "w")
        graph.tensors.append(tensor)
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    for number, (name, inputs, output) in enumerate((("RELU", [0], 1), ("CONV_2D", [1, 2], 3))):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        model.operatorCodes.append(code)
        operator.opcodeIndex, operator.inputs, operator.outputs = number, inputs, [output]
        if name == "CONV_2D":
            operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
            operator.builtinOptions = options
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [0], [3]
    return bytes(tflite_bytes(model))


def test_weights_of_one_name_are_numbered(tmp_path: Path) -> None:
    model = standard_form(dense_tflite(tmp_path / "found.tflite").read_bytes())
    for tensor in model.subgraphs[0].tensors:
        tensor.name = b"w"

    (names,) = weight_names(model)

    assert sorted(names.values()) == ["w", "w_1", "w_2", "w_3"]


def test_c_code_takes_no_rounding() -> None:
    with pytest.raises(UsageError, match="C code takes no rounding"):
        check_for_c("int8", None, "auto", None, "reconstruct")


@pytest.mark.parametrize("option", ["--seed", "--threads"])
def test_options_of_the_training_are_refused(option: str, tmp_path: Path) -> None:
    source = dense_onnx(tmp_path / "found.onnx")

    message = compressor("prune", source, "--no-retrain", option, "1").refusal()

    assert f"{option} has no effect on this file" in message


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[7, 3], ["N", 5, 1], None])
def test_what_a_file_says_of_its_output_does_not_count(sizes: Any, tmp_path: Path) -> None:
    model = onnx.load(dense_onnx(tmp_path / "found.onnx", sparsity=0.8))
    value = helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, sizes)
    model.graph.output[0].CopyFrom(value)

    content = export_graph(model.SerializeToString(), Request("onnxruntime"), ("x",)).content

    output = onnx.load_from_string(content).graph.output[0].type.tensor_type
    assert [size.dim_value for size in output.shape.dim] == [0, 5]
    onnx.save(model, tmp_path / "found.onnx")
    described = describe_graph_file(tmp_path / "found.onnx").artifact
    assert (described.outputs[0].shape[-1], described.classes) == (5, 5)


@pytest.mark.slow
def test_a_quantised_file_is_written_once(tmp_path: Path) -> None:
    source = write_style(tmp_path / "found.onnx", "integers")

    said = compressor("export", source, "--format", "all", "-o", tmp_path / "all")

    assert said.code == 0, said.stderr
    assert "It is quantised already (int8)" in said.stdout
    assert [path.name for path in (tmp_path / "all").glob("*.onnx")] == ["found-int8.onnx"]


@pytest.mark.parametrize("kind", ["onnx", pytest.param("tflite", marks=pytest.mark.slow)])
def test_a_model_that_crashes_the_calibration_ends_in_a_line(
    kind: str, tmp_path: Path, monkeypatch: Any
) -> None:
    source = WRITERS[kind](tmp_path / f"found.{kind}")
    crash = isolation._PROGRAM.replace("quantize_here(", "import os; os.abort()\nquantize_here(")
    monkeypatch.setattr(isolation, "_PROGRAM", crash)

    with pytest.raises(ModelError, match=r"calibrating it fails: .*SIGABRT"):
        library.export(source, tmp_path / f"small.{kind}", quantize="int8", input_range=(0, 1))


@pytest.mark.slow
def test_what_is_calibrated_is_run_elsewhere(tmp_path: Path, monkeypatch: Any) -> None:
    source = dense_onnx(tmp_path / "found.onnx", hidden=256)
    monkeypatch.setattr(integer, "quantize_static", None)  # here

    record = library.export(source, tmp_path / "small.onnx", quantize="int8", input_range=(0, 1))

    assert record["bytes"] < source.stat().st_size / 2


@pytest.mark.parametrize("bias", [np.float32(0.5), np.full(1, 0.5, np.float32)])
def test_a_bias_of_one_number_for_all_units(tmp_path: Path, bias: Any) -> None:
    generator = np.random.default_rng(0)
    first, second = (generator.normal(size=s).astype(np.float32) for s in ((16, 32), (16, 5)))
    second[3] = 0  # nothing reads unit 3
    nodes = [
        helper.make_node("Gemm", ["x", "a", "b"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "c"], ["y"]),
    ]
    kernels_of = {"a": first, "b": np.asarray(bias), "c": second}
    onnx.save(onnx_model(nodes, kernels_of, {"x": ["N", 32]}, {"y": ["N", 5]}), tmp_path / "m.onnx")

    exported = compressor("export", tmp_path / "m.onnx", "-o", tmp_path / "e.onnx")
    pruned = compressor(
        *("prune", tmp_path / "m.onnx", "--no-retrain", "--granularity", "channel"),
        *("--sparsity", 0.5, "-o", tmp_path / "p.onnx"),
    )

    assert exported.code == 0, exported.stderr
    assert pruned.code == (0 if np.ndim(bias) == 0 else 2), pruned.stderr
    x = generator.normal(size=(9, 32)).astype(np.float32)
    expected = np.maximum(x @ first.T + 0.5, 0) @ second
    np.testing.assert_allclose(_run(tmp_path / "e.onnx", x), expected, atol=1e-4)
    if np.ndim(bias) == 0:
        assert (tmp_path / "p.onnx").stat().st_size < (tmp_path / "m.onnx").stat().st_size


def _run(path: Path, x: np.ndarray) -> Any:
    session = quiet_onnxruntime.load().InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_a_host_for_c_code_is_named() -> None:
    with pytest.raises(UsageError, match="C code takes no host: pi;"):
        check_for_c("none", None, None, SshHost("pi"), None)


@pytest.mark.parametrize("in_a_node", [False, True])
@pytest.mark.parametrize("quantize", ["none", "int4"])
def test_an_output_that_is_a_constant_keeps_its_name(quantize: Any, in_a_node: bool) -> None:
    arrays = {"w": weights(6, 8), "k": weights(3, 7)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    if in_a_node:
        value = numpy_helper.from_array(arrays["k"])
        nodes.append(helper.make_node("Constant", [], ["k"], value=value))
    given = {"w": arrays["w"]} if in_a_node else arrays
    model = onnx_model(nodes, given, {"x": ("N", 6)}, {"y": ("N", 8), "k": (3, 7)})

    file = export_graph(model.SerializeToString(), Request("onnxruntime", quantize), ("x",))

    session = quiet_onnxruntime.load().InferenceSession(
        file.content, providers=["CPUExecutionProvider"]
    )
    assert [one.name for one in session.get_outputs()] == ["y", "k"]
    (found,) = session.run(["k"], {"x": weights(2, 6)})
    assert found.shape == (3, 7)
