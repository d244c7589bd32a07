"""An endpoint of a real artefact, by each server."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles import bundle_of
from device_runner import OWNER, DeviceRunner, complaints
from http_requests import SERVERS
from PIL import Image


@pytest.fixture(scope="module")
def runner(tmp_path_factory: Any) -> DeviceRunner:
    return DeviceRunner.write(tmp_path_factory.mktemp("device") / "runner.pyz", OWNER)


@pytest.fixture(scope="module")
def bundle(artefacts: Path, tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("bundle") / "float.bundle"
    path.write_bytes(bundle_of(artefacts / "float.tflite", OWNER))
    return path


@pytest.fixture(scope="module", params=SERVERS)
def port(request: Any, runner: DeviceRunner, bundle: Path, tmp_path_factory: Any) -> Iterator[int]:
    log = tmp_path_factory.mktemp("log") / "stderr"
    options = ("--server", request.param, "--max-bytes", 100_000)
    with runner.serving(bundle, *options, log=log) as (_, port):
        yield port
    assert complaints(log.read_text()) == []


@pytest.fixture(scope="module")
def pictures(tiny_data: Any) -> list[bytes]:
    found = []
    for image in tiny_data.x_test:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        found.append(stream.getvalue())
    return found
