"""What keeps TFLite files of small models small: positions, scales and tables of few bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_graphs import IMAGE, VECTOR, integer_graph, layer_graph, run

from compressor.exporters.request import Request
from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.passes import drop_dead_operators, skip_reshapes
from compressor.exporters.tflite.weights import encode_weights


def sparse(shape: tuple[int, ...], density: float, spread: float = 1.0) -> np.ndarray:
    """Weights of which a fraction is not zero; those of the first row are `spread` times larger."""
    generator = np.random.default_rng(len(shape))
    weights = generator.uniform(0.2, 1, shape) * generator.choice([-1, 1], shape)
    weights[0] *= spread
    return (weights * (generator.random(shape) < density)).astype(np.float32)


def reshaped(graph: Any, source: int, target: int, sizes: tuple[int, ...], at: int) -> None:
    shape = graphs.add_tensor(graph, None, (len(sizes),), np.int32, values=np.asarray(sizes))
    options = graphs.schema().ReshapeOptionsT(newShape=np.asarray(sizes, np.int32))
    graphs.add_operator(graph, "RESHAPE", [source, shape], [target], options=options, before=at)


def operators(graph: Any) -> list[str]:
    return [graphs.operator_name(graph, operator) for operator in graphs.main(graph).operators]


@pytest.mark.parametrize("quantize", ["none", "float16", "dynamic"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_position_among_many_inputs_takes_one_byte(quantize, batch):
    weights = sparse((61, 784), 0.03)
    bias = np.linspace(-1, 1, 61, dtype=np.float32)
    graph = layer_graph(VECTOR, weights, bias, (784,))
    inputs = np.random.default_rng(1).random((batch, 784), np.float32)
    right = inputs @ weights.T + bias
    (kernel, *_), _ = encode_weights(graph, {}, Request("litert", quantize))
    limit = {"none": 1e-6, "float16": 1e-3, "dynamic": 1e-2}[quantize]
    assert np.abs(run(graph, inputs) - right).max() < limit * np.abs(right).max()
    width = {"none": 4, "float16": 2, "dynamic": 1}[quantize]
    rows = 2 * (61 * 784 // 196 + 1)  # of a segment's end each
    assert kernel.bytes <= (width + 1) * np.count_nonzero(weights) + rows + 12


def test_an_integer_layer_of_many_inputs_is_exact_and_its_positions_take_one_byte():
    integers = np.rint(127 * sparse((61, 784), 0.03)).astype(np.int8)
    graph = integer_graph(VECTOR, integers, np.full(1, 0.01, np.float32), (784,), 0.5)
    inputs = np.random.default_rng(2).uniform(-4, 4, (3, 784)).astype(np.float32)
    dense = run(graph, inputs)
    (kernel, *_), _ = encode_weights(graph, {}, Request("litert", quantize="int8"))
    np.testing.assert_array_equal(run(graph, inputs), dense)
    assert kernel.bytes <= 2 * np.count_nonzero(integers) + 2 * 245 + 12


def test_for_the_latency_a_layer_stays_fully_connected():
    found = {}
    for aim in ("size", "latency"):
        graph = layer_graph(VECTOR, sparse((61, 784), 0.03), np.zeros(61, np.float32), (784,))
        encode_weights(graph, {}, Request("litert", optimize=aim))
        found[aim] = "CONV_2D" in operators(graph)
    assert found == {"size": True, "latency": False}


@pytest.mark.parametrize("kind", [VECTOR, IMAGE])
def test_rows_of_one_size_share_a_scale_and_others_keep_theirs(kind):
    shape, inputs = ((64, 200), (200,)) if kind == VECTOR else ((64, 3, 3, 8), (9, 9, 8))
    sizes, bias = {}, np.zeros(64, np.float32)
    for spread in (1.5, 20.0):
        graph = layer_graph(kind, sparse(shape, 0.1, spread), bias, inputs)
        (kernel, *_), _ = encode_weights(graph, {}, Request("litert", "dynamic"))
        examples = np.random.default_rng(3).random((2, *inputs), np.float32)
        plain = layer_graph(kind, sparse(shape, 0.1, spread), bias, inputs)
        right = run(plain, examples)
        assert np.abs(run(graph, examples) - right).max() < 0.02 * np.abs(right).max()
        sizes[spread] = kernel.bytes
    assert sizes[20.0] - sizes[1.5] == 63 * 12


def test_a_reshape_in_front_of_a_layer_that_needs_none_is_left_out():
    weights = sparse((10, 96), 1.0)
    graph = layer_graph(VECTOR, weights, None, (96,))
    main = graphs.main(graph)
    source = graphs.add_tensor(graph, "image", (-1, 4, 4, 6), np.float32)
    between = graphs.add_tensor(graph, None, (-1, 16, 6), np.float32)
    flat, main.inputs = int(main.inputs[0]), np.asarray([source], np.int32)
    reshaped(graph, between, flat, (-1, 96), 0)
    reshaped(graph, source, between, (-1, 16, 6), 0)
    inputs = np.random.default_rng(4).random((3, 4, 4, 6), np.float32)
    right, before = run(graph, inputs), len(graphs.write_graph(graph))
    skip_reshapes(graph)
    drop_dead_operators(graph)
    assert operators(graph) == ["FULLY_CONNECTED"]
    np.testing.assert_array_equal(run(graph, inputs), right)
    assert len(graphs.write_graph(graph)) < before - 100


def test_a_reshape_that_others_read_or_that_is_an_output_stays():
    weights = sparse((10, 96), 1.0)
    graph = layer_graph(VECTOR, weights, None, (96,))
    main = graphs.main(graph)
    source = graphs.add_tensor(graph, "image", (-1, 4, 4, 6), np.float32)
    flat, main.inputs = int(main.inputs[0]), np.asarray([source], np.int32)
    reshaped(graph, source, flat, (-1, 96), 0)
    main.outputs = np.asarray([*main.outputs, flat], np.int32)
    skip_reshapes(graph)
    drop_dead_operators(graph)
    assert sorted(operators(graph)) == ["FULLY_CONNECTED", "RESHAPE"]


def test_a_reshape_in_front_of_a_kernel_of_sparse_weights_stays():
    graph = layer_graph(VECTOR, np.kron(sparse((16, 8), 0.3), np.ones((1, 4))), None, (32,))
    encode_weights(graph, {}, Request("litert", encoding="1x4"))
    main = graphs.main(graph)
    source = graphs.add_tensor(graph, "image", (-1, 2, 4, 4), np.float32)
    flat, main.inputs = int(main.inputs[0]), np.asarray([source], np.int32)
    reshaped(graph, source, flat, (-1, 32), 0)
    skip_reshapes(graph)
    drop_dead_operators(graph)
    assert operators(graph) == ["RESHAPE", "FULLY_CONNECTED"]


def test_what_says_nothing_takes_no_bytes():
    weights = sparse((24, 3, 3, 24), 1.0)
    single = layer_graph(IMAGE, weights, np.zeros(24, np.float32), (8, 8, 24))
    deep = graphs.copied(single)
    main = graphs.main(deep)
    (layer,) = main.operators
    for _ in range(20):  # the same once more, with a range, options and a rank that say nothing
        (last,) = graphs.indices(main.outputs)
        more = graphs.add_tensor(deep, None, (-1, 8, 8, 24), np.float32)
        main.tensors[more].quantization = graphs.schema().QuantizationParametersT()
        twin = graphs.copied(deep).subgraphs[0].operators[0]
        twin.inputs = np.asarray([last, *layer.inputs[1:]], np.int32)
        twin.outputs = np.asarray([more], np.int32)
        main.operators.append(twin)
        main.outputs = np.asarray([more], np.int32)
    added = len(graphs.write_graph(deep)) - len(graphs.write_graph(single))
    assert added < 20 * 75
    inputs = np.random.default_rng(5).random((1, 8, 8, 24), np.float32)
    assert run(deep, inputs).shape == (1, 8, 8, 24)
