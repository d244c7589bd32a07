"""C code of models whose input or output is no map: rows, sequences, matrices, single positions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compressor
from compressor.exporters.c import compiling, reference
from compressor.exporters.c.emission import Source, emit
from compressor.exporters.c.network import Lookup, Network, Tensor
from deploy import read_artifact
from deploy.runner.engines import engine_class

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler"
)


def matrix(layers: Any) -> list[Any]:
    return [layers.Flatten(), layers.Dense(3, activation="softmax")]


def sequence(layers: Any) -> list[Any]:
    return [layers.Conv1D(4, 3, strides=2), layers.Flatten(), layers.Dense(3, activation="softmax")]


def position(layers: Any) -> list[Any]:
    return [layers.Conv2D(6, 1, activation="relu"), layers.Dense(3), layers.Softmax()]


def decoder(layers: Any) -> list[Any]:
    return [layers.Dense(8, activation="relu"), layers.Dense(12), layers.Reshape((4, 3))]


KINDS = {
    "matrix": ((8, 6), (3,), matrix),
    "sequence": ((16, 2), (3,), sequence),
    "position": ((1, 1, 20), (1, 1, 3), position),
    "decoder": ((10,), (4, 3), decoder),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_takes_and_gives_the_shapes_of_its_model(
    kind: str, keras: Any, tmp_path: Path
) -> None:
    shape, made, layers = KINDS[kind]
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input(shape), *layers(keras.layers)], name="net")
    asked: dict[str, Any] = {"format": "c", "input_range": (0, 1), "task": "regression"}
    record = compressor.export(model, tmp_path / "c", **asked)
    library = Path(record["path"])
    artifact = read_artifact(library)
    assert artifact.inputs[0].shape == (None, *shape)
    assert artifact.outputs[0].shape == (None, *made)
    x = np.random.default_rng(1).random((5, *shape), np.float32)
    engine = engine_class("c")(str(library), 1)
    assert (engine.inputs, engine.outputs) == (artifact.inputs, artifact.outputs)
    found = engine.predict({"input": x}, 2)
    assert found.shape == (5, *made)
    assert np.abs(found - model.predict(x, verbose=0)).max() < 0.05
    assert np.array_equal(compressor.load(library).run(x).reshape(found.shape), found)


@pytest.mark.slow
def test_the_code_of_a_tflite_file_takes_its_matrix(keras: Any, tmp_path: Path) -> None:
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((8, 6)), *matrix(keras.layers)], name="net")
    file = tmp_path / "net.tflite"
    compressor.export(model, file, quantize="int8", input_range=(0, 1))
    record = compressor.export(file, tmp_path / "c", format="c")
    assert read_artifact(Path(record["path"])).inputs[0].shape == (None, 8, 6)


def of_an_earlier_version(source: Source) -> Source:
    """The library's description, with (height, width, channels) alone."""
    file = f"{source.name}_library.c"
    text, ranks = source.files[file], ',\\"ranks\\":[3,3]'
    assert text.count(ranks) == 1
    source.files[file] = text.replace(ranks, "")
    return source


@pytest.mark.parametrize(
    ("shape", "taken"), [((1, 1, 7), (7,)), ((1, 4, 7), (1, 4, 7)), ((4, 4, 2), (4, 4, 2))]
)
def test_a_library_of_an_earlier_version_runs_as_it_did(
    shape: tuple[int, int, int], taken: tuple[int, ...], tmp_path: Path
) -> None:
    tensors = Tensor("given", shape, 0.1, 0), Tensor("made", shape, 0.1, 0)
    same = Lookup((0,), 1, np.arange(-128, 128).astype(np.int8))
    network = Network(tensors, (same,), 0, 1)
    vectors = np.zeros((1, *shape), np.int8)
    source = emit(network, "net", "portable", "size", (vectors, reference.run(network, vectors)))
    library = tmp_path / "net.so"
    library.write_bytes(compiling.compile_library(of_an_earlier_version(source)))
    engine = engine_class("c")(str(library), 1)
    assert [port.shape for port in (*engine.inputs, *engine.outputs)] == [(None, *taken)] * 2
    assert engine.predict({"input": np.zeros((3, *taken), np.float32)}, 3).shape == (3, *taken)
