"""Chains that decode weights: exact values, exact sizes, and nothing left of them after loading."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx
import pytest
from hypothesis import given, settings, strategies as st
from onnx import helper, numpy_helper

from compressor.errors import ModelError, UsageError
from compressor.exporters.onnx.decoding import CHOSEN_FROM, ENCODINGS, choose, insert, make_chain
from compressor.exporters.onnx.weights import (
    FloatWeight,
    Stored,
    store_codebook,
    store_float,
    store_int4,
    store_int8,
    store_ternary,
    value_types,
)
from deploy import quiet_onnxruntime

onnxruntime = quiet_onnxruntime.load()

KINDS = {
    "float32": lambda weight: store_float(weight.values, np.float32),
    "float16": lambda weight: store_float(weight.values, np.float16),
    "int8": store_int8,
    "int4": store_int4,
    "ternary": lambda weight: store_ternary(weight, zero=True),
    "ternary, no zero": lambda weight: store_ternary(weight, zero=False),
    "codebook4": lambda weight: store_codebook(weight.values, zero=True),
    "codebook4, no zero": lambda weight: store_codebook(weight.values, zero=False),
}


def sparse(shape: tuple[int, ...], sparsity: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=shape).astype(np.float32)
    values[generator.random(shape) < sparsity] = 0
    return values


def meant(stored: Stored) -> np.ndarray:
    """What the stored values stand for, computed by NumPy alone."""
    values = stored.codes if stored.table is None else stored.table[stored.codes]
    values = np.where(stored.nonzero, values, 0)
    if stored.as_is:
        return values.astype(stored.codes.dtype).reshape(stored.shape)
    values = values.astype(np.float32).reshape(stored.shape)
    return values if stored.scale is None else values * stored.scale


def graph_model(values: np.ndarray) -> onnx.ModelProto:
    """y = x + w, w the initializer "layer/kernel"."""
    dtype = helper.np_dtype_to_tensor_dtype(values.dtype)
    info = [helper.make_tensor_value_info(name, dtype, list(values.shape)) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "layer/kernel"], ["y"], name="sum")],
        "graph",
        info[:1],
        info[1:],
        [numpy_helper.from_array(values, "layer/kernel")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray, optimized=None) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def decoded(stored: Stored, encoding: str, optimized=None) -> np.ndarray:
    chain = make_chain("layer/kernel", stored, encoding)
    assert chain is not None
    expected = meant(stored)
    model = graph_model(np.zeros_like(expected))
    insert(model.graph, [chain])
    return run(model, np.zeros_like(expected), optimized)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_runtime_decodes_every_value_and_leaves_no_node_of_the_chain(kind, encoding, tmp_path):
    stored = KINDS[kind](FloatWeight("layer/kernel", sparse((37, 11), 0.8), 1))
    if make_chain("layer/kernel", stored, encoding) is None:
        assert encoding == "sparse-initializer" or "no zero" in kind
        return

    found = decoded(stored, encoding, tmp_path / "optimized.onnx")

    np.testing.assert_array_equal(found, meant(stored))
    left = onnx.load(tmp_path / "optimized.onnx").graph
    assert [node.op_type for node in left.node] == ["Add"]
    np.testing.assert_array_equal(found == 0, ~stored.nonzero.reshape(found.shape))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_integers_stay_integers(encoding, tmp_path):
    codes = np.where(np.arange(90) % 4 == 0, np.arange(90) - 45, 0).astype(np.int8)
    stored = Stored("int8", codes, 0, codes != 0, (9, 10), as_is=True)
    chain = make_chain("layer/kernel", stored, encoding)
    model = graph_model(np.zeros((9, 10), np.int8))
    # Adding int8 is no kernel of ONNX Runtime; turning it to float32 is.
    model.graph.node[0].CopyFrom(helper.make_node("Cast", ["layer/kernel"], ["y"], to=1))
    model.graph.output[0].type.tensor_type.elem_type = 1
    insert(model.graph, [chain])

    found = run(model, np.zeros((9, 10), np.int8))

    np.testing.assert_array_equal(found, codes.reshape(9, 10))


@settings(max_examples=40, deadline=None)
@given(
    positions=st.sets(st.integers(0, 1999), max_size=60),
    size=st.integers(2000, 2017),
    kind=st.sampled_from(sorted(KINDS)),
    encoding=st.sampled_from(ENCODINGS),
)
def test_any_places_of_the_values_come_back(positions, size, kind, encoding):
    values = np.zeros((1, size), np.float32)
    values[0, sorted(positions)] = np.linspace(-1, 1, len(positions)) + 2
    stored = KINDS[kind](FloatWeight("layer/kernel", values, 0))
    if make_chain("layer/kernel", stored, encoding) is not None:
        np.testing.assert_array_equal(decoded(stored, encoding), meant(stored))


@pytest.mark.parametrize("kind", ["float32", "int8", "codebook4"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_bytes_of_a_chain_are_those_that_the_file_grows_by(kind, encoding):
    stored = KINDS[kind](FloatWeight("layer/kernel", sparse((64, 50), 0.7), 1))
    chain = make_chain("layer/kernel", stored, encoding)
    if chain is None:
        return
    model = graph_model(meant(stored))
    del model.graph.initializer[:]
    nothing = model.graph.ByteSize()
    model.graph.initializer.append(numpy_helper.from_array(meant(stored), "layer/kernel"))
    insert(model.graph, [chain])

    assert model.graph.ByteSize() - nothing == chain.file_bytes
    assert chain.payload_bytes <= chain.file_bytes


def test_many_chains_take_the_bytes_of_each_and_what_they_share_once():
    values = sparse((64, 50), 0.7)
    model = graph_model(values)
    del model.graph.initializer[:]
    names = [f"layer_{number}/kernel" for number in range(100)] + ["v00", "v01"]
    nothing = model.graph.ByteSize()
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name in names)
    chains = [make_chain(name, store_codebook(values, zero=True), "gap4") for name in names]
    alone = [chain.file_bytes for chain in chains]
    shared = sum(2 + part.ByteSize() for part in chains[0].shared.values())

    insert(model.graph, chains)

    grown = model.graph.ByteSize() - nothing
    assert grown <= sum(alone) - (len(alone) - 1) * shared + 16
    made = [name for node in model.graph.node for name in node.output]
    assert len(set(made)) == len(made) and {"v00", "v01"} <= set(made)
    # A step of a chain is named in few bytes: it is in the file twice.
    assert max(len(name) for name in set(made) - set(names)) <= 6


@pytest.mark.parametrize(
    ("encodings", "expected"),
    [
        (
            ("dense", "gap8", "gap4", "bitmask"),
            {0.0: "dense", 0.5: "bitmask", 0.9: "gap4", 0.98: "gap8"},
        ),
        (CHOSEN_FROM, {0.0: "dense", 0.5: "bitmask", 0.9: "golomb", 0.98: "golomb"}),
    ],
)
def test_the_smallest_encoding_changes_with_sparsity(encodings, expected):
    chosen = {}
    for sparsity in (0.0, 0.5, 0.9, 0.98):
        weight = FloatWeight("layer/kernel", sparse((400, 300), sparsity), 1)
        options = [store_codebook(weight.values, zero=zero) for zero in (True, False)]
        chosen[sparsity] = choose(weight.name, options, encodings)

    assert {s: chain.encoding for s, chain in chosen.items()} == expected
    sizes = [chain.file_bytes for chain in chosen.values()]
    assert sizes == sorted(sizes, reverse=True)
    # Two values a byte, and next to nothing beside them.
    assert sizes[0] < 400 * 300 / 2 + 1000


@pytest.mark.parametrize("sparsity", [0.8, 0.9, 0.95, 0.98])
def test_golomb_codes_come_within_a_fifth_of_a_bit_of_the_entropy_of_the_places(sparsity):
    stored = store_codebook(sparse((400, 300), sparsity), zero=True)
    chain = make_chain("layer/kernel", stored, "golomb")
    assert chain is not None
    kept = int(stored.nonzero.sum())
    share = kept / stored.nonzero.size
    entropy = -math.log2(share) - (1 - share) / share * math.log2(1 - share)
    assert 8 * (chain.payload_bytes - 4 * 16) / kept < entropy + 4 + 0.2


@pytest.mark.parametrize(("size", "kind"), [(500, "int8"), (600, "codebook4"), (9000, "codebook4")])
def test_small_kernels_get_a_codebook_where_its_table_pays(size, kind):
    weight = FloatWeight("fc2/kernel", sparse((size // 10, 10), 0.5), 1)
    chain = choose(weight.name, value_types(weight, "codebook"), CHOSEN_FROM)
    assert chain.stored.kind == kind


def test_five_values_of_a_ternary_tensor_take_a_byte():
    stored = store_ternary(FloatWeight("fc1/kernel", sparse((200, 100), 0.3), 1), zero=True)
    chain = make_chain("fc1/kernel", stored, "dense")
    assert chain is not None
    assert chain.payload_bytes == 200 * 100 / 5 + 4 * 3 + 4 * 100


def test_no_chain_is_chosen_that_is_larger_than_the_plain_tensor():
    for size, sparsity in itertools.product((8, 60, 100, 150, 300), (0, 0.5, 0.95)):
        full = store_float(sparse((size,), sparsity), np.float32)
        chain = choose("b", [full], ENCODINGS[:-1])
        plain = make_chain("b", full, "dense")
        assert plain is not None and chain.file_bytes <= plain.file_bytes
        if size == 8:
            assert not chain.nodes


def test_the_last_node_of_a_chain_says_the_encoding_and_makes_the_tensor():
    for encoding in ("golomb", "gap8", "gap4", "bitmask"):
        stored = store_int8(FloatWeight("fc1/kernel", sparse((40, 30), 0.9), 1))
        chain = make_chain("fc1/kernel", stored, encoding)
        assert chain is not None
        assert chain.nodes[-1].name == f"decode/{encoding}/fc1/kernel"
        assert list(chain.nodes[-1].output) == ["fc1/kernel"]


def test_four_bits_and_sparse_initializers_do_not_go_together(rejected):
    option = store_codebook(sparse((40, 30), 0.9), zero=True)
    message = rejected(UsageError, choose, "fc1/kernel", [option], ["sparse-initializer"])
    assert "fc1/kernel" in message


def test_weights_that_are_not_finite_are_refused(rejected):
    values = sparse((40, 30), 0.5)
    values[3, 4] = np.inf
    assert "finite" in rejected(ModelError, store_int8, FloatWeight("fc1/kernel", values, 1))
