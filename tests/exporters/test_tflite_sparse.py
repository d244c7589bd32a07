"""Sparse tensors: what is written decodes to what was given, and LiteRT computes with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from layer_graphs import VECTOR, decode, decoded, layer_graph, run

from compressor.exporters.request import Request
from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.sparsity import (
    Layout,
    pack,
    plain,
    smallest,
    smallest_blocks,
    stored_bytes,
)
from compressor.exporters.tflite.weights import encode_weights


@st.composite
def sparse_arrays(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.lists(st.integers(1, 20), min_size=1, max_size=4))
    density = draw(st.sampled_from([0.0, 0.02, 0.3, 1.0]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = generator.integers(1, 127, shape) * (generator.random(shape) < density)
    empty = draw(st.integers(0, len(shape) - 1))
    values = np.moveaxis(values, empty, 0)
    values[:: draw(st.integers(1, 3))] = 0  # whole rows of some axis
    return np.moveaxis(values, 0, empty).astype(draw(st.sampled_from([np.int8, np.float32])))


def index_bytes(sparsity) -> int:
    levels = [level for level in sparsity.dimMetadata if level.arraySegments is not None]
    return sum(
        np.asarray(vector.values).nbytes
        for level in levels
        for vector in (level.arraySegments, level.arrayIndices)
    )


@given(sparse_arrays())
@settings(max_examples=150, deadline=None)
def test_any_array_comes_back_from_every_layout_in_the_bytes_that_were_promised(array):
    layouts = [plain(array.ndim), smallest(array != 0, array.itemsize)[0]]
    layouts += [Layout((*range(1, array.ndim), 0))]
    if array.ndim > 1:
        layouts += [Layout(tuple(range(array.ndim))[::-1], compressed=2)]
    blocks = smallest_blocks(array != 0, array.itemsize)
    if blocks is not None:
        layouts.append(blocks[0])
    for layout in layouts:
        values, sparsity = pack(array, layout)
        np.testing.assert_array_equal(decode(values, sparsity, array.shape), array)
        promised = stored_bytes(array != 0, layout, array.itemsize)
        assert values.nbytes + index_bytes(sparsity) == promised


def test_the_smallest_layout_has_indices_of_one_byte_where_an_axis_allows_it():
    generator = np.random.default_rng(0)
    nonzero = generator.random((250, 1024)) < 0.1
    layout, size = smallest(nonzero, 1)
    assert size < stored_bytes(nonzero, plain(2), 1)
    _, sparsity = pack(nonzero.astype(np.int8), layout)
    assert sparsity.dimMetadata[-1].arrayIndices.values.dtype == np.uint8
    assert size < 2.05 * np.count_nonzero(nonzero) + 2 * 1024


def test_rows_that_are_all_zero_take_no_segments():
    nonzero = np.zeros((5000, 40), bool)
    nonzero[::1000] = True
    _, size = smallest(nonzero, 1)
    assert size < 5 * 40 * 2 + 100


SHAPES = {
    "zeros": (12, 40, 0.0),
    "one value": (12, 40, 1 / 480),
    "dense": (12, 40, 1.0),
    "one column": (300, 1, 0.3),
    "prime": (67, 1021, 0.1),
    "wide": (40, 3000, 0.05),
    "over 65535 values": (290, 1500, 0.2),
}


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("batch", [1, 5])
def test_litert_computes_the_same_from_sparse_weights_as_from_dense_ones(case, batch):
    units, columns, density = SHAPES[case]
    generator = np.random.default_rng(units + columns)
    weights = generator.normal(size=(units, columns)).astype(np.float32)
    weights *= generator.random(weights.shape) < density
    weights[::7] = 0
    bias = generator.normal(size=units).astype(np.float32)
    inputs = generator.normal(size=(batch, columns)).astype(np.float32)
    dense = run(layer_graph(VECTOR, weights, bias, (columns,)), inputs)

    graph = layer_graph(VECTOR, weights, bias, (columns,))
    tensors, _ = encode_weights(graph, {}, Request("litert"))
    kernel = next(tensor for tensor in tensors if tensor.shape == weights.shape)
    if kernel.encoding == "csr-kernel":  # it adds in another order
        np.testing.assert_allclose(run(graph, inputs), dense, rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_array_equal(run(graph, inputs), dense)
    assert kernel.zeros == np.count_nonzero(weights == 0)
    assert (kernel.encoding == "dense") == (density == 1)
    if density < 1:
        assert kernel.bytes < 7 * (weights.size - kernel.zeros) + 8 * (units + columns)


def test_a_large_layer_is_computed_in_parts_to_the_bit_and_its_positions_take_one_byte():
    generator = np.random.default_rng(3)
    weights = generator.normal(size=(700, 2200)).astype(np.float32)
    weights *= generator.random(weights.shape) < 0.1
    bias = generator.normal(size=700).astype(np.float32)
    inputs = generator.normal(size=(3, 2200)).astype(np.float32)
    dense = run(layer_graph(VECTOR, weights, bias, (2200,)), inputs)

    graph = layer_graph(VECTOR, weights, bias, (2200,))
    (kernel, *_), _ = encode_weights(graph, {}, Request("litert"))
    np.testing.assert_array_equal(run(graph, inputs), dense)
    assert kernel.bytes < 5.2 * np.count_nonzero(weights) + 4 * 4 * 2201
    assert len(graphs.write_graph(graph)) < kernel.bytes + 8_000

    tensors = graphs.main(graph).tensors
    parts = [number for number, tensor in enumerate(tensors) if tensor.sparsity is not None]
    assert len(parts) >= 3
    np.testing.assert_array_equal(np.concatenate([decoded(graph, n) for n in parts]), weights)


@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int4", "none"])
def test_a_weight_that_is_zero_stays_zero(quantize):
    generator = np.random.default_rng(4)
    weights = generator.normal(size=(64, 200)).astype(np.float32)
    weights *= generator.random(weights.shape) < 0.1
    graph = layer_graph(VECTOR, weights, None, (200,))
    (kernel,), _ = encode_weights(graph, {}, Request("litert", quantize=quantize))
    # Whatever comes in where all weights are zero, nothing goes out.
    column = np.flatnonzero((weights == 0).mean(axis=0) > 0.8)[0]
    inputs = np.zeros((1, 200), np.float32)
    inputs[0, column] = 1000.0
    outputs = run(graph, inputs)
    assert (outputs[0][weights[:, column] == 0] == 0).all()
    assert kernel.zeros >= np.count_nonzero(weights == 0)
