"""What reads models of Keras 2, for `fuzzing`: HDF5 files and SavedModels."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from fuzzing import MIB, Attempt, Target
from mutators import altered, damaged, text_of
from old_models import entry, functional, given, separable, write_h5, write_saved_model

TRAINING = {"loss": "mse", "metrics": [["accuracy"]], "optimizer_config": {}}


def h5_files(folder: Path) -> Attempt:
    """The bytes of a file: configuration and weights are read as data, or refused."""
    from compressor.importing.hdf5 import read_h5

    path = folder / "any.h5"
    sound = write_h5(path, *separable(), TRAINING).read_bytes()

    def attempt(chance: random.Random) -> bool:
        path.write_bytes(damaged(sound, chance))
        source = read_h5(path)
        values = [array for arrays in source.weights.values() for array in arrays]
        assert sum(array.size for array in values) <= source.stored
        return True

    read_h5(path)
    return attempt


def h5_models(folder: Path) -> Attempt:
    """The configuration, attributes and weights of a sound file are altered."""
    from compressor.importing.hdf5 import read_here
    from compressor.importing.loading import model_of

    path = folder / "any.h5"
    config, weights = separable()
    write_h5(path, config, weights, TRAINING)

    def load() -> None:
        source, layers = read_here(path)  # sound HDF5 takes no process of its own
        model_of(dataclasses.replace(source, weights=dict(layers)))

    def attempt(chance: random.Random) -> bool:
        kind = chance.randrange(4)
        text = text_of(config, chance) if kind else json.dumps(config).encode()
        training = altered(TRAINING, chance) if kind == 1 else TRAINING
        write_h5(path, None, weights, training)
        with h5py.File(path, "a") as file:
            file.attrs["model_config"] = np.bytes_(text.replace(b"\x00", b" ") or b" ")
            if kind == 0:
                _alter(file["model_weights"], chance)
        load()
        return True

    load()
    return attempt


def _alter(group: Any, chance: random.Random) -> None:
    layer = chance.choice(("depth", "norm", "scores"))
    names = [str(name) for name in group[layer].attrs["weight_names"]]
    name = f"{layer}/{chance.choice(names)}"
    values = group[name][()]
    del group[name]
    kind = chance.randrange(7)
    if kind == 0:
        group[name] = np.resize(values, chance.choice(((1,), (3, 3), (0,), (2**16,), ())))
    elif kind == 1:
        group[name] = h5py.ExternalLink("/etc/passwd", "/")
    elif kind == 2:
        group[name] = h5py.SoftLink("/model_weights")
    elif kind == 3:
        shape = chance.choice(((2**40,), (2**31, 2**31), (2**20, 2**20)))
        group.create_dataset(name, shape, "f8", chunks=(2**10,) * len(shape))
    elif kind == 4:
        group[name] = values.astype(chance.choice(("f8", "i1", "u8", "?", "S3", "f2")))
    elif kind == 5:
        group[layer].attrs["weight_names"] = [chance.randbytes(9).replace(b"\0", b"/")] * 9
        group[name] = values


def saved_models(folder: Path) -> Attempt:
    """The files of a SavedModel, and the metadata of Keras in them."""
    from compressor.importing import load_model
    from compressor.importing.serving import check_serving

    dense = {"units": 3, "activation": "relu", "use_bias": True}
    layers = [given("x", 4), entry("Dense", "d", "x", **dense)]
    config = functional(layers, ["x"], ["d"])
    arrays = {"d": [("kernel", np.ones((4, 3), "f4")), ("bias", np.ones(3, "f4"))]}
    path = folder / "any"
    serve = _serve
    write_saved_model(path, config, arrays, serve, {"x": [4]})
    parts = [path / "saved_model.pb", *path.glob("*metadata.pb"), *path.glob("variables/*")]
    sound = {part: part.read_bytes() for part in parts}
    described = json.dumps(config).encode()

    def attempt(chance: random.Random) -> bool:
        part = chance.choice(parts)
        content = sound[part]
        if part.name == "keras_metadata.pb" and chance.randrange(2):
            content = _replaced(content, described, text_of(config, chance))
        else:
            content = damaged(content, chance)
        part.write_bytes(content)
        try:
            load_model(path)
            check_serving(path)
        finally:
            part.write_bytes(sound[part])
        return True

    load_model(path)
    assert check_serving(path) == ["serve"]
    return attempt


def _serve(inputs: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
    return {"d": inputs["x"] @ variables["d/kernel"] + variables["d/bias"]}


def _replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    """The metadata with another configuration of the root."""
    from compressor.importing.saved_model import saved_metadata

    found = saved_metadata().FromString(content)
    for node in found.nodes:
        if node.metadata.encode() == old:
            node.metadata = new.decode(errors="replace")
    return bytes(found.SerializeToString())


def _with_keras(prepare: Callable[[Path], Attempt]) -> Target:
    return Target(prepare, 0.2, memory=1024 * MIB, quick=0, chatty=True)


TARGETS: dict[str, Target] = {
    "h5": Target(h5_files, 0.01, memory=1024 * MIB, quick=20, starts=True),
    "h5-model": _with_keras(h5_models),
    "saved-model": _with_keras(saved_models),
}
