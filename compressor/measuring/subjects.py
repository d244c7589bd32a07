"""The files of a measurement: artefacts, with the description beside each where there is one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from compressor.errors import CheckpointError, UsageError
from compressor.exporters import artifact_format
from compressor.foundation import sha256
from compressor.runs import BENCH, IDENTITY
from deploy import Artifact, ArtifactError, read_artifact
from deploy.artifact import DESCRIPTION_SUFFIX, MOST_ARTIFACT_BYTES, VECTORS_SUFFIX
from deploy.artifact_parts import Verification
from deploy.fields import LONGEST_PATH
from deploy.text import clean

_SUFFIXES = (".tflite", ".onnx", ".so")
_LONGEST_NAME = 1000


@dataclasses.dataclass(frozen=True)
class Subject:
    """A file to be measured."""

    path: Path
    format: str
    name: str
    """short, and of no other file of the measurement"""
    bytes: int
    sha256: str
    artifact: Artifact | None
    """the description; None where there is none"""

    @property
    def vectors(self) -> Path | None:
        """The check vectors beside the file."""
        path = self.path.with_name(self.path.name + VECTORS_SUFFIX)
        return path if path.is_file() else None

    def describe(self, folder: Path) -> dict[str, Any]:
        """The file as a JSON object, named relative to `folder` where it lies below it."""
        said, path = self.artifact, self.path.resolve()
        verified = None if said is None or not said.verified else said.verified[0]
        shown = path.relative_to(folder) if path.is_relative_to(folder) else path
        return {
            "file": clean(shown, LONGEST_PATH, tail=True),
            "name": self.name,
            "format": self.format,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "quantize": said and said.quantize,
            "optimize": said and said.optimize,
            "sparsity": said and said.provenance.sparsity,
            "described": said is not None,
            **self._verified(verified),
        }

    def _verified(self, verified: Verification | None) -> dict[str, Any]:
        """The metrics of the file and of its model, as the description has them."""
        keys = ("accuracy", "reference_accuracy")
        found: dict[str, Any] = {key: verified and verified.value(key) for key in keys}
        if self.artifact is not None and self.artifact.heads is not None:
            found["heads"] = [head.describe() for head in self.artifact.heads]
            found |= {} if verified is None else verified.values
        return found


def find_subjects(paths: Sequence[Path]) -> list[Subject]:
    """The artefacts that `paths` name: files, and all .tflite, .onnx and .so files in folders.

    Those of a folder come with the least sparse and largest first, so that the others are compared
    with the dense float32 one, if there is one. Raises UsageError for a path that is no artefact, a
    folder without any, and a file named twice; CheckpointError for a description that is damaged or
    belongs to another file.
    """
    read: list[tuple[Path, str, Artifact | None]] = []
    for path in paths:
        read += sorted(map(_read, _in_folder(path)), key=_order) if path.is_dir() else [_read(path)]
    files = [file.resolve() for file, _, _ in read]
    if len(set(files)) < len(files):
        twice = next(file for file in files if files.count(file) > 1)
        raise UsageError("the artefact is named twice", value=twice)
    names = _short_names([path for path, _, _ in read])
    return [
        Subject(path, file_format, name, _size(path, artifact), sha256(path), artifact)
        for (path, file_format, artifact), name in zip(read, names, strict=True)
    ]


def default_output(first: Path) -> Path:
    """bench.json of the run directory that holds the first path, else beside or in it."""
    real = Path(os.path.realpath(first))
    folder = real if first.is_dir() else real.parent
    for place in (folder, *folder.parents):
        if (place / IDENTITY).is_file():
            return place / BENCH
    return (first if first.is_dir() else first.parent) / BENCH


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(
        path
        for path in folder.rglob("*")
        # Steps that are not finished lie in folders that begin with a dot.
        if path.suffix.lower() in _SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise UsageError(
            "the folder holds no .tflite, .onnx or .so file",
            value=folder,
            hint="make some with compressor export",
        )
    return found


def _read(path: Path) -> tuple[Path, str, Artifact | None]:
    if not path.is_file():
        raise UsageError("no such file", value=path)
    if not os.access(path, os.R_OK):
        raise UsageError("the artefact cannot be read", value=path)
    if not path.stat().st_size:
        raise UsageError("the artefact is empty", value=path)
    file_format = artifact_format(path)
    if file_format is None:
        raise UsageError("this takes .tflite, .onnx and .so files", value=path)
    if not 0 < (size := path.stat().st_size) <= MOST_ARTIFACT_BYTES:
        most = f"{path} has {size:,} bytes, at most {MOST_ARTIFACT_BYTES:,}"
        raise UsageError("the artefact is empty or too large", value=most)
    described = path.with_name(path.name + DESCRIPTION_SUFFIX).is_file()
    # One that an export rejected has a report beside it, and no description.
    if not described or path.suffix.lower() not in _SUFFIXES:
        return path, file_format, None
    try:
        artifact = read_artifact(path)
    except ArtifactError as error:
        raise CheckpointError(
            error.what,
            value=error.value,
            hint="export it again, or take the description away to measure it without proof",
        ) from error
    if artifact.format != file_format:
        raise CheckpointError("the description is of another format", value=path)
    return path, file_format, artifact


def _order(item: tuple[Path, str, Artifact | None]) -> tuple[bool, float, int]:
    path, _, artifact = item
    sparsity = None if artifact is None else artifact.provenance.sparsity
    return sparsity is None, sparsity or 0.0, -_size(path, artifact)


def _size(path: Path, artifact: Artifact | None) -> int:
    """Bytes of an artefact, of which the weights may lie in another file."""
    return path.stat().st_size if artifact is None else artifact.bytes


def _short_names(paths: Iterable[Path]) -> list[str]:
    """File names, with as many parent folders as it takes to tell them apart."""
    parts = [path.resolve().parts for path in paths]
    names = []
    for number, own in enumerate(parts):
        others = [other for place, other in enumerate(parts) if place != number]
        length = 1
        while length < len(own) and any(other[-length:] == own[-length:] for other in others):
            length += 1
        shown = clean("/".join(own[-length:]), _LONGEST_NAME, tail=True)
        names.append(shown if shown not in names else f"{shown} ({number + 1})")
    return names
