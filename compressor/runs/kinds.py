"""What a model file is, by its content: its name and suffix do not matter."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from compressor.errors import ModelError
from compressor.foundation import deploy_errors
from deploy.files import open_regular

Kind = Literal["keras", "h5", "saved_model"]

GRAPH = "saved_model.pb"
"""The file that makes a folder a SavedModel."""

REJECTED = ".rejected"
"""Suffix of an artefact that did not pass."""

_START = 512
_ZIP, _HDF5 = b"PK", b"\x89HDF\r\n\x1a\n"
_FROM_ONNX = "this takes Keras models; load it in Keras and save it with model.save('NAME.keras')"
_TO_KERAS = (
    "build the model in Keras, give it these weights, and save it with model.save('N.keras')"
)


def model_kind(path: Path) -> Kind | None:
    """What `path` is: a .keras file (a zip), legacy HDF5, a SavedModel folder; None for others.

    Raises ModelError for what cannot be read.
    """
    if path.is_dir():
        return "saved_model" if is_saved_model(path) else None
    start = _start(path)
    if start.startswith(_ZIP):
        return "keras"
    return "h5" if start.startswith(_HDF5) else None


def is_saved_model(path: Path) -> bool:
    return path.is_dir() and (path / GRAPH).is_file()


def is_graph(path: Path) -> bool:
    """Whether this is a .tflite or .onnx file."""
    if not path.is_file():
        return False
    suffix = Path(path.name.removesuffix(REJECTED)).suffix.lower()
    return suffix in (".tflite", ".onnx") or _start(path)[4:8] == b"TFL3"


def refuse_foreign(path: Path) -> None:
    """Raise ModelError, saying what it is and what would do, for a model of another program."""
    if found := _foreign(path):
        what, hint = found
        raise ModelError(f"this is {what}, not a Keras model", value=path, hint=hint)


def _foreign(path: Path) -> tuple[str, str] | None:
    if path.is_dir():
        if any(path.glob("*.index")):
            return "a TensorFlow checkpoint, weights without a model", _TO_KERAS
        return None
    start, suffix = _start(path), path.suffix.lower()
    if start[4:8] == b"TFL3":
        hint = "give the Keras model that it was converted from; export and package take the file"
        return "a TFLite file", hint
    if start[:1] == b"\x08" and (suffix == ".onnx" or b"onnx" in start or b"pytorch" in start):
        return "an ONNX file", _FROM_ONNX
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle (PyTorch, scikit-learn), which is code and never run", _FROM_ONNX
    if path.name == GRAPH:
        return "the graph of a SavedModel", f"name its folder: {path.parent}"
    if suffix in (".index", ".ckpt") or start.startswith(b"model_checkpoint_path"):
        return "a TensorFlow checkpoint, weights without a model", _TO_KERAS
    if start[8:9] == b"{" and suffix == ".safetensors":
        return "a safetensors file, weights without a model", _TO_KERAS
    if start.lstrip()[:1] == b"{":
        hint = "rebuild the model, load its weights, and save it with model.save('NAME.keras')"
        return "JSON, the architecture of a model without weights", hint
    if suffix in (".pb", ".pbtxt"):
        hint = "give the Keras model that it was made of"
        return "a TensorFlow graph", hint
    return None


def _start(path: Path) -> bytes:
    with deploy_errors(ModelError), open_regular(path) as (file, _):
        return file.read(_START) or b""


def model_files(source: Path) -> list[Path]:
    """The files that a model consists of: itself, or those of a SavedModel that hold its values."""
    if not source.is_dir():
        return [source]
    parts = [source / GRAPH, source / "keras_metadata.pb", *source.glob("variables/variables.*")]
    return sorted(part for part in parts if part.is_file())


def model_bytes(source: Path) -> int:
    """Bytes of a model's files."""
    return sum(part.stat().st_size for part in model_files(source))
