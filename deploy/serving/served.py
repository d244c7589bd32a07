"""A bundle that is served: its loaded artefact, and how a request's body becomes its examples."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from deploy.artifact import Artifact
from deploy.bundle import Bundle
from deploy.errors import DeployError, RequestError
from deploy.fields import Fields, parse_json
from deploy.images.reader import ExampleReader, TooManyExamplesError
from deploy.model import Model

MOST_EXAMPLES = 1024
"""Of one request."""
MOST_PIXELS = 2**20
"""Of a PNG picture."""

_MOST_INSTANCES = 2**16
_MOST_BYTES = 2**25
_MOST_DIMENSIONS = 32
_MOST_VALUES = 2**20
_LONG_NUMBER = re.compile(rb"[0-9]{400}")


class Served:
    """A bundle whose artefact is loaded and has computed its check vectors right."""

    def __init__(self, bundle: Bundle, model: Model, *, resize: bool, invert: bool) -> None:
        self.bundle, self.model = bundle, model
        self._reader = ExampleReader(
            bundle.artifact,
            bundle.vectors,
            resize=resize,
            invert=invert,
            # Several requests are in work at once.
            most_pixels=MOST_PIXELS,
            most_bytes=_MOST_BYTES,
            most_examples=MOST_EXAMPLES,
        )
        self._most_marks = _most_marks(bundle.artifact)
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

        Raises RequestError for anything else, TooManyExamplesError for more than are taken at once.
        """
        # Each list and each number that is parsed costs far more memory than its text.
        if sum(map(body.count, (b",", b"[", b"{"))) > self._most_marks:
            raise TooManyExamplesError(f"more numbers than {MOST_EXAMPLES:,} examples have")
        if _LONG_NUMBER.search(body):
            raise RequestError("a number has too many digits")
        try:
            fields = Fields(parse_json(body, "the body"), "the body")
            rows = fields.items("instances", _MOST_INSTANCES)
            fields.done()
        except DeployError as error:
            raise RequestError(error.what, value=error.value, hint=error.hint) from error
        if not rows:
            raise RequestError("there are no instances")
        if len(rows) > MOST_EXAMPLES:
            raise TooManyExamplesError(f"more than {MOST_EXAMPLES:,} examples at once")
        rules = self.bundle.artifact.preprocessing
        if not isinstance(rows[0], dict):
            if len(rules) > 1:
                inputs = ", ".join(f'"{rule.source}": ...' for rule in rules)
                raise RequestError(
                    "the model has several inputs",
                    value="an instance is no object",
                    hint=f"each is {{{inputs}}}",
                )
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


def _most_marks(artifact: Artifact) -> int:
    """How many commas and opening brackets the JSON text of the most examples can have."""
    values = 0
    for rule in artifact.preprocessing:
        if None in rule.shape:
            return _MOST_VALUES
        # Every number has its comma, and every list a comma and a bracket: some have one number.
        values += sum(
            math.prod(size or 0 for size in rule.shape[:axes])
            for axes in range(len(rule.shape) + 1)
        )
    return 2 * MOST_EXAMPLES * (values + 8 * len(artifact.preprocessing)) + _MOST_DIMENSIONS


def _array(rows: list[Any]) -> np.ndarray:
    """Nested lists of numbers as an array: int64 where all are whole, else float32."""
    shape, level, kinds = [len(rows)], rows, set(map(type, rows))
    # numpy would make an array of texts, each of the longest one's size, of a text among numbers.
    while kinds == {list} and len(shape) < _MOST_DIMENSIONS:
        lengths = set(map(len, level))
        if len(lengths) != 1:
            raise RequestError("the instances are not all of one shape")
        shape.append(lengths.pop())
        level = list(itertools.chain.from_iterable(level))
        kinds = set(map(type, level))
    if not kinds:
        raise RequestError("the instances hold no numbers")
    if list in kinds:
        deep = kinds == {list}
        raise RequestError(
            "the instances are nested too deeply" if deep else "the instances are not of one shape"
        )
    if not kinds <= {int, float}:
        names = sorted(kind.__name__ for kind in kinds - {int, float})
        raise RequestError("the instances are no numbers", value=", ".join(names))
    try:
        array = np.array(level, np.float64 if float in kinds else np.int64).reshape(shape)
    except OverflowError as error:
        raise RequestError("a number is too large", value=error) from error
    return array if array.dtype.kind == "i" else _single(array)


def _single(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        found = array.astype(np.float32)
    if not np.isfinite(found).all():
        raise RequestError("a number is too large", value="not within what a float32 holds")
    return found
