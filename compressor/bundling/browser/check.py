"""check.json: what the page must know of the picture to draw, and its check vectors.

input      name, height and width of the picture; paper and ink: the values of an empty and of a
           full pixel
examples   how many check vectors
inputs     of all examples, float32, little-endian, in base64; so are the
outputs    that are expected, and
tolerance  by how much an output may differ

It is found by the model's description and check vectors alone; the same give the same bytes.
"""

from __future__ import annotations

import base64
import json

import numpy as np

from compressor.errors import UsageError
from deploy.artifact import Artifact
from deploy.vectors import CheckVectors

_HINT = "the page draws one picture of one channel, for an ONNX artefact in float32"
_LARGEST_SIDE = 512


def check_json(artifact: Artifact, vectors: CheckVectors) -> bytes:
    """The bytes of check.json. Raises UsageError for a model that no one can draw for."""
    height, width = _picture(artifact)
    port = artifact.inputs[0]
    rows = vectors.inputs.get(port.name)
    size = height * width
    if rows is None or rows.dtype != np.float32 or rows[0].size != size:
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
    port = artifact.inputs[0]
    dtypes = (port.dtype, artifact.outputs[0].dtype)
    if dtypes != ("float32", "float32"):
        raise _refusal("this model takes or gives other numbers", " and ".join(dtypes))
    batch, *row = port.shape
    sides = [side for side in row if side != 1]
    known = all(side is not None for side in row) and batch in (None, 1)
    if not known or len(sides) != 2 or len(row) > 3 or not all(map(_is_side, sides)):
        shown = "x".join("?" if side is None else str(side) for side in port.shape)
        raise _refusal("this model takes no picture of one channel", shown)
    return sides[0] or 0, sides[1] or 0


def _is_side(side: int | None) -> bool:
    return side is not None and side <= _LARGEST_SIDE


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
    return UsageError(what, value=value, hint=_HINT)
