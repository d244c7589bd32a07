"""Full int8 TFLite graphs: their types, their zeros, and what they compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_files import dense_tflite, weights

import compressor as library
from compressor.errors import ModelError, UsageError
from compressor.exporters.tflite import convert, foreign, graph, names, operators, passes


@pytest.fixture(scope="module")
def sparse_net(keras) -> Any:
    """A convolution and two Dense layers, of which 70 % of the weights are zero."""
    layers = keras.layers
    keras.utils.set_random_seed(8)
    model = keras.Sequential(
        [
            keras.Input((10, 10, 2), name="picture"),
            layers.Conv2D(8, 3, activation="relu", name="conv"),
            layers.Flatten(),
            layers.Dense(48, activation="relu", name="hidden"),
            layers.Dense(5, name="head"),
        ]
    )
    generator = np.random.default_rng(9)
    for layer in model.layers:
        if layer.weights:
            kernel = layer.kernel.numpy()
            layer.kernel.assign(kernel * (generator.random(kernel.shape) < 0.3))
            layer.bias.assign(0.1 * generator.standard_normal(layer.bias.shape))
    return model


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(10).random((64, 10, 10, 2), np.float32)


def quantized(model: Any, calibration: list[np.ndarray], runtime: str = "litert") -> Any:
    found = convert.convert_int8(model, calibration, runtime)
    passes.fix_reshapes(found)
    passes.drop_dead_operators(found)
    passes.shorten_names(found, names.weight_names(found, model))
    return found


def weight(found: Any, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The integers of a weight, its scales, and its zero points."""
    tensors = graph.main(found).tensors
    index = next(place for place, tensor in enumerate(tensors) if tensor.name == name)
    quantization = tensors[index].quantization
    values = graph.constant(found, index)
    assert values is not None and values.dtype == np.int8
    return values, np.asarray(quantization.scale), np.asarray(quantization.zeroPoint)


def run(content: bytes, feeds: dict[str, np.ndarray]) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    found = Interpreter(model_content=content, num_threads=1)
    places = {detail["name"]: detail for detail in found.get_input_details()}
    for name, array in feeds.items():
        assert places[name]["dtype"] == array.dtype
        found.resize_tensor_input(places[name]["index"], array.shape)
    found.allocate_tensors()
    for name, array in feeds.items():
        found.set_tensor(places[name]["index"], array)
    found.invoke()
    return found.get_tensor(found.get_output_details()[0]["index"])


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_weights_are_int8_and_zeros_stay_exactly_zero(sparse_net, pictures, runtime):
    found = quantized(sparse_net, [pictures], runtime)
    for name, axes in {"conv": (3, 0, 1, 2), "hidden": (1, 0), "head": (1, 0)}.items():
        kernel = sparse_net.get_layer(name).kernel.numpy().transpose(axes)
        values, scale, zero_points = weight(found, f"{name}/kernel")
        assert not zero_points.any()
        assert not values[kernel == 0].any()
        # A fully connected layer has a scale a row, where the runtime takes it in sparse weights.
        one = runtime == "tflite-runtime" and name != "conv"
        assert scale.shape == ((1,) if one else (len(kernel),))
        restored = values * scale.reshape(-1, *[1] * (values.ndim - 1))
        assert np.abs(restored - kernel).max() <= 0.51 * scale.max()


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_a_file_takes_and_gives_float32_and_is_near_keras(sparse_net, pictures, runtime):
    content = graph.write_graph(quantized(sparse_net, [pictures], runtime))
    wanted = sparse_net(pictures).numpy()
    for count in (1, 7):
        given = run(content, {"picture": pictures[:count]})
        assert given.dtype == np.float32
        assert np.abs(given - wanted[:count]).max() <= 0.03 * np.abs(wanted).max()
    kernels = sum(layer.kernel.numpy().size for layer in sparse_net.layers if layer.weights)
    assert kernels < len(content) < kernels + 8000


def test_inputs_are_calibrated_in_the_order_of_the_model(keras):
    keras.utils.set_random_seed(2)
    large, codes = keras.Input((6,), name="z"), keras.Input((3,), dtype="int32", name="a")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(9, 4, name="table")(codes))
    x = keras.layers.Concatenate()([0.01 * large, embedded])
    model = keras.Model([large, codes], keras.layers.Dense(3, name="head")(x))
    generator = np.random.default_rng(3)
    arrays = [
        (200 * generator.standard_normal((50, 6))).astype(np.float32),
        generator.integers(0, 9, (50, 3)).astype(np.int32),
    ]
    content = graph.write_graph(quantized(model, arrays))
    wanted = np.asarray(model(arrays))
    given = run(content, {"z": arrays[0], "a": arrays[1]})
    assert np.abs(given - wanted).max() <= 0.05 * np.abs(wanted).max()


def test_int8_without_examples_is_refused(sparse_net, pictures, rejected):
    for calibration in ([], [pictures[:0]]):
        message = rejected(UsageError, convert.convert_int8, sparse_net, calibration, "litert")
        assert "examples" in message


def test_an_integer_operator_that_a_runtime_does_not_have_is_refused(keras, rejected):
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, activation="softplus"), layers.Dense(3)]
    )
    arrays = [np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)]
    found = quantized(model, arrays, "tflite-runtime")
    message = rejected(ModelError, operators.check_runtime, found, "tflite-runtime")
    assert message.startswith(
        "tflite-runtime 2.14.0 does not have this operator version: LOG 2, has"
    )
    operators.check_runtime(found, "litert")
    operators.check_runtime(convert.convert(model), "tflite-runtime")


def test_an_operator_that_fails_in_int8_when_it_runs_is_refused(keras, rejected):
    vector = keras.Input((6,))
    x = keras.layers.Dense(4)(vector)
    model = keras.Model(vector, x / (keras.ops.abs(x) + 1.0))
    arrays = [np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)]
    found = quantized(model, arrays, "tflite-runtime")
    assert "in int8: DIV" in rejected(ModelError, operators.check_runtime, found, "tflite-runtime")
    operators.check_runtime(convert.convert(model), "tflite-runtime")


@pytest.mark.slow
def test_a_file_in_float16_is_quantised_too(tmp_path: Path) -> None:
    source, half = dense_tflite(tmp_path / "found.tflite", hidden=128), tmp_path / "half.tflite"
    library.export(source, half, quantize="float16")
    content = half.read_bytes()
    main = graph.main(graph.read_graph(content))
    name = graph.text(main.tensors[graph.indices(main.inputs)[0]].name)

    plain = foreign.standard_form(content)
    made = foreign.quantize_int8(plain, [name], [weights(8, 32)], "litert")

    types = {graph.type_name(tensor) for tensor in graph.main(made).tensors}
    assert "INT8" in types and "FLOAT16" not in types
