"""The artefact of a bundle, loaded in the runtime that the bundle was packed for."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from deploy.artifact import Artifact
from deploy.bundle import Bundle
from deploy.errors import EngineError
from deploy.examples import artifact_inputs, predicted_classes
from deploy.runner.engine import Engine
from deploy.runner.engines import engine_class

if TYPE_CHECKING:
    from deploy.vectors import CheckResult

_MOST_IN_MEMORY = 64 * 2**20
_STANDARD_ERROR = 2
# How glog and absl begin the lines that are no more than information.
_INFORMATION = (b"INFO:", b"I0000 ")


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a model says of n examples: `probabilities`, float32 (n, classes), and `labels`.

    `classes` (n,) are those that the artefact chose, by its scores, or its threshold.
    """

    probabilities: np.ndarray
    classes: np.ndarray
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.classes)

    def label(self, number: int) -> str:
        """What example `number` was taken for."""
        return self.labels[int(self.classes[number])]

    def probability(self, number: int) -> float:
        """Of the class that example `number` was taken for."""
        return float(self.probabilities[number, int(self.classes[number])])

    def describe(self, number: int) -> dict[str, Any]:
        """Example `number` as a JSON object; probabilities in the order of the classes."""
        return {
            "class": int(self.classes[number]),
            "label": self.label(number),
            "probability": round(self.probability(number), 6),
            "probabilities": [round(float(value), 6) for value in self.probabilities[number]],
        }

    def ranking(self, number: int, most: int) -> list[tuple[str, float]]:
        """The `most` likely labels of example `number` and their probabilities, falling."""
        row = self.probabilities[number]
        order = np.argsort(-row, kind="stable")[:most]
        return [(self.labels[int(place)], float(row[place])) for place in order]


class Model:
    """A context in which the artefact of a bundle can run.

    The artefact goes through a file that nobody else may read and that is gone once it is loaded.
    Entering raises MissingEngineError where the runtime is not there, or, unless `any_version`, is
    of another version than the manifest's; EngineError where it refuses the artefact.
    """

    engine: Engine

    def __init__(self, bundle: Bundle, *, threads: int = 1, any_version: bool = False) -> None:
        self.bundle, self._threads, self._any_version = bundle, threads, any_version

    @property
    def artifact(self) -> Artifact:
        """The description of the artefact."""
        return self.bundle.artifact

    def __enter__(self) -> Model:
        manifest = self.bundle.manifest
        kind = engine_class(manifest.runtime)
        # What the runtime has mapped stays with it.
        version = None if self._any_version else manifest.runtime_version
        with _private_file(self.bundle.model, f".{self.artifact.format}") as path, _quiet():
            self.engine = kind(path, self._threads, version=version)
        return self

    def __exit__(self, *error: object) -> None:
        # The runtime lets go of the model and of its threads with its last reference.
        self.__dict__.pop("engine", None)

    def check(self) -> CheckResult:
        """Run the check vectors; raises as `Engine.predict` does."""
        vectors = self.bundle.vectors()
        return vectors.compare(self.engine.predict(vectors.inputs, len(vectors.outputs)))

    def require_right(self) -> CheckResult:
        """`check`, and EngineError where the outputs are not as expected."""
        result = self.check()
        if not result.passed:
            found = "no numbers" if result.difference is None else f"{result.difference:.3g}"
            raise EngineError(
                "the check vectors come out wrong",
                value=f"they differ by {found}, tolerated is {result.tolerance:.3g}",
                hint="this runtime does not compute this artefact as it should",
            )
        return result

    def classify(self, stored: Mapping[str, np.ndarray], batch: int = 1) -> Predictions:
        """What the model says of stored examples, arrays (n, ...) by the names of their sources.

        `batch` of them run at once. Raises RequestError where they do not fit, EngineError where
        the runtime fails, or an output is no number.
        """
        artifact = self.artifact
        # What overflows is no number, and refused as that.
        with np.errstate(over="ignore", invalid="ignore"):
            fed = artifact_inputs(artifact.preprocessing, stored)
            scores = self.engine.predict(fed, batch)
        wanted = 1 if artifact.threshold is not None else artifact.classes
        if scores.ndim != 2 or scores.shape[1] != wanted:
            raise EngineError(
                "the outputs are not one number a class", value=f"shape {list(scores.shape)}"
            )
        if not np.isfinite(scores).all():
            raise EngineError("the runtime gives outputs that are no numbers")
        return Predictions(
            _probabilities(artifact, scores),
            predicted_classes(scores, artifact.threshold),
            artifact.labels or tuple(map(str, range(artifact.classes))),
        )


def _probabilities(artifact: Artifact, scores: np.ndarray) -> np.ndarray:
    """Scores (n, k) as probabilities, float32 (n, classes); softmax, or sigmoid of one score."""
    logits = artifact.outputs_are == "logits"
    if artifact.threshold is not None:
        # tanh does not overflow, where exp would.
        second = 0.5 + 0.5 * np.tanh(0.5 * scores) if logits else np.clip(scores, 0, 1)
        return np.concatenate([1 - second, second], axis=1).astype(np.float32)
    if not logits:
        return scores
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    normal: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return normal.astype(np.float32, copy=False)


@contextlib.contextmanager
def _private_file(content: bytes, suffix: str) -> Iterator[str]:
    """A file of this content, for this process or this user alone, while the context lasts.

    A small one is in memory: it neither wears an SD card nor is there after a crash.
    """
    if hasattr(os, "memfd_create") and len(content) <= _MOST_IN_MEMORY:
        with os.fdopen(os.memfd_create("artefact"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    import tempfile

    handle, path = tempfile.mkstemp(suffix, "compressor-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        yield path
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - pathlib would be imported for it


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what is written to descriptor 2, by runtimes in C++, while the context lasts.

    Afterwards it is shown: all of it where the context fails, else what is more than information.
    """
    try:
        shown = os.dup(_STANDARD_ERROR)
    except OSError:  # there is none
        yield
        return
    with _unnamed_file() as file:
        failed = True
        _flush_errors()
        os.dup2(file.fileno(), _STANDARD_ERROR)
        try:
            yield
            failed = False
        finally:
            _flush_errors()
            os.dup2(shown, _STANDARD_ERROR)
            os.close(shown)
            file.seek(0)
            for line in file:
                if failed or not line.startswith(_INFORMATION):
                    os.write(_STANDARD_ERROR, line)


def _unnamed_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("errors"), "w+b")
    import tempfile

    return tempfile.TemporaryFile()


def _flush_errors() -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()
