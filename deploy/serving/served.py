"""A bundle that is served: its loaded artefact, and the examples in a request's body."""

from __future__ import annotations

import contextlib
import itertools
import math
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
"""In one request."""
MOST_PIXELS = 2**20
"""In a PNG picture."""

_MOST_INSTANCES = 2**16
_MOST_BYTES = 2**25
_MOST_DIMENSIONS = 32
_MOST_VALUES = 2**20


class Served:
    """A bundle whose artefact is loaded and gives the right outputs for its check vectors."""

    def __init__(self, bundle: Bundle, model: Model, *, resize: bool, invert: bool) -> None:
        self.bundle, self.model = bundle, model
        self._reader = ExampleReader(
            bundle.artifact,
            bundle.vectors,
            resize=resize,
            invert=invert,
            # Two requests are in work at once.
            most_pixels=MOST_PIXELS,
            most_bytes=_MOST_BYTES,
            most_examples=MOST_EXAMPLES,
        )
        self._most_marks = _most_marks(bundle.artifact)
        self.description = self._describe()

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
        """Load the artefact of a bundle; raises as `Model.load` and `Model.require_right` do."""
        model = Model.load(bundle, threads, any_version)
        model.require_right()
        return cls(bundle, model, resize=resize, invert=invert)

    def close(self) -> None:
        self.model.close()

    def read(self, body: bytes) -> Mapping[str, np.ndarray]:
        """The stored arrays in a body that is a picture, an IDX file or an array."""
        return self._reader.read(body, "the body")

    def instances(self, body: bytes) -> Mapping[str, np.ndarray]:
        """The stored arrays in {"instances": [...]}: rows, or objects with a row for each input.

        Raises RequestError for anything else, TooManyExamplesError for too many.
        """
        # A parsed list or number takes far more memory than its text.
        if sum(map(body.count, (b",", b"[", b"{"))) > self._most_marks:
            raise TooManyExamplesError(f"more numbers than {MOST_EXAMPLES:,} examples have")
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
                    value="an instance is not an object",
                    hint=f"each is {{{inputs}}}",
                )
            return {rules[0].source: self._array(rows)}
        names = set(rows[0])
        if any(not isinstance(row, dict) or set(row) != names for row in rows):
            raise RequestError("the instances name different inputs")
        return {name: self._array([row[name] for row in rows]) for name in sorted(names)}

    def _array(self, rows: list[Any]) -> np.ndarray:
        """As `array_of`; in float32, unless the model takes numbers in float64."""
        dtypes = {rule.dtype for rule in self.bundle.artifact.preprocessing}
        array = array_of(rows, reals=any("float" in dtype for dtype in dtypes))
        wide = "float64" in dtypes
        return array if wide or array.dtype.kind == "i" else _single(array)

    def health(self) -> dict[str, Any]:
        return {
            "status": "ok",
            "name": self.bundle.manifest.name,
            "sha256": self.bundle.sha256,
            "signed_by": self.bundle.signer,
        }

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
            **_outputs(artifact),
            "labels": None if artifact.labels is None else list(artifact.labels),
            "verified": [
                {
                    "runtime": found.runtime,
                    "version": found.version,
                    **(found.values if artifact.heads else {"accuracy": found.accuracy}),
                }
                for found in artifact.verified
            ],
        }


def _outputs(artifact: Artifact) -> dict[str, Any]:
    """What the model gives: how many classes, or all of its outputs."""
    if artifact.heads is None:
        return {"classes": artifact.classes}
    return {"outputs": [head.describe() for head in artifact.heads]}


def _most_marks(artifact: Artifact) -> int:
    """The most commas and opening brackets in the JSON text of as many examples as allowed."""
    values = 0
    for rule in artifact.preprocessing:
        if None in rule.shape:
            return _MOST_VALUES
        # Every number has a comma, and every list a comma and a bracket; some have one number.
        values += sum(
            math.prod(size or 0 for size in rule.shape[:axes])
            for axes in range(len(rule.shape) + 1)
        )
    return 2 * MOST_EXAMPLES * (values + 8 * len(artifact.preprocessing)) + _MOST_DIMENSIONS


def array_of(rows: list[Any], *, reals: bool) -> np.ndarray:
    """Nested lists of numbers as an array: int64 if all are integers, else float64.

    Integers too large for int64 are in float64, too, where the model takes `reals`.
    """
    shape, level, kinds = [len(rows)], rows, set(map(type, rows))
    # One text among numbers would make numpy convert all to texts of the longest one's size.
    while kinds == {list} and len(shape) < _MOST_DIMENSIONS:
        lengths = set(map(len, level))
        if len(lengths) != 1:
            raise RequestError("the instances differ in shape")
        shape.append(lengths.pop())
        level = list(itertools.chain.from_iterable(level))
        kinds = set(map(type, level))
    if not kinds:
        raise RequestError("the instances hold no numbers")
    if list in kinds:
        deep = kinds == {list}
        raise RequestError(
            "the instances are nested too deeply" if deep else "the instances differ in shape"
        )
    if not kinds <= {int, float}:
        names = sorted(kind.__name__ for kind in kinds - {int, float})
        raise RequestError("the instances are not numbers", value=", ".join(names))
    tried = ["float64"] if float in kinds else ["int64", "float64"][: 1 + reals]
    for dtype in tried:
        with contextlib.suppress(OverflowError):
            return np.array(level, dtype).reshape(shape)
    raise RequestError("a number is too large", value=f"it does not fit {tried[-1]}")


def _single(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        found = array.astype(np.float32)
    if not np.isfinite(found).all():
        raise RequestError("a number is too large", value="it does not fit a float32")
    return found
