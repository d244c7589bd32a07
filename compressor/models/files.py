"""Loading and saving Keras models."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import re
import shutil
import tempfile
import types
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from compressor.errors import ModelError
from compressor.foundation import atomic_path, deploy_errors, quiet_tensorflow
from compressor.models.asked_sizes import MOST_OF_CONFIG, check_asked, stored_shapes
from compressor.models.compiled import restore_compilation
from compressor.models.custom_classes import missing_class
from compressor.models.framing import framed
from compressor.models.head_metrics import Asked
from compressor.models.layers import unframed
from compressor.runs import model_kind
from deploy.archive import Archive, damage, open_archive
from deploy.files import open_regular
from deploy.manifest import MANIFEST, VECTORS
from deploy.tasks import METRICS, TASKS

# A .keras file stores its members uncompressed; one that expands more than this is an attack.
_MAX_EXPANSION = 100
_MAX_UNPACKED_BYTES = 64 * 2**30
_MOST_IN_MEMORY = 2**26
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_METADATA = "metadata.json"
_MEMBERS = (_CONFIG, _METADATA, _WEIGHTS)
_PROVENANCE = "compressor.json"
_DATA, _ASKED = "_compressor_data", "_compressor_asked"
_ASKABLE = {"task": TASKS, "metric": tuple(METRICS)}
_NO_MODEL = "Keras cannot load the model"
_NO_WEIGHTS = "cannot read the weights of the model"
_AGAIN = "save it again with model.save('NAME.keras')"


def load_model(path: Path | str) -> Any:
    """Load a .keras file in safe mode: code stored in it is never run.

    The model is compiled with its saved loss and metrics, as far as safe mode can make them,
    without the optimizer's state; one saved uncompiled stays so. A subclassed one is `framed`.
    Raises ModelError for a file that is truncated, is no Keras model, would unpack to far more than
    its size, asks for more weights than it holds, or needs code of its own: Lambda, or classes that
    are not registered with Keras (`load_custom`).
    """
    path = Path(path)
    content, stored, noted = _content(path)
    _, keras = quiet_tensorflow.load()
    try:
        check_asked(content, sum(map(math.prod, stored.values())))
        with _from_disk(4 * sum(map(math.prod, stored.values()))):
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except ModelError as error:
        raise ModelError(error.what, value=f"{error.value} ({path})", hint=_AGAIN) from error
    except Exception as error:  # Keras raises whatever the damaged part makes it raise
        if "Lambda" in str(error) and "deserializ" in str(error).lower():
            hint = "replace the Lambda layer by a standard layer and save the model again"
            what = "the model holds Lambda code, which is never run"
            raise ModelError(what, value=path, hint=hint) from error
        unknown = ModelError(_NO_MODEL, value=f"{path} ({reason_of(error)})", hint=_AGAIN)
        raise missing_class(error, path) or unknown from error
    config = json.loads(content)
    if isinstance(config, dict):
        restore_compilation(model, config.get("compile_config"))
    noted.pop("source", None)
    return framed(trained_on(model, noted.pop("data", None), noted))


@contextlib.contextmanager
def _from_disk(size: int) -> Iterator[None]:
    """Have Keras read so many bytes of weights, where these are many, from a temporary file.

    It would hold all of them beside those of the model.
    """
    if size < _MOST_IN_MEMORY:
        yield
        return
    library = importlib.import_module("keras.src.saving.saving_lib")
    folders = types.SimpleNamespace(
        # Keras makes it beside the model, where a killed process would leave it.
        TemporaryDirectory=lambda dir: tempfile.TemporaryDirectory()
    )
    with (
        patch.object(library, "is_memory_sufficient", lambda _: False),
        patch.object(library, "tempfile", folders),
    ):
        yield


def save_model(model: Any, path: Path | str, source: str | None = None) -> None:
    """Save `model`, with its optimizer's variables if it has any, as a .keras file, atomically.

    The data that it was `trained_on`, what was asked for then, and the sha256 of the file that it
    was made of, `source`, are in a member of their own, compressor.json, which Keras does not read.
    """
    with atomic_path(Path(path)) as temporary:
        unframed(model).save(temporary, overwrite=True)
        digest, asked = data_digest(model), asked_of(model)
        told = {"data": digest, "source": source}
        noted = {name: one for name, one in told.items() if one is not None} | asked
        if noted:
            with zipfile.ZipFile(temporary, "a") as archive:
                # Of no date, so that the same model gives the same bytes.
                archive.writestr(zipfile.ZipInfo(_PROVENANCE), json.dumps(noted))


def trained_on(model: Any, digest: str | None, asked: Mapping[str, Asked] | None = None) -> Any:
    """`model`, once it is known which data it was trained on: the digest of a `Dataset`.

    `asked` are the `task` and the `metric` that the user named then; see `asked_of`.
    """
    setattr(unframed(model), _DATA, digest)
    setattr(unframed(model), _ASKED, dict(asked or {}))
    return model


def asked_of(model: Any) -> dict[str, Any]:
    """The `task` and the `metric` that `prune` was given for a model, of those that it was."""
    return dict(getattr(unframed(model), _ASKED, {}))


def data_digest(model: Any) -> str | None:
    """The digest of the data that a model, or a .keras file, was trained on; None if unknown.

    Raises ModelError for a file that is no model.
    """
    if not isinstance(model, (str, Path)):
        return getattr(unframed(model), _DATA, None)
    if model_kind(Path(model)) in ("h5", "saved_model"):
        return None
    with _open_archive(Path(model)) as (archive, members):
        return _noted(archive, members, Path(model)).get("data")


def source_digest(path: Path) -> str | None:
    """The sha256 of the model file that a .keras file was made of; None if unknown.

    Raises ModelError for a file that is no model.
    """
    with _open_archive(path) as (archive, members):
        return _noted(archive, members, path).get("source")


def optimizer_variables(path: Path | str) -> int:
    """The number of optimizer values (Adam: two moments a weight) in a .keras file."""
    _, stored, _ = _content(Path(path))
    return sum(
        math.prod(shape)
        for name, shape in stored.items()
        if shape and name.startswith("optimizer/")
    )


def keras_version(path: Path) -> str:
    """The version of Keras that a .keras file says it was written by; raises ModelError."""
    with _open_archive(path) as (archive, members), damage(_NO_MODEL, path, _AGAIN):
        metadata = json.loads(_part(archive, members[_METADATA], path))
        return str(metadata.get("keras_version", ""))


def unpack(path: Path, folder: Path) -> tuple[bytes, Path, int]:
    """The config.json of a .keras file, its weights as a file in `folder`, and how many they are.

    Raises ModelError as `load_model` does.
    """
    content, stored, _ = _content(path)
    with _open_archive(path) as (archive, members), archive.open(members[_WEIGHTS]) as stream:
        weights = folder / _WEIGHTS
        with damage(_NO_WEIGHTS, path, _AGAIN), open(weights, "wb") as file:
            shutil.copyfileobj(stream, file)
    return content, weights, sum(map(math.prod, stored.values()))


def _content(path: Path) -> tuple[bytes, dict[str, tuple[int, ...]], dict[str, Any]]:
    """What a .keras file holds: config.json, the shapes of its tensors by name, and what is noted
    of its training: `data`, `task`, `metric`. Raises ModelError.
    """
    with _open_archive(path) as (archive, members):
        weights = members[_WEIGHTS]
        content = _part(archive, members[_CONFIG], path)
        noted = _noted(archive, members, path)
        # HDF5 jumps about, and a member of an archive is read from its start for each step back.
        with (
            archive.open(weights) as stream,
            damage(_NO_WEIGHTS, path, _AGAIN),
            tempfile.SpooledTemporaryFile(_MOST_IN_MEMORY) as copy,
        ):
            shutil.copyfileobj(stream, copy)
            return content, stored_shapes(copy, weights.file_size, path), noted


def _noted(archive: Archive, members: dict[str, zipfile.ZipInfo], path: Path) -> dict[str, Any]:
    """What is noted of the training; what is none of ours is left out."""
    if _PROVENANCE not in members:
        return {}
    content = _part(archive, members[_PROVENANCE], path)
    with damage(_NO_MODEL, path, _AGAIN):
        noted = dict(json.loads(content))
    found = {name: noted[name] for name in _ASKABLE if _is_asked(noted.get(name), _ASKABLE[name])}
    return found | {
        name: noted[name] for name in ("data", "source") if isinstance(noted.get(name), str)
    }


def _is_asked(given: Any, names: Sequence[str]) -> bool:
    """Whether this is one of the names, or such by the names of outputs."""
    values = list(given.values()) if isinstance(given, dict) else [given]
    return bool(values) and all(isinstance(value, str) and value in names for value in values)


def _part(archive: Archive, member: zipfile.ZipInfo, path: Path) -> bytes:
    """A member that is JSON; raises ModelError where it is too large."""
    if member.file_size > MOST_OF_CONFIG:
        raise ModelError("a part of the model is too large", value=f"{member.filename} in {path}")
    return archive.read(member)


@contextlib.contextmanager
def _open_archive(path: Path) -> Iterator[tuple[Archive, dict[str, zipfile.ZipInfo]]]:
    """A .keras file whose members can be unpacked, and these by name; raises ModelError."""
    if not path.is_file():
        what = "not a model file" if path.exists() else "no such file"
        raise ModelError(what, value=path, hint="give a .keras file")
    with (
        deploy_errors(ModelError),
        open_regular(path, _MAX_UNPACKED_BYTES) as (file, size),
        open_archive(file, ".keras file", path, _AGAIN) as archive,
    ):
        members = {member.filename: member for member in archive.members}
        missing = [name for name in _MEMBERS if name not in members]
        if missing:
            bundle = {MANIFEST, VECTORS} <= members.keys()
            if any(name.rpartition("/")[2] == "data.pkl" for name in members):
                what = "this is a PyTorch file, which is code and never run, not a Keras model"
                raise ModelError(what, value=path, hint="convert it to ONNX or Keras elsewhere")
            raise ModelError(
                "the file is not a Keras model, it lacks",
                value=f"{', '.join(missing)} ({path})",
                hint="it is a bundle: compressor verify says what is in it" if bundle else "",
            )
        if archive.unpacked > min(_MAX_UNPACKED_BYTES, max(size, 2**20) * _MAX_EXPANSION):
            raise ModelError(
                "the model unpacks to far more than it holds and is refused",
                value=f"{archive.unpacked} bytes ({path})",
            )
        archive.check_names()
        archive.check(archive.members)
        yield archive, members


def reason_of(error: BaseException) -> str:
    """The message of an error of Keras or zipfile, in one line."""
    # Keras prints the configuration first, and the reason at the end.
    text = str(error).rpartition("Exception encountered:")[2]
    text = re.sub("\x1b\\[[0-9;]*m", "", text).strip() or type(error).__name__
    return text.splitlines()[0][:200]
