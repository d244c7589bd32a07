"""Legacy HDF5 files (.h5) of Keras 2 and tf.keras, read as data.

As in keras.src.legacy.saving.legacy_h5_format: the attribute model_config is the configuration,
the group model_weights has one group a layer, and its attribute weight_names their order.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import compressor
from compressor.errors import ModelError
from compressor.foundation import deploy_errors, temporary_folder
from compressor.importing import handover
from compressor.importing.source import Source, parsed
from compressor.models import MOST_OF_CONFIG, stored_shapes
from deploy.archive import damage
from deploy.files import open_regular

_MOST_BYTES = 64 * 2**30
_NO_MODEL = "cannot read the .h5 file"
_AGAIN = "save it again with model.save('NAME.keras')"
_WEIGHTS = "model_weights"
_OPTIMIZER = "optimizer_weights/"
_SECONDS = 10.0
_BYTES_A_SECOND = 20 * 2**20
_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from compressor.importing.hdf5 import hand_over
hand_over(*sys.argv[2:])
"""


def read_h5(path: Path) -> Source:
    """The model of a legacy HDF5 file; nothing in it is executed.

    The HDF5 library reads it in a process of its own, since a damaged file can crash it, or keep it
    busy for ever. Raises ModelError for a file that is damaged, holds weights only or no Keras
    model, has links, or would take more memory than it has bytes.
    """
    with deploy_errors(ModelError), open_regular(path, _MOST_BYTES) as (_, size):
        pass
    root = str(Path(compressor.__file__).parents[1])
    seconds = _SECONDS + size / _BYTES_A_SECOND
    with temporary_folder("compressor-import-") as folder:
        program = ["-c", _PROGRAM, root, str(path.absolute()), str(folder), str(seconds)]
        handover.run(program, path, folder, 10 * seconds, "reading the .h5 file")
        document = handover.document_of(folder)
        weights = handover.weights_of(folder, document.pop("layers"))
    config = document.pop("config").encode()
    return Source(path=path, config=config, weights=weights, **document)


def hand_over(path: str, folder: str, seconds: str) -> None:
    """Read a file in this process, which must be one of its own, and write what it says."""
    _limit(int(float(seconds)), Path(path).stat().st_size)
    try:
        source, layers = read_here(Path(path))
    except ModelError as error:
        handover.refuse(Path(folder), error)
    else:
        handover.write(Path(folder), source, layers)


def _limit(seconds: int, size: int) -> None:
    try:
        import resource
    except ImportError:  # not on this system
        return
    for what, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_DATA, 2**29 + 8 * size),
        (resource.RLIMIT_CORE, 0),
    ):
        with contextlib.suppress(OSError, ValueError):  # a lower limit is set already
            resource.setrlimit(what, (most, most))


def read_here(path: Path) -> tuple[Source, dict[str, list[np.ndarray]]]:
    """`read_h5` in this process; the weights of each layer beside it."""
    h5py = importlib.import_module("h5py")
    with deploy_errors(ModelError), open_regular(path, _MOST_BYTES) as (file, size):
        with damage(_NO_MODEL, path, _AGAIN):
            shapes = stored_shapes(file, size, path)
        with h5py.File(file, "r") as opened:
            with damage(_NO_MODEL, path, _AGAIN):
                config = _text(opened, "model_config")
                training = _text(opened, "training_config")
                version = _text(opened, "keras_version") or b""
            if config is None:
                _refuse(opened, path)
            with damage(_NO_MODEL, path, _AGAIN):
                layers = _layers(opened, shapes)
                text = config.decode()
    moments = [shape for name, shape in shapes.items() if shape and name.startswith(_OPTIMIZER)]
    source = Source(
        path,
        text.encode(),
        {},
        sum(map(math.prod, shapes.values())),
        None if training is None else parsed(training, "the training configuration", path),
        version.decode(errors="replace"),
        sum(map(math.prod, moments)),
    )
    return source, layers


def _refuse(opened: Any, path: Path) -> NoReturn:
    names = set(opened) | set(opened.attrs)
    if names & {"layer_names", "layers", "_layer_checkpoint_dependencies", _WEIGHTS, "vars"}:
        raise ModelError(
            "the file holds the weights of a model, not the model",
            value=path,
            hint="build the model in Keras, model.load_weights(FILE), model.save('NAME.keras')",
        )
    raise ModelError(
        "this HDF5 file is not a Keras model", value=path, hint="it has no model_config"
    )


def _text(group: Any, name: str) -> bytes | None:
    """An attribute that is one text; ValueError for one that is not, or too long."""
    if name not in group.attrs:
        return None
    kind = group.attrs.get_id(name)
    if kind.shape != () or kind.dtype.kind not in "SO" or kind.dtype.itemsize > MOST_OF_CONFIG:
        raise ValueError(f"{name} is not a text")
    value = group.attrs[name]
    text = value.encode() if isinstance(value, str) else bytes(value)
    if len(text) > MOST_OF_CONFIG:
        raise ValueError(f"{name} is too long")
    return text


def _names(group: Any, name: str, size: int = MOST_OF_CONFIG) -> list[str]:
    """A list of names, which may be in pieces, name0, name1, ...; empty where there is none."""
    pieces = [name] if name in group.attrs else list(_numbered(group, name))
    found: list[str] = []
    for piece in pieces:
        kind = group.attrs.get_id(piece)
        if len(kind.shape) != 1 or kind.shape[0] * kind.dtype.itemsize > size:
            raise ValueError(f"{piece} is not a list of names")
        for value in group.attrs[piece]:
            found.append(value.decode() if isinstance(value, bytes) else str(value))
    return found


def _numbered(group: Any, name: str) -> Iterator[str]:
    number = 0
    while f"{name}{number}" in group.attrs:
        yield f"{name}{number}"
        number += 1


def _layers(opened: Any, shapes: dict[str, tuple[int, ...]]) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {}
    taken = 0
    for layer in _names(opened[_WEIGHTS], "layer_names"):
        paths = [
            f"{_WEIGHTS}/{layer}/{name}"
            for name in _names(opened[f"{_WEIGHTS}/{layer}"], "weight_names")
        ]
        arrays: list[np.ndarray] = []
        for path in paths:
            # A tensor may be named again and again, but not more values than there are.
            taken += math.prod(shapes[path])
            if taken > sum(map(math.prod, shapes.values())):
                raise ValueError(f"{path} is there twice")
            if opened[path].dtype.kind not in "fiub":
                raise ValueError(f"{path} holds no numbers")
            arrays.append(opened[path][()])
        if layer in found:
            raise ValueError(f"layer {layer} is there twice")
        if arrays:
            found[layer] = arrays
    return found
