"""A bundle for browsers of a real artefact, made once, and a browser to open it in."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import chromium
from drawing_page import serving

import compressor
from compressor.errors import MissingRuntimeError
from compressor.runtimes import onnxruntime_web
from deploy.artifact import Artifact, read_artifact
from deploy.vectors import CheckVectors

ARTEFACT = Path(__file__).with_name("data") / "digits.onnx"


@dataclasses.dataclass(frozen=True)
class Digits:
    """The artefact of tests/bundling/browser/data/README.md."""

    file: Path
    artifact: Artifact
    vectors: CheckVectors


@pytest.fixture(scope="session")
def digits() -> Digits:
    vectors = CheckVectors.read(ARTEFACT.with_name(f"{ARTEFACT.name}.check.npz"))
    return Digits(ARTEFACT, read_artifact(ARTEFACT), vectors)


@pytest.fixture(scope="session")
def tarball() -> Path:
    """onnxruntime-web in the cache; skips where neither it nor npm is there."""
    try:
        return onnxruntime_web.PACKAGE.fetch()
    except MissingRuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def site(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `compressor package` makes; not to be written to."""
    folder = tmp_path_factory.mktemp("site") / "digits"
    compressor.package([ARTEFACT], "browser", folder, web_runtime=tarball)
    return folder


@pytest.fixture
def own_site(site: Path, tmp_path: Path) -> Path:
    """The same, to be spoilt."""
    return Path(shutil.copytree(site, tmp_path / "own"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with serving(site) as found:
        yield found
