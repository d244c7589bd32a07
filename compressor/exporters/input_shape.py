"""What a model or an artefact is fed, found before its data are read."""

from __future__ import annotations

import contextlib
from pathlib import Path

from compressor.errors import CompressorError
from compressor.exporters.inspection import artifact_format, describe_artifact_file
from compressor.importing import load_model
from compressor.runs import model_to_shrink


def shape_taken(path: Path | str) -> tuple[int | None, ...] | None:
    """The shape of a row of the first input, None for a size that is open.

    `path` is a model, a run directory, a .tflite or .onnx file, or a folder with one. None where it
    cannot be told: whoever runs the model says why.
    """
    path = Path(path)
    with contextlib.suppress(CompressorError, OSError):
        files = [path] if path.is_file() else sorted(path.iterdir())
        graphs = [file for file in files if artifact_format(file) in ("tflite", "onnx")]
        if graphs:
            kind = artifact_format(graphs[0]) or ""
            first = describe_artifact_file(graphs[0], kind)["inputs"][0]
            return tuple(size if isinstance(size, int) else None for size in first["shape"][1:])
        model = load_model(model_to_shrink(path))
        return tuple(model.inputs[0].shape[1:])
    return None
