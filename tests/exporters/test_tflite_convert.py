"""Keras models as TFLite graphs, compared with Keras through LiteRT's interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compressor.errors import ModelError
from compressor.exporters.tflite import convert, graph, names, passes
from compressor.models.preprocessing import structure


@pytest.fixture(scope="module")
def build(keras) -> Any:
    """Build a model by name, its variables moved away from what they were initialised with."""
    layers = keras.layers

    def sequential(*parts: Any) -> Any:
        return keras.Sequential(list(parts))

    def two_inputs(as_dict: bool) -> Any:
        picture, extra = keras.Input((8, 8, 1), name="picture"), keras.Input((5,), name="extra")
        x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(picture))
        x = layers.Dense(4, name="head")(layers.Concatenate()([x, extra]))
        # In both cases not in the order of their names.
        inputs = {"picture": picture, "also": {"extra": extra}} if as_dict else [picture, extra]
        return keras.Model(inputs, x)

    def mobile() -> Any:
        image = keras.Input((16, 16, 3))
        x = image
        for layer in (
            layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem"),
            layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise"),
            layers.Conv2D(12, 1, use_bias=False, name="pointwise"),
        ):
            x = layers.BatchNormalization()(layer(x))
            x = layers.ReLU(6.0)(x)
        x = layers.SeparableConv2D(10, 3, depth_multiplier=2)(x)
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(image, layers.Dense(5, activation="softmax", name="head")(x))

    def attention() -> Any:
        tokens = keras.Input((6, 8))
        x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(tokens, tokens) + tokens)
        x = layers.GlobalAveragePooling1D()(layers.Dense(8, activation="gelu")(x))
        return keras.Model(tokens, layers.Dense(4)(x))

    def shared() -> Any:
        vector = keras.Input((5,))
        twice = layers.Dense(5, activation="relu", name="twice")
        return keras.Model(vector, layers.Dense(4)(twice(twice(vector))))

    builders = {
        "two inputs": lambda: two_inputs(as_dict=False),
        "dictionary": lambda: two_inputs(as_dict=True),
        "mobile": mobile,
        "attention": attention,
        "shared": shared,
        "lstm": lambda: sequential(
            keras.Input((6, 3)),
            layers.LSTM(7, return_sequences=True),
            layers.Bidirectional(layers.LSTM(3)),
            layers.Dense(4),
        ),
        "masked gru": lambda: sequential(
            keras.Input((6,), dtype="int32"),
            layers.Embedding(20, 5, mask_zero=True),
            layers.GRU(8),
            layers.Dense(4),
        ),
        "activations": lambda: sequential(
            keras.Input((9,)),
            *(layers.Dense(8, activation=name) for name in ("gelu", "silu", "elu", "softplus")),
            layers.Dense(1, activation="sigmoid"),
        ),
        "one dimension": lambda: sequential(
            keras.Input((20, 3)),
            layers.Conv1D(6, 3, padding="causal", activation="relu"),
            layers.MaxPooling1D(),
            layers.Conv1D(6, 3, dilation_rate=2, padding="same"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(4),
        ),
        "transposed": lambda: sequential(
            keras.Input((7, 7, 4)),
            layers.Conv2DTranspose(6, 3, strides=2, padding="same"),
            layers.Conv2D(4, 3, groups=2),
            layers.UpSampling2D(),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(4),
        ),
        "reshapes": lambda: sequential(
            keras.Input((8, 6)),
            layers.Reshape((4, -1)),
            layers.Permute((2, 1)),
            layers.Reshape((2, 3, 8)),
            layers.Conv2D(4, 2),
            layers.Reshape((-1, 2)),
            layers.Dense(5, activation="relu"),
            layers.Flatten(),
            layers.RepeatVector(3),
            layers.Flatten(),
            layers.Dense(4),
        ),
        "any size": lambda: sequential(
            keras.Input((None, None, 3)),
            layers.Conv2D(3, 3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ),
        "bytes": lambda: sequential(
            keras.Input((8, 8, 3), dtype="uint8"),
            layers.Rescaling(1 / 127.5, -1),
            layers.Conv2D(4, 3),
            layers.Flatten(),
            layers.Dense(4),
        ),
    }

    def make(name: str) -> Any:
        keras.utils.set_random_seed(11)
        return moved(builders[name]())

    make.names = sorted(builders)  # type: ignore[attr-defined]
    return make


MODELS = [
    "activations",
    "any size",
    "attention",
    "bytes",
    "dictionary",
    "lstm",
    "masked gru",
    "mobile",
    "one dimension",
    "reshapes",
    "shared",
    "transposed",
    "two inputs",
]


def test_every_model_that_can_be_built_is_tested(build):
    assert build.names == MODELS


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["attention", "lstm", "mobile", "reshapes", "transposed"])
def test_weights_that_are_put_in_last_give_the_same_graph(build, monkeypatch, name):
    """Those of a loop stay constants of it, and what a convolution takes from a normalisation."""
    model, found = build(name), []
    for least in (2**40, 16):
        monkeypatch.setattr(convert, "_LARGE", least)
        made = convert.convert(model, unrolled=0)
        operators = sorted(
            (graph.code_name(made.operatorCodes[one.opcodeIndex]), len(one.inputs))
            for part in made.subgraphs
            for one in part.operators
        )
        constants = sorted(
            (list(tensor.shape), bytes(made.buffers[tensor.buffer].data))
            for part in made.subgraphs
            for tensor in part.tensors
            if made.buffers[tensor.buffer].data is not None
        )
        found.append((operators, constants))
    assert found[0] == found[1]


def test_large_weights_are_not_copied_by_freezing(build, monkeypatch):
    model, frozen = build("mobile"), []
    freeze = convert.concrete_function
    monkeypatch.setattr(
        convert,
        "concrete_function",
        lambda *a: frozen.append(freeze(*a)) or frozen[-1],
    )
    monkeypatch.setattr(convert, "_LARGE", 4 * 8 * 12)
    convert.convert(model)
    (function,) = frozen
    sizes = [
        len(node.attr["value"].tensor.tensor_content) for node in function.graph.as_graph_def().node
    ]
    assert 0 < max(sizes) < 4 * 8 * 12


def moved(model: Any) -> Any:
    generator = np.random.default_rng(7)
    for variable in model.weights:
        if "float" in str(variable.dtype):
            noise = 0.2 * generator.standard_normal(variable.shape)
            value = np.asarray(variable.numpy(), np.float32) + noise
            variable.assign(np.abs(value) + 0.5 if "variance" in variable.name else value)
    return model


def examples(model: Any, count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(count)
    arrays = []
    for tensor in model.inputs:
        shape = (count, *(11 if size is None else size for size in tensor.shape[1:]))
        whole = "int" in str(tensor.dtype)
        array = generator.integers(0, 20, shape) if whole else generator.standard_normal(shape)
        arrays.append(array.astype("float32" if "float" in str(tensor.dtype) else tensor.dtype))
    return arrays


def expected(keras: Any, model: Any, arrays: list[np.ndarray]) -> np.ndarray:
    fed = keras.tree.pack_sequence_as(structure(model), arrays)
    return np.asarray(keras.ops.convert_to_numpy(model(fed, training=False)), np.float32)


def interpreter(content: bytes, feeds: dict[str, np.ndarray]) -> Any:
    """LiteRT's interpreter after a run, fed by the names of the inputs."""
    from ai_edge_litert.interpreter import Interpreter

    found = Interpreter(model_content=content, num_threads=1)
    places = {detail["name"]: detail["index"] for detail in found.get_input_details()}
    for name, array in feeds.items():
        found.resize_tensor_input(places[name], array.shape)
    found.allocate_tensors()
    for name, array in feeds.items():
        found.set_tensor(places[name], array)
    found.invoke()
    return found


def scores(ran: Any) -> np.ndarray:
    (output,) = ran.get_output_details()
    assert output["name"] == "scores"
    return ran.get_tensor(output["index"])


def prepared(model: Any) -> Any:
    found = convert.convert(model)
    passes.fix_reshapes(found)
    passes.drop_dead_operators(found)
    passes.shorten_names(found, names.weight_names(found, model))
    return found


def operators(found: Any) -> list[str]:
    return [graph.operator_name(found, item) for item in graph.main(found).operators]


def agrees(keras: Any, model: Any, content: bytes, *, within: float = 1e-5) -> None:
    for count in (1, 7):
        arrays = examples(model, count)
        given = scores(
            interpreter(content, dict(zip(convert.input_names(model), arrays, strict=True)))
        )
        wanted = expected(keras, model, arrays)
        assert given.shape == wanted.shape and given.dtype == np.float32
        assert np.abs(given - wanted).max() <= within * np.abs(wanted).max()


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_computes_what_it_does_in_keras_at_any_batch_size(keras, build, name):
    model = build(name)
    agrees(keras, model, graph.write_graph(prepared(model)))


def test_a_model_with_a_skip_and_a_folded_batch_norm_is_converted(keras, residual_net):
    model = moved(residual_net())
    agrees(keras, model, graph.write_graph(prepared(model)))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "bfloat16", "float64"])
def test_models_of_other_floats_compute_in_float32_and_stay_as_they_are(keras, policy):
    layers = keras.layers
    keras.utils.set_random_seed(5)
    dtype = policy if policy == "float16" else "float32"
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), dtype=dtype),
            layers.Conv2D(4, 3, activation="relu", dtype=policy),
            keras.Sequential([keras.Input((6, 6, 4), dtype=dtype), layers.Flatten(dtype=policy)]),
            layers.Dense(4, dtype=policy),
        ]
    )
    before = types(model)
    found = prepared(model)
    assert types(model) == before
    assert operators(found) == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    # Keras rounds after every layer; eps is 2^-8 for bfloat16, 2^-11 for float16.
    within = 3e-2 if policy == "bfloat16" else 3e-3
    agrees(keras, model, graph.write_graph(found), within=within)


def types(model: Any) -> list[Any]:
    layers = model._flatten_layers()
    found = [(layer.dtype_policy.name, layer.variable_dtype, layer.input_dtype) for layer in layers]
    return [found, model.inputs[0].dtype]


@pytest.mark.slow
def test_a_recurrent_layer_is_itself_again_after_it_was_unrolled(build):
    model = build("lstm")
    convert.convert(model)
    assert not any(getattr(layer, "unroll", False) for layer in model._flatten_layers())


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["attention", "mobile", "shared", "two inputs"])
def test_xnnpack_takes_the_whole_graph_at_any_batch_size(build, name):
    model = build(name)
    found = prepared(model)
    assert not {"SHAPE", "PACK", "STRIDED_SLICE"} & set(operators(found))
    feeds = dict(zip(convert.input_names(model), examples(model, 7), strict=True))
    ran = interpreter(graph.write_graph(found), feeds)
    outputs = {
        index
        for item in ran._get_ops_details()
        if item["op_name"] == "DELEGATE"
        for index in item["outputs"]
    }
    assert outputs == {ran.get_output_details()[0]["index"]}


def test_inputs_keep_the_order_and_the_names_of_the_model(build):
    model = build("two inputs")
    found = prepared(model)
    main = graph.main(found)
    assert [main.tensors[index].name for index in main.inputs] == ["picture", "extra"]
    (signature,) = found.signatureDefs
    assert [item.name for item in signature.inputs] == ["picture", "extra"]
    assert [item.name for item in signature.outputs] == ["scores"]
    assert convert.input_names(build("dictionary")) == ("also/extra", "picture")


def test_several_outputs_are_named_by_their_layers(keras):
    vector = keras.Input((3,), name="vector")
    outputs = [keras.layers.Dense(2, name="first")(vector), keras.layers.Dense(5, name="b")(vector)]
    model = keras.Model(vector, outputs)
    content = graph.write_graph(prepared(model))
    array = examples(model, 2)[0]
    ran = interpreter(content, {"vector": array})
    details = ran.get_output_details()
    assert [detail["name"] for detail in details] == ["first", "b"]
    for detail, wanted in zip(details, model(array), strict=True):
        np.testing.assert_allclose(ran.get_tensor(detail["index"]), wanted, rtol=1e-5, atol=1e-6)


def test_weights_have_the_names_of_the_variables(keras, build, residual_net):
    main = graph.main(prepared(build("shared")))
    assert {tensor.name for tensor in main.tensors if tensor.name} >= {"twice/kernel", "twice/bias"}

    # A BatchNormalization is folded into the layer before it, which then has a bias.
    model = build("mobile")
    found = prepared(model)
    tensors = {tensor.name: tensor for tensor in graph.main(found).tensors if tensor.name}
    for layer, shape in {
        "stem": (8, 3, 3, 3),
        "depthwise": (1, 3, 3, 8),
        "pointwise": (12, 1, 1, 8),
    }.items():
        assert tuple(tensors[f"{layer}/kernel"].shape) == shape
        assert tuple(tensors[f"{layer}/bias"].shape) == (shape[0] if shape[0] > 1 else shape[3],)
    index = graph.main(found).tensors.index(tensors["head/kernel"])
    kernel = model.get_layer("head").kernel.numpy()
    np.testing.assert_array_equal(graph.constant(found, index), kernel.T)

    model = residual_net()  # fresh: its biases are all zero
    found = prepared(model)
    named = {tensor.name: tuple(tensor.shape) for tensor in graph.main(found).tensors}
    assert named["head/kernel"] == (4, 96) and named["inner/kernel"] == (6, 3, 3, 6)


def test_a_file_is_reproducible_aligned_and_has_no_useless_names(build):
    model = build("mobile")
    stock = convert.convert(model)
    content = graph.write_graph(prepared(model))
    assert content == graph.write_graph(prepared(model))
    assert content[4:8] == b"TFL3" and b"functional" not in content
    assert len(content) < len(graph.write_graph(stock))
    kernel = model.get_layer("head").kernel.numpy().T
    assert content.find(kernel.tobytes()) % 16 == 0
    assert len(graph.read_graph(content).signatureDefs) == 1


def test_writing_leaves_the_graph_alone_and_drops_what_is_not_used(small_net):
    found = prepared(small_net())
    before = len(graph.main(found).tensors)
    graph.add_tensor(found, "useless", (1000,), np.float32, values=np.ones(1000))
    content = graph.write_graph(found)
    assert b"useless" not in content and len(graph.main(found).tensors) == before + 1
    assert len(graph.main(graph.read_graph(content)).tensors) < before


def test_equal_constants_are_written_once(keras):
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((64,)), *(layers.Dense(64, kernel_initializer="ones") for _ in range(3))]
    )
    content = graph.write_graph(prepared(model))
    assert 4 * 64 * 64 < len(content) < 2 * 4 * 64 * 64
    agrees(keras, model, content)


def test_constants_of_four_bits_are_read_as_they_were_set(small_net):
    found = prepared(small_net())
    index = next(
        index
        for index, tensor in enumerate(graph.main(found).tensors)
        if tensor.name == "hidden/kernel"
    )
    values = np.array([[-8, 7, 0], [3, -1, 5], [1, 2, -7]], np.int8)
    graph.set_constant(found, index, values, four_bits=True)
    again = graph.read_graph(graph.write_graph(found))
    place = [tensor.name for tensor in graph.main(again).tensors].index(b"hidden/kernel")
    np.testing.assert_array_equal(graph.constant(again, place), values)
    assert graph.type_name(graph.main(again).tensors[place]) == "INT4"


def test_an_operator_that_tflite_does_not_have_is_named(keras, rejected):
    layers = keras.layers
    odd = layers.Conv2DTranspose(2, 3, dilation_rate=2, name="odd")
    model = keras.Sequential([keras.Input((6, 6, 2)), odd, layers.Flatten(), layers.Dense(4)])
    assert "Conv2DBackpropInput (odd)" in rejected(ModelError, convert.convert, model)


def test_a_model_that_gives_back_its_input_is_refused(keras, rejected):
    vector = keras.Input((3,))
    outputs = [vector, keras.layers.Dense(2)(vector)]
    assert "inputs" in rejected(ModelError, convert.convert, keras.Model(vector, outputs))


def test_recurrent_layers_that_no_file_can_hold_are_refused(keras, rejected):
    layers = keras.layers
    keeps = keras.Sequential(
        [keras.Input(batch_shape=(2, 5, 3)), layers.LSTM(4, stateful=True, name="memory")]
    )
    assert "memory" in rejected(ModelError, convert.convert, keeps)
