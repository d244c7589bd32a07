"""What is served at the time, and its replacement while requests go on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deploy.bundle import Bundle
from deploy.errors import DeployError, RequestError
from deploy.fields import Fields, parse_json
from deploy.images.reader import ExampleReader
from deploy.model import Model, Predictions

_MOST_INSTANCES = 2**16
_MOST_PIXELS = 2**20
_MOST_BYTES = 2**26
_BATCH = 32

Load = Callable[[Path], "Served"]


class Served:
    """A bundle whose artefact is loaded and has computed its check vectors right."""

    def __init__(self, bundle: Bundle, model: Model, *, resize: bool, invert: bool) -> None:
        self.bundle, self.model = bundle, model
        self._reader = ExampleReader(
            bundle.artifact,
            bundle.vectors,
            resize=resize,
            invert=invert,
            # Many requests are in work at once.
            most_pixels=_MOST_PIXELS,
            most_bytes=_MOST_BYTES,
        )
        self._described = self._describe()

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        *,
        threads: int,
        any_version: bool = False,
        resize: bool = False,
        invert: bool = False,
    ) -> Served:
        """Load the artefact of a bundle and run its check vectors.

        Raises MissingEngineError and EngineError as `Model` does, and where they come out wrong.
        """
        with contextlib.ExitStack() as stack:
            model = stack.enter_context(Model(bundle, threads=threads, any_version=any_version))
            model.require_right()
            stack.pop_all()
            return cls(bundle, model, resize=resize, invert=invert)

    def close(self) -> None:
        """Let go of the model."""
        self.model.__exit__(None, None, None)

    def read(self, body: bytes) -> Mapping[str, np.ndarray]:
        """The stored arrays of a body that is a picture, an IDX file or an array."""
        return self._reader.read(body, "the body")

    def instances(self, body: bytes) -> Mapping[str, np.ndarray]:
        """The stored arrays of {"instances": [...]}: rows, or objects of a row an input.

        Raises RequestError for anything else.
        """
        try:
            fields = Fields(parse_json(body, "the body"), "the body")
            rows = fields.items("instances", _MOST_INSTANCES)
            fields.done()
        except DeployError as error:
            raise RequestError(error.what, value=error.value, hint=error.hint) from error
        if not rows:
            raise RequestError("there are no instances")
        rules = self.bundle.artifact.preprocessing
        if not isinstance(rows[0], dict):
            return {rules[0].source: _array(rows)}
        names = set(rows[0])
        if any(not isinstance(row, dict) or set(row) != names for row in rows):
            raise RequestError("the instances are not all of the same inputs")
        return {name: _array([row[name] for row in rows]) for name in sorted(names)}

    def health(self) -> dict[str, Any]:
        """That it is there, and which bundle it is."""
        return {
            "status": "ok",
            "name": self.bundle.manifest.name,
            "sha256": self.bundle.sha256,
            "signed_by": self.bundle.signed_by.identifier if self.bundle.signed_by else None,
        }

    def describe(self) -> dict[str, Any]:
        """What is served."""
        return self._described

    def _describe(self) -> dict[str, Any]:
        artifact, engine = self.bundle.artifact, self.model.engine
        return {
            **self.health(),
            "device": self.bundle.manifest.device,
            "runtime": {
                "name": engine.runtime,
                "version": engine.version,
                "provider": engine.provider,
            },
            "artefact": {
                "file": artifact.file,
                "format": artifact.format,
                "bytes": artifact.bytes,
                "sha256": artifact.sha256,
                "quantize": artifact.quantize,
                "sparsity": artifact.provenance.sparsity,
            },
            "inputs": [
                {"name": rule.source, "shape": list(rule.shape), "stored_as": rule.reason}
                for rule in artifact.preprocessing
            ],
            "classes": artifact.classes,
            "labels": None if artifact.labels is None else list(artifact.labels),
            "verified": [
                {"runtime": found.runtime, "version": found.version, "accuracy": found.accuracy}
                for found in artifact.verified
            ],
        }


def _array(rows: list[Any]) -> np.ndarray:
    """Nested lists of numbers as an array: int64 where all are whole, else float32."""
    try:
        array = np.array(rows)
    except (ValueError, OverflowError) as error:
        raise RequestError("the instances are not all of one shape", value=error) from error
    if array.dtype.kind == "f" and np.isfinite(array).all():
        return array.astype(np.float32)
    if array.dtype.kind != "i":
        raise RequestError("the instances are no numbers", value=array.dtype)
    return array


class Current:
    """The bundle that is served, of which one batch runs at a time.

    `version` names it, such as its file. `replace` loads another beside it and then switches; what
    fails to load changes nothing.
    """

    def __init__(self, served: Served, version: Path) -> None:
        self._served, self.version = served, version
        self._engine = threading.Lock()

    @property
    def served(self) -> Served:
        """What is served now."""
        return self._served

    def classify(self, stored: Mapping[str, np.ndarray]) -> tuple[Served, Predictions, float]:
        """What is served, what it says of the examples, and the seconds that it took."""
        with self._engine:
            served = self._served
            start = time.perf_counter()
            predictions = served.model.classify(stored, 1 if _rows(stored) == 1 else _BATCH)
            return served, predictions, time.perf_counter() - start

    def replace(self, served: Served, version: Path) -> None:
        """Serve another; the one before ends after the batch that runs."""
        with self._engine:
            before, self._served = self._served, served
            self.version = version
        before.close()


def _rows(stored: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(stored.values())))


class Follower(threading.Thread):
    """Looks once a second which version is the current one, and switches to it.

    `find` gives its path, `load` loads it. What cannot be found or loaded is told by `say`, once,
    and the one before goes on being served.
    """

    def __init__(
        self,
        current: Current,
        find: Callable[[], Path],
        load: Load,
        say: Callable[[str], None],
        seconds: float = 1.0,
    ) -> None:
        super().__init__(name="follower", daemon=True)
        self._current, self._find, self._load, self._say = current, find, load, say
        self._seconds, self._said = seconds, ""
        self._refused: Path | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        """Follow until `stop`."""
        while not self._ended.wait(self._seconds):
            self.look()

    def stop(self) -> None:
        """End; waits for a load that is under way."""
        self._ended.set()
        self.join()

    def look(self) -> None:
        """Switch if there is another version than the one that is served."""
        path = None
        try:
            path = self._find()
            if path in (self._current.version, self._refused):
                return
            served = self._load(path)
        # Whatever is wrong with the new one, the old one must go on.
        except Exception as error:
            message = str(DeployError("the version before stays", value=f"{path} ({error})"))
            if message != self._said:
                self._say(f"error: {message}")
            self._refused, self._said = path, message
            return
        self._current.replace(served, path)
        self._refused, self._said = None, ""
        self._say(f"now serving {served.bundle.manifest.name}, sha256 {served.bundle.sha256}")
