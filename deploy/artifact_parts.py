"""What a description is made of; `deploy.artifact` says what the fields mean."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.errors import ArtifactError
from deploy.fields import Digest, Fields, Fraction, NotNegative, Positive
from deploy.files import open_regular, size_and_sha256

if TYPE_CHECKING:
    from deploy.tasks import Head

DTYPES = (
    *("float16", "float32", "float64", "bool", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
)

SCORES_ARE = ("logits", "probabilities")

MOST_DATA_BYTES = 2**36
_NO_WEIGHTS = "cannot read the weights, which belong beside the artefact"
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


def is_scores(output: Port) -> bool:
    """Whether an output may be a row of scores: real numbers on two axes."""
    return len(output.shape) == 2 and (output.scale is not None or "float" in output.dtype)


def scores_first(outputs: Sequence[Port]) -> list[int]:
    """The positions of several outputs, first that of the scores: real numbers on two axes.

    Where there is none, that is the first output.
    """
    places = range(len(outputs))
    scores = [place for place in places if is_scores(outputs[place])]
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
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """of heads, in place of the accuracies: key -> value, such as reference_box/box_iou"""

    def value(self, key: str) -> float | None:
        """The value of a metric by its key; None where it was not measured."""
        found: float | None = self.values.get(key, getattr(self, key, None))
        return found

    def describe(self, *, heads: bool) -> dict[str, Any]:
        """The verification as a JSON object: with the accuracies, or with the `values` of heads."""
        found = dataclasses.asdict(self)
        values = found.pop("values")
        if heads:
            return {key: found[key] for key in _RAN} | values | {"difference": self.difference}
        return found

    @classmethod
    def read(cls, fields: Fields) -> Verification:
        """Read that of one classifier."""
        newer = ("validation_accuracy", "validation_reference_accuracy", "values")
        return fields.make(cls, {"values": Fields.unknown}, newer=newer)

    @classmethod
    def read_values(cls, fields: Fields) -> Verification:
        """Read that of heads: every field of another name is the value of a metric."""
        runtime, version = fields.text("runtime"), fields.text("version")
        provider = fields.optional("provider", fields.text)
        batch, examples = fields.integer("batch", 1), fields.integer("examples", 1)
        difference = fields.number("difference", 0.0)
        values = {key: fields.number(key) for key in fields.left()}
        return cls(
            *(runtime, version, provider, batch, examples), None, None, difference, values=values
        )


_MOST_IGNORED = 2**31
_RAN = ("runtime", "version", "provider", "batch", "examples")


def read_head(fields: Fields) -> Head:
    """Read what an untrusted description says of an output.

    Raises ArtifactError for a metric that the task does not have, and for a shape and classes that
    do not fit each other, too.
    """
    from deploy import tasks  # which takes numpy

    task = fields.choice("task", tasks.TASKS)
    known = tasks.metrics_of(task)
    name, metric = fields.text("name", empty=True), fields.choice("metric", known)
    shown, shape = fields.texts("shown"), fields.sizes("shape")
    classes, threshold = fields.integer("classes"), fields.optional("threshold", fields.number)
    outputs_are = fields.choice("outputs_are", SCORES_ARE) if fields.has("outputs_are") else ""
    ignored = None
    if fields.has("ignored") and task == tasks.SEGMENTATION:
        ignored = fields.integer("ignored", low=-_MOST_IGNORED, high=_MOST_IGNORED)
    ends = {(classes,)} if threshold is None else {(classes,), (1,)}
    scored = task in (*tasks.CLASSIFYING, tasks.MULTI_LABEL, tasks.SEGMENTATION)
    fits = classes > 0 and shape[-1:] in ends if scored else not classes
    if not fits or not 0 < math.prod(shape) < 2**31:
        value = f"{task}, {list(shape)}, {classes} classes"
        raise ArtifactError("the shape and the classes of a head do not agree", value=value)
    if metric not in shown or not set(shown) <= set(known) or len(set(shown)) < len(shown):
        raise ArtifactError("a head does not show metrics of its task", value=", ".join(shown))
    return tasks.Head(name, task, shape, classes, threshold, metric, shown, outputs_are, ignored)


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
class DataFile:
    """The file beside an artefact that holds its weights."""

    file: str
    bytes: Positive
    sha256: Digest

    def check(self, folder: Path) -> None:
        """Raise ArtifactError unless the file in `folder` is the one that is meant."""
        path = folder / self.file
        if path.is_symlink():
            raise ArtifactError("the weights are a link", value=path)
        with open_regular(path, MOST_DATA_BYTES, _NO_WEIGHTS) as (_, size):
            found = (size, "")
        if size == self.bytes:  # before it is read, which may take long
            found = size_and_sha256(path, size, _NO_WEIGHTS)
        if found != (self.bytes, self.sha256):
            raise ArtifactError(
                "the weights are of another artefact",
                value=f"{path} has {size:,} bytes, the description says {self.bytes:,}"
                + f" with sha256 {self.sha256}" * (size == self.bytes),
                hint="export it again",
            )


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
