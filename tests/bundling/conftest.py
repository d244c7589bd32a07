"""Keys, and a right bundle for this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

import compressor

DEVICE = "linux-x86-64"


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair of keys: release.key and release.pub in this folder."""
    folder = tmp_path_factory.mktemp("keys")
    compressor.keygen(folder / "release")
    return folder


@pytest.fixture(scope="session")
def signed(artefacts: Path, release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed bundle of small.tflite for a Raspberry Pi 4; not to be written to."""
    path = tmp_path_factory.mktemp("signed") / "small.bundle"
    compressor.package(
        [artefacts / "small.tflite"], "raspberrypi-4", path, sign=release / "release.key", counter=7
    )
    return path
