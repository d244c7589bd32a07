"""What a description is made of; `deploy.artifact` says what the fields mean."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from deploy.errors import ArtifactError
from deploy.fields import Digest, Fields, Fraction, NotNegative, Positive

DTYPES = (
    *("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
)

C_INTERFACE = "1"
"""Version of what a library of generated C code exports: that of the runtime `c`."""


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output tensor of an artefact."""

    name: str
    shape: tuple[int | None, ...]
    """with the batch axis; None where a size is open"""
    dtype: str
    scale: NotNegative | None = None
    zero_point: int | None = None

    @classmethod
    def read(cls, fields: Fields) -> Port:
        """Raises ArtifactError for a scale without a zero point, or a scale of 0, too."""
        port = fields.make(cls, {"dtype": _dtype, "zero_point": _zero_point})
        if (port.scale is None) != (port.zero_point is None) or port.scale == 0:
            raise ArtifactError("a scale above zero and a zero_point go together", value=port.name)
        return port


def scores_first(outputs: Sequence[Port]) -> list[int]:
    """The positions of several outputs, first that of the scores: real numbers on two axes.

    Where there is none, that is the first output.
    """
    places = range(len(outputs))
    scores = [
        place
        for place in places
        if len(outputs[place].shape) == 2
        and (outputs[place].scale is not None or "float" in outputs[place].dtype)
    ]
    return sorted(places, key=lambda place: place not in scores[:1])


@dataclasses.dataclass(frozen=True)
class InputRule:
    """How a stored row becomes an input: its shape and dtype, and the scale it is multiplied by."""

    name: str
    source: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: NotNegative
    reason: str

    @classmethod
    def read(cls, fields: Fields) -> InputRule:
        return fields.make(cls, {"dtype": _dtype, "source": _text_or_nothing})


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """How a weight is stored: `zeros` of its values are zero; `bytes` in the file."""

    name: str
    shape: tuple[int, ...]
    zeros: int
    encoding: str
    values: str
    bytes: int

    @classmethod
    def read(cls, fields: Fields) -> StoredTensor:
        """Raises ArtifactError for more zeros than values, too."""
        tensor = fields.make(cls)
        if tensor.zeros > math.prod(tensor.shape):
            raise ArtifactError(
                "a tensor has more zeros than values",
                value=f"{tensor.name} of shape {list(tensor.shape)} has {tensor.zeros}",
            )
        return tensor


@dataclasses.dataclass(frozen=True)
class Verification:
    """A runtime that ran the artefact, and how the outputs compare with the Keras model's."""

    runtime: str
    version: str
    provider: str | None
    batch: Positive
    examples: Positive
    accuracy: Fraction | None
    reference_accuracy: Fraction | None
    difference: NotNegative
    validation_accuracy: Fraction | None = None
    validation_reference_accuracy: Fraction | None = None

    @classmethod
    def read(cls, fields: Fields) -> Verification:
        newer = ("validation_accuracy", "validation_reference_accuracy")
        return fields.make(cls, newer=newer)


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What the artefact was made from, and by what; None if unknown."""

    sparsity: Fraction | None
    seed: int | None
    data_sha256: Digest | None
    source_sha256: Digest | None
    versions: dict[str, str]
    created_by: str


@dataclasses.dataclass(frozen=True)
class GeneratedCode:
    """What a library was compiled of: the code's processor, and file name -> sha256."""

    target: str
    sources: dict[str, Digest]

    @classmethod
    def read(cls, fields: Fields) -> GeneratedCode:
        return fields.make(cls, {"sources": lambda of, key: of.mapping(key, Fields.digest)})


def _dtype(fields: Fields, key: str) -> str:
    return fields.choice(key, DTYPES)


def _zero_point(fields: Fields, key: str) -> int:
    return fields.integer(key, -(2**31), 2**31)


def _text_or_nothing(fields: Fields, key: str) -> str:
    return fields.text(key, empty=True)
