"""The folder for browsers: the page, onnxruntime-web, the artefact, and its check.json.

check.json holds what the page must know to draw an input, and the check vectors:

input      name, height and width of the picture; paper and ink: the values of an empty and of a
           full pixel
examples   how many check vectors
inputs     of all examples, float32, little-endian, base64
outputs    expected, encoded alike
tolerance  by how much an output may differ
"""

from __future__ import annotations

import base64
import importlib.resources
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from compressor.errors import UsageError
from compressor.runtimes import onnxruntime_web
from deploy.artifact import Artifact
from deploy.manifest import MODEL_FOLDER
from deploy.vectors import CheckVectors

_LARGEST_SIDE = 512


def site_members(
    artifact: Artifact, model: bytes, vectors: CheckVectors, *, tarball: Path | None = None
) -> dict[str, bytes]:
    """All files, name -> content, of a folder for a web server but for what describes a bundle.

    The page reads `manifest.json` (see `deploy.manifest`), which lists these files. `model` holds
    the artefact's bytes, `tarball` is onnxruntime-web as npm packs it; without one it comes from
    the user's cache, or is fetched once. Raises UsageError for an artefact whose input cannot be
    drawn: another format than ONNX, several inputs, or an input that is no picture of one channel
    in float32; MissingRuntimeError where onnxruntime-web is not available.
    """
    check = _check_json(artifact, vectors)  # first: it refuses, and needs no network
    page = dict(_page_files())
    runtime = onnxruntime_web.site_files(tarball)
    return {**page, **runtime, "check.json": check, MODEL_FOLDER + artifact.file: model}


def _page_files() -> Iterator[tuple[str, bytes]]:
    folder = importlib.resources.files(__package__) / "page"
    for file in sorted(folder.iterdir(), key=lambda found: found.name):
        if file.is_file():
            yield file.name, file.read_bytes()


def _check_json(artifact: Artifact, vectors: CheckVectors) -> bytes:
    height, width = _picture(artifact)
    port = artifact.inputs[0]
    rows = vectors.inputs.get(port.name)
    if rows is None or rows.dtype != np.float32 or rows[0].size != height * width:
        raise _refusal("the check vectors are not of the model's picture", port.name)
    paper, ink = _paper_and_ink(rows)
    content = {
        "input": {"name": port.name, "height": height, "width": width, "paper": paper, "ink": ink},
        "examples": len(rows),
        "inputs": _base64(rows),
        "outputs": _base64(vectors.outputs),
        "tolerance": vectors.tolerance,
    }
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _picture(artifact: Artifact) -> tuple[int, int]:
    """Height and width of the picture that the model takes."""
    if artifact.format != "onnx":
        raise _refusal("browsers run ONNX", f"{artifact.file} is {artifact.format}")
    if len(artifact.inputs) != 1:
        raise _refusal("this model takes several inputs", len(artifact.inputs))
    if len(artifact.outputs) != 1:
        raise _refusal("this model gives several outputs", len(artifact.outputs))
    port = artifact.inputs[0]
    dtypes = (port.dtype, artifact.outputs[0].dtype)
    if dtypes != ("float32", "float32"):
        raise _refusal("this model takes or gives other numbers", " and ".join(dtypes))
    batch, *row = port.shape
    sides = [side for side in row if side is not None and 1 < side <= _LARGEST_SIDE]
    known = batch in (None, 1) and len(sides) + row.count(1) == len(row)
    if not known or len(sides) != 2 or len(row) > 3:
        shown = "x".join("?" if side is None else str(side) for side in port.shape)
        raise _refusal("this model takes no picture of one channel", shown)
    return sides[0], sides[1]


def _paper_and_ink(rows: np.ndarray) -> tuple[float, float]:
    """The values of an empty and of a full pixel: most of a picture is empty."""
    low, high = float(rows.min()), float(rows.max())
    if low == high:
        return 0.0, 1.0
    dark_on_light = float(np.median(rows)) > (low + high) / 2
    return (high, low) if dark_on_light else (low, high)


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


def _refusal(what: str, value: object) -> UsageError:
    hint = "the page draws one picture of one channel, for an ONNX artefact in float32"
    return UsageError(what, value=value, hint=hint)
