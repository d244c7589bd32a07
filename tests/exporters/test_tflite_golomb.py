"""Weights in Golomb codes: LiteRT decodes exactly what was given, in the bytes promised."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from layer_graphs import VECTOR, expected, layer_graph, run

import compressor
from compressor.exporters.request import Request
from compressor.exporters.tflite import golomb, graph as graphs
from compressor.exporters.tflite.choice import Candidate, WeightEncoding, best
from compressor.exporters.tflite.reading import read_tflite
from compressor.exporters.tflite.stored import EncodedWeight
from compressor.exporters.tflite.weights import encode_weights


@st.composite
def sparse_integers(draw: st.DrawFn) -> np.ndarray:
    """int8 of rank 2 to 4, of few values or many, with any part of zeros, and rows without any."""
    shape = draw(st.lists(st.integers(1, 24), min_size=2, max_size=4))
    largest = draw(st.sampled_from([1, 2, 7, 127]))
    density = draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = generator.integers(-largest, largest + 1, shape)
    values *= generator.random(shape) < density
    values[:: draw(st.integers(2, 5))] = 0
    return values.astype(np.int8)


def file_that_gives(*weights: np.ndarray) -> bytes:
    """A file whose outputs are what it decodes."""
    graph = layer_graph(VECTOR, np.ones((1, 1), np.float32), None, (1,))
    main = graphs.main(graph)
    main.operators, main.inputs = [], np.zeros(0, np.int32)
    decoding = golomb.Decoding(graph)
    outputs = []
    for values in weights:
        index = graphs.add_tensor(graph, "w", values.shape, np.int8, values=values)
        decoding.add(index, EncodedWeight(values, scale=np.ones(1, np.float32)))
        outputs.append(index)
    main.outputs = np.asarray(outputs, np.int32)
    return graphs.write_graph(graph)


def outputs_of(content: bytes) -> list[np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    for _ in range(2):
        interpreter.invoke()
    return [interpreter.get_tensor(one["index"]) for one in interpreter.get_output_details()]


@given(sparse_integers())
@example(np.zeros((3, 5), np.int8))
@example(np.eye(1, 700, 699, dtype=np.int8))
@settings(max_examples=60, deadline=None)
def test_litert_and_the_reader_decode_any_array_in_the_bytes_that_were_promised(values):
    content = file_that_gives(values)
    assert len(content) <= golomb.stored_bytes(values) + golomb.OVERHEAD
    (found,) = outputs_of(content)
    np.testing.assert_array_equal(found, values)
    (decoded,) = read_tflite(content).subgraphs[0].decoded
    np.testing.assert_array_equal(decoded.values, values)
    assert decoded.encoding == "golomb"
    assert golomb.stored_bytes(values) <= decoded.bytes <= len(content)


def test_several_weights_of_a_file_share_what_decodes_them():
    generator = np.random.default_rng(3)
    weights = [
        (generator.integers(-7, 8, shape) * (generator.random(shape) < 0.1)).astype(np.int8)
        for shape in ((40, 50), (9, 300), (1, 6, 5, 20))
    ]
    content = file_that_gives(*weights)
    for found, values in zip(outputs_of(content), weights, strict=True):
        np.testing.assert_array_equal(found, values)
    decoded = read_tflite(content).subgraphs[0].decoded
    assert {one.values.shape for one in decoded} == {values.shape for values in weights}
    assert len(content) < sum(map(golomb.stored_bytes, weights)) + 2.6 * golomb.OVERHEAD


@pytest.mark.parametrize("density", [0.02, 0.05, 0.1, 0.2, 0.4])
def test_places_take_hardly_more_bits_than_their_entropy(density):
    places = np.flatnonzero(np.random.default_rng(1).random(200_000) < density)
    entropy = -(density * np.log2(density) + (1 - density) * np.log2(1 - density)) / density
    assert 8 * golomb.code_places(places).bytes / len(places) < entropy + 0.15


@pytest.mark.parametrize("largest", [1, 2, 7, 100])
@pytest.mark.parametrize("batch", [1, 5])
def test_litert_computes_as_with_the_weights_themselves(largest, batch):
    generator = np.random.default_rng(largest)
    integers = generator.integers(-largest, largest + 1, (30, 210))
    integers = (integers * (generator.random(integers.shape) < 0.2)).astype(np.int8)
    scale = generator.uniform(0.5, 1, 30).astype(np.float32) / 50
    weights, bias = integers * scale[:, None], generator.normal(size=30).astype(np.float32)
    graph = layer_graph(VECTOR, weights, bias, (210,))
    (layer,) = graphs.main(graph).operators
    encoded = EncodedWeight(integers, scale=scale, axis=0)
    golomb.Decoding(graph).add(graphs.indices(layer.inputs)[1], encoded)
    inputs = generator.normal(size=(batch, 210)).astype(np.float32)
    right = expected(VECTOR, weights, bias, inputs)
    assert np.abs(run(graph, inputs) - right).max() < 0.02 * np.abs(right).max()


@pytest.fixture(scope="module")
def files(pruned_file, tiny_data, tmp_path_factory) -> dict[str, Any]:
    """A pruned network whose wide layer is in Golomb code, and as the best other encodings are."""
    folder = tmp_path_factory.mktemp("golomb")
    return {
        name: compressor.export(
            pruned_file,
            folder / f"{name}.tflite",
            data=tiny_data,
            quantize="int4",
            optimize="size",
            encoding=None if name == "golomb" else name,
        )
        for name in ("golomb", "csr", "dense")
    }


def test_the_smallest_file_of_a_pruned_network_is_far_smaller_than_with_sparse_tensors(files):
    sizes = {name: record["bytes"] for name, record in files.items()}
    assert sizes["golomb"] < 0.9 * sizes["csr"] < sizes["dense"]
    (wide,) = (one for one in files["golomb"]["tensors"] if one["name"] == "wide/kernel")
    assert (wide["encoding"], wide["values"]) == ("golomb", "int4")
    assert files["golomb"]["verdict"]["passed"]


def test_a_file_in_golomb_code_is_inspected_and_exported_again(files, pruned_file, tmp_path, keras):
    path = files["golomb"]["path"]
    kernel = keras.models.load_model(pruned_file).get_layer("wide").kernel.numpy()
    rows = compressor.inspect(path)["layers"]
    (wide,) = (row for row in rows if (row["layer"], row["variable"]) == ("wide", "kernel"))
    assert wide["storage"] == "golomb" and 0.9 * kernel.size < wide["parameters"]  # dead units go
    assert wide["parameters"] - np.count_nonzero(kernel) <= wide["zeros"] < wide["parameters"]
    assert {row["layer"] for row in rows} == {"conv", "wide", "scores"}
    again = compressor.export(path, tmp_path / "again.tflite", quantize="none", input_range=(0, 1))
    assert again["bytes"] <= files["golomb"]["bytes"] and again["verdict"]["passed"]
    described = {one["name"]: one for one in again["tensors"]}
    assert described["wide/kernel"]["encoding"] == "golomb"
    assert {name.split("/")[0] for name in described} == {"conv", "wide", "scores"}


def broken(graph: Any, change: Any) -> bytes:
    twin = copy.deepcopy(graph)
    change(
        twin.subgraphs[1],
        {graphs.operator_name(twin, one): one for one in twin.subgraphs[1].operators},
    )
    return graphs.write_graph(twin)


def test_what_only_looks_like_our_decoding_is_not_taken_for_it():
    values = (np.arange(600).reshape(20, 30) % 9 == 0).astype(np.int8)
    graph = graphs.read_graph(file_that_gives(values))
    options = graphs.schema()

    def axis(subgraph: Any, named: dict[str, Any]) -> None:
        named["GATHER"].builtinOptions = options.GatherOptionsT(axis=1)
        named["GATHER"].builtinOptionsType = options.BuiltinOptions.GatherOptions

    def backwards(subgraph: Any, named: dict[str, Any]) -> None:
        named["CUMSUM"].builtinOptions = options.CumsumOptionsT(reverse=True)
        named["CUMSUM"].builtinOptionsType = options.BuiltinOptions.CumsumOptions

    def other_operator(subgraph: Any, named: dict[str, Any]) -> None:
        named["ADD"].opcodeIndex = named["MUL"].opcodeIndex

    def loop(subgraph: Any, named: dict[str, Any]) -> None:
        named["CAST"].inputs = named["ADD"].outputs

    assert len(read_tflite(broken(graph, lambda subgraph, named: None)).subgraphs[0].decoded) == 1
    for change in (axis, backwards, other_operator, loop):
        assert read_tflite(broken(graph, change)).subgraphs[0].decoded == ()
    twin = copy.deepcopy(graph)
    huge = np.asarray([2**31 - 1], np.int32)
    (scatter,) = (
        one
        for one in twin.subgraphs[1].operators
        if graphs.operator_name(twin, one) == "SCATTER_ND"
    )
    graphs.set_constant(twin, graphs.indices(scatter.inputs)[2], huge, subgraph=1)
    assert read_tflite(graphs.write_graph(twin)).subgraphs[0].decoded == ()


def test_a_weight_in_golomb_code_is_no_choice_where_speed_counts():
    codes = Candidate(WeightEncoding("golomb", "int4", version=12, time=0.5), 100, 0, time=0.5)
    dense = Candidate(WeightEncoding("dense", "int4", version=12, time=0.17), 1000, 0, time=0.17)
    assert best([codes, dense], "size") is codes
    assert best([codes, dense], "balanced") is dense and best([codes, dense], "latency") is dense


def test_a_weight_that_another_signature_reads_is_stored_once():
    generator = np.random.default_rng(2)
    weights = generator.normal(size=(300, 320)).astype(np.float32)
    weights *= generator.random(weights.shape) < 0.1
    graph = layer_graph(VECTOR, weights, None, (320,))
    request = Request("litert", quantize="int4", optimize="size")
    alone = copy.deepcopy(graph)
    ((kernel,), _) = encode_weights(alone, {}, request)
    assert kernel.encoding == "golomb"
    graph.subgraphs.append(copy.deepcopy(graphs.main(graph)))  # of the same buffers
    ((kernel,), _) = encode_weights(graph, {}, request)
    assert kernel.encoding != "golomb"
