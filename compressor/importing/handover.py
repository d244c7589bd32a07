"""What a process of its own makes of a file, written to a folder and read from there as data.

source.json has the configuration and the names and shapes of each layer's weights, and weights.npz
all their values in this order, or source.json says why the file is refused.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.errors import ModelError
from compressor.foundation import deploy_errors
from compressor.importing.source import Source, Weights
from compressor.models import MOST_OF_CONFIG
from deploy.arrays import read_arrays, write_arrays
from deploy.files import read_regular
from deploy.text import clean

DOCUMENT, VALUES = "source.json", "weights.npz"
_MOST_TEXT = 4 * MOST_OF_CONFIG
_MOST_BYTES = 64 * 2**30


def run(program: Sequence[str], path: Path, folder: Path, seconds: float, doing: str) -> None:
    """Run a program on a file of `path`; raises ModelError where it fails or takes too long."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", *program],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder)},
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{doing} takes too long", value=f"{path} ({seconds:g} s)") from error
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        said = clean(lines[-1], 300) if lines else f"exit code {done.returncode}"
        if done.returncode < 0:
            said = signal.Signals(-done.returncode).name
        raise ModelError(f"{doing} fails", value=f"{path} ({said})", hint="the file may be damaged")


def write(folder: Path, source: Source, layers: dict[str, list[np.ndarray]]) -> None:
    """Write what a file says, without its path."""
    document = {
        "config": source.config.decode(),
        "training": source.training,
        "keras_version": source.keras_version,
        "stored": source.stored,
        "optimizer_values": source.optimizer_values,
        "layers": [[name, [array.shape for array in found]] for name, found in layers.items()],
    }
    flat = [array.astype(np.float32).ravel() for found in layers.values() for array in found]
    (folder / DOCUMENT).write_text(json.dumps(document))
    with open(folder / VALUES, "wb") as stream:
        write_arrays(stream, {"values": np.concatenate([*flat, np.empty(0, np.float32)])})


def refuse(folder: Path, error: ModelError) -> None:
    """Write why a file is refused."""
    told = {"what": error.what, "value": clean(str(error.value), 2000), "hint": error.hint}
    (folder / DOCUMENT).write_text(json.dumps({"refused": told}))


def document_of(folder: Path) -> dict[str, Any]:
    """What was written; raises ModelError where the file was refused."""
    with deploy_errors(ModelError):
        document = json.loads(read_regular(folder / DOCUMENT, _MOST_TEXT))
    if "refused" in document:
        raise ModelError(**document["refused"])
    return dict(document)


def weights_of(folder: Path, layers: list[Any]) -> Weights:
    """The arrays of each layer, float32."""
    with deploy_errors(ModelError):
        values = read_arrays(folder / VALUES, _MOST_BYTES)["values"]
    weights: Weights = {}
    start = 0
    for name, shapes in layers:
        arrays = []
        for shape in shapes:
            arrays.append(values[start : start + math.prod(shape)].reshape(shape))
            start += math.prod(shape)
        if arrays:
            weights[name] = arrays
    return weights
