"""Legacy HDF5 files of Keras 2: what they compute, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from old_models import entry, functional, given, separable, sequential, write_h5, write_weights

from compressor.errors import ModelError
from compressor.importing import load_model, optimizer_variables
from compressor.importing.hdf5 import read_here
from compressor.models import data_digest, objective_of


def run(model: Any, *inputs: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict_on_batch(list(inputs) if len(inputs) > 1 else inputs[0]))


def dense(units: int, activation: Any = "linear", **more: Any) -> dict[str, Any]:
    return {"units": units, "activation": activation, "use_bias": True, **more}


@pytest.fixture
def chance() -> np.random.Generator:
    return np.random.default_rng(3)


def test_known_differences_of_the_configuration_are_translated(
    keras: Any, tmp_path: Path, chance: np.random.Generator
) -> None:
    config, weights = separable()
    loaded = load_model(write_h5(tmp_path / "any.name", config, weights))

    layers = keras.layers
    same = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(epsilon=0.001),
            layers.LeakyReLU(negative_slope=0.25),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    same.set_weights([values for arrays in weights.values() for _, values in arrays])
    x = chance.standard_normal((5, 6, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(run(loaded, x), run(same, x), atol=1e-6)
    assert [layer.name for layer in loaded.layers][1:3] == ["depth", "norm"]
    assert loaded.get_layer("scores").kernel_regularizer.l2 == pytest.approx(1e-4)
    assert data_digest(tmp_path / "any.name") is None


def hard(x: np.ndarray) -> np.ndarray:
    return np.clip(0.2 * x + 0.5, 0, 1)


def test_the_hard_sigmoid_is_that_of_keras_2(tmp_path: Path, chance: np.random.Generator) -> None:
    kernel, bias = chance.standard_normal((4, 3)), chance.standard_normal(3)
    config = functional(
        [
            given("x", 4),
            entry("Dense", "inner", "x", **dense(3, "hard_sigmoid")),
            entry("Activation", "outer", "inner", activation="hard_sigmoid"),
        ],
        *(["x"], ["outer"]),
    )
    weights = {"inner": [("kernel", kernel), ("bias", bias)]}
    x = (4 * chance.standard_normal((50, 4))).astype(np.float32)

    old = load_model(write_h5(tmp_path / "old.h5", config, weights))
    new = load_model(write_h5(tmp_path / "new.h5", config, weights, version="3.8.0"))

    expected = hard(hard(x @ kernel + bias))
    np.testing.assert_allclose(run(old, x), expected, atol=1e-6)
    assert np.abs(run(new, x) - expected).max() > 0.01  # written by Keras 3, it means the other


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gates_with_the_hard_sigmoid_of_keras_2(
    kind: str, tmp_path: Path, chance: np.random.Generator
) -> None:
    width = 3 * {"LSTM": 4, "GRU": 3}[kind]
    w, u, b = (chance.standard_normal(shape) for shape in ((2, width), (3, width), width))
    more = {"recurrent_activation": "hard_sigmoid", "implementation": 1, "time_major": False}
    layer = entry(kind, "rnn", "x", **{"units": 3, "activation": "tanh", "use_bias": True, **more})
    config = functional([given("x", 5, 2), layer], ["x"], ["rnn"])
    arrays = [("kernel", w), ("recurrent_kernel", u), ("bias", b)]
    loaded = load_model(write_h5(tmp_path / "m.h5", config, {"rnn": arrays}))
    x = chance.standard_normal((4, 5, 2)).astype(np.float32)

    h, c = np.zeros((4, 3)), np.zeros((4, 3))
    for step in x.swapaxes(0, 1):
        if kind == "LSTM":
            i, f, g, o = np.split(step @ w + h @ u + b, 4, axis=1)
            c = hard(f) * c + hard(i) * np.tanh(g)
            h = hard(o) * np.tanh(c)
        else:  # without reset_after, which files of Keras 2.1 do not mention
            z, r, g = np.split(step @ w + b, 3, axis=1)
            uz, ur, ug = np.split(u, 3, axis=1)
            z, r = hard(z + h @ uz), hard(r + h @ ur)
            h = z * h + (1 - z) * np.tanh(g + (r * h) @ ug)
    np.testing.assert_allclose(run(loaded, x), h, atol=1e-5)


def test_a_shared_nested_model_and_names_with_slashes(
    tmp_path: Path, chance: np.random.Generator
) -> None:
    kernel, bias, last = (chance.standard_normal(s) for s in ((3, 3), 3, (6, 2)))
    inner = sequential(given("in", 3), entry("Dense", "block/dense", **dense(3, "relu")))
    inner["name"], inner["config"]["name"] = "twin", "twin"
    # A nested model counts its calls from 1: its own graph is number 0.
    inner["inbound_nodes"] = [[["a", 0, 0, {}]], [["b", 0, 0, {}]]]
    config = functional(
        [
            given("a", 3),
            given("b", 3),
            inner,
            entry("Concatenate", "both", [["twin", 1, 0, {}], ["twin", 2, 0, {}]], axis=-1),
            entry("Dense", "last", "both", **dense(2, use_bias=False)),
        ],
        *(["a", "b"], ["last"]),
    )
    weights = {"twin": [("kernel", kernel), ("bias", bias)], "last": [("kernel", last)]}
    loaded = load_model(write_h5(tmp_path / "m.h5", config, weights))
    a, b = chance.standard_normal((2, 5, 3)).astype(np.float32)

    expected = np.concatenate([np.maximum(x @ kernel + bias, 0) for x in (a, b)], 1) @ last
    np.testing.assert_allclose(run(loaded, a, b), expected, atol=1e-5)


def lambda_layer(name: str, function: str, *nodes: Any) -> dict[str, Any]:
    kind = "SlicingOpLambda" if function.endswith("getitem") else "TFOpLambda"
    return entry(kind, name, *nodes, function=function)


def test_tensorflow_functions_of_the_graph(tmp_path: Path, chance: np.random.Generator) -> None:
    everything = {"start": None, "stop": None, "step": None}
    config = functional(
        [
            given("x", 4, 6),
            lambda_layer("scaled", "math.truediv", ["x", 0, 0, {"y": 2.0, "name": None}]),
            lambda_layer(
                *("part", "__operators__.getitem"),
                ["scaled", 0, 0, {"slice_spec": [everything, {**everything, "step": 2}]}],
            ),
            lambda_layer("mean", "math.reduce_mean", ["part", 0, 0, {"axis": [1]}]),
            lambda_layer("soft", "nn.softmax", ["mean", 0, 0, {"axis": -1}]),
            lambda_layer(
                "all", "concat", [["mean", 0, 0, {"axis": -1}], ["soft", 0, 0, {"axis": -1}]]
            ),
            lambda_layer("sum", "__operators__.add", ["all", 0, 0, {"y": ["all", 0, 0]}]),
            entry(
                *("TensorFlowOpLayer", "less", "sum"),
                node_def={"name": "less", "op": "Sub", "input": ["sum", "less/y"], "attr": {}},
                constants={"1": 0.5},
            ),
            entry("ThresholdedReLU", "kept", "less", theta=0.25),
        ],
        *(["x"], ["kept"]),
    )
    loaded = load_model(write_h5(tmp_path / "m.h5", config, {}))
    x = chance.standard_normal((3, 4, 6)).astype(np.float32)

    mean = (x / 2)[:, ::2].mean(1)
    soft = np.exp(mean) / np.exp(mean).sum(1, keepdims=True)
    less = 2 * np.concatenate([mean, soft], 1) - 0.5
    np.testing.assert_allclose(run(loaded, x), np.where(less > 0.25, less, 0), atol=1e-6)


def test_what_the_model_was_compiled_with(tmp_path: Path) -> None:
    config, weights = separable()
    training = {
        "loss": {
            "class_name": "CategoricalCrossentropy",
            "config": {"reduction": "auto", "name": "cc", "label_smoothing": 0.1, "fn": "cc"},
        },
        "metrics": [
            [{"class_name": "MeanMetricWrapper", "config": {"name": "acc", "fn": "accuracy"}}]
        ],
        "optimizer_config": {"class_name": "Custom>Adam", "config": {"decay": 0.0}},
    }
    path = write_h5(tmp_path / "m.h5", config, weights, training)
    with h5py.File(path, "a") as file:
        file["optimizer_weights/Adam/m:0"] = np.zeros((72, 3), np.float32)
        file["optimizer_weights/Adam/iter:0"] = 5

    objective = objective_of(load_model(path))

    assert objective.source == "compiled" and objective.labels == "one-hot"
    assert objective.loss.label_smoothing == 0.1
    assert objective.describe()["metrics"] == ["acc"]
    assert optimizer_variables(path) == 216


def test_mixed_precision_and_layers_that_only_train(tmp_path: Path) -> None:
    policy = {"class_name": "Policy", "config": {"name": "mixed_float16"}}
    config = sequential(
        entry("Dense", "a", **dense(3), batch_input_shape=[None, 2]),
        entry("RandomWidth", "wider", factor=0.2),
        entry("SpatialDropout1D", "drop", rate=0.5, noise_shape=None, seed=None),
        entry("Dense", "b", **{**dense(2), "dtype": policy}),
    )
    config["config"]["layers"] = [
        layer for layer in config["config"]["layers"] if layer["class_name"] != "SpatialDropout1D"
    ]
    weights = {
        "a": [("kernel", np.eye(2, 3)), ("bias", np.zeros(3))],
        "b": [("kernel", np.ones((3, 2))), ("bias", np.ones(2))],
    }
    loaded = load_model(write_h5(tmp_path / "m.h5", config, weights))

    assert loaded.get_layer("b").compute_dtype == "float16"
    np.testing.assert_array_equal(run(loaded, np.ones((1, 2), np.float32)), [[3, 3]])


# What is refused, by name.


def bad(kind: str, **config: Any) -> dict[str, Any]:
    return functional([given("x", 4), entry(kind, "odd", "x", **config)], ["x"], ["odd"])


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("config", "said"),
    [
        (bad("Lambda", function=["4wEA", None, None]), ["Lambda code, which is never run", "odd"]),
        (
            bad("MyLayer", size=3),
            ["needs a class that is not one of Keras's", "MyLayer (layer odd)", "--custom"],
        ),
        (bad("LocallyConnected1D", filters=2), ["no such layer any more", "LocallyConnected1D"]),
        (bad("Dense", **dense(2, "my_function")), ["needs a function", "my_function", "--custom"]),
        (bad("LSTM", units=2, time_major=True), ["does not know", "time_major=True of odd"]),
        (bad("TFOpLambda", function="io.read_file"), ["no plain counterpart", "tf.io.read_file"]),
        (bad("TFOpLambda", function="py_function"), ["no plain counterpart", "tf.py_function"]),
        (
            bad("TensorFlowOpLayer", node_def={"op": "WriteFile", "input": ["x"]}),
            ["no plain counterpart", "WriteFile"],
        ),
        (
            bad("Dense", **dense(2), kernel_regularizer={"class_name": "Mine", "config": {}}),
            ["needs a class", "Mine (a regularizer)"],
        ),
        ({"class_name": "MyModel", "config": {"depth": 3}}, ["no graph of this model", "MyModel"]),
        (sequential(entry("Dense", "d", **dense(2))), ["does not say what it takes"]),
    ],
)
def test_what_keras_3_has_not_is_refused_by_name(
    config: Any, said: list[str], tmp_path: Path, rejected: Any
) -> None:
    path = write_h5(tmp_path / "m.h5", config, {})

    message = rejected(ModelError, load_model, path)

    assert all(part in message for part in [*said, str(path)]), message


def test_weights_without_a_model_are_named(tmp_path: Path, rejected: Any, keras: Any) -> None:
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        write_weights(file, separable()[1])
    newer = tmp_path / "m.weights.h5"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save_weights(newer)
    other = tmp_path / "table.h5"
    with h5py.File(other, "w") as file:
        file["rows"] = np.zeros(3)

    for weights in (path, newer):
        message = rejected(ModelError, load_model, weights)
        assert (
            "holds the weights of a model, not the model" in message and "load_weights" in message
        )
    assert "is not a Keras model" in rejected(ModelError, load_model, other)


def test_a_user_s_own_layer_that_is_registered(
    keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Doubled(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    path = write_h5(tmp_path / "m.h5", bad("Doubled"), {})
    monkeypatch.setitem(keras.saving.get_custom_objects(), "Mine>Doubled", Doubled)
    loaded = load_model(path)

    np.testing.assert_array_equal(run(loaded, np.ones((1, 4), np.float32)), [[2, 2, 2, 2]])


# Damaged and hostile files.


def test_truncated(tmp_path: Path, rejected: Any) -> None:
    config, weights = separable()
    whole = write_h5(tmp_path / "whole.h5", config, weights).read_bytes()
    path = tmp_path / "part.h5"
    for size in (8, 100, 2000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert str(path) in rejected(ModelError, read_here, path)


def test_weights_that_do_not_fit(tmp_path: Path, rejected: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "cache"))  # no tf_keras there
    config, weights = separable()
    scores = [("kernel", np.zeros((71, 3))), ("bias", np.zeros(3))]
    wrong = write_h5(tmp_path / "wrong.h5", config, {**weights, "scores": scores})
    lacking = write_h5(tmp_path / "less.h5", config, {"scores": weights["scores"]})
    from compressor.errors import MissingRuntimeError

    for path, layer in ((wrong, "scores"), (lacking, "depth")):
        message = rejected(MissingRuntimeError, load_model, path)
        assert layer in message and "compressor runtimes install tf-keras" in message


@pytest.fixture
def altered(tmp_path: Path) -> Any:
    """A file of `separable`, and the group of its weights, to be altered."""

    def write(alter: Any, **changes: Any) -> Path:
        config, weights = separable()
        text = json.dumps(config)
        for old, new in changes.get("text", ()):
            assert old in text
            text = text.replace(old, new)
        path = write_h5(tmp_path / "m.h5", json.loads(text), weights)
        with h5py.File(path, "a") as file:
            alter(file, file["model_weights/scores/scores"])
        return path

    return write


def test_links_sizes_and_names_that_lead_elsewhere(
    altered: Any, tmp_path: Path, rejected: Any
) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["kernel:0"] = np.zeros((72, 3), np.float32)
    layout = h5py.VirtualLayout((72, 3), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "kernel:0", (72, 3))

    def without(group: Any) -> Any:
        del group["kernel:0"]
        return group

    def link(_: Any, group: Any) -> None:
        without(group)["kernel:0"] = h5py.ExternalLink(str(secret), "kernel:0")

    def soft(_: Any, group: Any) -> None:
        without(group)["kernel:0"] = h5py.SoftLink("/model_weights/depth")

    def virtual(_: Any, group: Any) -> None:
        without(group).create_virtual_dataset("kernel:0", layout)

    def external(_: Any, group: Any) -> None:
        size = [(str(secret), 0, h5py.h5f.UNLIMITED)]
        without(group).create_dataset("kernel:0", (72, 3), "f4", external=size)

    def huge(_: Any, group: Any) -> None:
        without(group).create_dataset("kernel:0", (2**40, 3), "f4", chunks=(64, 3))

    def again(file: Any, _: Any) -> None:
        file["model_weights"].attrs["layer_names"] = [b"depth", b"norm", b"scores", b"scores"]

    def text(file: Any, _: Any) -> None:
        file.attrs["model_config"] = [b"{}"] * 3

    def outside(file: Any, _: Any) -> None:
        file["model_weights/scores"].attrs["weight_names"] = [b"../../../x"]

    for alter in (link, soft, virtual, external, huge, again, text, outside):
        path = altered(alter)
        assert str(path) in rejected(ModelError, read_here, path), alter


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"units": 3', '"units": 500000000', "asks for more weights than its file holds"),
        ("[null, 6, 6, 2]", "[null, 60000, 60000, 2]", "asks for more weights than its file holds"),
        ('"scores", 0, 0', '"gone", 0, 0', "names a layer that is missing"),
        ('["picture", 0, 0, {}]', '["scores", 0, 0, {}]', "is not connected"),
        ('"name": "norm"', '"name": "depth"', ""),
    ],
)
def test_configurations_that_ask_for_too_much(
    old: str, new: str, said: str, altered: Any, rejected: Any
) -> None:
    path = altered(lambda *_: None, text=[(old, new)])

    assert said in rejected(ModelError, load_model, path)


@pytest.mark.slow
def test_deep_and_endless_configurations(tmp_path: Path, rejected: Any) -> None:
    nested: Any = {"class_name": "Dense", "config": {"name": "d"}}
    for _ in range(200):
        nested = {"class_name": "Sequential", "config": {"name": "s", "layers": [nested]}}
    cell = {"class_name": "StackedRNNCells", "config": {"name": "c", "cells": []}}
    for config in (nested, bad("RNN", cell=cell), 5, [], {"class_name": "Functional"}, None):
        path = write_h5(tmp_path / "m.h5", config, {}, version="")
        rejected(ModelError, load_model, path)


def written_by_keras_3(keras: Any, kind: str) -> Any:
    layers = keras.layers
    x = inputs = keras.Input((4,))
    if kind == "a graph":
        row = keras.Sequential([keras.Input((4,)), layers.Dense(5), layers.BatchNormalization()])
        again = layers.Dense(4, name="again")
        x = layers.Concatenate()([row(again(x)), layers.Add()([again(again(x)), x])])
        return keras.Model(inputs, [layers.Dense(2)(x), x])
    if kind == "functions":
        x = layers.Dense(4)(x) * keras.ops.relu(x + 3.0)
        return keras.Model(inputs, layers.Dense(2)(x - inputs))
    x = layers.Reshape((2, 2))(x)
    return keras.Model(inputs, layers.MultiHeadAttention(2, 3)(x, x))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", ["a graph", "functions", "attention"])
def test_files_that_keras_3_wrote(
    keras: Any, tmp_path: Path, chance: np.random.Generator, kind: str
) -> None:
    """Stock Keras 3 stumbles over the functions."""
    model = written_by_keras_3(keras, kind)
    model.save(tmp_path / "model.h5")
    loaded = load_model(tmp_path / "model.h5")

    x = chance.standard_normal((5, 4)).astype(np.float32)
    pairs = (keras.tree.flatten(made.predict_on_batch(x)) for made in (model, loaded))
    for expected, found in zip(*pairs, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "options", "expected"),
    [
        ("math.reduce_mean", {"axis": [1], "keepdims": True}, lambda x: x.mean(1, keepdims=True)),
        ("math.reduce_max", {"axis": [1, 2], "keepdims": True}, lambda x: x.max((1, 2))[:, None]),
        ("math.reduce_sum", {"axis": 2, "keepdims": False}, lambda x: x.sum(2)),
        ("math.reduce_sum", {"axis": -1, "keepdims": None}, lambda x: x.sum(-1)),
        ("math.argmax", {"axis": 1, "name": None}, lambda x: x.argmax(1)),
        ("compat.v1.floor_div", {"y": 0.7, "name": None}, lambda x: np.floor(x / np.float32(0.7))),
        (
            "compat.v1.gather",
            {"indices": [2, 0], "validate_indices": None, "axis": 2, "batch_dims": 0},
            lambda x: x[:, :, [2, 0]],
        ),
    ],
)
def test_the_arguments_of_a_tensorflow_function_are_all_kept(
    tmp_path: Path, chance: np.random.Generator, function: str, options: Any, expected: Any
) -> None:
    layers = [given("x", 4, 6), lambda_layer("found", function, ["x", 0, 0, options])]
    loaded = load_model(write_h5(tmp_path / "m.h5", functional(layers, ["x"], ["found"]), {}))
    x = chance.standard_normal((5, 4, 6)).astype(np.float32)

    found = run(loaded, x)

    wanted = expected(x)
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, atol=1e-6)
    assert found.ndim == (3 if options.get("keepdims") or wanted.ndim == 3 else 2)
