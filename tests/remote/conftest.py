"""A device: an ssh server of our own on loopback, with our runner installed, and bundles for it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import Signer, bundle_of, relisted
from command_line import Outcome, compressor
from ssh_server import NAME, SshServer, ssh_server

from compressor.remote.ssh import SshHost
from deploy.container import read_container
from deploy.manifest import VECTORS
from deploy.vectors import CheckVectors

SIGNER = Signer(3)


@dataclasses.dataclass(frozen=True)
class Device:
    """The machine at the other end: where it keeps its bundles, and how it is reached."""

    server: SshServer
    folder: Path

    @property
    def host(self) -> SshHost:
        return SshHost(NAME, python=sys.executable, config=self.server.config)

    def host_by(self, port: int) -> SshHost:
        return dataclasses.replace(self.host, config=self.server.config_by(port))

    @property
    def options(self) -> list[str]:
        config = str(self.server.config)
        return ["--host", NAME, "--python", sys.executable, "--ssh-config", config]

    def command(self, *words: object) -> Outcome:
        """A command of ours, for this device."""
        return compressor(*words, *self.options, "--folder", self.folder)

    @property
    def runner(self) -> Path:
        return self.folder / "runner.pyz"

    def versions(self, name: str) -> set[str]:
        return {path.stem for path in (self.folder / name / "versions").iterdir()}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("ssh") / "server") as running:
        yield running


@pytest.fixture(scope="session")
def public_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SIGNER.write_public(tmp_path_factory.mktemp("key") / "release.pub")


@pytest.fixture()
def bare(server: SshServer, tmp_path: Path) -> Device:
    """A device on which nothing of ours was ever installed."""
    return Device(server, tmp_path / "device")


@pytest.fixture()
def device(bare: Device, public_key: Path) -> Device:
    """A device with the runner that trusts `public_key`."""
    done = bare.command("runner", "--key", public_key)
    assert done.code == 0, done.stderr
    return bare


@pytest.fixture(scope="session")
def versions(artefacts: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a version of a bundle of small.tflite: what its README says, and how it is wrong."""
    folder = tmp_path_factory.mktemp("versions")
    first = bundle_of(artefacts / "small.tflite", SIGNER)
    vectors = CheckVectors.parse(read_container(first)[VECTORS], VECTORS)
    wrong = CheckVectors(vectors.inputs, vectors.outputs[::-1].copy(), vectors.tolerance).to_bytes()

    def write(text: str, *, fails: bool = False, by: Signer | None = SIGNER, more: int = 0) -> Path:
        path = folder / f"{text}.bundle"
        changed: dict[str, bytes | None] = {"README.md": text.encode()}
        if fails:
            changed[VECTORS] = wrong
        if by is None:
            changed["signature.json"] = None
        if more:
            changed["filling.bin"] = bytes(range(256)) * (more // 256)
        path.write_bytes(relisted(first, changed, by))
        return path

    return write
