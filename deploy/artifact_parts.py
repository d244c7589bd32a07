"""What a description is made of; `deploy.artifact` says what the fields mean."""

from __future__ import annotations

import dataclasses
import math

from deploy.errors import ArtifactError
from deploy.fields import Fields

DTYPES = (
    *("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
)


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output tensor of an artefact."""

    name: str
    shape: tuple[int | None, ...]
    """with the batch axis; None where a size is open"""
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    @classmethod
    def read(cls, fields: Fields) -> Port:
        """The port that the fields describe."""
        port = cls(
            fields.text("name"),
            fields.shape("shape"),
            fields.choice("dtype", DTYPES),
            fields.optional("scale", fields.number, 0.0),
            fields.optional("zero_point", fields.integer, -(2**31), 2**31),
        )
        if (port.scale is None) != (port.zero_point is None) or port.scale == 0:
            raise ArtifactError("a scale above zero and a zero_point go together", value=port.name)
        return port


@dataclasses.dataclass(frozen=True)
class InputRule:
    """How a stored row becomes what one input takes: scaled, of this dtype and shape."""

    name: str
    source: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float
    reason: str

    @classmethod
    def read(cls, fields: Fields) -> InputRule:
        """The rule that the fields describe."""
        return cls(
            fields.text("name"),
            fields.text("source", empty=True),
            fields.shape("shape"),
            fields.choice("dtype", DTYPES),
            fields.number("scale", 0.0),
            fields.text("reason"),
        )


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
        """The tensor that the fields describe."""
        name, shape = fields.text("name"), fields.sizes("shape")
        return cls(
            name,
            shape,
            fields.integer("zeros", 0, math.prod(shape)),
            fields.text("encoding"),
            fields.text("values"),
            fields.integer("bytes"),
        )


@dataclasses.dataclass(frozen=True)
class Verification:
    """One runtime that ran the artefact, and how it did beside the Keras model."""

    runtime: str
    version: str
    provider: str | None
    batch: int
    examples: int
    accuracy: float | None
    reference_accuracy: float | None
    difference: float

    @classmethod
    def read(cls, fields: Fields) -> Verification:
        """The verification that the fields describe."""
        return cls(
            fields.text("runtime"),
            fields.text("version"),
            fields.optional("provider", fields.text),
            fields.integer("batch", 1),
            fields.integer("examples", 1),
            fields.optional("accuracy", fields.number, 0.0, 1.0),
            fields.optional("reference_accuracy", fields.number, 0.0, 1.0),
            fields.number("difference", 0.0),
        )


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What the artefact was made of, and by what; None where it is not known."""

    sparsity: float | None
    seed: int | None
    data_sha256: str | None
    source_sha256: str | None
    versions: dict[str, str]
    created_by: str

    @classmethod
    def read(cls, fields: Fields) -> Provenance:
        """The provenance that the fields describe."""
        return cls(
            fields.optional("sparsity", fields.number, 0.0, 1.0),
            fields.optional("seed", fields.integer),
            fields.optional("data_sha256", fields.digest),
            fields.optional("source_sha256", fields.digest),
            fields.mapping("versions", Fields.text),
            fields.text("created_by"),
        )
