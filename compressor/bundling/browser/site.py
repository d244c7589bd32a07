"""The files of the folder for browsers: the page, onnxruntime-web, the artefact, check vectors."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from pathlib import Path

from compressor.bundling.browser.check import check_json
from compressor.runtimes import onnxruntime_web
from deploy.artifact import Artifact
from deploy.manifest import MODEL_FOLDER
from deploy.vectors import CheckVectors

CHECK = "check.json"
_PAGE = "page"


def site_members(
    artifact: Artifact, model: bytes, vectors: CheckVectors, *, tarball: Path | None = None
) -> dict[str, bytes]:
    """All files, name -> content, of a folder for a web server but for what describes a bundle.

    The page reads `manifest.json` (see `deploy.manifest`), which lists these files. `model` holds
    the artefact's bytes, `tarball` is onnxruntime-web as npm packs it; without one it comes from
    the user's cache, or is fetched once. Raises UsageError for an artefact that cannot be drawn
    for: another format than ONNX, more than one input, or an input that is no picture of one
    channel in float32; MissingRuntimeError where onnxruntime-web cannot be had.
    """
    check = check_json(artifact, vectors)  # first: it refuses, and needs no network
    page = dict(_page_files())
    runtime = onnxruntime_web.site_files(tarball)
    return {**page, **runtime, CHECK: check, MODEL_FOLDER + artifact.file: model}


def _page_files() -> Iterator[tuple[str, bytes]]:
    folder = importlib.resources.files(__package__) / _PAGE
    for file in sorted(folder.iterdir(), key=lambda found: found.name):
        if file.is_file():
            yield file.name, file.read_bytes()
