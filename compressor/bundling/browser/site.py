"""The folder for browsers: the page, what runs the artefact, the artefact, and its check.json.

An ONNX file is run by onnxruntime-web, C code is compiled to WebAssembly and needs no runtime. The
page is the same but for engine.js.

check.json holds what the page must know to draw an input, and the check vectors:

input      name, height and width of the picture; paper and ink: the values of an empty and of a
           full pixel; levels: where `inputs` are int8 integers, their scale and zero
examples   how many check vectors
inputs     of all examples, float32 (or int8), little-endian, base64
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

from compressor.bundling.code.browser import SCALAR, BrowserCode
from compressor.bundling.code.folder import Port
from compressor.errors import UsageError
from compressor.runtimes import onnxruntime_web
from deploy.answers import gives
from deploy.artifact import Artifact
from deploy.manifest import MODEL_FOLDER
from deploy.tasks import CLASSIFYING
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
    page = dict(_page_files("engine-onnx.js"))
    runtime = onnxruntime_web.site_files(tarball)
    return {**page, **runtime, "check.json": check, MODEL_FOLDER + artifact.file: model}


def code_site_members(made: BrowserCode) -> dict[str, bytes]:
    """`site_members` of generated C code that was compiled; nothing else is needed to run it."""
    check = _check_json(made.artifact, made.vectors, made.code.input)
    page = dict(_page_files("engine-code.js"))
    model = MODEL_FOLDER + made.artifact.file
    return {**page, "check.json": check, model: made.simd, SCALAR: made.scalar}


def _page_files(engine: str) -> Iterator[tuple[str, bytes]]:
    """The page, with the one engine that it needs as engine.js."""
    folder = importlib.resources.files(__package__) / "page"
    for file in sorted(folder.iterdir(), key=lambda found: found.name):
        if file.is_file() and (file.name == engine or not file.name.startswith("engine-")):
            yield "engine.js" if file.name == engine else file.name, file.read_bytes()


def _check_json(artifact: Artifact, vectors: CheckVectors, integers: Port | None = None) -> bytes:
    height, width = _picture(artifact, "onnx" if integers is None else "c")
    port = artifact.inputs[0]
    rows = vectors.inputs.get(port.name)
    if rows is None or rows.dtype != np.float32 or rows[0].size != height * width:
        raise _refusal("the check vectors are not of the model's picture", port.name)
    paper, ink = _paper_and_ink(rows)
    drawn = {"name": port.name, "height": height, "width": width, "paper": paper, "ink": ink}
    inputs = _base64(rows, "<f4")
    if integers is not None:
        drawn["levels"] = {"scale": integers.scale, "zero": integers.zero}
        inputs = _base64(integers.levels(rows), "i1")
    content = {
        "input": drawn,
        "examples": len(rows),
        "inputs": inputs,
        "outputs": _base64(vectors.outputs, "<f4"),
        "tolerance": vectors.tolerance,
    }
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _picture(artifact: Artifact, file_format: str) -> tuple[int, int]:
    """Height and width of the picture that the model takes."""
    if artifact.format != file_format:
        raise _refusal("browsers run ONNX", f"{artifact.file} is {artifact.format}")
    if any(head.task not in CLASSIFYING for head in artifact.tasks):
        what = "the page shows classes, and this model gives " + gives(artifact.tasks[0])
        raise _refusal(what, artifact.tasks[0].task)
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


def _base64(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()


def _refusal(what: str, value: object) -> UsageError:
    hint = "the page draws one picture of one channel, for an ONNX artefact in float32, or C code"
    return UsageError(what, value=value, hint=hint)
