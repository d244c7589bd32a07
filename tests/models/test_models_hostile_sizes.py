"""Small .keras files that ask for gigabytes, and damaged ones: one line, before it is allocated."""

from __future__ import annotations

import io
import json
import random
import resource
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import ModelError
from compressor.models import asked_sizes
from compressor.models.files import load_model, optimizer_variables

WEIGHTS = "model.weights.h5"
MIB = 2**20


@pytest.fixture
def members(keras: Any, tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """The members of the .keras file of a Sequential model, a text of its configuration altered."""

    def make(*layers: Any, old: str = "", new: str = "", **compiled: Any) -> dict[str, bytes]:
        model = keras.Sequential(list(layers))
        if compiled:
            model.compile(**compiled)
        model.save(tmp_path / "whole.keras")
        with zipfile.ZipFile(tmp_path / "whole.keras") as archive:
            found = {name: archive.read(name) for name in archive.namelist()}
        config = found["config.json"].decode()
        assert old in config
        return {
            **found,
            "config.json": config.replace(old, new).encode() if old else config.encode(),
        }

    return make


@pytest.fixture
def refused(rejected: Any, tmp_path: Path) -> Callable[[dict[str, bytes]], str]:
    """The line for a file of these members, which costs hardly any memory."""

    def call(members: dict[str, bytes]) -> str:
        path = tmp_path / "model.keras"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        assert path.stat().st_size < 2**16
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        message = rejected(ModelError, load_model, path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
        assert str(path) in message
        return str(message)

    return call


def test_weights_that_the_file_does_not_hold(keras: Any, members: Any, refused: Any) -> None:
    layers, image = keras.layers, keras.Input((8, 8, 1))
    for made in (
        members(keras.Input((78,)), layers.Dense(3), old='"units": 3', new='"units": 500000000'),
        members(
            keras.Input((4,), dtype="int32"),
            layers.Embedding(10, 4),
            old='"input_dim": 10',
            new='"input_dim": 5000000000',
        ),
        members(image, layers.Conv2D(3, 3), old='"filters": 3', new='"filters": 3000000000'),
        members(
            keras.Input((8, 4)),
            layers.Bidirectional(layers.LSTM(7)),
            old='"units": 7',
            new='"units": 70000000',
        ),
    ):
        assert "asks for more weights than its file holds" in refused(made)


def test_outputs_that_no_memory_holds(keras: Any, members: Any, refused: Any) -> None:
    layers, image = keras.layers, keras.Input((8, 8, 1))
    pool, flat = layers.GlobalAveragePooling2D, layers.GlobalAveragePooling1D
    for made in (
        members(image, layers.ZeroPadding2D(1), pool(), old="[1, 1]", new="[1, 100000]"),
        members(image, layers.UpSampling2D(3), pool(), old="[3, 3]", new="[30000, 30000]"),
        members(
            image, layers.Resizing(3, 5), pool(), old='"height": 3', new='"height": 3000000000'
        ),
        members(
            keras.Input((8,)), layers.RepeatVector(3), flat(), old='"n": 3', new=f'"n": {2**30}'
        ),
        members(image, pool(), old="[null, 8, 8, 1]", new="[null, 80000, 80000, 1]"),
        members(
            keras.Input((8, 8), batch_size=2),
            layers.GRU(5, stateful=True),
            old="[2, 8, 8]",
            new="[2000000000, 8, 8]",
        ),
    ):
        assert "one example takes too much in the model" in refused(made)


def test_arguments_that_keras_counts_up_to(keras: Any, members: Any, refused: Any) -> None:
    layers, inputs = keras.layers, keras.Input((8,))
    auc = keras.metrics.AUC(num_thresholds=50)
    made = members(
        *(inputs, layers.Dense(2)),
        **{"loss": "mse", "metrics": [auc]},
        **{"old": '"num_thresholds": 50', "new": '"num_thresholds": 500000000'},
    )
    assert "the model's num_thresholds is too large: 5e+08" in refused(made)
    made = members(
        *(inputs, layers.SpectralNormalization(layers.Dense(2), power_iterations=7)),
        **{"old": '"power_iterations": 7', "new": '"power_iterations": 700000000'},
    )
    assert "the model's power_iterations is too large" in refused(made)


def test_layers_without_end(keras: Any, members: Any, refused: Any) -> None:
    made = members(keras.Input((2,)), keras.layers.Activation("relu"))
    config = json.loads(made["config.json"])
    layer = config["config"]["layers"][1]
    config["config"]["layers"] += [layer] * 30_000
    made["config.json"] = json.dumps(config).encode()
    assert "too many layers: more than 50,000" in refused(made)

    start = '{"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": ['
    end = "]}}"
    refused({**made, "config.json": f"{start * 3000}{end * 3000}".encode()})


def test_a_model_that_is_never_made(
    keras: Any, members: Any, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*_: Any, **__: Any) -> None:
        while True:
            pass

    made = members(keras.Input((3, 2)), keras.layers.LSTM(1))
    monkeypatch.setattr(asked_sizes, "_MOST_SECONDS", 0.2)
    monkeypatch.setattr(keras.saving, "deserialize_keras_object", endless)
    before = threading.active_count()

    assert "takes too long to make: over 0.2 s" in refused(made)
    assert threading.active_count() == before


def _changed(weights: bytes, change: Callable[[Any, str, Any], None]) -> bytes:
    """HDF5 weights with their first kernel made anew."""
    import h5py

    stream = io.BytesIO(weights)
    with h5py.File(stream, "a") as file:
        found: list[str] = []
        file.visit(lambda name: found.append(name) if name.endswith("dense/vars/0") else None)
        kernel = file[found[0]][()]
        del file[found[0]]
        change(file, found[0], kernel)
    return stream.getvalue()


def test_weights_that_unpack_to_gigabytes(keras: Any, members: Any, refused: Any) -> None:
    import h5py

    keras.backend.clear_session()
    whole = members(keras.Input((4,)), keras.layers.Dense(3, name="dense"))

    def hollow(file: Any, name: str, kernel: Any) -> None:
        file.create_dataset(name, (2**20, 2**20), "f4", chunks=(1024, 1024), compression="gzip")

    def wide(file: Any, name: str, kernel: Any) -> None:
        size = (2**11, 2**11)
        file.create_dataset(name, data=kernel, chunks=size, maxshape=(None, None), compression=9)

    def soft(file: Any, name: str, kernel: Any) -> None:
        file[name] = h5py.SoftLink("/somewhere")

    def other(file: Any, name: str, kernel: Any) -> None:
        file[name] = h5py.ExternalLink("/etc/other.h5", "/vars")

    for change, said in (
        (hollow, "unpack to more than they are: layers/dense/vars/0 in "),
        (wide, "unpack to more than they are: layers/dense/vars/0 in "),
        (soft, "are a link: layers/dense/vars/0 in "),
        (other, "are a link: layers/dense/vars/0 in "),
    ):
        assert said in refused({**whole, WEIGHTS: _changed(whole[WEIGHTS], change)})


def _damaged(members: dict[str, bytes], whole: bytes, chance: random.Random) -> bytes:
    """The file with some of its bytes flipped or set, or cut; or so a member of a sound zip."""
    member = chance.choice([None, WEIGHTS, WEIGHTS, "config.json"])
    content = bytearray(whole if member is None else members[member])
    if chance.random() < 0.2:
        del content[chance.randrange(len(content)) :]
    for _ in range(chance.randint(1, 4) if content else 0):
        # The structure of HDF5 is at its beginning.
        place = chance.randrange(min(len(content), chance.choice([2000, len(whole)])))
        content[place] = chance.choice([0, 255, 127, content[place] ^ 1 << chance.randrange(8)])
    if member is None:
        return bytes(content)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, kept in {**members, member: bytes(content)}.items():
            archive.writestr(name, kept)
    return stream.getvalue()


@pytest.mark.slow
def test_damage_anywhere_is_one_line(keras: Any, members: Any, tmp_path: Path) -> None:
    made = members(keras.Input((4,)), keras.layers.Dense(3), loss="mse", optimizer="sgd")
    whole, path = (tmp_path / "whole.keras").read_bytes(), tmp_path / "model.keras"
    refusals = 0
    for seed in range(100):
        path.write_bytes(_damaged(made, whole, random.Random(seed)))
        for read in (load_model, optimizer_variables):
            try:
                read(path)
            except ModelError as error:
                refusals += 1
                assert str(error).isprintable() and str(path) in str(error), seed

    assert 80 < refusals < 200  # some damage is to bytes that mean nothing
