"""Files as Keras 2 writes them: legacy HDF5, and SavedModels with the objects of Keras."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from compressor.foundation import quiet_tensorflow
from compressor.importing.saved_model import saved_metadata

Layers = Sequence[Mapping[str, Any]]
Arrays = Mapping[str, Sequence[tuple[str, np.ndarray]]]
"""Layer -> (name, values) of its weights, trainable ones first."""


def entry(kind: str, name: str, *nodes: Any, **config: Any) -> dict[str, Any]:
    """A layer of a functional model, called on `nodes`: each the name of a layer, or a call."""
    calls = [[[node, 0, 0, {}]] if isinstance(node, str) else node for node in nodes]
    whole = {"name": name, "trainable": True, "dtype": "float32", **config}
    return {"class_name": kind, "config": whole, "name": name, "inbound_nodes": calls}


def given(name: str, *shape: int | None, dtype: str = "float32") -> dict[str, Any]:
    """An input (None, *shape), with the arguments that Keras 2 writes."""
    config = {"batch_input_shape": [None, *shape], "dtype": dtype, "sparse": False}
    whole = {**config, "ragged": False, "name": name}
    return {"class_name": "InputLayer", "config": whole, "name": name, "inbound_nodes": []}


def functional(layers: Layers, inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, Any]:
    config = {
        "name": "old",
        "layers": list(layers),
        "input_layers": [[name, 0, 0] for name in inputs],
        "output_layers": [[name, 0, 0] for name in outputs],
    }
    return {"class_name": "Functional", "config": config}


def sequential(*layers: Mapping[str, Any]) -> dict[str, Any]:
    kept = [{"class_name": layer["class_name"], "config": layer["config"]} for layer in layers]
    return {"class_name": "Sequential", "config": {"name": "old", "layers": kept}}


def write_h5(
    path: Path,
    config: Any,
    weights: Arrays,
    training: Any = None,
    version: str = "2.4.0",
) -> Path:
    """A legacy HDF5 file of a whole model."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(config)
        if training is not None:
            file.attrs["training_config"] = json.dumps(training)
        write_weights(file.create_group("model_weights"), weights)
    return path


def write_weights(group: h5py.Group, weights: Arrays) -> None:
    """Weights as a legacy HDF5 file has them, in the root of one that holds nothing else."""
    group.attrs["layer_names"] = [name.encode() for name in weights]
    for layer, arrays in weights.items():
        inner = group.create_group(layer)
        inner.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name, _ in arrays]
        for name, values in arrays:
            inner[f"{layer}/{name}:0"] = values


def write_saved_model(
    folder: Path,
    config: dict[str, Any],
    weights: Arrays,
    serve: Any,
    shapes: Mapping[str, Sequence[int | None]],
    *,
    beside: bool = True,
) -> Path:
    """A SavedModel with the object graph and the metadata of Keras 2.

    `serve(inputs, variables)`, both dicts of tensors, by input and by LAYER/NAME, gives the dict
    of outputs. `beside`: the metadata are in keras_metadata.pb, as from TensorFlow 2.5 on.
    """
    tensorflow, _ = quiet_tensorflow.load()
    trackable = tensorflow.__internal__.tracking.AutoTrackable
    root, names = trackable(), {}
    variables: dict[str, Any] = {}
    for number, layer in enumerate(config["config"]["layers"]):
        name = layer["config"]["name"]
        made = trackable()
        made.variables = []
        for called, values in weights.get(name, ()):
            variable = tensorflow.Variable(values, name=f"{name}/{called}")
            made.variables.append(variable)
            variables[f"{name}/{called}"] = variable
        setattr(root, f"layer-{number}", made)
        names[f"layer-{number}"] = name
    signature = [
        tensorflow.TensorSpec([None, *shape], tensorflow.float32, name=name)
        for name, shape in shapes.items()
    ]

    @tensorflow.function(input_signature=signature)
    def serving(*inputs: Any) -> dict[str, Any]:
        return serve(dict(zip(shapes, inputs, strict=True)), variables)

    tensorflow.saved_model.save(root, str(folder), signatures={"serving_default": serving})
    _describe(folder, config, names, beside)
    return folder


def _describe(folder: Path, config: Any, names: Mapping[str, str], beside: bool) -> None:
    saved_model_pb2 = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2")
    path = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    nodes = saved.meta_graphs[0].object_graph_def.nodes
    texts = {0: json.dumps(config)}
    nodes[0].user_object.identifier = "_tf_keras_network"
    for child in nodes[0].children:
        if child.local_name in names:
            nodes[child.node_id].user_object.identifier = "_tf_keras_layer"
            texts[child.node_id] = json.dumps({"name": names[child.local_name]})
    if beside:
        metadata = saved_metadata()()
        for number, text in texts.items():
            metadata.nodes.add(node_id=number, metadata=text)
        (folder / "keras_metadata.pb").write_bytes(metadata.SerializeToString())
    else:
        for number, text in texts.items():
            nodes[number].user_object.metadata = text
    path.write_bytes(saved.SerializeToString())


def separable(seed: int = 0) -> tuple[dict[str, Any], Arrays]:
    """A DepthwiseConv2D with `groups`, BatchNormalization and Dense, with weights, as in 2.4."""
    generator = np.random.default_rng(seed)
    config = functional(
        [
            given("picture", 6, 6, 2),
            entry(
                *("DepthwiseConv2D", "depth", "picture"),
                **{"kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "groups": 1},
                **{"data_format": "channels_last", "dilation_rate": [1, 1], "use_bias": True},
                **{"depth_multiplier": 1, "activation": "linear", "depthwise_regularizer": None},
                **_object("depthwise_initializer", "GlorotUniform", seed=None),
            ),
            entry(
                *("BatchNormalization", "norm", "depth"),
                **{"axis": [3], "momentum": 0.9, "epsilon": 0.001, "center": True, "scale": True},
                **{"fused": True, "renorm": False, "virtual_batch_size": None},
            ),
            entry("LeakyReLU", "leaky", "norm", alpha=0.25),
            entry("Flatten", "flat", "leaky", data_format="channels_last"),
            entry(
                *("Dense", "scores", "flat"),
                **{"units": 3, "activation": "softmax", "use_bias": True},
                **_object("kernel_initializer", "VarianceScaling", scale=1.0, dtype="float32"),
                **_object("kernel_regularizer", "L2", l2=0.0001),
            ),
        ],
        ["picture"],
        ["scores"],
    )
    weights = {
        "depth": _random(generator, depthwise_kernel=(3, 3, 2, 1), bias=(2,)),
        "norm": _random(generator, gamma=(2,), beta=(2,), moving_mean=(2,), moving_variance=(2,)),
        "scores": _random(generator, kernel=(72, 3), bias=(3,)),
    }
    return config, weights


def _object(argument: str, kind: str, **config: Any) -> dict[str, Any]:
    return {argument: {"class_name": kind, "config": config}}


def _random(
    generator: np.random.Generator, **shapes: Iterable[int]
) -> list[tuple[str, np.ndarray]]:
    """Values of 0.1 to 1.1, so that a variance is one."""
    return [
        (name, (0.1 + generator.random(tuple(shape))).astype(np.float32))
        for name, shape in shapes.items()
    ]


def bad_lambda() -> list[dict[str, Any]]:
    """Layers that name code, in the ways in which tf_keras would run or import it."""
    function = {"class_name": "function", "config": "system", "registered_name": "system"}
    return [
        entry("Lambda", "a", "scores", function=["4wEA", None, None], function_type="lambda"),
        entry("Activation", "b", "scores", activation={**function, "module": "os"}),
        entry(
            *("Activation", "c", "scores"),
            activation={**function, "module": "keras.utils", "config": "get_file"},
        ),
        {"module": "subprocess", **entry("Popen", "d", "scores", args="true")},
        entry(
            *("Dense", "e", "scores"),
            **{"units": 1, "kernel_initializer": {**function, "module": "os"}},
        ),
    ]
