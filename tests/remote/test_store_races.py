"""Several processes at one bundle of a store: what is answered holds, and nobody's copy is lost."""

from __future__ import annotations

import hashlib
import queue
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ssh_server import CuttingProxy

import compressor
from deploy import store as stores
from deploy.errors import RequestError, StaleError
from deploy.store import Store

pytestmark = pytest.mark.race

NAME = "small-test-device"
CONTENT = bytes(range(256)) * 64
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SESSION, OTHER = "0" * 16, "1" * 16


@pytest.fixture()
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "device")


def given(pieces: list[bytes]) -> Callable[[int], bytes]:
    """Gives these pieces, whatever is asked for."""
    left = iter(pieces)
    return lambda count: next(left)


class Copy:
    """A copy in a thread of its own, which gets its bytes when it is told."""

    def __init__(self, store: Store, ticket: str = "", offset: int = 0) -> None:
        self._pieces: queue.Queue[bytes] = queue.Queue()
        self._reads = threading.Event()
        self.result: Any = None
        words = (NAME, SHA256, len(CONTENT), offset, self._read, ticket)
        self._thread = threading.Thread(target=self._run, args=(store, words))
        self._thread.start()

    def _run(self, store: Store, words: tuple[Any, ...]) -> None:
        try:
            self.result = store.receive(*words)
        except (RequestError, OSError) as error:
            self.result = error
        self._reads.set()

    def _read(self, count: int) -> bytes | None:
        self._reads.set()
        try:
            return self._pieces.get(timeout=0.01)
        except queue.Empty:
            return None

    def has_begun(self) -> None:
        self._reads.wait()

    def give(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._pieces.put(piece)

    def ended(self) -> Any:
        self._thread.join()
        return self.result


def test_a_copy_that_begins_after_the_answer_is_refused(store: Store) -> None:
    first, second = f"{SESSION}.0000", f"{SESSION}.0001"
    store.receive(NAME, SHA256, len(CONTENT), 0, given([CONTENT[:100], b""]), first)
    assert store.received(NAME, SHA256, second)[0] == 100

    with pytest.raises(StaleError, match="another copy has taken over"):
        late = given([CONTENT[100:200], b""])
        store.receive(NAME, SHA256, len(CONTENT), 100, late, first)

    rest = given([CONTENT[100:]])
    whole = store.receive(NAME, SHA256, len(CONTENT), 100, rest, second)
    assert whole == (len(CONTENT), True)


def test_asking_ends_an_earlier_copy_of_the_same_session(store: Store) -> None:
    earlier = Copy(store, f"{SESSION}.0000")
    earlier.give(CONTENT[:100])
    earlier.has_begun()

    # It neither ends nor sends: its connection was cut, and nobody has told it.
    have, whole = store.received(NAME, SHA256, f"{SESSION}.0001")

    assert isinstance(earlier.ended(), StaleError)
    assert not whole
    part = store.folder / NAME / "incoming" / f"{SHA256}.part"
    assert have == (part.stat().st_size if part.exists() else 0)


def test_a_copy_of_another_session_is_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_LOCK_SECONDS", 0.1)
    copy = Copy(store, f"{SESSION}.0000")
    copy.has_begun()

    with pytest.raises(RequestError, match="another deployment of this bundle is in progress"):
        store.received(NAME, SHA256, f"{OTHER}.0000")

    copy.give(CONTENT)
    assert copy.ended() == (len(CONTENT), True)


@pytest.mark.parametrize("ticket", ["x", "0" * 21, f"{SESSION}.00000", f"{SESSION}.0000\n", "../x"])
def test_what_is_no_ticket_is_refused(store: Store, ticket: str) -> None:
    for ask in (
        lambda: store.received(NAME, SHA256, ticket),
        lambda: store.receive(NAME, SHA256, 9, 0, lambda count: b"", ticket),
    ):
        with pytest.raises(RequestError, match="not a ticket"):
            ask()
    assert not store.folder.exists()


def test_removing_a_bundle_leaves_a_copy_that_has_just_begun(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.receive(NAME, "0" * 64, 8, 0, given([b"half", b""]))
    copies = []
    remove = shutil.rmtree

    def meanwhile(path: Path, **options: Any) -> None:
        # The bundle has lost its name, and another copy of it begins.
        copies.append(Copy(store))
        copies[0].has_begun()
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", meanwhile)
    store.remove(NAME)
    monkeypatch.undo()

    monkeypatch.setattr(stores, "_LOCK_SECONDS", 0.1)
    with pytest.raises(RequestError, match="in progress"):  # it still has the lock
        store.received(NAME, SHA256)
    copies[0].give(CONTENT)
    assert copies[0].ended() == (len(CONTENT), True)
    assert store.received(NAME, SHA256) == (len(CONTENT), True)


def test_a_bundle_that_is_removed_while_it_is_asked_for_has_no_bytes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.receive(NAME, SHA256, len(CONTENT), 0, given([b"half", b""]))
    lock = Store._lock

    def late(self: Store, *arguments: Any) -> int:
        monkeypatch.undo()
        self.remove(NAME)
        return lock(self, *arguments)

    monkeypatch.setattr(Store, "_lock", late)

    assert store.received(NAME, SHA256) == (0, False)
    assert list(store.folder.iterdir()) == []


_LATE_PYTHON = """#!/bin/sh
# The first copy begins only when the second one is about to, and the second one when it has ended.
case "$*" in
*" store receive "*)
  if mkdir {folder}/first 2>/dev/null; then
    until [ -e {folder}/second ]; do sleep 0.01; done
    {python} "$@"
    touch {folder}/ended
    exit
  elif mkdir {folder}/second 2>/dev/null; then
    until [ -e {folder}/ended ]; do sleep 0.01; done
  fi
esac
exec {python} "$@"
"""


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.slow
def test_a_cut_copy_that_goes_on_behind_the_back_of_the_next(
    device: Any, versions: Callable[..., Path], tmp_path: Path, known: bool
) -> None:
    big = versions("big-late", more=2**20)
    if known:
        assert device.command("deploy", versions("first")).code == 0
    late = tmp_path / "late-python"
    late.write_text(_LATE_PYTHON.format(folder=tmp_path, python=sys.executable))
    late.chmod(0o755)

    with CuttingProxy(device.server.port, bytes_each=2**18, cuts=2) as proxy:
        host = device.host_by(proxy.port)
        object.__setattr__(host, "python", str(late))
        done = compressor.deploy(big, host, folder=str(device.folder))

    assert (tmp_path / "ended").exists()
    assert done["current"] == hashlib.sha256(big.read_bytes()).hexdigest()
    current = device.folder / NAME / "current"
    assert hashlib.sha256(current.read_bytes()).hexdigest() == done["current"]
