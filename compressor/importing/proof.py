"""What a file of Keras 2 computes itself, found in a process of its own, beside what we made of it.

For .h5 files tf_keras reads the file; for a SavedModel its own serving function runs, once all that
it calls is known to compute and nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from compressor.errors import CheckFailedError, ModelError
from compressor.foundation import deploy_errors, quiet_tensorflow, temporary_folder
from compressor.importing import handover
from compressor.importing.hdf5 import read_h5
from compressor.importing.layers import refuse_code
from compressor.importing.serving import check_serving
from compressor.importing.source import Source, parsed
from compressor.models import files, graph_of, random_inputs, reason_of
from compressor.runs import is_saved_model, model_kind
from compressor.runtimes import keras2
from deploy.arrays import read_arrays, write_arrays

TOLERANCE = 1e-4
"""of the largest output"""

_SECONDS = 900
_MOST_BYTES = 8 * 2**30
_PROGRAM = Path(__file__).with_name("original.py")
# Inputs are random in 0 to 1; then as wide as pixels are, and around zero.
_RANGES = ((1.0, 0.0), (255.0, 0.0), (4.0, -2.0))

Rounds = list[list[np.ndarray]]
"""Round -> arrays in the order of the model's inputs or outputs."""


@dataclasses.dataclass(frozen=True)
class Proof:
    """How far the outputs of two models are from each other."""

    difference: float
    """largest, as a part of the largest output"""
    examples: int
    by: str
    """what computed the outputs that count"""


def made_inputs(model: Any) -> Rounds:
    """Random inputs of several ranges, for each input of a Keras model (samples, ...)."""
    _, keras = quiet_tensorflow.load()
    drawn = keras.tree.flatten(random_inputs(model))
    return [
        [
            # Whole numbers are what an Embedding takes, and stay.
            (array * factor + shift).astype(array.dtype) if (array % 1).any() else array
            for array in drawn
        ]
        for factor, shift in _RANGES
    ]


def outputs_of(model: Any, rounds: Rounds) -> Rounds:
    """What a Keras model gives, in inference. Raises CheckFailedError where it cannot be run."""
    _, keras = quiet_tensorflow.load()
    found, graph = [], graph_of(model)
    for arrays in rounds:
        try:
            outputs = graph.predict_on_batch(keras.tree.pack_sequence_as(graph.input, arrays))
        except Exception as error:  # whatever a layer raises
            raise CheckFailedError("the model cannot be run", value=reason_of(error)) from error
        found.append([np.asarray(output) for output in keras.tree.flatten(outputs)])
    return found


def compare(expected: Rounds, found: Rounds, by: str, where: Path) -> Proof:
    """Raises CheckFailedError where the outputs differ by more than `TOLERANCE` of their scale."""
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        if [array.shape for array in ours] != [array.shape for array in theirs]:
            shapes = f"{[a.shape for a in ours]}, {[a.shape for a in theirs]} in {by} ({where})"
            raise CheckFailedError("the imported model has other outputs", value=shapes)
        for one, other in zip(ours, theirs, strict=True):
            one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
            same = np.array_equal(np.isfinite(one), np.isfinite(other))
            finite = np.isfinite(other)
            scale = float(np.abs(other[finite]).max(initial=0.0)) or 1.0
            apart = float(np.abs(one - other)[finite].max(initial=0.0)) if same else math.inf
            worst = max(worst, apart / scale)
    if not worst <= TOLERANCE:
        raise CheckFailedError(
            f"the imported model does not compute what {by} does",
            value=f"they differ by {worst:.3g} of their scale, at most {TOLERANCE:g} ({where})",
            hint="report it with the file",
        )
    return Proof(worst, sum(len(arrays[0]) for arrays in expected), by)


def proof_of(model: Any, path: Path) -> Proof:
    """Hold the Keras 3 model that was made of `path` against what the file itself computes.

    Raises CheckFailedError where they differ, MissingRuntimeError where tf_keras is needed and not
    installed, ModelError where a SavedModel would do more than compute.
    """
    rounds = made_inputs(model)
    graph = graph_of(model)
    names = [tensor.name for tensor in graph.inputs]
    with temporary_folder("compressor-import-") as folder:
        expected, by = _original(path, folder, rounds, names, list(graph.output_names))
    return compare(expected, outputs_of(model, rounds), by, path)


def read_by_tf_keras(path: Path, source: Source) -> Source:
    """Configuration and weights as tf_keras makes them of an .h5 file; raises MissingRuntimeError.

    Every code in the file was refused before: tf_keras would run it.
    """
    with temporary_folder("compressor-import-") as folder:
        _run(path, folder, [])
        document = handover.document_of(folder)
        weights = handover.weights_of(folder, document["layers"])
    config = {"class_name": document["class_name"], "config": document["config"]}
    return dataclasses.replace(source, config=json.dumps(config).encode(), weights=weights)


def _original(
    path: Path, folder: Path, rounds: Rounds, inputs: list[str], outputs: list[str]
) -> tuple[Rounds, str]:
    if is_saved_model(path):
        (folder / "names.json").write_text(json.dumps([check_serving(path), inputs]))
    _run(path, folder, rounds)
    with deploy_errors(ModelError):
        arrays = read_arrays(folder / "outputs.npz", _MOST_BYTES)
    found: Rounds = []
    for number in range(len(rounds)):
        own = {
            name.partition("-")[2]: array
            for name, array in arrays.items()
            if name.partition("-")[0] == str(number)
        }
        if set(own) == set(outputs):
            found.append([own[name] for name in outputs])
        else:
            found.append(list(own.values()))
    by = "its serving function" if is_saved_model(path) else f"tf_keras {_version()}"
    return found, by


def check_code(path: Path) -> None:
    """Raise ModelError for an .h5 or .keras file that names code: tf_keras would import it."""
    if model_kind(path) == "h5":
        config = read_h5(path).config
    else:
        with temporary_folder("compressor-import-") as folder:
            config = files.unpack(path, folder)[0]
    refuse_code(parsed(config, "the configuration", path))


def _version() -> str:
    return keras2.environment().version


def _run(path: Path, folder: Path, rounds: Rounds) -> None:
    kind, more = "saved_model", []
    if not is_saved_model(path):
        check_code(path)
        kind, more = "h5", [str(keras2.environment().packages())]
    with open(folder / "inputs.npz", "wb") as stream:
        named = {
            f"{number}-{place}": array
            for number, arrays in enumerate(rounds)
            for place, array in enumerate(arrays)
        }
        write_arrays(stream, named)
    file = path.resolve()
    if kind == "h5" and model_kind(path) == "keras" and path.suffix != ".keras":
        file = folder / "model.keras"  # tf_keras goes by the name
        shutil.copyfile(path, file)
    program = [str(_PROGRAM), kind, str(file), str(folder), *more]
    handover.run(program, path, folder, _SECONDS, "running it in the library that wrote it")
