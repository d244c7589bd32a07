"""An old, once signed version put in place of a newer one: the store of a device refuses it."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import Signer, bundle_of

from deploy.runner.commands import store as command
from deploy.runner.source import BundleSource
from deploy.store import Store

OWNER, HEIR = Signer(3), Signer(4)
NAME = "small-test-device"
CHECKED = {"check": {"passed": True}}
Answer = dict[str, Any]
Ask = Callable[..., Answer]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "device")


@pytest.fixture
def ask(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Ask:
    """A request to the store of a device that trusts both keys, and its answer."""
    monkeypatch.setattr(command, "_checked_apart", lambda *_: CHECKED)

    def call(action: str, sha256: str = "") -> Answer:
        words = {"action": action, "name": NAME, "folder": str(store.folder), "sha256": sha256}
        keys = (OWNER.public, HEIR.public)
        command.execute(argparse.Namespace(**words), BundleSource(None, keys))
        answer = json.loads(capsys.readouterr().out)
        assert isinstance(answer, dict)
        return answer

    return call


@pytest.fixture
def deploy(store: Store, ask: Ask, artefacts: Path) -> Callable[..., Answer]:
    """Bring the version of this counter, and ask that it be served."""
    made: dict[Any, bytes] = {}

    def call(counter: int | None, signer: Signer = OWNER, version: str = "2.3.0") -> Answer:
        sort = counter, signer, version
        if sort not in made:
            artefact = artefacts / "small.tflite"
            made[sort] = bundle_of(artefact, signer, runner=False, counter=counter, version=version)
        content, sha256 = made[sort], hashlib.sha256(made[sort]).hexdigest()
        rest = [content]
        store.receive(NAME, sha256, len(content), 0, lambda _: rest.pop() if rest else b"")
        return {**ask("activate", sha256), "sha256": sha256}

    return call


def test_a_lower_counter_is_refused_and_what_is_served_stays(deploy, store) -> None:
    assert deploy(5)["ok"]
    newer = deploy(7)
    assert newer["ok"] and newer["verified"]["counter"] == 7
    for counter, shown in ((6, "counter 6"), (5, "counter 5"), (None, "no counter")):
        refused = deploy(counter)
        assert (refused["ok"], refused["kind"]) == (False, "bundle")
        assert refused["error"].startswith(
            f"not newer than what was served here: {shown}, the highest of {NAME} was 7; "
        )
        assert refused["error"].isprintable()
        assert refused["current"] == newer["sha256"]
    assert deploy(8)["ok"]


def test_the_same_counter_is_one_version(deploy) -> None:
    assert deploy(7)["ok"] and deploy(7)["ok"]

    assert "counter 7, the highest" in deploy(7, version="2.4.0")["error"]


def test_the_owner_rolls_back_and_goes_on(deploy, ask) -> None:
    old, new = deploy(5), deploy(7)

    back = ask("rollback")

    assert back["ok"] and back["current"] == old["sha256"]
    assert deploy(5)["ok"], "it is what is served"
    assert not deploy(6)["ok"]
    assert deploy(7)["current"] == new["sha256"]
    assert not deploy(5)["ok"], "it is the previous one, and --rollback was not asked for"
    assert ask("rollback")["current"] == old["sha256"]


def test_removing_the_bundle_does_not_forget(deploy, ask, store) -> None:
    assert deploy(7)["ok"]
    assert ask("remove")["removed"] == 1

    assert "counter 6" in deploy(6)["error"]
    assert not (store.folder / NAME).exists() and store.names() == []
    assert deploy(7)["ok"]


def test_keys_count_apart(deploy) -> None:
    assert deploy(2**53)["ok"]

    assert deploy(1, HEIR)["ok"]
    assert not deploy(2**53 - 1)["ok"]
    assert deploy(2, HEIR)["ok"] and not deploy(1, HEIR)["ok"]


def test_bundles_without_a_counter_go_on_as_before(deploy, store) -> None:
    for version in ("2.1.0", "2.2.0", "2.1.0"):
        assert deploy(None, version=version)["ok"]
    assert [path.name for path in store.folder.iterdir()] == [NAME]

    assert deploy(1)["ok"] and not deploy(None)["ok"]


def test_a_version_whose_outputs_are_wrong_does_not_count(deploy, monkeypatch) -> None:
    assert deploy(7)["ok"]
    monkeypatch.setattr(command, "_checked_apart", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        deploy(9)
    monkeypatch.setattr(command, "_checked_apart", lambda *_: CHECKED)

    assert deploy(8)["ok"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": {"counter": -1, "sha256": ""}}', b"[" * 9999]
)
def test_damaged_counters_are_refused_in_one_line(deploy, store, content) -> None:
    assert deploy(5)["ok"]
    file = store.folder / ".counters" / f"{NAME}.json"
    file.write_bytes(content)

    refused = deploy(7)

    assert refused["kind"] == "bundle" and f"are damaged: {file} (" in refused["error"]
    file.unlink()
    assert deploy(7)["ok"]
