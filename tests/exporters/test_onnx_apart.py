"""Large constants beside an ONNX graph: the same bytes as in it, and no copies on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import CheckpointError
from compressor.exporters.onnx import apart, decoding, export
from compressor.exporters.onnx.decoding import CHOSEN_FROM, choose_all
from compressor.exporters.onnx.parsing import parsed
from compressor.exporters.onnx.reading import check_onnx, read_onnx
from compressor.exporters.onnx.weights import store_float
from compressor.exporters.request import Request
from compressor.foundation import quiet_tensorflow


def model_with(tensors: list[Any]) -> Any:
    """y_n = x_n @ w_n, with a Constant node between and everything that a file may say."""
    nodes, ends = [], []
    for number, tensor in enumerate(tensors):
        nodes.append(helper.make_node("MatMul", [f"x{number}", tensor.name], [f"y{number}"]))
        ends.append((f"x{number}", [None, tensor.dims[0]], f"y{number}", [None, tensor.dims[1]]))
    one = numpy_helper.from_array(np.ones(3, np.float32), "one")
    nodes.append(helper.make_node("Constant", [], ["unused"], value=one))
    inputs, outputs = (
        [helper.make_tensor_value_info(end[i], TensorProto.FLOAT, end[i + 1]) for end in ends]
        for i in (0, 2)
    )
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors, doc_string="said")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.producer_name, model.doc_string = "producer", "said, too"
    model.metadata_props.add(key="a", value="b")
    return model


@pytest.fixture
def values() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [
        generator.normal(size=(130, 140)).astype(np.float32),
        generator.normal(size=(2, 3)).astype(np.float32),
        generator.normal(size=(300, 140)).astype(np.float16).T,  # not contiguous
    ]


def test_put_together_they_are_the_bytes_of_the_whole_model(values):
    whole = model_with([numpy_helper.from_array(one, f"w{n}") for n, one in enumerate(values)])
    wanted = whole.SerializeToString(deterministic=True)
    with apart.kept_apart():
        light = model_with([apart.tensor(f"w{n}", one) for n, one in enumerate(values)])
        assert light.ByteSize() < 2000 < min(values[0].nbytes, values[2].nbytes)
        sizes = [apart.byte_size(entry) for entry in light.graph.initializer]
        assert sizes == [entry.ByteSize() for entry in whole.graph.initializer]
        found = [apart.array(entry) for entry in light.graph.initializer]
        assert all(map(np.array_equal, found, values))
        assert apart.serialized(light) == wanted


def test_what_is_only_looked_at_is_parsed_without_its_large_values(values):
    tensors = [numpy_helper.from_array(one, f"w{n}") for n, one in enumerate(values)]
    tensors[2].doc_string = "behind its values"
    whole = model_with(tensors)
    content = whole.SerializeToString()
    with apart.kept_apart():
        found = parsed(content, light=True)
        assert [apart.is_apart(entry) for entry in found.graph.initializer] == [True, False, True]
        assert found.ByteSize() < 2000
        sizes = [apart.payload(entry) for entry in found.graph.initializer]
        assert sizes == [one.nbytes for one in values]
        for light, entry in zip(found.graph.initializer, whole.graph.initializer, strict=True):
            for one in (light, entry):
                for name in ("raw_data", "data_location", "external_data"):
                    one.ClearField(name)
        assert found == whole
    assert parsed(content).SerializeToString() == content
    check_onnx(content)


def test_large_values_of_another_size_than_the_tensor_are_found(values):
    model = model_with([numpy_helper.from_array(values[0], "w0")])
    model.graph.initializer[0].raw_data += b"more"
    with pytest.raises(CheckpointError, match="72804 bytes for 18200 values"):
        check_onnx(model.SerializeToString())


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_seen_in_either_way_of_parsing(values, seed):
    content = bytearray(
        model_with(
            [numpy_helper.from_array(one, f"w{n}") for n, one in enumerate(values)]
        ).SerializeToString()
    )
    generator = np.random.default_rng(seed)
    places = np.flatnonzero(np.frombuffer(content, np.uint8) < 128)
    for place in generator.choice(np.concatenate([np.arange(60), places[-300:]]), 2):
        content[place] = generator.integers(256)
    said = []
    for read in (read_onnx, check_onnx):
        try:
            read(bytes(content))
            said.append("")
        except CheckpointError as error:
            said.append(str(error))
    assert said[0] == said[1]


def test_elsewhere_a_tensor_holds_its_values(values):
    made = apart.tensor("w", values[0])
    assert made == numpy_helper.from_array(values[0], "w")
    with apart.kept_apart():
        light = apart.tensor("w", values[0])
    model = model_with([light])
    assert apart.serialized(model) == model.SerializeToString(deterministic=True)


def test_a_file_cannot_refer_to_what_is_kept(values):
    with apart.kept_apart():
        apart.tensor("secret", values[0])
        hostile = TensorProto(name="w", dims=values[0].shape, data_type=TensorProto.FLOAT)
        hostile.data_location = TensorProto.EXTERNAL
        for place in ("0", "/0", ""):
            del hostile.external_data[:]
            hostile.external_data.add(key="location", value=place)
            with pytest.raises(onnx.checker.ValidationError):
                apart.array(hostile)


def test_bodies_of_loops_hold_their_values(values):
    with apart.kept_apart():
        body = helper.make_graph([], "body", [], [], [apart.tensor("inner", values[0])])
        node = helper.make_node("If", ["c"], ["d"], then_branch=body)
        graph = helper.make_graph([node], "g", [], [], [apart.tensor("outer", values[0])])
        apart.keep_only(graph)
        kept = graph.node[0].attribute[0].g.initializer[0]
        assert kept == numpy_helper.from_array(values[0], "inner")
        assert np.array_equal(apart.array(graph.initializer[0]), values[0])
        assert not graph.initializer[0].raw_data


def test_no_encoding_is_tried_that_must_be_larger(monkeypatch):
    """Of a dense weight all but the dense one were: eight bytes of positions for each weight."""
    tried = []
    make = decoding.make_chain
    monkeypatch.setattr(decoding, "make_chain", lambda *a, **k: tried.append(a[2]) or make(*a, **k))
    dense = store_float(np.random.default_rng(0).normal(size=(40, 50)), np.float32)
    (chain,), _ = choose_all([("w", [dense], CHOSEN_FROM)])
    assert chain.encoding == "dense" and tried == ["dense"]


def network() -> Any:
    _, keras = quiet_tensorflow.load()
    keras.utils.set_random_seed(1)
    layers = keras.layers
    x = keras.Input((8, 8, 4))
    y = layers.Conv2D(32, 3, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Flatten()(y)
    y = layers.Dense(40, activation="relu")(y)
    steps = layers.LSTM(24)(layers.Reshape((5, 8))(y))
    model = keras.Model(x, layers.Dense(6, activation="softmax")(steps))
    kernel = model.layers[5].kernel
    kernel.assign(np.where(np.abs(kernel.numpy()) < 0.05, 0, kernel.numpy()))
    return model


@pytest.mark.slow
def test_a_file_is_the_same_wherever_its_weights_are_kept(monkeypatch):
    """Its weights: a convolution with its normalisation, products, gates in another order."""
    model = network()
    graphs = []
    from tf2onnx import tf_loader

    optimize = tf_loader.tf_optimize
    monkeypatch.setattr(
        "tf2onnx.tf_loader.tf_optimize",
        lambda i, o, graph: graphs.append(graph.ByteSize()) or optimize(i, o, graph),
    )
    files = []
    for least in (2**40, 256):
        monkeypatch.setattr(apart, "LARGE", least)
        made = [export(model, Request("onnxruntime", "dynamic"))]
        files.append([(file.content, file.tensors) for file in made])
    assert files[0] == files[1]
    weights = sum(variable.numpy().nbytes for variable in model.variables)
    # What TensorFlow copies again and again holds no weights.
    assert graphs[1] < graphs[0] - 0.9 * weights


def test_the_checker_sees_all_but_the_values(values):
    with apart.kept_apart():
        light = model_with([apart.tensor("w", values[0])])
        onnx.checker.check_model(apart.without_large(light), full_check=True)
        light.graph.node[0].op_type = "Nonsense"
        with pytest.raises(onnx.checker.ValidationError):
            onnx.checker.check_model(apart.without_large(light), full_check=True)
