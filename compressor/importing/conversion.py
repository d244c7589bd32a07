"""`compressor import`: a model of any kind as a Keras 3 file that computes the same."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from compressor.errors import RunDirectoryError, UsageError
from compressor.foundation import Listener, SilentListener, atomic_path, temporary_folder
from compressor.importing.loading import is_old_archive, load_model
from compressor.importing.proof import compare, made_inputs, outputs_of, proof_of
from compressor.models import count_parameters, framed, save_model
from compressor.runs import keras_file, model_kind

_KINDS = {"keras": ".keras file", "h5": "legacy HDF5 file", "saved_model": "SavedModel"}


def import_model(
    model: Any,
    output: Path | str | None = None,
    *,
    force: bool = False,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Write a model of any kind as a Keras 3 file (.keras), proven to compute the same.

    `model` is a legacy HDF5 file (.h5), a SavedModel folder that Keras wrote, a .keras file, or a
    Keras model in memory; `output` is by default NAME.keras beside the file. The file that was
    written is loaded again, and its outputs on random inputs of three ranges are held against those
    of the source: of tf_keras for an .h5 file (`compressor runtimes install tf-keras`), of its own
    serving function for a SavedModel, of the model for the others. Nothing is written where they
    differ by more than 1e-4 of the largest.

    Returns a JSON object: source, kind, output, parameters, difference (the largest, relative to
    the largest output), examples, proven_by. Raises ModelError for what cannot be imported, saying
    what stops it; CheckFailedError where the outputs differ; MissingRuntimeError where tf_keras is
    needed and not installed; UsageError and RunDirectoryError for an `output` that is no .keras
    file or is there already, unless `force`.
    """
    source = keras_file(Path(model)) if isinstance(model, (str, Path)) else None
    if output is None:
        if source is None:
            raise UsageError("a model in memory needs an output", hint="name a file")
        output = source.with_name(f"{source.stem}.keras")
    target = Path(output)
    if target.suffix != ".keras":
        raise UsageError("a Keras 3 model is a .keras file", value=target)
    if source is not None and os.path.realpath(source) == os.path.realpath(target):
        raise UsageError("the imported model would replace the model itself", value=target)
    if target.exists() and not force:
        hint = "name another with -o, or --force"
        raise RunDirectoryError("the file is there already", value=target, hint=hint)
    listener = listener or SilentListener()
    listener.stage("read the model")
    loaded = framed(model) if source is None else load_model(source)
    kind = "model in memory" if source is None else _KINDS[model_kind(source) or "keras"]
    with temporary_folder("compressor-import-") as folder:
        made = folder / "model.keras"
        save_model(loaded, made)
        again = load_model(made)
        listener.stage("compare with the source")
        if source is not None and (model_kind(source) != "keras" or is_old_archive(source)):
            proof = proof_of(again, source)
        else:
            rounds = made_inputs(loaded)
            expected, found = outputs_of(loaded, rounds), outputs_of(again, rounds)
            proof = compare(expected, found, "the model", source or target)
        with atomic_path(target) as temporary:
            shutil.copyfile(made, temporary)
    return {
        "source": None if source is None else str(source),
        "kind": kind,
        "output": str(target),
        "parameters": count_parameters(again),
        "difference": proof.difference,
        "examples": proof.examples,
        "proven_by": proof.by,
    }
