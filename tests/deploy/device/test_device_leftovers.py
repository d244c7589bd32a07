"""The device's commands in an empty home: what they leave there, and whom they talk to."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
from bundles import bundle_of
from device_runner import OWNER, DeviceRunner
from empty_home import EmptyHome, needs_strace
from http_requests import NPY, SERVERS, ask, npy


@pytest.fixture(scope="module")
def onnx_bundle(artefacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "small.bundle"
    version = importlib.metadata.version("onnxruntime-gpu")
    runtime = {"runtime": "onnxruntime", "version": version}
    path.write_bytes(bundle_of(artefacts / "small.onnx", OWNER, **runtime))
    return path


@pytest.mark.sampled(1)
@needs_strace
@pytest.mark.parametrize("command", [["verify"], ["bench", "--seconds", 1, "--rounds", 2]])
def test_a_command_leaves_nothing_and_opens_no_socket(
    runner: DeviceRunner, onnx_bundle: Path, command: list[object], tmp_path: Path
) -> None:
    home = EmptyHome(tmp_path)
    done = home.run(*runner.command(*command, onnx_bundle))

    assert done.returncode == 0, done.stderr
    assert home.left() == [] and home.network() == []


@pytest.mark.sampled(1)
@needs_strace
@pytest.mark.parametrize("server", SERVERS)
def test_serve_leaves_nothing_and_opens_only_its_own_socket(
    runner: DeviceRunner, onnx_bundle: Path, server: str, tiny_data, tmp_path: Path
) -> None:
    home = EmptyHome(tmp_path)
    command = runner.command("serve", onnx_bundle, "--port", 0, "--server", server)
    with home.started(*command) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().partition("127.0.0.1:")[2].partition("/")[0])
        assert ask(port, "POST", "/predict", npy(tiny_data.x_test), NPY)[0] == 200

    assert home.left() == []
    listening, bound, *others = home.network()
    assert listening.startswith("socket(AF_INET, SOCK_STREAM") and others == []
    assert bound.startswith("bind(") and 'inet_addr("127.0.0.1")' in bound
