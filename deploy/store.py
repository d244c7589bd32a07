"""The bundles on a device: versions side by side, one of which is served, switched atomically.

FOLDER/runner.pyz                      the runner, with the keys that it trusts
FOLDER/NAME/versions/SHA256.bundle     the versions of a bundle
FOLDER/NAME/current, previous          links to the one that is served, and to the one before
FOLDER/NAME/incoming/SHA256.part       what has arrived of another
FOLDER/.counters/NAME.json             the highest counters served (deploy.counters)

1. A version is named by its sha256: it is hashed on the disk before it gets its name, and again
   before another copy of it is skipped.
2. `current` is replaced by one rename: a reader sees the old version or the new one.
3. `current` is verified before the switch and again through the link; if that fails, the version
   before is restored.
4. One process at a time changes a bundle; its lock ends with the process. After the answer to what
   has arrived, more is taken only from who asked (`deploy.store_tickets`).
5. A bundle without versions has no folder: only a copy makes it. A bundle is removed by one rename.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deploy.container import MOST_BYTES, is_bundle_name
from deploy.errors import BundleError, EngineError, RequestError
from deploy.files import in_home, size_and_sha256, sync
from deploy.interrupts import Uninterrupted
from deploy.store_files import append, is_held, is_whole, lock_file, remove_empty
from deploy.store_tickets import accept, check_ticket, take_over, write_ticket

FOLDER = "~/.local/share/compressor"
"""The default folder."""
RUNNER = "runner.pyz"
CURRENT, PREVIOUS = "current", "previous"

_VERSIONS, _INCOMING, _LOCK = "versions", "incoming", ".lock"
_REMOVED = ".removed-"
_SUFFIX, _PART = ".bundle", ".part"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TARGET = re.compile(rf"{_VERSIONS}/([0-9a-f]{{64}})\{_SUFFIX}")
_LOCK_SECONDS = 10.0
_PRIVATE = 0o700

Verify = Callable[[Path, str], Any]
"""Verifies the bundle in a file that must have this sha256, and returns what it found, as JSON;
raises DeployError if the bundle must not be served."""
Admit = Callable[[Any], None]
"""Given what `Verify` found; raises DeployError if that must not replace what is served."""


class WrongOutputsError(EngineError):
    """The runtime works, but the outputs for the check vectors are wrong."""


class Store:
    """The bundles in `folder`, by name; RequestError where it is in a home that there is not."""

    def __init__(self, folder: Path | str = FOLDER) -> None:
        self.folder = in_home(folder)

    def names(self) -> list[str]:
        """The names of all bundles that have a version here."""
        try:
            return sorted(path.name for path in self.folder.iterdir() if _holds_one(path))
        except FileNotFoundError:
            return []

    def current(self, name: str) -> Path:
        """The file of the version that is served; raises BundleError if there is none."""
        served = self._linked(name, CURRENT)
        if served is None:
            raise BundleError(
                "there is no bundle of this name",
                value=f"{name} in {self.folder}",
                hint="compressor deploy copies one here",
            )
        return self._version(name, served)

    def status(self, name: str) -> dict[str, Any]:
        """name, current and previous (sha256s, or None), and `versions`, how many are here."""
        return {
            "name": name,
            "current": self._linked(name, CURRENT),
            "previous": self._linked(name, PREVIOUS),
            "versions": sum(1 for _ in (self._place(name) / _VERSIONS).glob(f"*{_SUFFIX}")),
        }

    def is_damaged(self, name: str) -> bool:
        """Whether the current version no longer has the sha256 that it is named by."""
        current = self._linked(name, CURRENT)
        return current is not None and not is_whole(self._version(name, current), current)

    def check_name(self, name: str) -> None:
        """Raise RequestError if there is no bundle of this name."""
        if not self._place(name).is_dir():
            raise RequestError(
                "there is no bundle of this name",
                value=name,
                hint=f"there are {', '.join(self.names()) or 'none'}",
            )

    def received(self, name: str, sha256: str, ticket: str = "") -> tuple[int, bool]:
        """How many bytes of a version have arrived, and whether it is complete.

        A version that was damaged on the disk is not. No bytes arrive after the answer except from
        who has the `ticket`. Ends a copy of the same session, and waits for a copy that is ending;
        raises RequestError while another one is in progress.
        """
        version, part = self._version(name, sha256), self._part(name, sha256)
        check_ticket(ticket)
        if not self._place(name).is_dir():
            return 0, False
        # Made again, and removed, if another process has removed it meanwhile.
        with self._locked(name, make=True, ticket=ticket) as place:
            write_ticket(place / _LOCK, ticket)
            if is_whole(version, sha256):
                return version.stat().st_size, True
            return (part.stat().st_size if part.is_file() else 0), False

    def receive(
        self,
        name: str,
        sha256: str,
        size: int,
        offset: int,
        read: Callable[[int], bytes | None],
        ticket: str = "",
    ) -> tuple[int, bool]:
        """Take the bytes from `offset` on of a version of `size` bytes.

        `read` ends with b"", and gives None now and then while nothing arrives. What arrives is
        kept, so that an interrupted copy can continue. Returns what `received` does. Raises
        StaleError if `offset` is not what has arrived, or another ticket is valid by now, and
        BundleError if the sha256 is wrong: the copy is then deleted.
        """
        check_ticket(ticket)

        def arriving(count: int) -> bytes:
            while True:
                accept(place / _LOCK, ticket)
                chunk = read(count)
                if chunk is not None:
                    return chunk

        if not 0 < size <= MOST_BYTES:
            raise RequestError("a bundle has 1 to 2,147,483,647 bytes", value=size)
        version, part = self._version(name, sha256), self._part(name, sha256)
        with self._locked(name, make=True) as place:
            if is_whole(version, sha256):
                return version.stat().st_size, True
            for folder in (version.parent, part.parent):
                folder.mkdir(_PRIVATE, exist_ok=True)
            have = append(part, size, offset, arriving)
            if have < size:
                return have, False
            _, found = size_and_sha256(part)
            if found != sha256:
                part.unlink()
                raise BundleError(
                    "the copy is damaged",
                    value=f"sha256 {found[:16]}..., not {sha256[:16]}...",
                    hint="it was deleted; deploy again",
                )
            part.replace(version)
            sync(version.parent)
            return size, True

    def activate(
        self, name: str, sha256: str, verify: Verify, admit: Admit = lambda found: None
    ) -> Any:
        """Verify a version that has arrived, and serve it; returns what `verify` found.

        It is verified again through `current`; if that fails, the version before is restored.
        Versions that are neither current nor previous are removed, and so is this one if it is
        refused or its outputs are wrong, but not if the runtime is missing or fails. Raises what
        `verify` and, of a version that is not the served one, `admit` do; RequestError if the
        version has not arrived.
        """
        with self._locked(name) as place:
            version = self._version(name, sha256)
            if not version.is_file():
                raise RequestError("this version has not arrived", value=sha256)
            served, before = self._linked(name, CURRENT), self._linked(name, PREVIOUS)
            try:
                found = verify(version, sha256)
                if served != sha256:
                    admit(found)
                    # If this process ends in between, the served version is its own predecessor.
                    # Where nothing is served, the one before stays, unless it is this one.
                    _link(place, PREVIOUS, served or (before if before != sha256 else None))
                    found = self._switch(name, sha256, served, before, verify)
            except (BundleError, WrongOutputsError):
                if sha256 not in (served, before):
                    version.unlink(missing_ok=True)
                raise
            self._prune(name)
            return found

    def roll_back(self, name: str, verify: Verify) -> Any:
        """Verify the previous version, and swap it with the current one.

        Raises what `verify` does, RequestError if there is no previous version.
        """
        with self._locked(name) as place:
            served, before = self._linked(name, CURRENT), self._linked(name, PREVIOUS)
            if before is None or before == served:
                raise RequestError("there is no previous version", value=name)
            verify(self._version(name, before), before)
            found = self._switch(name, before, served, before, verify)
            _link(place, PREVIOUS, served)
            return found

    def remove(self, name: str) -> int:
        """Remove all versions of a bundle with one rename; returns how many there were.

        Raises RequestError if there is no bundle of this name, or another process changes it.
        """
        import shutil
        import tempfile

        for left in self.folder.glob(f"{_REMOVED}*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        with self._locked(name) as place:
            versions = int(self.status(name)["versions"])
            with Uninterrupted():
                gone = Path(tempfile.mkdtemp(prefix=_REMOVED, dir=self.folder))
                place.replace(gone)
                sync(self.folder)
                shutil.rmtree(gone, ignore_errors=True)
            return versions

    def _switch(
        self, name: str, sha256: str, served: str | None, before: str | None, verify: Verify
    ) -> Any:
        """Make a version `current`; if it fails there, restore both links."""
        place = self._place(name)
        try:
            _link(place, CURRENT, sha256)
            return verify(place / CURRENT, sha256)
        except BaseException:
            with Uninterrupted():
                _link(place, CURRENT, served)
                _link(place, PREVIOUS, before)
            raise

    def _prune(self, name: str) -> None:
        kept = {self._linked(name, CURRENT), self._linked(name, PREVIOUS)}
        place = self._place(name)
        for folder, suffix in ((_VERSIONS, _SUFFIX), (_INCOMING, _PART)):
            for path in (place / folder).glob(f"*{suffix}"):
                if folder == _INCOMING or path.name[: -len(suffix)] not in kept:
                    path.unlink()

    def _place(self, name: str) -> Path:
        if not is_bundle_name(name):
            raise RequestError("not a name for a bundle", value=name)
        return self.folder / name

    def _version(self, name: str, sha256: str) -> Path:
        return self._place(name) / _VERSIONS / f"{_digest(sha256)}{_SUFFIX}"

    def _part(self, name: str, sha256: str) -> Path:
        return self._place(name) / _INCOMING / f"{_digest(sha256)}{_PART}"

    def _linked(self, name: str, link: str) -> str | None:
        """The sha256 of the version that a link leads to; None if there is none."""
        try:
            target = _TARGET.fullmatch(str((self._place(name) / link).readlink()))
        except OSError:
            return None
        found = target and target.group(1)
        return found if found and self._version(name, found).is_file() else None

    @contextlib.contextmanager
    def _locked(self, name: str, *, make: bool = False, ticket: str = "") -> Iterator[Path]:
        """The folder of a bundle, locked, and made if `make`.

        Ends a copy of the same session as the `ticket`. Raises RequestError if there is no bundle
        of this name, or another process has it.
        """
        place = self._place(name)
        handle = self._lock(name, make, ticket)
        try:
            yield place
        finally:
            # A folder that was moved away has given its name to that of another process.
            if is_held(place / _LOCK, handle):
                remove_empty(place, (_VERSIONS, _INCOMING), _LOCK)
            os.close(handle)

    def _lock(self, name: str, make: bool, ticket: str) -> int:
        lock = self._place(name) / _LOCK
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            if make:
                lock.parent.mkdir(_PRIVATE, parents=True, exist_ok=True)
            else:
                self.check_name(name)
            # The last owner of the lock may have removed the folder.
            handle = lock_file(lock)
            if handle is not None:
                return handle
            take_over(lock, ticket)
            if time.monotonic() > deadline:
                raise RequestError(
                    "another deployment of this bundle is in progress",
                    value=name,
                    hint="try again when it has ended; a broken one ends after a minute",
                )
            time.sleep(0.05)


def _holds_one(place: Path) -> bool:
    named = is_bundle_name(place.name)
    return named and any((place / _VERSIONS).glob(f"*{_SUFFIX}"))


def _digest(text: str) -> str:
    if _SHA256.fullmatch(text) is None:
        raise RequestError("not a sha256 of 64 hex digits", value=text)
    return text


def _link(place: Path, link: str, sha256: str | None) -> None:
    """Point a link to a version atomically, or remove it."""
    path = place / link
    if sha256 is None:
        path.unlink(missing_ok=True)
    else:
        made = place / f".{link}.new"
        made.unlink(missing_ok=True)
        made.symlink_to(f"{_VERSIONS}/{sha256}{_SUFFIX}")
        made.replace(path)
    sync(place)
