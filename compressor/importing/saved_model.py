"""SavedModel folders that Keras 2 wrote, read as data: nothing of their graph is executed.

The configuration is the metadata of the object graph's root, in keras_metadata.pb, or before
TensorFlow 2.5 in saved_model.pb itself. The weights are in the checkpoint, whose object graph has
every layer as layer-N, and its variables in order.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from compressor.errors import ModelError
from compressor.foundation import deploy_errors, quiet_tensorflow
from compressor.importing.source import Source, Weights, parsed
from compressor.models import MOST_OF_CONFIG
from compressor.runs import GRAPH
from deploy.archive import damage
from deploy.files import read_regular

MOST_OF_GRAPH = 64 * 2**20
"""Bytes of saved_model.pb; EfficientNetB7 has 15 MB."""
_NO_MODEL = "cannot read the SavedModel"
_AGAIN = "save it again with model.save('NAME.keras')"
_ELSEWHERE = "convert it to TFLite (tf.lite.TFLiteConverter.from_saved_model) or ONNX (tf2onnx)"
_MODELS = ("_tf_keras_model", "_tf_keras_network", "_tf_keras_sequential")
_PREFIX = Path("variables", "variables")
_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_MOST_LEVELS = 50


def read_saved_model(path: Path) -> Source:
    """The model of a SavedModel folder that Keras wrote.

    Raises ModelError for one that Keras did not write, a damaged one, and one that asks for more
    than it holds.
    """
    tensorflow, _ = quiet_tensorflow.load()
    graph = saved_graph(path)
    objects = graph.object_graph_def.nodes
    with damaged(path):
        metadata = _metadata(path, objects)
        root = metadata.get(0)
    if root is None or not objects or objects[0].user_object.identifier not in _MODELS:
        raise ModelError("this SavedModel was not written by Keras", value=path, hint=_ELSEWHERE)
    described = parsed(root, "the metadata of the SavedModel", path)
    if not isinstance(described, dict) or not isinstance(described.get("config"), dict):
        raise ModelError(
            "the SavedModel holds no configuration of its model, a subclassed one",
            value=path,
            hint=f"rebuild it in Keras 3 and load its weights; or {_ELSEWHERE}",
        )
    checkpoint = _Checkpoint(tensorflow, path)
    with damaged(path):
        names = {number: _name(text) for number, text in metadata.items()}
        weights = checkpoint.weights_of(objects, names)
    kind = described.get("class_name")
    config = {"class_name": kind, "config": described["config"]}
    return Source(
        path,
        json.dumps(config).encode(),
        weights,
        checkpoint.stored,
        described.get("training_config"),
        str(described.get("keras_version") or "2"),
    )


@contextlib.contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Turn what TensorFlow and protobuf raise for damaged files into ModelError."""
    with deploy_errors(ModelError), damage(_NO_MODEL, path, _AGAIN):
        yield


def saved_graph(path: Path) -> Any:
    """The one MetaGraphDef of a SavedModel; raises ModelError."""
    quiet_tensorflow.load()
    saved_model_pb2 = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2")
    with damaged(path):
        found = saved_model_pb2.SavedModel.FromString(
            read_regular(path / GRAPH, MOST_OF_GRAPH, _NO_MODEL)
        )
    if len(found.meta_graphs) != 1:
        count = f"{len(found.meta_graphs)} graphs in {path}"
        raise ModelError("the SavedModel does not hold one graph", value=count, hint=_AGAIN)
    return found.meta_graphs[0]


def _metadata(path: Path, objects: Any) -> dict[int, bytes]:
    """Keras's metadata, JSON, of the nodes that have any, by number."""
    beside = path / "keras_metadata.pb"
    if not beside.exists():
        return {
            number: node.user_object.metadata.encode()
            for number, node in enumerate(objects)
            if node.user_object.metadata
        }
    found = saved_metadata().FromString(read_regular(beside, MOST_OF_CONFIG, _NO_MODEL))
    return {node.node_id: node.metadata.encode() for node in found.nodes}


def saved_metadata() -> Any:
    """The message of keras/protobuf/saved_metadata.proto, as far as it is needed."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name="compressor/saved_metadata.proto", package="compressor", syntax="proto3"
    )
    node, whole = file.message_type.add(name="SavedObject"), file.message_type.add(name="Saved")
    kinds = descriptor_pb2.FieldDescriptorProto
    node.field.add(name="node_id", number=2, type=kinds.TYPE_INT32, label=kinds.LABEL_OPTIONAL)
    node.field.add(name="metadata", number=5, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    whole.field.add(
        name="nodes",
        number=1,
        type=kinds.TYPE_MESSAGE,
        type_name=".compressor.SavedObject",
        label=kinds.LABEL_REPEATED,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("compressor.Saved"))


def _name(text: bytes) -> str:
    content = json.loads(text)
    return str(content.get("name", "")) if isinstance(content, dict) else ""


class _Checkpoint:
    """The values of a SavedModel, by the names of their objects."""

    def __init__(self, tensorflow: Any, path: Path) -> None:
        with damaged(path):
            self._reader = tensorflow.train.load_checkpoint(str(path / _PREFIX))
            self._shapes = self._reader.get_variable_to_shape_map()
            self._types = self._reader.get_variable_to_dtype_map()
            files = (path / _PREFIX.parent).glob(f"{_PREFIX.name}.data-*")
            size = sum(file.stat().st_size for file in files)
            text = self._value(_GRAPH_KEY, size)
            self._nodes = self._parse(text)
            self.stored = 0
            numbers = [n for n, kind in self._types.items() if kind != tensorflow.string]
            for name in numbers:
                self.stored += math.prod(self._shapes[name])
            needed = sum(self._types[n].size * math.prod(self._shapes[n]) for n in numbers)
            if needed > size:
                raise ValueError(f"its variables have {needed:,} bytes, its files {size:,}")
        self._left = size

    def _parse(self, text: bytes) -> Any:
        graphs = importlib.import_module("tensorflow.core.protobuf.trackable_object_graph_pb2")
        return graphs.TrackableObjectGraph.FromString(text).nodes

    def _value(self, key: str, most: int) -> Any:
        size = self._types[key].size if self._types[key].size else 1
        if size * math.prod(self._shapes[key]) > most:
            raise ValueError(f"{key} is larger than its files")
        return self._reader.get_tensor(key)

    def weights_of(
        self, objects: Any, names: dict[int, str], number: int = 0, node: int = 0, level: int = 0
    ) -> Weights:
        """Layer -> its arrays in order, or the layers of a nested model.

        `number` is the model in the object graph of the SavedModel, `node` in the checkpoint's.
        """
        if level > _MOST_LEVELS:
            raise ValueError("its models are nested too deeply")
        found: Weights = {}
        parts = _children(self._nodes[node])
        for child, inner in _children(objects[number]).items():
            kind, _, index = child.rpartition("-")
            if kind != "layer" or not index.isdigit() or child not in parts:
                continue
            name = names.get(inner, "")
            if objects[inner].user_object.identifier in _MODELS:
                nested = self.weights_of(objects, names, inner, parts[child], level + 1)
                if nested:
                    found[name] = nested
                continue
            arrays = list(self._variables(parts[child]))
            if arrays:
                found[name] = arrays
        return found

    def _variables(self, node: int) -> Iterator[np.ndarray]:
        listed = _children(self._nodes[node]).get("variables")
        if listed is None:
            return
        places = _children(self._nodes[listed])
        for place in sorted((name for name in places if name.isdigit()), key=int):
            for attribute in self._nodes[places[place]].attributes:
                if attribute.name == "VARIABLE_VALUE":
                    value = np.asarray(self._value(attribute.checkpoint_key, self._left))
                    if value.dtype.kind not in "fiub":
                        raise ValueError(f"{attribute.checkpoint_key} holds no numbers")
                    self._left -= value.nbytes
                    yield value


def _children(node: Any) -> dict[str, int]:
    return {child.local_name: child.node_id for child in node.children}
