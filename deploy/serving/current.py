"""The bundle that is served, and its replacement while requests go on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from deploy.answers import Answers, Predictions
from deploy.errors import DeployError
from deploy.files import identity
from deploy.serving.served import Served
from deploy.serving.trust import Trust

_BATCH = 32

Load = Callable[[Path], Served]


class WithdrawnError(DeployError):
    """Nothing is served: the bundle is no longer trusted."""


class Current:
    """The bundle that is served, which runs one batch at a time.

    `version` is its file; None if nothing is served.
    """

    def __init__(self, served: Served, version: Path) -> None:
        self._served: Served | None = served
        self.version: Path | None = version
        self._lock = threading.Lock()
        self._users: dict[Served, int] = {}
        self._engine = threading.Lock()

    @property
    def served(self) -> Served:
        """Raises WithdrawnError if nothing is served."""
        served = self._served
        if served is None:
            raise WithdrawnError(
                "nothing is served", value="the key of the bundle is no longer trusted"
            )
        return served

    @contextlib.contextmanager
    def held(self) -> Iterator[Served]:
        """`served`, which stays loaded while the context lasts.

        So one bundle reads and computes a request, even if another one takes over meanwhile.
        """
        with self._lock:
            served = self.served
            self._users[served] = self._users.get(served, 0) + 1
        try:
            yield served
        finally:
            with self._lock:
                self._users[served] -= 1
                ended = not self._users[served]
                if ended:
                    del self._users[served]
                last = ended and served is not self._served
            if last:
                served.close()

    def classify(
        self, served: Served, stored: Mapping[str, np.ndarray]
    ) -> tuple[Answers | Predictions, float]:
        """The predictions of `served`, which is held, and the seconds that they took."""
        with self._engine:
            start = time.perf_counter()
            predictions = served.model.classify(stored, 1 if _rows(stored) == 1 else _BATCH)
            return predictions, time.perf_counter() - start

    def replace(self, served: Served | None, version: Path | None) -> None:
        """Serve another, or nothing; the one before ends after the requests that hold it."""
        with self._lock:
            before, self._served = self._served, served
            self.version = version
            idle = before is not None and before not in self._users
        if before is not None and idle:
            before.close()


def _rows(stored: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(stored.values())))


class Follower(threading.Thread):
    """Looks once a second for the current version, and switches to it.

    `find` returns its path, `load` loads it. If one cannot be found or loaded, `say` tells so once,
    the one before stays, and it is tried again after `again` seconds, or sooner if its file changes
    or another version was current meanwhile. A bundle that no key of `trust` signed any more is
    withdrawn.
    """

    def __init__(
        self,
        current: Current,
        find: Callable[[], Path],
        load: Load,
        say: Callable[[str], None],
        trust: Trust,
        *,
        seconds: float = 1.0,
        again: float = 60.0,
    ) -> None:
        super().__init__(name="follower", daemon=True)
        self._current, self._find, self._load, self._say = current, find, load, say
        self._trust = trust
        self._seconds, self._again = seconds, again
        self._refused: tuple[object, ...] | None = None
        self._said, self._next, self._unread = "", 0.0, ""
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._seconds):
            self.look()

    def stop(self) -> None:
        """End; waits for a load in progress."""
        self._ended.set()
        self.join()

    def look(self) -> None:
        """Switch to another version if there is one; withdraw one that is no longer trusted."""
        self._look_at_keys()
        path, file = None, None
        try:
            path = self._find()
            if path == self._current.version:
                self._forget()
                return
            file = (path, *identity(path))
            if file == self._refused and time.monotonic() < self._next:
                return
            served = self._load(path)
        # Whatever is wrong with the new version, the old one must go on.
        except Exception as error:
            what = "the version before stays" if self._current.version else "nothing is served"
            named = path is None or str(path) in str(error)
            told = DeployError(what, value=error if named else f"{path} ({error})")
            if str(told) != self._said:
                self._say(f"error: {told}")
            self._refused, self._said = file, str(told)
            self._next = time.monotonic() + self._again
            return
        self._current.replace(served, path)
        self._forget()
        self._say(f"now serving {served.bundle.manifest.name}, sha256 {served.bundle.sha256}")

    def _look_at_keys(self) -> None:
        try:
            changed = self._trust.look()
        # A file that is half written, or not a runner: it says nothing of keys.
        except Exception as error:
            told = str(DeployError("the keys read before stay trusted", value=error))
            if told != self._unread:
                self._say(f"error: {told}")
            self._unread = told
            return
        self._unread = ""
        if not changed:
            return
        self._forget()  # what was refused may be trusted now
        trusted = ", ".join(key.identifier for key in self._trust.keys) or "none"
        self._say(f"the trusted keys are now {trusted}")
        if self._current.version is None:
            return
        bundle = self._current.served.bundle
        if bundle.signed_by not in self._trust.keys:
            self._current.replace(None, None)
            by = bundle.signer or "nobody"
            self._say(
                f"error: {bundle.manifest.name}, sha256 {bundle.sha256}, is no longer served: it "
                f"is signed by {by}"
            )

    def _forget(self) -> None:
        self._refused, self._said, self._next = None, "", 0.0
