"""ONNX files of models that nobody wrote the exporter for, executed by ONNX Runtime."""

from __future__ import annotations

import collections
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import runnable_files
from empty_home import EmptyHome

from compressor.errors import ModelError, UsageError
from compressor.exporters.onnx import ENCODINGS, export
from compressor.exporters.request import QUANTIZATIONS, ExportedFile, Request
from compressor.models.paper import paper_cnn
from deploy import quiet_onnxruntime

onnxruntime = quiet_onnxruntime.load()

EXAMPLES = 40
DECODING = {"CumSum", "ScatterElements", "GatherElements", "BitShift", "ConstantOfShape"}


def session(content: bytes, optimized: Any = None) -> Any:
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def operators(content: bytes, folder: Any) -> collections.Counter[str]:
    """What is left of a file when ONNX Runtime has loaded it."""
    path = folder / "optimized.onnx"
    session(content, path)
    return collections.Counter(node.op_type for node in onnx.load(path).graph.node)


def largest_integer(folder: Any) -> int:
    """Of the int8 weights of the file that `operators` loaded last, with which kernels compute."""
    weights = onnx.load(folder / "optimized.onnx").graph.initializer
    found = [onnx.numpy_helper.to_array(one) for one in weights]
    return max(int(np.abs(one.astype(int)).max()) for one in found if one.dtype == np.int8)


def outputs(file: ExportedFile, x: list[np.ndarray]) -> np.ndarray:
    return session(file.content).run(["scores"], dict(zip(file.inputs, x, strict=True)))[0]


def prune(keras: Any, model: Any, sparsity: float) -> Any:
    """Random weights, without the smaller ones; BatchNorm as after a training."""
    generator = np.random.default_rng(6)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(generator.normal(size=layer.moving_mean.shape) * 0.3)
            layer.moving_variance.assign(generator.uniform(0.5, 2, layer.moving_variance.shape))
    for variable in model.trainable_variables:
        values = keras.ops.convert_to_numpy(variable)
        values = values + generator.normal(size=values.shape).astype(np.float32) * 0.1
        if values.ndim > 1:
            values[np.abs(values) < np.quantile(np.abs(values), sparsity)] = 0
        variable.assign(values)
    return model


def examples(model: Any, count: int = EXAMPLES) -> list[np.ndarray]:
    generator = np.random.default_rng(7)
    arrays = []
    for tensor in model.inputs:
        shape = (count, *(size or 9 for size in tensor.shape[1:]))
        if "int" in str(tensor.dtype):
            arrays.append(generator.integers(0, 20, shape).astype(str(tensor.dtype)))
        else:
            arrays.append(generator.normal(size=shape).astype(np.float32))
    return arrays


def two_inputs(keras: Any) -> Any:
    layers = keras.layers
    left, right = keras.Input((5,), name="left"), keras.Input((4, 4, 1), name="right")
    merged = layers.Concatenate()([layers.Dense(90)(left), layers.Flatten()(right)])
    return keras.Model({"left": left, "right": right}, layers.Dense(3)(merged))


def attention(keras: Any) -> Any:
    layers = keras.layers
    x = keras.Input((6, 16))
    y = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 8)(x, x)]))
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(y)))


def sequential(keras: Any, shape: tuple[int | None, ...], *layers: Any, **options: Any) -> Any:
    return keras.Sequential([keras.Input(shape, **options), *layers])


MODELS = {
    "two inputs": two_inputs,
    "attention": attention,
    "depthwise": lambda k: sequential(
        k,
        (8, 8, 3),
        k.layers.DepthwiseConv2D(3, padding="same"),
        k.layers.BatchNormalization(),
        k.layers.ReLU(6.0),
        k.layers.SeparableConv2D(40, 3),
        k.layers.GlobalAveragePooling2D(),
        k.layers.Dense(4, activation="softmax"),
    ),
    "recurrent": lambda k: sequential(
        k,
        (7, 3),
        k.layers.LSTM(15, return_sequences=True),
        k.layers.GRU(14),
        k.layers.Dense(2),
    ),
    "gelu": lambda k: sequential(k, (6,), k.layers.Dense(50, activation="gelu"), k.layers.Dense(2)),
    "words": lambda k: sequential(
        k,
        (6,),
        k.layers.Embedding(50, 8),
        k.layers.Conv1D(14, 3, activation="relu"),
        k.layers.GlobalMaxPooling1D(),
        k.layers.Dense(2),
        dtype="int32",
    ),
    "transposed": lambda k: sequential(
        k,
        (4, 4, 2),
        k.layers.Conv2DTranspose(30, 3, strides=2, padding="same", activation="elu"),
        k.layers.BatchNormalization(),
        k.layers.ZeroPadding2D(1),
        k.layers.AveragePooling2D(2),
        k.layers.Flatten(),
        k.layers.Dense(2),
    ),
    "any length": lambda k: sequential(
        k,
        (None, 3),
        k.layers.Conv1D(20, 3, padding="causal", activation="swish"),
        k.layers.GlobalAveragePooling1D(),
        k.layers.Dense(3),
    ),
}


@pytest.fixture(scope="module")
def digits(keras) -> Any:
    """The paper's CNN on small images, most of its weights zero."""
    keras.utils.set_random_seed(1)
    return prune(keras, paper_cnn((12, 12, 1)), 0.9)


@pytest.fixture(scope="module")
def exported(digits) -> dict[str, ExportedFile]:
    calibration = examples(digits)
    return {
        quantize: export(digits, Request("onnxruntime", quantize, calibration=calibration))
        for quantize in QUANTIZATIONS
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_comes_out_right_and_the_same_each_time(name, keras):
    keras.utils.set_random_seed(2)
    model = prune(keras, MODELS[name](keras), 0.7)
    x = examples(model)
    expected = keras.ops.convert_to_numpy(
        model(keras.tree.pack_sequence_as(model._inputs_struct, x) if len(x) > 1 else x[0])
    )
    request = Request("onnxruntime")
    file = export(model, request)

    found = outputs(file, x)

    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    one = outputs(file, [array[:1] for array in x])
    np.testing.assert_allclose(one, found[:1], atol=1e-5 * np.abs(expected).max())
    assert export(model, request).content == file.content
    codebook = export(model, Request("onnxruntime", "codebook"))
    assert np.abs(outputs(codebook, x) - expected).max() < 0.2 * np.abs(expected).max()


def test_the_residual_net_keeps_its_function_when_batchnorm_is_folded(residual_net, keras):
    model = prune(keras, residual_net(), 0.5)
    x = examples(model)
    expected = model.predict(x[0], verbose=0)
    for request in (
        Request("onnxruntime"),
        Request("onnxruntime", encoding="bitmask"),
        Request("onnxruntime", "int8", calibration=x),
    ):
        allowed = 0.06 if request.quantize == "int8" else 1e-5
        error = np.abs(outputs(export(model, request), x) - expected).max()
        assert error < allowed * np.abs(expected).max()


@pytest.mark.slow
def test_fewer_bits_make_smaller_files_of_the_same_function(digits, exported):
    x = examples(digits)
    expected = digits.predict(x[0], verbose=0)
    allowed = {"none": 1e-5, "float16": 1e-3, "dynamic": 0.02, "int8": 0.03, "ternary": 0.4}
    for quantize, file in exported.items():
        error = np.abs(outputs(file, x) - expected).max() / np.abs(expected).max()
        assert error < allowed.get(quantize, 0.2), quantize
    sizes = {quantize: len(file.content) for quantize, file in exported.items()}
    assert sizes["none"] > sizes["float16"] > sizes["dynamic"] > sizes["codebook"]
    dense = export(digits, Request("onnxruntime", encoding="dense"))
    assert sizes["none"] < 0.6 * len(dense.content)


def test_onnx_runtime_folds_every_chain_when_it_loads(exported, tmp_path):
    for quantize, file in exported.items():
        written = {node.op_type for node in onnx.load_from_string(file.content).graph.node}
        assert written & DECODING, quantize
        left = operators(file.content, tmp_path)
        assert not set(left) & (DECODING | {"Cast", "Mul", "Gather"}), quantize


def test_int8_runs_on_integer_kernels(exported, tmp_path):
    left = operators(exported["int8"].content, tmp_path)
    assert left["QLinearConv"] == 2 and left["QGemm"] == 2
    assert not {"Conv", "Gemm", "MatMul", "DequantizeLinear"} & set(left)
    encodings = {tensor.name: tensor for tensor in exported["int8"].tensors}
    assert encodings["fc1/kernel"].values == "int7"
    assert encodings["fc1/kernel"].encoding == "golomb"
    assert largest_integer(tmp_path) == 64  # two products of more with 255 leave 16 bits


def test_the_tensors_are_those_of_the_model_with_their_zeros(digits, exported):
    file = exported["none"]
    variables = {f"{v.path.split('/', 1)[-1]}": v for v in digits.variables}
    found = {tensor.name: tensor for tensor in file.tensors}
    assert set(found) == {
        f"{layer}/{part}"
        for layer, part in itertools.product(("conv1", "conv2", "fc1", "fc2"), ("kernel", "bias"))
    }
    kernel = next(v for path, v in variables.items() if path.endswith("fc1/kernel"))
    assert found["fc1/kernel"].zeros == int((kernel.numpy() == 0).sum())
    assert file.tensors[0].name == "fc1/kernel"
    payload = sum(tensor.bytes for tensor in file.tensors)
    assert payload < len(file.content) < payload + 4000
    marks = {
        node.name
        for node in onnx.load_from_string(file.content).graph.node
        if node.name.startswith("decode/")
    }
    assert marks >= {
        f"decode/{tensor.encoding}/{tensor.name}"
        for tensor in file.tensors
        if tensor.encoding != "dense"
    }


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_encoding_that_is_asked_for_is_used(encoding, digits):
    x = examples(digits)
    expected = digits.predict(x[0], verbose=0)
    for quantize in ("none", "int8"):
        file = export(digits, Request("onnxruntime", quantize, "size", encoding, x))
        kernel = next(tensor for tensor in file.tensors if tensor.name == "fc1/kernel")
        assert kernel.encoding == encoding
        error = np.abs(outputs(file, x) - expected).max() / np.abs(expected).max()
        assert error < (0.03 if quantize == "int8" else 1e-5)


def test_nothing_is_larger_than_dense(keras):
    for sparsity in (0.0, 0.02, 0.5):
        model = prune(keras, two_inputs(keras), sparsity)
        dense = export(model, Request("onnxruntime", encoding="dense"))
        assert len(export(model, Request("onnxruntime")).content) <= len(dense.content)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("aim", ["latency", "balanced"])
def test_for_latency_large_matrices_are_multiplied_in_integers(keras, tmp_path, aim):
    model = prune(keras, sequential(keras, (300,), keras.layers.Dense(400, name="wide")), 0.8)
    x = examples(model)
    expected = model.predict(x[0], verbose=0)
    size = export(model, Request("onnxruntime", "dynamic"))
    latency = export(model, Request("onnxruntime", "dynamic", aim))

    assert set(operators(size.content, tmp_path)) == {"Gemm"}
    assert set(operators(latency.content, tmp_path)) == {"DynamicQuantizeMatMul"}
    assert largest_integer(tmp_path) == 63
    for file in (size, latency):
        np.testing.assert_allclose(outputs(file, x), expected, atol=0.03 * np.abs(expected).max())
    assert not size.notes and not latency.notes


def test_a_flatten_behind_a_convolution_needs_no_transposition(exported, tmp_path):
    for quantize in ("none", "int8"):
        graph = onnx.load_from_string(exported[quantize].content).graph
        assert "Shape" not in {node.op_type for node in graph.node}
        assert "Transpose" not in operators(exported[quantize].content, tmp_path)


def test_batchnorm_behind_a_convolution_leaves_no_node(keras):
    layers = keras.layers
    model = sequential(
        keras,
        (8, 8, 2),
        layers.Conv2D(6, 3, name="stem"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(2, name="head"),
    )
    model = prune(keras, model, 0.5)
    file = export(model, Request("onnxruntime", encoding="dense"))

    nodes = [node.op_type for node in onnx.load_from_string(file.content).graph.node]
    assert nodes == ["Transpose", "Conv", "Relu", "Reshape", "Gemm"]
    x = examples(model)
    np.testing.assert_allclose(outputs(file, x), model.predict(x[0], verbose=0), atol=1e-4)


def test_inputs_have_the_models_names_and_order_used_or_not(keras):
    one, other = keras.Input((3,), name="one"), keras.Input((4,), name="other")
    model = keras.Model([one, other], keras.layers.Dense(2, activation="gelu")(one))
    file = export(model, Request("onnxruntime"))

    inputs = session(file.content).get_inputs()
    assert file.inputs == ("one", "other")
    assert [(entry.name, entry.shape) for entry in inputs] == [
        ("one", ["batch", 3]),
        ("other", ["batch", 4]),
    ]
    x = examples(model)
    np.testing.assert_allclose(outputs(file, x), model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.slow
def test_weights_that_an_operator_holds_in_its_own_way_are_named_after_it(keras):
    model = prune(keras, sequential(keras, (7, 3), keras.layers.LSTM(20, name="lstm")), 0.7)
    stacked = sequential(keras, (7, 3), keras.layers.Bidirectional(keras.layers.LSTM(20)))
    names = {tensor.name for tensor in export(model, Request("onnxruntime")).tensors}
    assert {"lstm/lstm_cell/kernel", "lstm/lstm_cell/recurrent_kernel"} <= names
    names = {tensor.name for tensor in export(stacked, Request("onnxruntime")).tensors}
    assert {"LSTM/W", "LSTM/R"} <= names


def test_no_folder_is_left_behind(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    export(digits, Request("onnxruntime", "int8", calibration=examples(digits)))
    assert not list(tmp_path.iterdir())


def test_the_file_says_nothing_of_this_machine(exported):
    for file in exported.values():
        model = onnx.load_from_string(file.content)
        assert model.producer_name == "compressor"
        own = {function.domain for function in model.functions}
        needed = [entry for entry in model.opset_import if entry.domain not in own]
        assert [(entry.domain, entry.version) for entry in needed] == [("", 18)]
        assert file.needs == {"ai.onnx": 18}
        assert not model.doc_string and not model.metadata_props
        assert b"/tmp" not in file.content and b"tf2onnx" not in file.content
        assert not any(entry.external_data for entry in model.graph.initializer)


def test_biases_have_16_bits_where_weights_have_fewer_than_32(exported):
    kinds = {
        quantize: next(tensor.values for tensor in file.tensors if tensor.name == "fc1/bias")
        for quantize, file in exported.items()
        if quantize != "int8"  # there it is an integer
    }
    assert kinds.pop("none") == "float32"
    assert set(kinds.values()) == {"float16"}


def test_only_inputs_outputs_and_weights_have_long_names(exported):
    for file in exported.values():
        graph = onnx.load_from_string(file.content).graph
        known = {*file.inputs, "scores", *(tensor.name for tensor in file.tensors)}
        values = {name for node in graph.node for name in (*node.input, *node.output)}
        assert {name for name in values - known if len(name) > 2} <= {
            entry.name for entry in graph.initializer if entry.dims and entry.data_type != 7
        }
        assert all(node.name.startswith("decode/") for node in graph.node if node.name)
        assert all(
            len(entry.raw_data) < 8 * 3 for entry in graph.initializer if entry.data_type == 7
        )


def test_what_cannot_be_exported_is_refused_in_one_line(keras, digits, rejected):
    special = keras.ops.digamma if hasattr(keras.ops, "digamma") else keras.ops.erfinv
    x = keras.Input((4,))
    odd = keras.Model(x, keras.layers.Dense(2)(special(keras.layers.Dense(3)(x))))
    assert "ONNX" in rejected(ModelError, export, odd, Request("onnxruntime"))
    unknown = Request("onnxruntime", encoding="csr")
    assert "gap8" in rejected(UsageError, export, digits, unknown)
    assert "calibration" in rejected(UsageError, export, digits, Request("onnxruntime", "int8"))
    sparse = Request("onnxruntime", "codebook", encoding="sparse-initializer")
    assert "4 bits" in rejected(UsageError, export, digits, sparse)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "bfloat16"])
def test_models_in_half_precision_become_float32_files_and_stay_as_they_are(keras, policy):
    dense = keras.layers.Dense
    x = keras.Input((64,), dtype=policy if policy != "mixed_float16" else None)
    hidden = dense(90, activation="relu", dtype=policy, name="hidden")(x)
    model = keras.Model(x, dense(5, dtype=policy)(hidden))
    layer = model.get_layer("hidden")
    kernel = keras.ops.convert_to_numpy(layer.kernel).astype(np.float32)
    kernel[np.abs(kernel) < np.quantile(np.abs(kernel), 0.9)] = 0
    layer.kernel.assign(kernel)
    inputs = np.random.default_rng(0).normal(size=(EXAMPLES, 64)).astype(np.float32)
    right = np.asarray(keras.ops.convert_to_numpy(model(inputs)), np.float32)
    for quantize, within in {"none": 1e-2, "dynamic": 3e-2, "int8": 5e-2}.items():
        calibration = [inputs] if quantize == "int8" else None
        file = export(model, Request("onnxruntime", quantize, calibration=calibration))
        assert np.abs(outputs(file, [inputs]) - right).max() < within * np.abs(right).max()
        tensor = next(tensor for tensor in file.tensors if tensor.name == "hidden/kernel")
        assert tensor.encoding != "dense" and tensor.zeros >= np.count_nonzero(kernel == 0)
        assert tensor.values == {"none": "float32", "dynamic": "int8", "int8": "int7"}[quantize]
        assert "float32" in file.notes[0] and "float16" in file.notes[0]
    after = np.asarray(keras.ops.convert_to_numpy(model(inputs)), np.float32)
    np.testing.assert_array_equal(after, right)


def test_weights_that_float16_would_lose_stay_float32(keras):
    model = sequential(keras, (20,), keras.layers.Dense(30, use_bias=False, name="tiny"))
    kernel = model.layers[0].kernel
    kernel.assign(keras.ops.convert_to_numpy(kernel) * 1e-20)
    file = export(model, Request("onnxruntime", "float16"))
    inputs = examples(model)
    assert [tensor.values for tensor in file.tensors] == ["float32"]
    right = keras.ops.convert_to_numpy(model(inputs[0]))
    np.testing.assert_allclose(outputs(file, inputs), right, rtol=1e-3, atol=1e-24)


def test_quantising_leaves_nothing_in_an_empty_home(tmp_path: Path) -> None:
    runnable_files.write_onnx(tmp_path / "model.onnx", batch=3)
    home = EmptyHome(tmp_path / "empty")
    program = (
        "import sys, numpy, onnx\n"
        "from compressor.exporters.onnx.integer import quantize_static\n"
        "data = [numpy.ones((3, 6), numpy.float32), numpy.zeros(3, numpy.int64)]\n"
        "quantize_static(onnx.load(sys.argv[1]), data)"
    )
    done = home.run(sys.executable, "-c", program, tmp_path / "model.onnx")

    assert done.returncode == 0, done.stderr
    assert home.left() == []


def test_a_small_first_convolution_has_8_bits_where_that_is_smaller(keras):
    layers = [
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(8, 5, activation="relu", name="conv"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(4, name="scores"),
    ]
    model = keras.Sequential(layers)

    plain, small = (export(model, Request("onnxruntime", quantize=q)) for q in ("none", "codebook"))

    kinds = {tensor.name: tensor.values for tensor in small.tensors}
    assert kinds["conv/kernel"] == "int8" and kinds["scores/kernel"] == "float32"
    assert len(small.content) < len(plain.content) - 400


def test_what_is_the_default_of_an_operator_is_not_in_the_file(keras):
    layers = [
        keras.Input((12, 12, 2)),
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.DepthwiseConv2D(3, strides=2, padding="same"),
        keras.layers.Conv2D(4, 3, dilation_rate=2),
        keras.layers.Flatten(),
        keras.layers.Dense(3),
    ]
    model = keras.Sequential(layers)
    x = np.random.default_rng(0).normal(size=(5, 12, 12, 2)).astype(np.float32)

    file = export(model, Request("onnxruntime"))

    nodes = onnx.load_from_string(file.content).graph.node
    found = [sorted(a.name for a in n.attribute) for n in nodes if n.op_type == "Conv"]
    assert found == [
        ["kernel_shape"],
        ["group", "kernel_shape", "pads", "strides"],
        ["dilations", "kernel_shape"],
    ]
    np.testing.assert_allclose(outputs(file, [x]), model.predict_on_batch(x), atol=1e-5)
