"""The bundles on a device: versions side by side, one of which is served, switched at once.

FOLDER/runner.pyz                      the runner, with the keys that it trusts
FOLDER/NAME/versions/SHA256.bundle     the versions of a bundle
FOLDER/NAME/current, previous          links to the one that is served, and to the one before
FOLDER/NAME/incoming/SHA256.part       what has arrived of another

1. A version is named by its sha256: it is hashed on the disk before it gets its name, and again
   before another copy of it is taken for needless.
2. `current` is replaced by one rename: who opens it sees the old version or the new one.
3. `current` is a version that was verified before, and verified again through the link; if that
   fails, the version before is back.
4. One process at a time changes a bundle; the lock goes with its process.
5. A bundle of which nothing is kept has no folder: a copy makes it, and nothing else does. One that
   is removed goes by one rename.
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
from deploy.files import size_and_sha256, sync
from deploy.store_files import (
    append,
    is_whole,
    lock_file,
    make_folder,
    remove_empty,
)

FOLDER = "~/.local/share/compressor"
"""Where a device keeps its bundles, unless told otherwise."""
RUNNER = "runner.pyz"
CURRENT, PREVIOUS = "current", "previous"

_VERSIONS, _INCOMING, _LOCK = "versions", "incoming", ".lock"
_REMOVED = ".removed-"
_SUFFIX, _PART = ".bundle", ".part"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TARGET = re.compile(rf"{_VERSIONS}/([0-9a-f]{{64}})\{_SUFFIX}")
_LOCK_SECONDS = 10.0

Verify = Callable[[Path, str], Any]
"""Verifies the bundle in a file that must have this sha256: what it found, as JSON; raises
DeployError where it is not to be served."""


class WrongOutputsError(EngineError):
    """The check vectors of a bundle are not met: the runtime works, the copy is of no use."""


class Store:
    """The bundles below `folder`, each by its name."""

    def __init__(self, folder: Path | str = FOLDER) -> None:
        self.folder = Path(folder).expanduser()

    def names(self) -> list[str]:
        """The names of all bundles of which a version is here."""
        try:
            return sorted(path.name for path in self.folder.iterdir() if _holds_one(path))
        except FileNotFoundError:
            return []

    def current(self, name: str) -> Path:
        """The file of the version that is served. Raises BundleError where there is none."""
        served = self._linked(name, CURRENT)
        if served is None:
            raise BundleError(
                "no bundle of this name is here",
                value=f"{name} in {self.folder}",
                hint="compressor deploy brings one",
            )
        return self._version(name, served)

    def status(self, name: str) -> dict[str, Any]:
        """Which version is served, and which was before: name, current, previous (sha256s).

        `versions` is the number of those that are here, served or not.
        """
        return {
            "name": name,
            "current": self._linked(name, CURRENT),
            "previous": self._linked(name, PREVIOUS),
            "versions": sum(1 for _ in (self._place(name) / _VERSIONS).glob(f"*{_SUFFIX}")),
        }

    def is_damaged(self, name: str) -> bool:
        """Whether the file of the current version has another content than it was named by."""
        current = self._linked(name, CURRENT)
        return current is not None and not is_whole(self._version(name, current), current)

    def check_name(self, name: str) -> None:
        """Raise RequestError where there is no bundle of this name."""
        if not self._place(name).is_dir():
            raise RequestError(
                "no bundle of this name",
                value=name,
                hint=f"there are {', '.join(self.names()) or 'none'}",
            )

    def received(self, name: str, sha256: str) -> tuple[int, bool]:
        """How many bytes of a version have arrived, and whether it is here as a whole.

        One that has another content by now, on a medium that forgets, is not here. Waits for a copy
        that is ending. Raises RequestError while one is going on.
        """
        version, part = self._version(name, sha256), self._part(name, sha256)
        if not self._place(name).is_dir():
            return 0, False
        with self._locked(name):
            if is_whole(version, sha256):
                return version.stat().st_size, True
            return (part.stat().st_size if part.is_file() else 0), False

    def receive(
        self, name: str, sha256: str, size: int, offset: int, read: Callable[[int], bytes]
    ) -> tuple[int, bool]:
        """Take the bytes of a version of `size` bytes from `offset` on; `read` ends with b"".

        What arrives is kept, so that a copy that breaks off goes on later. Returns what `received`
        does. Raises RequestError where `offset` is not what has arrived, BundleError where the
        whole has another sha256: then it is thrown away.
        """
        if not 0 < size <= MOST_BYTES:
            raise RequestError("a bundle has 1 to 2,147,483,647 bytes", value=size)
        version, part = self._version(name, sha256), self._part(name, sha256)
        with self._locked(name, make=True):
            if is_whole(version, sha256):
                return version.stat().st_size, True
            for folder in (version.parent, part.parent):
                make_folder(folder)
            have = append(part, size, offset, read)
            if have < size:
                return have, False
            _, found = size_and_sha256(part)
            if found != sha256:
                part.unlink()
                raise BundleError(
                    "the copy is damaged",
                    value=f"sha256 {found[:16]}..., not {sha256[:16]}...",
                    hint="it was thrown away; deploy again",
                )
            part.replace(version)
            sync(version.parent)
            return size, True

    def activate(self, name: str, sha256: str, verify: Verify) -> Any:
        """Serve a version that has arrived, after it is verified; returns what `verify` found.

        It is verified again through `current`; where that fails, the version before is served
        again. Versions that are neither current nor previous are removed, also this one where it is
        refused or computes something else; a runtime that is not there, or fails, says nothing of
        it. Raises what `verify` does, RequestError where the version has not arrived.
        """
        with self._locked(name) as place:
            version = self._version(name, sha256)
            if not version.is_file():
                raise RequestError("this version is not here", value=sha256)
            served, before = self._linked(name, CURRENT), self._linked(name, PREVIOUS)
            try:
                found = verify(version, sha256)
                if served != sha256:
                    # Should this process end in between, the served one is its own predecessor.
                    _link(place, PREVIOUS, served)
                    found = self._switch(name, sha256, served, before, verify)
            except (BundleError, WrongOutputsError):
                if sha256 not in (served, before):
                    with contextlib.suppress(FileNotFoundError):
                        version.unlink()
                raise
            self._prune(name)
            return found

    def roll_back(self, name: str, verify: Verify) -> Any:
        """Serve the previous version again, after it is verified; the current becomes the previous.

        Raises what `verify` does; RequestError where there is no previous version.
        """
        with self._locked(name) as place:
            served, before = self._linked(name, CURRENT), self._linked(name, PREVIOUS)
            if before is None or before == served:
                raise RequestError("there is no version before this one", value=name)
            verify(self._version(name, before), before)
            found = self._switch(name, before, served, before, verify)
            _link(place, PREVIOUS, served)
            return found

    def remove(self, name: str) -> int:
        """Let all versions of a bundle go, with one rename; how many there were.

        Raises RequestError where there is no bundle of this name, or another process changes it.
        """
        import shutil
        import tempfile

        for left in self.folder.glob(f"{_REMOVED}*"):  # by a process that ended in between
            shutil.rmtree(left, ignore_errors=True)
        with self._locked(name) as place:
            versions = int(self.status(name)["versions"])
            gone = Path(tempfile.mkdtemp(prefix=_REMOVED, dir=self.folder))
            place.replace(gone)
            sync(self.folder)
            shutil.rmtree(gone, ignore_errors=True)
            return versions

    def _switch(
        self, name: str, sha256: str, served: str | None, before: str | None, verify: Verify
    ) -> Any:
        """Let `current` be a version; where it fails there, all is as it was before."""
        place = self._place(name)
        try:
            _link(place, CURRENT, sha256)
            return verify(place / CURRENT, sha256)
        except BaseException:
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
            raise RequestError("no name of a bundle", value=name)
        return self.folder / name

    def _version(self, name: str, sha256: str) -> Path:
        return self._place(name) / _VERSIONS / f"{_digest(sha256)}{_SUFFIX}"

    def _part(self, name: str, sha256: str) -> Path:
        return self._place(name) / _INCOMING / f"{_digest(sha256)}{_PART}"

    def _linked(self, name: str, link: str) -> str | None:
        """The sha256 of the version that a link leads to; None where there is none."""
        try:
            target = _TARGET.fullmatch(str((self._place(name) / link).readlink()))
        except OSError:
            return None
        found = target and target.group(1)
        return found if found and self._version(name, found).is_file() else None

    @contextlib.contextmanager
    def _locked(self, name: str, *, make: bool = False) -> Iterator[Path]:
        """The folder of a bundle, locked; only with `make` it is made.

        Raises RequestError where there is no bundle of this name, or another process has it.
        """
        place = self._place(name)
        handle = self._lock(name, make)
        try:
            yield place
        finally:
            remove_empty(place, (_VERSIONS, _INCOMING), _LOCK)
            os.close(handle)

    def _lock(self, name: str, make: bool) -> int:
        """The lock's file, open, in a folder that is still there."""
        lock = self._place(name) / _LOCK
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            if make:
                make_folder(lock.parent)
            else:
                self.check_name(name)
            # Who had the lock may have removed the folder since.
            handle = lock_file(lock)
            if handle is not None:
                return handle
            if time.monotonic() > deadline:
                raise RequestError(
                    "another deployment of this bundle is going on",
                    value=name,
                    hint="try again when it has ended; one that was cut ends after a minute",
                )
            time.sleep(0.05)


def _holds_one(place: Path) -> bool:
    named = is_bundle_name(place.name)
    return named and any((place / _VERSIONS).glob(f"*{_SUFFIX}"))


def _digest(text: str) -> str:
    if _SHA256.fullmatch(text) is None:
        raise RequestError("no sha256 in 64 hex digits", value=text)
    return text


def _link(place: Path, link: str, sha256: str | None) -> None:
    """Let a link lead to a version, or to none, at once."""
    path = place / link
    if sha256 is None:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    else:
        made = place / f".{link}.new"
        with contextlib.suppress(FileNotFoundError):
            made.unlink()
        made.symlink_to(f"{_VERSIONS}/{sha256}{_SUFFIX}")
        made.replace(path)
    sync(place)
