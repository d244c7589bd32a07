"""Calibrating a graph file of any origin for int8, in a process of its own, which runs it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import compressor
from compressor.errors import ModelError
from compressor.foundation import deploy_errors, temporary_folder
from compressor.importing import handover
from deploy.arrays import read_arrays, write_arrays
from deploy.artifact import MOST_ARTIFACT_BYTES
from deploy.files import read_regular

_SECONDS = 3600.0
_MOST_BYTES = 64 * 2**30
_MODEL, _ARRAYS, _RESULT = "model.bin", "arrays.npz", "result.bin"
_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from compressor.exporters.isolation import quantize_here
quantize_here(*sys.argv[2:])
"""


def quantize_apart(
    file_format: str, content: bytes, calibration: Sequence[np.ndarray], *, one_scale: bool = False
) -> bytes:
    """What the format's `calibrated` makes of a model, with `calibration` in its inputs' order.

    Raises ModelError where that does, and where its process crashes or takes an hour.
    """
    root = str(Path(compressor.__file__).parents[1])
    with temporary_folder("compressor-int8-") as folder:
        (folder / _MODEL).write_bytes(content)
        with open(folder / _ARRAYS, "wb") as stream:
            write_arrays(stream, {str(place): array for place, array in enumerate(calibration)})
        program = ["-c", _PROGRAM, root, file_format, str(folder), str(int(one_scale))]
        handover.run(program, Path(f"the .{file_format} file"), folder, _SECONDS, "calibrating it")
        if (folder / handover.DOCUMENT).exists():
            handover.document_of(folder)  # says why it was refused
        with deploy_errors(ModelError):
            return read_regular(folder / _RESULT, MOST_ARTIFACT_BYTES)


def quantize_here(file_format: str, folder: str, one_scale: str) -> None:
    """Do it in this process, which must be one of its own."""
    place = Path(folder)
    arrays = read_arrays(place / _ARRAYS, _MOST_BYTES)
    ordered = [arrays[str(number)] for number in range(len(arrays))]
    module = importlib.import_module(f"compressor.exporters.{file_format}.foreign")
    try:
        made = module.calibrated((place / _MODEL).read_bytes(), ordered, bool(int(one_scale)))
    except ModelError as error:
        handover.refuse(place, error)
    else:
        (place / _RESULT).write_bytes(made)
