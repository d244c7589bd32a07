"""TFLite Micro: what is encoded is decoded to the same values, by our reader and by the runtime."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from layer_graphs import DEPTHWISE, IMAGE, VECTOR, integer_graph, layer_graph

from compressor import export, runtimes
from compressor.errors import CheckFailedError, CheckpointError, ModelError, UsageError
from compressor.exporters.graphs.job import GraphJob
from compressor.exporters.inspection import describe_content
from compressor.exporters.request import MICRO, ExportedFile, Request
from compressor.exporters.targets import check_for_small
from compressor.exporters.tflite import decode_codes, fewer_bits, graph as graphs, micro
from compressor.exporters.tflite.decode_codes import Coded
from compressor.exporters.tflite.decode_reading import decoded
from compressor.exporters.tflite.file_contents import TFLiteTensor
from compressor.exporters.tflite.operators import check_runtime
from compressor.exporters.tflite.reading import read_tflite, stored_values
from compressor.exporters.tflite.tensor_reading import TYPES
from compressor.report import export_text
from compressor.runtimes import Runner

WRITERS = (decode_codes.pruned, decode_codes.tabled, decode_codes.huffman)


def output_of(values: np.ndarray) -> TFLiteTensor:
    kind = next(kind for kind in TYPES if kind.name == values.dtype.name)
    return TFLiteTensor("kernel", values.shape, kind, (0, 0), None, None)


@st.composite
def weights(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    most = draw(st.sampled_from([1, 7, 127]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = np.rint(generator.laplace(0, most / 4, shape)).clip(-most, most)
    values *= generator.random(shape) < draw(st.sampled_from([0.0, 0.05, 1.0]))
    return values.astype(draw(st.sampled_from([np.int8, np.float32])))


@given(weights())
@settings(max_examples=150, deadline=None)
def test_any_weight_comes_back_from_every_encoding(values):
    for writer in WRITERS:
        coded = writer(values)
        if coded is not None:
            kind, found = decoded(coded.stream, coded.ancillary, output_of(values))
            assert kind == coded.kind and found.dtype == values.dtype
            np.testing.assert_array_equal(found, values)


def test_a_long_stream_comes_back():
    generator = np.random.default_rng(0)
    values = np.rint(generator.normal(0, 12, 40_000)).astype(np.int8)
    coded = decode_codes.huffman(values)
    found = decoded(coded.stream, coded.ancillary, output_of(values))[1]
    np.testing.assert_array_equal(found, values)
    shares = np.unique(values, return_counts=True)[1] / values.size
    entropy = -np.sum(shares * np.log2(shares))
    assert coded.bytes < 1.02 * entropy * values.size / 8 + 600


def example(kind: str) -> tuple[Coded, np.ndarray]:
    values = np.rint(np.random.default_rng(1).normal(0, 3, (8, 9))).astype(np.int8)
    coded = {"prune": decode_codes.pruned, "lut": decode_codes.tabled}.get(
        kind, decode_codes.huffman
    )
    return coded(values), values


DAMAGED = {
    "no header": ("prune", lambda s, a: (s, a[:15])),
    "an unknown encoding": ("prune", lambda s, a: (s, b"\7" + a[1:])),
    "another version": ("lut", lambda s, a: (s, a[:1] + b"\2" + a[2:])),
    "another version of the encoding": ("lut", lambda s, a: (s, a[:4] + b"\2" + a[5:])),
    "a value short": ("prune", lambda s, a: (s, a[:-1])),
    "a mask too short": ("prune", lambda s, a: (s[:-1], a)),
    "indices of no bits": ("lut", lambda s, a: (s, a[:5] + b"\xf0" + a[6:])),
    "an index too far": ("lut", lambda s, a: (b"\xff" * len(s), a)),
    "a stride that leads out": ("lut", lambda s, a: (s[:-9], a)),
    "a table too small": ("huffman", lambda s, a: (s, a[:18])),
    "a word cut off": ("huffman", lambda s, a: (s[:-8], a)),
    "no whole words": ("huffman", lambda s, a: (s + b"\0", a)),
    "words of no bits": ("huffman", lambda s, a: (s, a[:16] + b"\0\x80" * (len(a) // 2 - 8))),
    "a table that leads to itself": ("huffman", lambda s, a: (s, a[:16] + bytes(len(a) - 16))),
    "a table that leads out": ("huffman", lambda s, a: (s, a[:16] + b"\xff\7" * (len(a) // 2 - 8))),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_the_runtime_would_read_out_of_bounds_is_refused(name):
    kind, damage = DAMAGED[name]
    coded, values = example(kind)
    decoded(coded.stream, coded.ancillary, output_of(values))
    with pytest.raises(CheckpointError):
        decoded(*damage(coded.stream, coded.ancillary), output_of(values))


def sparse(shape: tuple[int, ...], density: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    values = np.rint(generator.laplace(0, 12, shape)).clip(-127, 127)
    return (values * (generator.random(shape) < density)).astype(np.int8)


GRAPHS = {
    "prune": (VECTOR, sparse((40, 300), 0.03), np.full(1, 0.02), (300,)),
    "huffman": (VECTOR, sparse((64, 200), 0.9) // 8, np.linspace(0.01, 0.02, 64), (200,)),
    "lut": (
        VECTOR,
        np.resize([-90, 3, 91, 45], (64, 200)).astype(np.int8),
        np.full(1, 0.02),
        (200,),
    ),
    "images": (IMAGE, sparse((32, 5, 5, 8), 0.1), np.linspace(0.01, 0.02, 32), (9, 9, 8)),
}


def made(name: str, **asked: Any) -> tuple[Any, ExportedFile]:
    kind, values, scale, inputs = GRAPHS[name]
    graph = integer_graph(kind, values, scale.astype(np.float32), inputs, 0.5)
    request = Request(MICRO, "none", **asked)
    return graph, micro.finished(graph, {}, request, ("x",), ())


@pytest.mark.parametrize("name", GRAPHS)
def test_a_file_has_the_values_of_its_dense_one_and_nothing_that_the_runtime_does_not_read(name):
    _, file = made(name)
    graph = read_tflite(file.content).subgraphs[0]
    values = GRAPHS[name][1]
    assert [one.values.tolist() for one in graph.decoded] == [values.tolist()]
    assert len(file.content) < file.details["dense_file_bytes"] - values.size // 3
    assert "TFLM_DECODE" in file.needs and "DENSIFY" not in file.needs
    assert not read_tflite(file.content).signatures
    public = {*graph.inputs, *graph.outputs}
    assert not [one.name for n, one in enumerate(graph.tensors) if one.name and n not in public]
    assert all(one.shape[:1] != (None,) for one in graph.tensors)
    (dense,) = (
        one
        for one in read_tflite(file.origin.content).subgraphs[0].tensors
        if one.is_constant and one.elements == values.size
    )
    stored = stored_values(read_tflite(file.origin.content), dense)
    np.testing.assert_array_equal(stored, values.reshape(-1))


def test_each_tensor_gets_its_smallest_encoding_and_inspect_shows_it():
    for name in ("prune", "huffman", "lut"):
        _, file = made(name)
        rows = describe_content(file.content, "tflite", Path())["layers"]
        row = next(row for row in rows if row["storage"] != "dense")
        assert row["storage"] == name
        assert row["zeros"] == np.count_nonzero(GRAPHS[name][1] == 0)
        sizes = [len(made(name, encoding=kind)[1].content) for kind in ("lut", "huffman", "prune")]
        assert len(file.content) == min(sizes)


def test_no_file_is_larger_than_with_dense_weights():
    values = np.random.default_rng(0).integers(-127, 128, (32, 64)).astype(np.int8)
    graph = integer_graph(VECTOR, values, np.full(1, 0.02, np.float32), (64,), 0.5)
    file = micro.finished(graph, {}, Request(MICRO, "none"), ("x",), ())
    assert len(file.content) == file.details["dense_file_bytes"] < len(file.origin.content)
    assert [one.encoding for one in file.tensors] == ["dense"] * len(file.tensors)


def test_for_the_latency_nothing_is_decoded():
    _, file = made("prune", optimize="latency")
    assert "TFLM_DECODE" not in file.needs


def test_for_the_ram_weights_are_encoded_only_where_the_arena_stays_small():
    _, whole = made("prune")

    def measured(most: int) -> ExportedFile:
        def arena(content: bytes) -> int:
            return 1000 if len(content) == whole.details["dense_file_bytes"] else most

        return made("prune", optimize="ram", arena=arena)[1]

    assert measured(1100).content == whole.content
    dense = measured(1101)
    assert len(dense.content) == whole.details["dense_file_bytes"]
    assert dense.details["arena_bytes"] == dense.details["dense_arena_bytes"] == 1000


def test_float32_weights_are_pruned_too():
    values = sparse((40, 300), 0.03).astype(np.float32) / 7
    values[values == 0] *= np.float32(-1)  # as masks leave zeros of negative weights
    graph = layer_graph(VECTOR, values, np.zeros(40, np.float32), (300,))
    file = micro.finished(graph, {}, Request(MICRO), ("x",), ())
    (found,) = read_tflite(file.content).subgraphs[0].decoded
    assert found.encoding == "prune" and len(file.content) < 0.2 * file.details["dense_file_bytes"]
    np.testing.assert_array_equal(found.values, values)


@pytest.mark.parametrize("bits", [4, 5])
def test_fewer_bits_leave_zeros_and_what_a_layer_computes_nearly_as_it_was(bits):
    scale = np.linspace(0.01, 0.02, 64).astype(np.float32)
    values = sparse((64, 200), 0.5)
    graph = integer_graph(VECTOR, values, scale, (200,), 0.5)
    operator = graphs.main(graph).operators[1]
    _, kernel, bias = graphs.indices(operator.inputs)
    graphs.set_constant(graph, bias, np.arange(64, dtype=np.int32) * 100)
    before = graphs.main(graph).tensors[bias].quantization.scale * np.arange(64) * 100
    fewer_bits.round_weights(graph, bits)
    found = graphs.constant(graph, kernel)
    tensor = graphs.main(graph).tensors[kernel]
    assert np.abs(found).max() == 2 ** (bits - 1) - 1
    assert not found[values == 0].any()
    error = found * tensor.quantization.scale[:, None] - values * scale[:, None]
    assert np.linalg.norm(error) < {4: 0.16, 5: 0.08}[bits] * np.linalg.norm(
        values * scale[:, None]
    )
    after = graphs.constant(graph, bias) * graphs.main(graph).tensors[bias].quantization.scale
    np.testing.assert_allclose(after, before, atol=0.01)


def test_weights_that_lay_on_a_grid_are_on_it_again():
    grid = np.random.default_rng(0).integers(-5, 6, (16, 40))
    largest = np.abs(grid).max(axis=1)
    values = np.rint(grid * 127 / largest[:, None]).astype(np.int8)
    graph = integer_graph(VECTOR, values, np.full(16, 0.02, np.float32), (40,), 0.5)
    fewer_bits.round_weights(graph, 4)
    kernel = graphs.indices(graphs.main(graph).operators[1].inputs)[1]
    np.testing.assert_array_equal(graphs.constant(graph, kernel), grid)


def test_what_tflite_micro_does_not_have_is_refused(rejected):
    message = rejected(UsageError, micro.check, Request(MICRO, "dynamic"))
    assert "int8 or float32: dynamic" in message
    message = rejected(UsageError, micro.check, Request(MICRO, "int8", encoding="csr"))
    assert "choose one of dense, lut, huffman, prune" in message
    graph = layer_graph(VECTOR, np.ones((4, 4), np.float32), None, (4,))
    graphs.main(graph).operators[0].opcodeIndex = graphs.operator_code(graph, "DENSIFY")
    assert "DENSIFY" in rejected(ModelError, check_runtime, graph, MICRO)
    for asked in (
        ("litert", "int8", 4, "size"),
        (MICRO, "none", 5, "size"),
        (MICRO, "int8", 3, "size"),
    ):
        rejected(UsageError, check_for_small, *asked)
    assert "memory" in rejected(UsageError, check_for_small, "litert", "int8", 8, "ram")
    check_for_small(MICRO, "int8", 4, "ram")


@pytest.fixture(scope="module")
def runner():
    if runtimes.state(MICRO).version is None:
        pytest.skip(f"{MICRO} {runtimes.state(MICRO).reason}")
    with Runner(MICRO, threads=1) as found:
        yield found


def outputs(runner: Runner, folder: Path, content: bytes, x: np.ndarray) -> tuple[np.ndarray, dict]:
    path = folder / "model.tflite"
    path.write_bytes(content)
    facts = runner.load(path)
    return runner.predict({facts["inputs"][0]["name"]: x}), facts


@pytest.mark.parametrize("encoding", ["lut", "huffman", "prune"])
@pytest.mark.parametrize("name", GRAPHS)
def test_the_runtime_computes_the_same_from_every_encoding(runner, tmp_path, name, encoding):
    _, file = made(name, encoding=encoding)
    x = np.random.default_rng(3).uniform(-4, 4, (8, *GRAPHS[name][3])).astype(np.float32)
    found, facts = outputs(runner, tmp_path, file.content, x)
    expected, dense = outputs(runner, tmp_path, file.origin.content, x)
    np.testing.assert_array_equal(found, expected)
    assert np.ptp(expected) > 0 and dense["arena_bytes"] > 0
    if len(file.content) < file.details["dense_file_bytes"]:
        assert facts["arena_bytes"] > dense["arena_bytes"]


def test_a_depthwise_convolution_is_decoded_along_its_last_axis(runner, tmp_path):
    values = sparse((1, 5, 5, 32), 0.1).astype(np.float32)
    graph = layer_graph(DEPTHWISE, values, np.zeros(32, np.float32), (9, 9, 32))
    file = micro.finished(graph, {}, Request(MICRO), ("x",), ())
    x = np.random.default_rng(3).uniform(-4, 4, (4, 9, 9, 32)).astype(np.float32)
    found, _ = outputs(runner, tmp_path, file.content, x)
    expected, _ = outputs(runner, tmp_path, file.origin.content, x)
    np.testing.assert_array_equal(found, expected)
    assert len(file.content) < file.details["dense_file_bytes"]


def test_the_runtime_says_why_it_refuses_a_file(rejected, runner, tmp_path):
    graph = layer_graph(VECTOR, np.ones((4, 4), np.float32), None, (4,))
    graphs.main(graph).operators[0].opcodeIndex = graphs.operator_code(graph, "DENSIFY")
    path = tmp_path / "densify.tflite"
    path.write_bytes(graphs.write_graph(graph))
    assert "DENSIFY" in rejected(CheckFailedError, runner.load, path)


@pytest.mark.slow
def test_an_int8_file_from_elsewhere_keeps_its_outputs_and_gets_smaller(runner, tmp_path, rejected):
    kind, values, scale, inputs = GRAPHS["prune"]
    graph = integer_graph(kind, values, scale.astype(np.float32), inputs, 0.5)
    source, output = tmp_path / "found.tflite", tmp_path / "micro.tflite"
    source.write_bytes(graphs.write_graph(graph))
    record = export(source, output, runtime=MICRO)
    assert record["verdict"]["passed"] and record["verdict"]["difference"] == 0
    assert record["bytes"] == output.stat().st_size < 0.4 * source.stat().st_size
    assert record["tflite"]["arena_bytes"] > record["tflite"]["dense_arena_bytes"]
    (tensor,) = (one for one in record["tensors"] if one["encoding"] != "dense")
    assert tensor["encoding"] == "prune"
    assert "with dense weights" in export_text(record)
    message = rejected(UsageError, export, source, runtime=MICRO, quantize="int8", values=4)
    assert "keep their values: --values 4" in message


@pytest.mark.slow
def test_a_file_that_decodes_to_other_weights_does_not_pass(runner, tmp_path):
    source = tmp_path / "found.tflite"
    graph, file = made("prune")
    source.write_bytes(graphs.write_graph(graph))
    kind, values, scale, inputs = GRAPHS["prune"]
    changed = integer_graph(kind, values, scale.astype(np.float32), inputs, 0.5)
    kernel = graphs.indices(graphs.main(changed).operators[1].inputs)[1]
    graphs.set_constant(changed, kernel, -values)
    other = micro.finished(changed, {}, Request(MICRO, "none"), ("x",), ())
    with GraphJob(source, runtime=MICRO) as job:
        request, names = job.request(MICRO, "none", "size", None), job.original.inputs
        origin = dataclasses.replace(file.origin, inputs=names)
        right, wrong = (
            dataclasses.replace(one, inputs=names, origin=origin) for one in (file, other)
        )
        assert job.check("tflite", request, right).verdict.passed
        found = job.check("tflite", request, wrong)
    assert "not those of the same values stored dense" in found.verdict.reason


@pytest.mark.slow
def test_a_model_becomes_a_file_for_tflite_micro(runner, pruned_file, tiny_data, tmp_path):
    output = tmp_path / "model.tflite"
    asked = {"runtime": MICRO, "quantize": "int8", "force": True}
    whole = export(pruned_file, output, tiny_data, **asked)
    few = export(pruned_file, output, tiny_data, values=4, **asked)
    for record in (whole, few):
        assert record["verdict"]["passed"]
        assert record["bytes"] < record["tflite"]["dense_file_bytes"]
    assert few["bytes"] < whole["bytes"]
    assert "int4" in {tensor["values"] for tensor in few["tensors"]}
    small = export(pruned_file, output, tiny_data, optimize="ram", **asked)["tflite"]
    assert small["arena_bytes"] <= micro.MOST_ARENA * small["dense_arena_bytes"]
