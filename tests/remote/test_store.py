"""The store of a device: what it keeps, what it throws away, and what it never makes."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import Signer, bundle_of

from deploy.errors import BundleError, EngineError, MissingEngineError, RequestError
from deploy.runner.commands import store as command
from deploy.runner.source import BundleSource
from deploy.store import Store, WrongOutputsError

SIGNER = Signer(3)
NAME = "small-test-device"


def put(store: Store, content: bytes, name: str = NAME) -> str:
    """Let a version arrive; its sha256."""
    sha256 = hashlib.sha256(content).hexdigest()
    rest = [content]
    taken = store.receive(name, sha256, len(content), 0, lambda count: rest.pop() if rest else b"")
    assert taken == (len(content), True)
    return sha256


def hashed(path: Path, sha256: str) -> str:
    """Verifies no more than the sha256."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise BundleError("the file was changed", value=path)
    return "proven"


def failing(error: Exception) -> Callable[[Path, str], Any]:
    def verify(path: Path, sha256: str) -> Any:
        raise error

    return verify


@pytest.fixture()
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "device")


def version(store: Store, sha256: str, name: str = NAME) -> Path:
    return store.folder / name / "versions" / f"{sha256}.bundle"


@pytest.mark.parametrize("link", ["current", "previous", None])
def test_a_version_that_has_rotted_is_brought_anew(store: Store, link: str | None) -> None:
    texts = [b"version one", b"version two"]
    for text in texts[: {"current": 2, "previous": 2, None: 1}[link]]:
        sha256 = put(store, text)
        if link is not None:
            store.activate(NAME, sha256, hashed)
    content = texts[1] if link == "current" else texts[0]
    sha256 = hashlib.sha256(content).hexdigest()
    path = version(store, sha256)
    path.write_bytes(b"version ???")
    reading = path.open("rb")

    assert store.received(NAME, sha256) == (0, False)
    put(store, content)

    assert store.received(NAME, sha256) == (len(content), True)
    assert path.read_bytes() == content
    with reading:  # replaced, not written over
        assert reading.read() == b"version ???"
    assert store.activate(NAME, sha256, hashed) == "proven"
    assert store.status(NAME)["current"] == sha256


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (MissingEngineError("the runtime is not there"), True),
        (EngineError("the runtime fails"), True),
        (WrongOutputsError("the check vectors are not met"), False),
        (BundleError("it is not signed"), False),
    ],
)
def test_only_what_is_refused_is_thrown_away(store: Store, error: Exception, kept: bool) -> None:
    sha256 = put(store, b"version")

    with pytest.raises(type(error)):
        store.activate(NAME, sha256, failing(error))

    assert version(store, sha256).is_file() is kept
    assert (store.folder / NAME).exists() is kept
    assert store.names() == [NAME] * kept
    assert store.status(NAME)["current"] is None


def test_what_is_served_stays_where_another_is_refused(store: Store) -> None:
    old, new = put(store, b"old"), None
    store.activate(NAME, old, hashed)
    new = put(store, b"new")

    with pytest.raises(BundleError):
        store.activate(NAME, new, failing(BundleError("no")))

    assert store.status(NAME) == {"name": NAME, "current": old, "previous": None, "versions": 1}


@pytest.mark.parametrize("lost", ["link", "version"])
def test_the_version_before_is_kept_where_the_served_one_was_lost(store: Store, lost: str) -> None:
    store.activate(NAME, put(store, b"first"), hashed)
    second = put(store, b"second")
    store.activate(NAME, second, hashed)
    gone = store.folder / NAME / "current" if lost == "link" else version(store, second)
    gone.unlink()

    store.activate(NAME, put(store, b"third"), hashed)

    assert store.roll_back(NAME, hashed) == "proven"
    assert store.current(NAME).read_bytes() == b"first"


def test_a_version_that_is_served_again_is_not_its_own_predecessor(store: Store) -> None:
    first = put(store, b"first")
    store.activate(NAME, first, hashed)
    store.activate(NAME, put(store, b"second"), hashed)
    (store.folder / NAME / "current").unlink()

    store.activate(NAME, first, hashed)

    found = store.status(NAME)
    assert (found["current"], found["previous"], found["versions"]) == (first, None, 1)


def test_nothing_is_made_by_asking_for_a_bundle_that_is_not_there(store: Store) -> None:
    put(store, b"version", "other")
    before = sorted(store.folder.rglob("*"))

    assert store.received(NAME, "0" * 64) == (0, False)
    for ask in (
        lambda: store.roll_back(NAME, hashed),
        lambda: store.activate(NAME, "0" * 64, hashed),
        lambda: store.check_name(NAME),
    ):
        with pytest.raises(RequestError) as caught:
            ask()
        assert str(caught.value) == f"there is no bundle of this name: {NAME}; there are other"
    with pytest.raises(RequestError, match="the copy must continue elsewhere: at 0, not 50"):
        store.receive(NAME, "0" * 64, 100, 50, lambda count: b"")
    assert store.receive(NAME, "0" * 64, 100, 0, lambda count: b"") == (0, False)

    assert sorted(store.folder.rglob("*")) == before


def test_a_part_of_a_first_copy_is_kept_but_not_listed(store: Store) -> None:
    pieces = [b"half"]
    half = store.receive(NAME, "0" * 64, 8, 0, lambda count: pieces.pop() if pieces else b"")

    assert half == store.received(NAME, "0" * 64) == (4, False)
    assert store.names() == []


def test_only_bundles_are_listed(store: Store) -> None:
    put(store, b"version")
    (store.folder / ".cache" / "versions").mkdir(parents=True)
    (store.folder / ".cache" / "versions" / "x.bundle").touch()
    (store.folder / "empty").mkdir()
    (store.folder / "two words" / "versions").mkdir(parents=True)
    (store.folder / "two words" / "versions" / "x.bundle").touch()
    (store.folder / "runner.pyz").touch()

    assert store.names() == [NAME]


@pytest.fixture()
def arrived(store: Store, artefacts: Path) -> str:
    """A version that is right, and has arrived."""
    return put(store, bundle_of(artefacts / "small.tflite", SIGNER))


def activated(store: Store, sha256: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The answer of the device's `store activate`."""
    arguments = argparse.Namespace(
        action="activate", name=NAME, folder=str(store.folder), sha256=sha256, bytes=0, offset=0
    )
    command.execute(arguments, BundleSource(None, (SIGNER.public,)))
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "kind", "said", "kept"),
    [
        (
            "raise KeyError('what')",
            "check",
            "the runtime failed: exit code 1 KeyError: 'what'",
            True,
        ),
        ("import os; os.kill(os.getpid(), 9)", "check", "the runtime failed: signal 9", True),
        ("print('{}')", "check", "the runtime failed: exit code 0", True),
        (
            "import sys; print('error: numpy is not there', file=sys.stderr); sys.exit(3)",
            "missing",
            "numpy is not there",
            True,
        ),
        (
            "import sys; print('[1]'); print('error: it breaks', file=sys.stderr); sys.exit(1)",
            "check",
            "the runtime failed: exit code 1 it breaks",
            True,
        ),
        (
            'import sys; print(\'{"check": {"passed": false, "difference": 1.5, '
            '"tolerance": 0.1}}\'); sys.exit(1)',
            "check",
            "the outputs for the check vectors are wrong: they differ by 1.5, the tolerance is 0.1",
            False,
        ),
    ],
)
def test_only_a_check_that_failed_condemns_a_copy(
    store, arrived, monkeypatch, capsys, program, kind, said, kept
) -> None:
    monkeypatch.setattr(command, "_PROGRAM", program)

    answer = activated(store, arrived, capsys)

    assert answer["ok"] is False
    assert (answer["kind"], answer["error"].strip()) == (kind, said)
    assert version(store, arrived).exists() is kept
    assert answer["current"] is None
    monkeypatch.undo()
    if kept:
        assert activated(store, arrived, capsys)["current"] == arrived


def test_without_numpy_there_a_copy_is_kept(store, arrived, device, tmp_path) -> None:
    venv.create(tmp_path / "python", with_pip=False)
    done = subprocess.run(
        [
            *(tmp_path / "python" / "bin" / "python", "-I", device.runner),
            *("store", "activate", NAME, "--sha256", arrived, "--folder", store.folder),
        ],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 3
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert (answer["kind"], answer["error"]) == (
        "missing",
        "numpy is not installed; pip install numpy",
    )
    assert version(store, arrived).is_file()


@pytest.mark.slow
def test_first_deployments_that_are_refused_leave_nothing(device, versions) -> None:
    before = sorted(path.name for path in device.folder.iterdir())

    for bundle in (versions("first-unsigned", by=None), versions("first-wrong", fails=True)):
        assert device.command("deploy", bundle).code in (1, 2)

        assert sorted(path.name for path in device.folder.iterdir()) == before
    assert device.command("deploy").stdout == "device has no bundle\n"


@pytest.mark.slow
def test_a_bundle_whose_runtime_is_not_there_is_kept_and_said_to_be(
    device, artefacts, tmp_path
) -> None:
    path = tmp_path / "newer.bundle"
    path.write_bytes(bundle_of(artefacts / "small.tflite", SIGNER, version="99.0.0"))

    refused = device.command("deploy", path)

    assert refused.code == 3
    assert "99.0.0" in refused.stderr
    listed = device.command("deploy").stdout
    assert (
        listed
        == f"{NAME}: no version is the current one, 1 version is kept that could not be verified\n"
    )


@pytest.mark.slow
def test_a_name_that_is_not_there_is_not_rolled_back(device, versions) -> None:
    assert device.command("deploy", versions("first")).code == 0

    refused = device.command("deploy", "typo", "--rollback").refusal()

    assert f"there is no bundle of this name: typo; there are {NAME}" in refused
    assert not (device.folder / "typo").exists()
    assert "no name of a bundle" in device.command("deploy", "../x", "--rollback").refusal()
    status = subprocess.run(
        [
            *(sys.executable, "-I", str(device.runner), "store", "status", "typo"),
            *("--folder", str(device.folder)),
        ],
        capture_output=True,
        text=True,
    )
    assert json.loads(status.stdout)["ok"] is False
    assert not (device.folder / "typo").exists()


@pytest.mark.slow
def test_a_served_version_that_has_rotted_is_mended_by_deploying_it_again(device, versions) -> None:
    bundle = versions("rotting")
    done = device.command("deploy", bundle, "--json").json()
    path = device.folder / NAME / "versions" / f"{done['sha256']}.bundle"
    path.write_bytes(path.read_bytes()[:-1] + b"?")

    again = device.command("deploy", bundle, "--json").json()

    assert again["copied_bytes"] == bundle.stat().st_size
    assert path.read_bytes() == bundle.read_bytes()
