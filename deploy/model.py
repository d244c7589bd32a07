"""The artefact of a bundle, loaded in the runtime that the bundle was packed for."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING

import numpy as np

from deploy.answers import Answers, Predictions, answers_of, probabilities_of
from deploy.bundle import Bundle
from deploy.errors import EngineError
from deploy.examples import artifact_inputs
from deploy.files import temporary_folder
from deploy.metrics import classes_of
from deploy.runner.engine import Engine
from deploy.runner.engines import NATIVE, engine_class

if TYPE_CHECKING:
    from deploy.vectors import CheckResult

_MOST_IN_MEMORY = 64 * 2**20
_STANDARD_ERROR = 2
# How glog and absl begin lines that only inform.
_INFORMATION = (b"INFO:", b"I0000 ")


class Model:
    """The artefact of a bundle, loaded in a runtime."""

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self.bundle, self.artifact, self.engine = bundle, bundle.artifact, engine

    @classmethod
    def load(cls, bundle: Bundle, threads: int = 1, any_version: bool = False) -> Model:
        """Load the artefact by a file that only this user can read and that is gone afterwards.

        Raises MissingEngineError if the runtime is not installed or, unless `any_version`, not of
        the manifest's version; EngineError if it refuses the artefact.
        """
        manifest = bundle.manifest
        if manifest.runtime in NATIVE:
            raise EngineError("a bundle holds no programs", value=f"for {manifest.runtime}")
        kind = engine_class(manifest.runtime)
        version = None if any_version else manifest.runtime_version
        # The runtime keeps what it has mapped.
        with _private_file(bundle.model, f".{bundle.artifact.format}") as path, _quiet():
            return cls(bundle, kind(path, threads, version=version))

    def close(self) -> None:
        """Let go of the runtime's model and threads, which end with the last reference."""
        self.__dict__.pop("engine", None)

    def check(self) -> CheckResult:
        """Run the check vectors; raises as `Engine.predict` does."""
        vectors = self.bundle.vectors()
        return vectors.compare(self.engine.predict(vectors.inputs, len(vectors.outputs)))

    def require_right(self) -> CheckResult:
        """`check`; raises EngineError if the outputs are wrong, too."""
        result = self.check()
        if not result.passed:
            raise EngineError(
                "the outputs for the check vectors are wrong",
                value=result.shortfall(),
                hint="this runtime does not compute this artefact correctly; use another one",
            )
        return result

    def classify(self, stored: Mapping[str, np.ndarray], batch: int = 1) -> Predictions | Answers:
        """What the model says of stored examples, arrays (n, ...) by the names of their sources.

        `Predictions` of one classifier, `Answers` of a model that is described by its heads. They
        are run in batches. Raises RequestError if they do not fit, EngineError if the runtime fails
        or gives NaN or infinity.
        """
        # What overflows becomes infinity, which is refused.
        with np.errstate(over="ignore", invalid="ignore"):
            fed = artifact_inputs(self.artifact.preprocessing, stored)
            found = self.engine.predict(fed, batch)
        heads = self.artifact.heads
        if heads is None:
            return self._predictions(found)
        outputs = found.reshape(len(found), -1)
        width = sum(head.width for head in heads)
        if outputs.shape[1] != width:
            value = f"{outputs.shape[1]} numbers an example, described are {width}"
            raise EngineError("the outputs have another shape than was described", value=value)
        _check_finite(outputs)
        return answers_of(heads, outputs, list(fed.values()), self.artifact.labels)

    def _predictions(self, scores: np.ndarray) -> Predictions:
        artifact = self.artifact
        wanted = 1 if artifact.threshold is not None else artifact.classes
        if len(artifact.outputs) > 1:
            scores = scores[:, :wanted]
        if scores.ndim != 2 or scores.shape[1] != wanted:
            raise EngineError(
                "the outputs do not have one score a class", value=f"shape {list(scores.shape)}"
            )
        _check_finite(scores)
        return Predictions(
            probabilities_of(scores, artifact.outputs_are, artifact.threshold),
            classes_of(scores, artifact.threshold),
            artifact.labels or tuple(map(str, range(artifact.classes))),
        )


def _check_finite(outputs: np.ndarray) -> None:
    if not np.isfinite(outputs).all():
        raise EngineError("the outputs hold NaN or infinity")


@contextlib.contextmanager
def _private_file(content: bytes, suffix: str) -> Iterator[str]:
    """A file that only this process or user can read, while the context lasts.

    A small one is in memory: it neither wears out an SD card nor outlives a crash.
    """
    if hasattr(os, "memfd_create") and len(content) <= _MOST_IN_MEMORY:
        with os.fdopen(os.memfd_create("artefact"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with temporary_folder("compressor-") as folder:
        path = folder / f"artefact{suffix}"
        path.write_bytes(content)
        yield str(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what runtimes in C++ write to descriptor 2 while the context lasts.

    Afterwards all of it is shown if the context fails, else all but information.
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
