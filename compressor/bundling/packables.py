"""The artefacts to pack: with the description beside the file, or one made by running it once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.bundling.code import Code, code_folder, read_code
from compressor.data import Dataset
from compressor.errors import UsageError
from compressor.exporters import artifact_format, describe_graph_file
from compressor.foundation import deploy_errors
from compressor.runs import is_graph
from deploy.artifact import (
    DESCRIPTION_SUFFIX,
    MOST_VECTORS_BYTES,
    VECTORS_SUFFIX,
    Artifact,
    read_artifact,
)
from deploy.container import is_member_name
from deploy.files import read_regular
from deploy.profile import DeviceProfile
from deploy.vectors import CheckVectors

IDLE = "every artefact has a description, which says it"


@dataclasses.dataclass(frozen=True)
class Packable:
    """An artefact with its description; `notes` say what to know of it."""

    path: Path
    artifact: Artifact
    held: tuple[bytes, bytes] | None = None
    """the model and its check vectors; None where they lie in files"""
    notes: tuple[str, ...] = ()
    code: Code | None = None
    """generated C code, of which `path` is the library for this machine"""

    def read(self) -> tuple[bytes, CheckVectors, bytes]:
        """The model, and the check vectors, also as bytes. Raises BundleError."""
        beside = self.path.with_name(self.path.name + VECTORS_SUFFIX)
        with deploy_errors():
            if self.held is not None:
                model, vectors = self.held
            else:
                model = read_regular(self.path, self.artifact.bytes)
                vectors = read_regular(beside, MOST_VECTORS_BYTES)
            return model, CheckVectors.parse(vectors, beside), vectors


def read_packables(
    paths: Sequence[Path], profile: DeviceProfile, data: Dataset | None, options: Mapping[str, Any]
) -> list[Packable]:
    """The artefacts of these files, in order; a folder of C code is one, too.

    A .tflite or .onnx file without a description is run once, in the runtime of the device, with
    `data` and the `options` of `describe_graph_file`. Raises UsageError for anything else, and
    where data or options are given and every file has a description.
    """
    if not paths:
        raise UsageError("there is nothing to pack", value="no artefact")
    found = []
    for path in paths:
        if folder := code_folder(path):
            code = read_code(folder)
            if path != folder and path.name != code.artifact.file:
                hint = f"name {folder} for the one that has"
                raise UsageError("this library has no description", value=path, hint=hint)
            found.append(
                Packable(
                    *(folder / code.artifact.file, code.artifact),
                    notes=code.notes(profile),
                    code=code,
                )
            )
            continue
        if not path.is_file():
            raise UsageError("no such file", value=path)
        found.append(_read(path, profile, data, options))
        if not is_member_name(path.name):
            hint = "export it under a name of plain letters, digits and _.-"
            raise UsageError("a bundle cannot hold a file of this name", value=path.name, hint=hint)
    if len(set(map(Path.resolve, paths))) < len(paths):
        raise UsageError("an artefact is named twice", value=", ".join(map(str, paths)))
    given = [name for name, value in (("data", data), *options.items()) if value is not None]
    if given and all(one.held is None for one in found):
        option = f"--{given[0].replace('_', '-')}"
        raise UsageError(f"{option} has no effect", value=paths[0], hint=f"leave it out: {IDLE}")
    return found


def _read(
    path: Path, profile: DeviceProfile, data: Dataset | None, options: Mapping[str, Any]
) -> Packable:
    beside = (path.with_name(path.name + end) for end in (DESCRIPTION_SUFFIX, VECTORS_SUFFIX))
    if not is_graph(path) or any(other.exists() for other in beside):
        with deploy_errors():
            artifact = read_artifact(path)
        if artifact.data:
            hint = "choose a --quantize of fewer bits, or prune more, and export it again"
            raise UsageError("a bundle holds artefacts of one file", value=path, hint=hint)
        return Packable(path, artifact)
    runtime = profile.runtime if profile.format == artifact_format(path) else None
    made = describe_graph_file(path, data, runtime=runtime, **options)
    return Packable(path, made.artifact, (made.content, made.vectors), made.notes)
