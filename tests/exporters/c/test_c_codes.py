"""Storage of weights in C code: which is chosen, what it takes, and that values keep accuracy."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from drawn_networks import Drawing, drawn_network

from compressor.exporters.c import bits, reference
from compressor.exporters.c.coding import FIXED, HUFFMAN, Coded, coded
from compressor.exporters.c.emission import Source, emit
from compressor.exporters.c.narrowing import fewer_bits
from compressor.exporters.c.network import Dense, Network
from compressor.exporters.reference import Reference
from compressor.models import Objective


def sparse_dense(seed: int, density: float, most: int = 127, units: int = 60) -> Network:
    """One fully connected layer behind a map of 28 x 28."""
    drawing = Drawing(seed)
    drawing.tensors[0] = dataclasses.replace(drawing.tensors[0], shape=(1, 1, 784))
    random = np.random.default_rng(seed)
    kernel = random.integers(-most, most + 1, (units, 784)) * (
        random.random((units, 784)) < density
    )
    kernel = kernel.astype(np.int8)
    drawing.add(
        (1, 1, units),
        lambda output, zero: Dense(
            (0,), output, kernel, drawing.bias(units), drawing.rescale(kernel, zero)
        ),
    )
    return drawing.network()


def emitted(network: Network, target: str, optimize: str) -> Source:
    shape = network.tensors[network.input].shape
    inputs = np.zeros((1, *shape), np.int8)
    return emit(network, "net", target, optimize, (inputs, reference.run(network, inputs)))


def decoded(code: Coded, size: int) -> np.ndarray:
    """As the C code decodes, bit by bit."""
    stream = "".join(f"{byte:08b}" for byte in code.bits.tolist())
    found = np.zeros(size, np.int64)
    at, place, value = code.first
    for _ in range(code.weights):
        found[place] = value
        ones = stream.index("0", at) - at
        at += ones + 1
        rest = int(stream[at : at + code.rice] or "0", 2)
        at += code.rice
        place += (ones << code.rice) + rest + 1
        if code.width:
            value = int(stream[at : at + code.width], 2) - (1 << (code.width - 1))
            at += code.width
            continue
        symbol = first = 0
        for length, words in enumerate(code.words.tolist(), 1):
            word = int(stream[at : at + length], 2) - first
            if word < words:
                break
            symbol, first = symbol + words, (first + words) << 1
        else:
            pytest.fail("no word of the code begins so")
        value = int(code.symbols[symbol + word])
        at += length
    assert place == size
    return found


@pytest.mark.parametrize("values", [FIXED, HUFFMAN])
@pytest.mark.parametrize("density", [0.0, 0.0005, 0.03, 0.5, 1.0])
def test_a_code_gives_back_its_weights(values: str, density: float) -> None:
    random = np.random.default_rng(5)
    weights = random.integers(-128, 128, 5000) * (random.random(5000) < density)
    code = coded(weights.astype(np.int8), values)
    assert np.array_equal(decoded(code, 5000), weights)


def test_a_code_with_256_words_of_one_length_gives_back_its_weights() -> None:
    # The longest gap takes about as many weights of zero as each value has of its own.
    values = np.delete(np.arange(-128, 128), 128)
    weights = np.concatenate([np.tile(values, 50), np.zeros(1500, np.int64), np.tile(values, 50)])
    code = coded(weights.astype(np.int8), HUFFMAN)
    assert code.weights > np.count_nonzero(weights) + 50
    assert np.array_equal(decoded(code, weights.size), weights)


def test_codes_of_few_values_come_near_their_entropy() -> None:
    random = np.random.default_rng(6)
    present = random.random(50_000) < 0.05
    values = random.choice([-2, -1, 1, 2], 50_000, p=[0.1, 0.4, 0.4, 0.1])
    code = coded((values * present).astype(np.int8), HUFFMAN)
    # 5.73 bits of a position at 5 %, and 1.72 of a value, by Shannon; Rice takes 5.79.
    assert 8 * code.bytes / present.sum() < 5.79 + 1.8 + 0.15


def test_the_size_takes_rice_and_huffman_and_the_latency_what_is_not_decoded() -> None:
    network = sparse_dense(1, 0.03, most=15)
    small, fast = (emitted(network, "cortex-m4", aim).rows[0] for aim in ("size", "latency"))
    assert small.encoding.startswith("Rice") and fast.encoding == "8-bit gaps"
    assert small.bytes < 0.9 * fast.bytes


def test_few_values_share_a_byte_with_their_gaps() -> None:
    row = emitted(sparse_dense(2, 0.2, most=3), "cortex-m4", "latency").rows[0]
    assert row.encoding == "5-bit gaps, 3-bit values"
    assert row.bytes <= 1.1 * (np.prod(row.shape) - row.zeros)


def test_gaps_get_a_byte_of_their_own_where_those_in_one_need_many_weights_of_zero() -> None:
    # At 6 % of the weights every other gap is too long for 4 bits; a record takes 10 instructions
    # in one byte, and 7 in two.
    row = emitted(sparse_dense(2, 0.06, most=7), "cortex-m4", "latency").rows[0]
    kept = int(np.prod(row.shape)) - row.zeros
    assert row.encoding == "8-bit gaps" and row.macs <= 1.01 * kept


def test_a_host_decodes_nothing() -> None:
    assert emitted(sparse_dense(3, 0.03), "host", "size").rows[0].encoding == "8-bit gaps"


def test_a_host_lists_inputs_for_the_latency() -> None:
    rows = [emitted(sparse_dense(3, part), "host", "latency").rows[0] for part in (0.03, 0.5)]
    assert [row.encoding for row in rows] == ["16-bit inputs", "dense"]


def test_a_dense_layer_stays_dense() -> None:
    assert emitted(sparse_dense(4, 1.0), "cortex-m4", "latency").rows[0].encoding == "dense"


def scored(network: Network, count: int) -> tuple[Reference, np.ndarray]:
    """Examples whose labels are the network's own classes."""
    shape = network.tensors[network.input].shape
    inputs = np.random.default_rng(7).integers(-128, 128, (count, *shape)).astype(np.int8)
    made = network.tensors[network.output]
    levels = reference.run(network, inputs).reshape(count, -1).astype(float)
    scores = (levels - made.zero) * made.scale
    objective = Objective.of_classes(scores.shape[1], "logits")
    labels = scores.argmax(axis=1).astype(np.int64)
    feed: Any = SimpleNamespace()
    return Reference(inputs, feed, scores.astype(np.float32), labels, objective), inputs


def _own(few: Reference) -> np.ndarray:
    return few.scores


def test_values_keep_their_bits_where_outputs_would_leave_those_of_plain_kernels() -> None:
    network = sparse_dense(8, 0.2, units=4)
    examples, inputs = scored(network, 600)
    elsewhere = bits.narrow_values(network, examples, inputs, "size", lambda few: -few.scores)
    assert elsewhere is network


def test_values_lose_bits_only_as_long_as_validation_data_keep_their_classes() -> None:
    network = sparse_dense(8, 0.2, units=4)
    examples, inputs = scored(network, 600)
    found = bits.narrow_values(network, examples, inputs, "size", _own)
    kept, coarse = (
        float(np.mean(reference.run(one, inputs).reshape(600, -1).argmax(1) == examples.labels))
        for one in (found, fewer_bits(network, network.output, 2))
    )
    last: list[Any] = [one.layers[-1] for one in (network, found)]
    levels = [np.abs(layer.kernel.astype(int)).max() for layer in last]
    assert coarse < 0.95 < 0.998 <= kept
    assert levels[1] <= levels[0]


def test_without_labels_values_keep_their_bits() -> None:
    network = sparse_dense(9, 0.2, units=4)
    examples, inputs = scored(network, 600)
    examples = dataclasses.replace(examples, labels=None)
    assert bits.narrow_values(network, examples, inputs, "size", _own) is network


def test_the_stack_and_the_workspace_are_stated() -> None:
    source = emitted(drawn_network(1), "cortex-m4", "size")
    header = source.files["net.h"]
    assert f"#define NET_STACK_SIZE {source.stack}\n" in header
    assert f"#define NET_WORKSPACE_SIZE {source.workspace}\n" in header
