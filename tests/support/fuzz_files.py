"""What reads artefacts, arrays, pictures and profiles, for `fuzzing`; each with sound files."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from artifact_files import small_onnx, small_tflite
from descriptions import DESCRIPTION
from fuzzing import Attempt, Target
from mutators import altered, damaged, npy, text_of, zipped

from deploy.arrays import decode_array, decode_arrays, read_array_file, write_arrays
from deploy.artifact import Artifact, read_artifact
from deploy.vectors import CheckVectors

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
LABELS = np.array([0, 1])
NEWER = ("validation_accuracy", "validation_reference_accuracy")
LARGEST = 100_000
"""Bytes that no sound reader makes of inputs this small, but by unpacking."""


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    write_arrays(stream, arrays)
    return stream.getvalue()


def npy_of(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def members_of(**arrays: np.ndarray) -> dict[str, bytes]:
    return {f"{name}.npy": npy_of(array) for name, array in arrays.items()}


def vectors() -> CheckVectors:
    """Of the one input of `write_artefact`."""
    generator = np.random.default_rng(1)
    picture = generator.random((3, 8, 8, 1)).astype(np.float32)
    return CheckVectors({"picture": picture}, generator.random((3, 4), np.float32), 1e-3)


def write_artefact(folder: Path, name: str = "small.tflite") -> Path:
    """A small artefact of one input, with its description and check vectors."""
    path = folder / name
    path.write_bytes(small_tflite())
    checked = vectors().to_bytes()
    path.with_name(f"{name}.check.npz").write_bytes(checked)
    port = {**DESCRIPTION["inputs"][0], "name": "picture"}
    rule = {**DESCRIPTION["preprocessing"][0], "name": "picture"}
    described = {
        **DESCRIPTION,
        **{"file": name, "bytes": path.stat().st_size, "inputs": [port], "preprocessing": [rule]},
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "vectors_sha256": hashlib.sha256(checked).hexdigest(),
    }
    path.with_name(f"{name}.json").write_text(json.dumps(described))
    return path


def contents(kind: str, make: Callable[[], bytes]) -> Callable[[Path], Attempt]:
    """Everything that `inspect` does with an artefact, and the values of every weight."""

    def prepare(folder: Path) -> Attempt:
        from compressor.exporters.inspection import describe_artifact_file

        sound, path = make(), folder / f"any.{kind}"

        def attempt(chance: random.Random) -> bool:
            path.write_bytes(damaged(sound, chance))
            _values(kind, path)
            json.dumps(describe_artifact_file(path, kind))
            return True

        path.write_bytes(sound)
        _values(kind, path)
        describe_artifact_file(path, kind)
        return attempt

    return prepare


def _values(kind: str, path: Path) -> None:
    content = path.read_bytes()
    if kind == "tflite":
        from compressor.exporters.tflite.reading import read_tflite, stored_values

        tflite = read_tflite(content)
        for graph in tflite.subgraphs:
            for tensor in graph.tensors:
                if tensor.is_constant and tensor.type.dtype:
                    stored_values(tflite, tensor)
    else:
        from compressor.exporters.onnx.reading import read_onnx, weight_values

        onnx = read_onnx(content)
        for weight in onnx.weights:
            weight_values(onnx, weight)


def graphs(kind: str, make: Callable[[], bytes]) -> Callable[[Path], Attempt]:
    """A file of any origin: described, and opened to be changed, or refused; nothing is run."""

    def prepare(folder: Path) -> Attempt:
        from compressor.exporters.graphs.file import read_graph_file

        kernels, channels = (
            importlib.import_module(f"compressor.exporters.{kind}.{name}")
            for name in ("kernels", "channels")
        )
        path = folder / f"any.{kind}"
        sound = make()

        def attempt(chance: random.Random) -> bool:
            path.write_bytes(damaged(sound, chance))
            found = read_graph_file(path)
            assert found.parameters <= 2**31
            opened = kernels.open_model(found.content)
            kernels.kernels_of(opened)
            list(kernels.layers_of(opened))
            channels.walk_channels(opened).map()
            return True

        path.write_bytes(sound)
        read_graph_file(path)
        return attempt

    return prepare


def micro_tflite() -> bytes:
    """A file for TFLite Micro in which each encoding is decoded."""
    from layer_graphs import VECTOR, layer_graph

    from compressor.exporters.tflite import decode_codes, graph as graphs

    graph = layer_graph(VECTOR, np.ones((2, 4), np.float32), None, (4,))
    values = (np.arange(60).reshape(4, 15) % 7 - 3).astype(np.int8)
    number = graphs.schema().BuiltinOperator.CUSTOM
    code = graphs.schema().OperatorCodeT(number, decode_codes.OPERATOR, 1, number)
    graph.operatorCodes.append(code)
    for writer in (decode_codes.pruned, decode_codes.tabled, decode_codes.huffman):
        coded = writer(values)
        assert coded is not None
        operator = graphs.schema().OperatorT(opcodeIndex=len(graph.operatorCodes) - 1)
        stored = (np.frombuffer(raw, np.uint8) for raw in (coded.stream, coded.ancillary))
        constants = [
            graphs.add_tensor(graph, None, raw.shape, raw.dtype, values=raw) for raw in stored
        ]
        operator.inputs = np.array(constants, np.int32)
        result = graphs.add_tensor(graph, None, values.shape, values.dtype)
        operator.outputs = np.array([result], np.int32)
        graphs.main(graph).operators.append(operator)
    return graphs.write_graph(graph)


def golomb_tflite() -> bytes:
    """A file that decodes weights at its first run."""
    from layer_graphs import VECTOR, layer_graph

    from compressor.exporters.tflite import golomb, graph as graphs
    from compressor.exporters.tflite.stored import EncodedWeight

    graph = layer_graph(VECTOR, np.ones((8, 40), np.float32), None, (40,))
    values = (np.arange(320).reshape(8, 40) % 7 == 0).astype(np.int8)
    (layer,) = graphs.main(graph).operators
    encoded = EncodedWeight(values, scale=np.ones(1, np.float32))
    golomb.Decoding(graph).add(graphs.indices(layer.inputs)[1], encoded)
    return graphs.write_graph(graph)


def stock_tflite() -> bytes:
    """A file of the stock converter."""
    from compressor.foundation import quiet_tensorflow

    tensorflow, keras = quiet_tensorflow.load()
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(12)]
    model = keras.Sequential([*layers, keras.layers.Dense(4)])
    return bytes(tensorflow.lite.TFLiteConverter.from_keras_model(model).convert())


def descriptions(folder: Path) -> Attempt:
    """A description is refused, or is what it says."""
    file = write_artefact(folder)
    beside, checked = (file.with_name(file.name + end) for end in (".json", ".check.npz"))
    sound, others = json.loads(beside.read_text()), checked.read_bytes()

    def attempt(chance: random.Random) -> bool:
        if not chance.randrange(20):
            checked.write_bytes(damaged(others, chance))
        beside.write_bytes(text_of(sound, chance))
        try:
            read_artifact(file)
        finally:
            checked.write_bytes(others)
        content = altered(sound, chance)
        found = Artifact.parse(content)
        for run in content["verified"]:  # descriptions of earlier versions lack some
            run.update({key: run.get(key) for key in NEWER})
        assert found.describe() == content
        return True

    assert read_artifact(file)
    return attempt


def arrays(folder: Path) -> Attempt:
    """Check vectors and other files of the device side: no more than is in them."""
    sound, path = vectors().to_bytes(), folder / "any.npy"
    members = members_of(**decode_arrays(sound, "sound"))
    one = npy_of(IMAGES)

    def attempt(chance: random.Random) -> bool:
        kind = chance.randrange(4)
        if kind == 0:
            path.write_bytes(npy(chance) if chance.randrange(2) else damaged(one, chance))
            assert read_array_file(path, LARGEST).nbytes <= LARGEST
        elif kind == 1:
            assert decode_array(npy(chance), "it").nbytes <= LARGEST
        else:
            if kind == 2:
                members["outputs.npy"] = npy(chance)
            content = damaged(sound, chance) if chance.randrange(2) else zipped(members, chance)
            CheckVectors.parse(content, "it")
        return True

    return attempt


def datasets(folder: Path) -> Attempt:
    """The .npz files of data sets, and the names of what is in them."""
    from compressor.data import load_dataset

    whole = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS}
    stream, packed = io.BytesIO(), io.BytesIO()
    np.savez(stream, **whole)
    np.savez_compressed(packed, **whole)
    sound, members, path = (stream.getvalue(), packed.getvalue()), members_of(**whole), folder
    path = folder / "data.npz"
    pieces = ("x_train", "x_test", "y_train", "y_test", "/", "_", ".", "a", "b", "é", "x_", "")

    def named(chance: random.Random) -> bytes:
        found = {}
        for _ in range(chance.randrange(9)):
            name = "".join(chance.choice(pieces) for _ in range(chance.randrange(4)))
            found[f"{name}.npy"] = members[f"{'y' if name[:1] == 'y' else 'x'}_test.npy"]
        return zipped({**members, **found} if chance.randrange(2) else found or members, chance)

    def attempt(chance: random.Random) -> bool:
        kind = chance.randrange(9)
        if kind < 3:
            path.write_bytes(damaged(chance.choice(sound), chance))
        elif kind < 5:
            path.write_bytes(named(chance))
        elif kind == 5:
            path.write_bytes(chance.randbytes(chance.randrange(200)))
        else:
            more = {"x_train.npy": npy(chance)} if kind == 6 else {}
            path.write_bytes(zipped({**members, **more}, chance))
        data = load_dataset(path)
        if not hasattr(data.x_train, "shape"):
            assert list(data.x_train) == list(data.x_test) == sorted(data.x_train)
            assert all(data.x_train)
        return True

    for content in sound:
        path.write_bytes(content)
        load_dataset(path)
    return attempt


def profiles(folder: Path) -> Attempt:
    """Device profiles: TOML."""
    from compressor.bundling import devices
    from deploy.profile import PROFILES, DeviceProfile

    texts = [path.read_bytes() for path in sorted(PROFILES.glob("*.toml"))]
    parsed = [profile.describe() for profile in devices.known()]
    path = folder / "any.toml"
    tokens = (
        *(b"=", b"[", b"]", b'"', b"'", b"\n", b"#", b".", b"{", b"}", b"a.a.a.a", b"[[a]]\n"),
        *(b"9" * 500, b"nan", b"inf", b"1979-05-27T07:32:00Z", b'"""', b"\x00", b"\xff", b"[" * 99),
        *(b"a" * 3000, b"a." * 900, b"0x1", b"1_0", b"\\u0000", b"\r"),
    )

    def attempt(chance: random.Random) -> bool:
        if not chance.randrange(4):
            DeviceProfile.parse(altered(chance.choice(parsed), chance))
            return True
        path.write_bytes(damaged(chance.choice(texts), chance, tokens))
        devices.find_device(path)
        return True

    return attempt


def masks(folder: Path) -> Attempt:
    """Files of masks, which `compressor.data.load_arrays` reads."""
    from compressor.pruning.masks import load_masks, save_masks

    path = folder / "masks.npz"
    found = {"a/kernel": np.ones((3, 4), bool), "b": np.zeros(5, bool)}
    save_masks(path, found)
    sound, members = path.read_bytes(), members_of(**found)

    def attempt(chance: random.Random) -> bool:
        more: Mapping[str, bytes] = {"b.npy": npy(chance)} if chance.randrange(2) else {}
        content = (
            damaged(sound, chance) if chance.randrange(2) else zipped({**members, **more}, chance)
        )
        path.write_bytes(content)
        load_masks(path)
        return True

    return attempt


def emptied(folder: Path) -> Path:
    """The folder, made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


TARGETS: dict[str, Target] = {
    "tflite": Target(contents("tflite", small_tflite), 4, quick=3000),
    "tflite-micro": Target(contents("tflite", micro_tflite), 2, quick=600),
    "tflite-golomb": Target(contents("tflite", golomb_tflite), 1, quick=300),
    "onnx": Target(contents("onnx", small_onnx), 3, quick=3000),
    "graphs-tflite": Target(graphs("tflite", small_tflite), 2),
    "graphs-onnx": Target(graphs("onnx", small_onnx), 2),
    "tflite-stock": Target(contents("tflite", stock_tflite), 0.3, quick=0),
    "descriptions": Target(descriptions, 8),
    "arrays": Target(arrays, 10, quick=600),
    "datasets": Target(datasets, 6, quick=500),
    "profiles": Target(profiles, 3),
    "masks": Target(masks, 3),
}
