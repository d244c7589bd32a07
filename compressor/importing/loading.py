"""The one entrance for a model of any kind: what it is says its content, not its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compressor.errors import MissingRuntimeError, ModelError
from compressor.foundation import quiet_tensorflow, temporary_folder
from compressor.importing.building import Built, MismatchError, build, fill, finish
from compressor.importing.hdf5 import read_h5
from compressor.importing.source import Source, parsed, plain
from compressor.importing.training import compile_config
from compressor.models import check_made, files, reason_of, restore_compilation, restrained
from compressor.runs import is_saved_model, model_kind, refuse_foreign

_AGAIN = "import it with the TensorFlow that made it, or save it as .keras there"


def load_model(path: Path | str) -> Any:
    """Load a model as a Keras 3 model: a .keras file, legacy HDF5 (.h5), a Keras SavedModel.

    No code in it is run, and nothing of the graph of a SavedModel. The model is compiled with its
    saved loss and metrics, as far as they are known. What Keras 2 wrote is translated, and not
    compared with what it computes there: `import_model` does that. Raises ModelError for what is
    damaged, no model of Keras, asks for more than it holds, or has what Keras 3 has not.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError("no such file", value=path)
    kind = model_kind(path)
    if kind == "h5":
        return _from_h5(path)
    if kind == "saved_model":
        return model_of(read_source(path))
    refuse_foreign(path)
    return _from_archive(path) if is_old_archive(path) else files.load_model(path)


def is_old_archive(path: Path) -> bool:
    """Whether this is a .keras file of Keras 2.12 to 2.15, or of tf_keras."""
    return model_kind(path) == "keras" and files.keras_version(path).startswith("2")


def _from_archive(path: Path) -> Any:
    """The model of a .keras file of Keras 2: its weights have the places of Keras 3."""
    with temporary_folder("compressor-import-") as folder:
        config, weights, stored = files.unpack(path, folder)

        def load(built: Built) -> None:
            built.model.load_weights(weights)
            finish(built.model)

        source = Source(path, config, {}, stored, keras_version="2")
        compiled = parsed(config, "the configuration", path).get("compile_config")
        return model_of(dataclasses.replace(source, training=compiled), load)


def read_source(path: Path) -> Source:
    """The configuration and weights of an .h5 file or a SavedModel folder; raises ModelError."""
    if is_saved_model(path):
        from compressor.importing.saved_model import read_saved_model

        return read_saved_model(path)
    return read_h5(path)


def _from_h5(path: Path) -> Any:
    """The model of an .h5 file; by way of tf_keras, and proven, where Keras 3 cannot make it."""
    source = read_source(path)
    try:
        return model_of(source)
    except MismatchError as error:
        if not source.keras_version or not source.is_old:
            raise
        from compressor.importing.proof import proof_of, read_by_tf_keras

        try:
            model = model_of(read_by_tf_keras(path, source))
        except MissingRuntimeError as missing:
            raise MissingRuntimeError(
                f"{error.what}; tf_keras may read it, but {missing.what}",
                value=error.value,
                hint=missing.hint,
            ) from error
        proof_of(model, path)
        return model


def model_of(source: Source, load: Callable[[Built], None] | None = None) -> Any:
    """The Keras 3 model of what a file of Keras 2 says; raises ModelError.

    `load` gives it its weights, by default those of the source.
    """
    quiet_tensorflow.load()
    try:
        content = plain(restrained(source.config))
        check_made(lambda: build(content, old=source.is_old).model, source.stored)
        built = build(parsed(source.config, "the configuration", source.path), old=source.is_old)
        if load is None:
            fill(built, source.weights, old=source.is_old)
        else:
            load(built)
    except ModelError as error:
        value = f"{error.value} ({source.path})" if error.value else source.path
        raise type(error)(error.what, value=value, hint=error.hint) from error
    except Exception as error:  # Keras raises whatever the configuration makes it raise
        what = "Keras 3 cannot make the model"
        raise MismatchError(
            what, value=f"{source.path} ({reason_of(error)})", hint=_AGAIN
        ) from error
    restore_compilation(built.model, compile_config(source.training))
    return files.trained_on(built.model, None)


def optimizer_variables(path: Path | str) -> int:
    """The number of optimizer values (Adam: two moments a weight) in a model file.

    That of a SavedModel is 0: its checkpoint is not read for it. Raises ModelError.
    """
    path = Path(path)
    if is_saved_model(path):
        return 0
    if model_kind(path) == "h5":
        return read_h5(path).optimizer_values
    return files.optimizer_variables(path)
