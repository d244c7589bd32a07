"""What a weight is stored as for each aim in LiteRT, and what the smallest costs in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_graphs import VECTOR, integer_graph, layer_graph, run

from compressor.exporters.request import Request
from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.price import Price
from compressor.exporters.tflite.weights import encode_weights


def sparse(shape: tuple[int, int], density: float, block: int = 1) -> np.ndarray:
    """Weights of which a fraction is not zero, in blocks along the inputs."""
    generator = np.random.default_rng(3)
    weights = generator.uniform(0.2, 1, shape) * generator.choice([-1, 1], shape)
    kept = np.repeat(generator.random((shape[0], shape[1] // block)) < density, block, axis=1)
    return (weights * kept).astype(np.float32)


def layer(weights: np.ndarray, quantize: Any) -> Any:
    """The graph of a fully connected layer, with dense weights."""
    if quantize == "int8":
        integers = np.rint(127 * weights).astype(np.int8)
        scale = np.full(1, 0.01, np.float32)
        return integer_graph(VECTOR, integers, scale, weights.shape[1:], 0.5)
    return layer_graph(VECTOR, weights, np.zeros(len(weights), np.float32), weights.shape[1:])


def stored(weights: np.ndarray, quantize: Any, aim: Any) -> tuple[Any, Any]:
    """The description of the weights of a fully connected layer, and its graph."""
    graph = layer(weights, quantize)
    (kernel, *_), _ = encode_weights(graph, {}, Request("litert", quantize, aim))
    return kernel, graph


def is_convolution(graph: Any) -> bool:
    """Whether the layer has become one over several positions."""
    main = graphs.main(graph)
    names = {graphs.operator_name(graph, operator): operator for operator in main.operators}
    if "CONV_2D" not in names:
        return False
    kernel = main.tensors[graphs.indices(names["CONV_2D"].inputs)[1]]
    return max(kernel.shape[1:3]) > 1


@pytest.mark.parametrize("density", [0.5, 0.3, 0.1, 0.03])
@pytest.mark.parametrize("quantize", ["dynamic", "int4"])
def test_balanced_weights_are_read_by_the_kernels_of_the_stock_converter_s_file(density, quantize):
    """Which take a quarter of the time of weights that are decoded to float32."""
    weights = sparse((128, 512), density)

    kernel, graph = stored(weights, quantize, "balanced")

    assert kernel.encoding == "dense" and kernel.values == {"dynamic": "int8"}.get(quantize, "int4")
    names = [graphs.operator_name(graph, operator) for operator in graphs.main(graph).operators]
    assert names == ["FULLY_CONNECTED"]
    x = np.random.default_rng(1).random((2, 512), np.float32)
    error = np.abs(run(graph, x) - x @ weights.T).max() / np.abs(x @ weights.T).max()
    assert error < {"dynamic": 0.02, "int4": 0.2}[quantize]
    smallest, _ = stored(weights, quantize, "size")
    assert smallest.bytes <= kernel.bytes


@pytest.mark.parametrize("quantize", ["none", "float16", "int8"])
def test_balanced_weights_stay_sparse_where_decoded_ones_are_as_fast(quantize):
    weights = sparse((128, 512), 0.1)

    kernel, _ = stored(weights, quantize, "balanced")

    assert kernel.encoding == "csr"
    assert kernel.bytes < 1.2 * stored(weights, quantize, "size")[0].bytes


def test_balanced_weights_in_blocks_are_read_by_the_kernels_that_skip_them():
    assert stored(sparse((128, 512), 0.1, 16), "dynamic", "balanced")[0].encoding == "1x16"
    assert stored(sparse((128, 512), 0.1, 4), "none", "balanced")[0].encoding == "1x4"
    # A kernel that takes three times the bytes is not what balances, however fast.
    assert stored(sparse((128, 512), 0.03), "none", "balanced")[0].encoding != "1x4"


@pytest.mark.parametrize(
    ("shape", "density", "saves"), [((128, 1000), 0.1, False), ((61, 784), 0.03, True)]
)
def test_windows_are_taken_unasked_only_where_they_save_a_tenth(shape, density, saves):
    weights = sparse(shape, density)
    found = {aim: stored(weights, "int8", aim) for aim in ("size", "balanced", "latency")}

    windows = {aim: is_convolution(graph) for aim, (_, graph) in found.items()}

    assert windows == {"size": True, "balanced": saves, "latency": False}
    small, large = found["size"][0].bytes, found["latency"][0].bytes
    assert (small < 0.9 * large) == saves
    assert is_convolution(stored(weights, "none", "size")[1])
    kernel, graph = stored(weights, "dynamic", "size")
    assert is_convolution(graph) or (kernel.encoding == "golomb" and kernel.bytes < 0.8 * small)


def test_an_encoding_that_is_asked_for_stays_however_slow():
    graph = layer(sparse((128, 512), 0.1), "dynamic")
    request = Request("litert", "dynamic", "balanced", "csr")

    (kernel, *_), _ = encode_weights(graph, {}, request)

    assert kernel.encoding == "csr"


@pytest.mark.parametrize(
    ("aim", "quantize", "told"),
    [
        ("size", "dynamic", ("takes about 3.7 times as long", "--optimize latency")),
        ("size", "none", ()),
        ("size", "int8", ()),
        ("balanced", "dynamic", ("--optimize size",)),
        ("balanced", "none", ()),
    ],
)
def test_a_file_says_what_the_other_aim_would_give(aim, quantize, told):
    weights = sparse((128, 512), 0.1)
    graph, price = layer(weights, quantize), Price()

    encode_weights(graph, {}, Request("litert", quantize, aim), price=price)

    size = len(graphs.write_graph(graph))
    said = price.told(size, aim)
    assert bool(said) == bool(told)
    if told:
        assert all(part in said for part in told)
        other = "latency" if aim == "size" else "size"
        measured = len(graphs.write_graph(stored(weights, quantize, other)[1]))
        named = size + (price.more_bytes if aim == "size" else -price.fewer_bytes)
        assert abs(named - measured) < 600
        assert f"about {named:,} bytes" in said
