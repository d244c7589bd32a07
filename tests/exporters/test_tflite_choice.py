"""Every way of storing weights that the table promises, run in LiteRT and compared with numpy."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from layer_graphs import DEPTHWISE, IMAGE, VECTOR, expected, integer_graph, layer_graph, run

import compressor
from compressor.data import Dataset
from compressor.exporters.quantization import quantize_least_squares, quantize_symmetric
from compressor.exporters.request import Request
from compressor.exporters.tflite import choice, golomb, graph as graphs
from compressor.exporters.tflite.candidates import candidates
from compressor.exporters.tflite.choice import ENCODINGS, INTEGER, Candidate, WeightEncoding
from compressor.exporters.tflite.convert import convert
from compressor.exporters.tflite.passes import fix_reshapes
from compressor.exporters.tflite.weight import encodable_weights
from compressor.exporters.tflite.weights import encode_weights, write

QUANTIZATIONS = ("none", "float16", "dynamic", "int4")
SHAPES = {
    VECTOR: ((48, 320), (320,)),
    IMAGE: ((24, 5, 5, 16), (14, 14, 16)),
    DEPTHWISE: ((1, 3, 3, 48), (7, 7, 48)),
}


def sparse_weights(shape: tuple[int, ...]) -> np.ndarray:
    """Normal weights in blocks of 16, a third of which is not zero, so that all encodings fit."""
    generator = np.random.default_rng(len(shape))
    weights = generator.normal(size=shape).astype(np.float32)
    kept = generator.random((weights.size // 16, 1)) < 0.3
    return (weights.reshape(-1, 16) * kept).reshape(shape)


def float_cases() -> list[tuple[str, str, WeightEncoding]]:
    cases = []
    for kind in SHAPES:
        encodings = dict.fromkeys(choice.DECODED[kind] + choice.KERNELS.get(("litert", kind), ()))
        for encoding in encodings:
            quantize = {"float16": "float16", "int8": "dynamic", "int4": "int4"}
            cases.append((kind, quantize.get(encoding.values, "none"), encoding))
    return cases


def case_name(value: Any) -> str | None:
    if isinstance(value, WeightEncoding):
        kernel = "kernel" if value.in_kernel else "decoded"
        return f"{value.name}-{value.values}-{kernel}"
    return None


def pick(
    graph: Any, runtime: str, quantize: Any, encoding: WeightEncoding
) -> tuple[Any, Candidate]:
    (weight,) = encodable_weights(graph)
    found = [c for c in candidates(weight, runtime, quantize) if c.encoding == encoding]
    assert found, f"{encoding} is not offered"
    return weight, found[0]


@pytest.mark.parametrize(("kind", "quantize", "encoding"), float_cases(), ids=case_name)
@pytest.mark.parametrize("batch", [1, 3])
def test_litert_is_right_with_every_encoding_in_float32_graphs(kind, quantize, encoding, batch):
    shape, inputs = SHAPES[kind]
    weights = sparse_weights(shape)
    units = shape[3] if kind == DEPTHWISE else shape[0]
    bias = np.linspace(-1, 1, units, dtype=np.float32)
    graph = layer_graph(kind, weights, bias, inputs)
    weight, candidate = pick(graph, "litert", quantize, encoding)
    described = write(graph, "kernel", weight, candidate)
    examples = np.random.default_rng(1).normal(size=(batch, *inputs)).astype(np.float32)
    examples = np.maximum(examples, -0.5)  # not symmetric, as after an activation
    right = expected(kind, weights, bias, examples)
    error = np.abs(run(graph, examples) - right).max() / np.abs(right).max()
    # Rounded weights, and inputs where the kernel is hybrid; garbage is off by much more.
    assert error < {"float32": 1e-5, "float16": 1e-3, "int8": 2e-2, "int4": 0.2}[encoding.values]
    if encoding.values == "float32":
        assert described.zeros == np.count_nonzero(weights == 0)
    assert described.encoding == encoding.name and described.values == encoding.values
    size = len(graphs.write_graph(graph))
    around = golomb.OVERHEAD if encoding.name == "golomb" else 1800
    assert described.bytes <= size <= described.bytes + around + 4 * units


@pytest.mark.parametrize("kind", [VECTOR, IMAGE])
@pytest.mark.parametrize("scales", ["tensor", "channel"])
@pytest.mark.parametrize("batch", [1, 3])
def test_litert_is_right_with_every_encoding_in_integer_graphs(kind, scales, batch):
    shape, inputs = SHAPES[kind]
    floats = sparse_weights(shape)
    largest = np.abs(floats).max(axis=tuple(range(1, floats.ndim)), keepdims=True)
    scale = (largest if scales == "channel" else largest.max(keepdims=True)) / np.float32(127)
    integers = np.rint(floats / np.maximum(scale, 1e-6)).astype(np.int8)
    scale = np.maximum(scale, np.float32(1e-6)).reshape(-1)
    examples = np.random.default_rng(1).uniform(-4, 4, (batch, *inputs)).astype(np.float32)
    right = expected(kind, integers * scale.reshape(-1, *[1] * (floats.ndim - 1)), None, examples)
    output_scale = float(np.abs(right).max() / 127)
    graph = integer_graph(kind, integers, scale, inputs, output_scale)
    dense = run(graph, examples)
    assert np.abs(dense - right).max() < 4 * output_scale
    for encoding in INTEGER["litert", kind]:
        encoded = copy.deepcopy(graph)
        write(encoded, "kernel", *pick(encoded, "litert", "int8", encoding))
        difference = np.abs(run(encoded, examples) - dense).max()
        assert difference <= (1.01 * output_scale if encoding.in_kernel else 0), encoding
        if encoding.sparse:
            assert len(graphs.write_graph(encoded)) < len(graphs.write_graph(graph))


def test_an_integer_layer_in_parts_is_exact():
    generator = np.random.default_rng(8)
    integers = generator.integers(-127, 128, (600, 1800)).astype(np.int8)
    integers[generator.random(integers.shape) < 0.9] = 0
    scale = np.linspace(0.001, 0.01, 600, dtype=np.float32)
    graph = integer_graph(VECTOR, integers, scale, (1800,), 2.0)
    examples = generator.uniform(-4, 4, (2, 1800)).astype(np.float32)
    dense = run(graph, examples)
    tensors, _ = encode_weights(graph, {}, Request("litert", quantize="int8"))
    np.testing.assert_array_equal(run(graph, examples), dense)
    assert tensors[0].encoding == "csr"
    assert tensors[0].bytes < 2.1 * np.count_nonzero(integers) + 12 * 600
    assert sum(tensor.sparsity is not None for tensor in graphs.main(graph).tensors) >= 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_encoding_that_is_asked_for_is_used_where_it_fits(encoding):
    weights = sparse_weights((48, 320))
    quantize = "dynamic" if encoding in ("1x16", "golomb") else "none"
    graph = layer_graph(VECTOR, weights, None, (320,))
    request = Request("litert", quantize=quantize, encoding=encoding)
    (kernel,), notes = encode_weights(graph, {0: "x"}, request)
    assert (kernel.encoding, notes) == (encoding, ())


def test_what_an_encoding_does_not_fit_stays_dense_and_a_note_says_so():
    dense = np.random.default_rng(0).normal(size=(48, 320)).astype(np.float32)
    for weights, encoding in ((dense, "csr"), (sparse_weights((48, 320)), "1x16")):
        graph = layer_graph(VECTOR, weights, None, (320,))
        request = Request("litert", encoding=encoding)
        (kernel,), (note,) = encode_weights(graph, {1: "fc", 2: "fc"}, request)
        assert kernel.encoding == "dense" and encoding in note


def test_latency_takes_the_kernels_that_skip_zeros_where_they_pay():
    blocks = np.kron(np.random.default_rng(0).random((256, 20)) < 0.1, np.ones((1, 16)))
    weights = (blocks * np.random.default_rng(1).normal(size=blocks.shape)).astype(np.float32)
    found = {}
    for runtime, quantize in (
        ("litert", "none"),
        ("litert", "dynamic"),
        ("tflite-runtime", "none"),
    ):
        graph = layer_graph(VECTOR, weights, None, (320,))
        request = Request(runtime, quantize=quantize, optimize="latency")
        found[runtime, quantize] = encode_weights(graph, {}, request)[0][0].encoding
    assert found["litert", "none"] == "1x4"
    assert found["litert", "dynamic"] == "1x16"
    assert found["tflite-runtime", "none"] != "dense"


def test_no_encoding_is_chosen_that_is_slower_than_dense():
    slow = Candidate(WeightEncoding("1x4", "float32", version=8), 10, 0, time=1.2)
    dense = Candidate(WeightEncoding("dense", "float32"), 1000, 0, time=1.0)
    assert choice.best([slow, dense], "size") is dense
    assert choice.best([slow, dense], "size", "1x4") is slow


@pytest.mark.parametrize("static", [True, False])
def test_two_steps_of_decoding_are_left_out_where_they_would_run_at_every_call(static):
    operand = choice.Operand(VECTOR, 10_000, static=static)
    found = choice.encodings_for("tflite-runtime", operand, "dynamic")
    assert static == any(encoding.name == "csr" and encoding.values == "int8" for encoding in found)
    assert any(encoding.name == "csr" and encoding.values == "float32" for encoding in found)


def test_no_weight_is_chosen_that_takes_long_to_load():
    half = np.random.default_rng(0).random((64, 200)) < 0.5
    for encoding in (None, "csr"):
        graph = layer_graph(VECTOR, half.astype(np.float32), None, (200,))
        (kernel,), _ = encode_weights(graph, {}, Request("litert", encoding=encoding))
        assert kernel.encoding == (encoding or "dense")


@pytest.mark.parametrize("quantize", QUANTIZATIONS)
def test_a_weight_that_two_layers_share_is_encoded_once_and_right(quantize):
    weights = sparse_weights((320, 320)) / 8
    graph = layer_graph(VECTOR, weights, None, (320,))
    layer = graphs.main(graph).operators[0]
    middle = graphs.add_tensor(graph, None, (-1, 320), np.float32)
    first = copy.deepcopy(layer)
    first.outputs = np.asarray([middle], np.int32)
    graphs.replace_input(layer, 0, middle)
    graphs.main(graph).operators.insert(0, first)
    examples = np.random.default_rng(1).normal(size=(2, 320)).astype(np.float32)
    right = examples @ weights.T @ weights.T
    (kernel,), _ = encode_weights(graph, {}, Request("litert", quantize=quantize))
    error = np.abs(run(graph, examples) - right).max() / np.abs(right).max()
    assert kernel.bytes < weights.nbytes and error < (0.2 if kernel.values == "int4" else 0.05)


@pytest.fixture(scope="module")
def foreign(keras) -> dict[str, tuple[Any, Any, np.ndarray]]:
    """Models that nobody tuned this for, pruned: graph, outputs of Keras, and inputs."""
    layers = keras.layers
    keras.utils.set_random_seed(6)

    def mobile() -> Any:
        image = keras.Input((16, 16, 8))
        x = layers.Conv2D(32, 3, strides=2, padding="same", groups=2)(image)
        x = layers.DepthwiseConv2D(3, padding="same")(x)
        x = layers.BatchNormalization()(layers.Conv2D(64, 1, use_bias=False)(x))
        x = layers.Conv2DTranspose(32, 3, strides=2, padding="same")(layers.ReLU(6.0)(x))
        x = layers.Dense(48)(layers.GlobalAveragePooling2D()(x))
        return keras.Model(image, layers.Dense(5)(x))

    def text() -> Any:
        tokens = keras.Input((12,), dtype="int32")
        x = layers.Embedding(500, 32)(tokens)
        x = layers.Dense(64, activation="relu")(x)
        return keras.Model(tokens, layers.Dense(5)(layers.LSTM(24)(x)))

    def attention() -> Any:
        steps = keras.Input((6, 32))
        x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 16)(steps, steps) + steps)
        return keras.Model(steps, layers.Dense(700)(layers.Flatten()(x)))

    def volume() -> Any:
        video = keras.Input((5, 5, 5, 16))
        x = layers.Conv3D(32, 3, activation="relu")(video)
        return keras.Model(video, layers.Flatten()(layers.Conv3DTranspose(16, 3)(x)))

    generator = np.random.default_rng(7)
    examples = {
        "volume": (volume(), generator.normal(size=(4, 5, 5, 5, 16)).astype(np.float32)),
        "mobile": (mobile(), generator.normal(size=(4, 16, 16, 8)).astype(np.float32)),
        "text": (text(), generator.integers(0, 500, (4, 12)).astype(np.int32)),
        "attention": (attention(), generator.normal(size=(4, 6, 32)).astype(np.float32)),
    }
    found = {}
    for name, (model, inputs) in examples.items():
        for weight in model.weights:
            values = weight.numpy()
            if values.ndim > 1:
                weight.assign(values * (generator.random(values.shape) < 0.15))
        graph = convert(model)
        fix_reshapes(graph)
        found[name] = graph, model.predict(inputs, verbose=0), inputs
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobile", "text", "attention", "volume"])
@pytest.mark.parametrize("quantize", QUANTIZATIONS)
@pytest.mark.parametrize("optimize", ["size", "latency"])
def test_other_models_get_smaller_and_stay_right(foreign, name, quantize, optimize):
    plain, right, inputs = foreign[name]
    graph = copy.deepcopy(plain)
    request = Request("litert", quantize=quantize, optimize=optimize)
    encode_weights(graph, {}, request)
    error = np.abs(run(graph, inputs) - right).max() / np.abs(right).max()
    assert error < {"none": 1e-5, "float16": 3e-3, "dynamic": 4e-2, "int4": 0.3}[quantize]
    if optimize == "size" or quantize != "none":
        assert len(graphs.write_graph(graph)) < 0.8 * len(graphs.write_graph(plain))


def test_four_bits_lose_less_with_the_scale_of_least_squares():
    generator = np.random.default_rng(2)
    weights = generator.standard_t(3, size=(32, 400)).astype(np.float32)
    weights[generator.random(weights.shape) < 0.5] = 0
    weights[3] = 0
    best, plain = (
        quantize_least_squares(weights, axis=0),
        quantize_symmetric(weights, bits=4, axis=0),
    )
    lost = [np.square(found.dequantized() - weights).sum() for found in (best, plain)]
    assert lost[0] < 0.8 * lost[1]
    assert np.abs(best.values).max() <= 7 and not best.values[weights == 0].any()
    moved = quantize_least_squares(weights.T.copy(), axis=1)
    np.testing.assert_array_equal(moved.values, best.values.T)


def test_float16_is_left_out_where_it_would_lose_the_weights():
    shape, inputs = SHAPES[VECTOR]
    for scale, is_offered in ((1.0, True), (1e-20, False), (1e9, False)):
        weights = (sparse_weights(shape) * scale).astype(np.float32)
        (weight,) = encodable_weights(
            layer_graph(VECTOR, weights, np.zeros(48, np.float32), inputs)
        )
        found = {c.encoding.values for c in candidates(weight, "litert", "float16")}
        assert ("float16" in found) == is_offered and "float32" in found


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("quantize", "encoding"), [("none", "1x4"), ("dynamic", "1x16")])
def test_a_kernel_that_skips_zeros_reads_an_image_flattened_in_batches_and_threads(
    quantize: str, encoding: str, tmp_path: Path
) -> None:
    inputs = keras.Input((10, 10, 3))
    x = keras.layers.Conv2D(16, 3, activation="relu")(inputs)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(256, activation="relu", name="wide")(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    kernel, _ = model.get_layer("wide").weights
    blocks = np.random.default_rng(0).random((1024 // 16, 256)) < 0.1
    kernel.assign(kernel.numpy() * np.kron(blocks, np.ones((16, 1))))
    given = np.random.default_rng(1).random((64, 10, 10, 3), np.float32)
    labels = model.predict(given, verbose=0).argmax(axis=1)
    data = Dataset.from_arrays("made", given, labels, given, labels)
    record = compressor.export(
        model, tmp_path / "net.tflite", data, quantize=quantize, optimize="latency", threads=2
    )
    stored = {tensor["name"]: tensor["encoding"] for tensor in record["tensors"]}
    assert stored["wide/kernel"] == encoding
    assert record["verdict"]["passed"]
