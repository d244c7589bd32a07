"""The description of an exported file, which lies beside it as FILE.json.

It is an object of exactly these fields:

schema            {name: "compressor-artifact", version: 2; of one with heads 3}
format            tflite, onnx, or c: a shared library of generated C code
file              the name of the file, without a folder
bytes             of the file, and of the one with its weights
sha256            of the file
vectors_sha256    of its check vectors, FILE.check.npz
quantize          none, float16, dynamic, int8, int4, codebook or ternary
optimize          size, latency or ram: what the encodings are best for; of balanced ones latency
runtime           the one that the file is for
inputs, outputs   name, shape (null where a size is open: the batch), dtype; scale and zero_point of
                  integers that stand for real numbers, value = scale * (integer - zero_point),
                  else null: all as the runtime reports them; of several outputs the first one of
                  two axes and real numbers gives the scores
preprocessing     for each input how a stored row becomes what it takes: name (of the input in the
                  file), source (the name of the stored array, "" for one alone), shape (of a row),
                  dtype, scale (what stored values are multiplied by), reason
outputs_are       logits or probabilities; of heads without classes numbers
classes           how many; 0 of heads without any
threshold         the score above which a model of one score says class 1, else null
labels            the names of the classes, or null: those of the first head that has any
tensors           of each weight: name, shape, zeros (how many values), encoding, values (their
                  type), bytes (in the file)
needs             operator (TFLite) or operator set (ONNX) -> its version
verified          of each runtime that ran it: runtime, version, provider (of ONNX Runtime, else
                  null), batch, examples, accuracy and reference_accuracy (of the artefact and of
                  its model on the test examples, 0 to 1; null for random inputs), difference
                  (the largest of an output), validation_accuracy and
                  validation_reference_accuracy (on the examples that it was chosen on); of heads
                  every metric that is shown, by its name in the same way, such as
                  reference_mean_iou, and of several heads NAME/METRIC; those without a value are
                  left out
provenance        sparsity (0 to 1), seed, data_sha256, source_sha256 (of the model file): null
                  if unknown; versions (package -> version), created_by
code              only of c, and not in old descriptions: target (the processor that the code was
                  made for), sources (file name -> sha256 of what the library was compiled of)
data              only of an ONNX file with more than 2 GB of weights, and not in old descriptions:
                  file, bytes and sha256 of the one beside it that holds them
heads             left out for one classifier that is judged by its accuracy; else what each output
                  means, in the order of their numbers in a row: name (of the output, "" for one
                  alone), task, metric (which decides), shown (all metrics), shape (of a row),
                  classes, threshold, outputs_are of one with classes, and ignored of masks of
                  which a target counts nowhere

It holds no times and no paths, so the same export gives the same bytes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.artifact_parts import (
    SCORES_ARE,
    DataFile,
    GeneratedCode,
    InputRule,
    Port,
    Provenance,
    StoredTensor,
    Verification,
    read_head,
    scores_first,
)
from deploy.errors import ArtifactError
from deploy.fields import Digest, Fields, Positive, Reader, made, parse_json
from deploy.files import read_regular, size_and_sha256

if TYPE_CHECKING:
    from deploy.tasks import Head

SCHEMA = {"name": "compressor-artifact", "version": 2}
HEADS_VERSION = 3
"""Of the schema of a description with heads, which earlier versions of this program refuse."""
FORMATS = ("tflite", "onnx", "c")
QUANTIZATIONS = ("none", "float16", "dynamic", "int8", "int4", "codebook", "ternary")
OPTIMIZATIONS = ("size", "latency", "ram")
NUMBERS = "numbers"
OUTPUTS_ARE = (*SCORES_ARE, NUMBERS)
DESCRIPTION_SUFFIX = ".json"
"""Added to an artefact's file name for its description."""
VECTORS_SUFFIX = ".check.npz"
"""Added to an artefact's file name for its check vectors."""

MOST_ARTIFACT_BYTES = 2**31 - 1
"""Neither FlatBuffers nor protocol buffers hold more."""
MOST_VECTORS_BYTES = 256 * 2**20

_UNREADABLE = "cannot read the artefact, or what belongs to it, FILE.json and FILE.check.npz"
_MOST_BYTES = 16 * 2**20
_MOST_PORTS = 64
_LONGEST_NAME = 255


@dataclasses.dataclass(frozen=True)
class Artifact:
    """The description of an exported file; the module says what the fields mean."""

    format: str
    file: str
    bytes: Positive
    sha256: Digest
    vectors_sha256: Digest
    quantize: str
    optimize: str
    runtime: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    preprocessing: tuple[InputRule, ...]
    outputs_are: str
    classes: int
    threshold: float | None
    labels: tuple[str, ...] | None
    tensors: tuple[StoredTensor, ...]
    needs: dict[str, int]
    verified: tuple[Verification, ...]
    provenance: Provenance
    code: GeneratedCode | None = None
    data: DataFile | None = None
    heads: tuple[Head, ...] | None = None

    @property
    def tasks(self) -> tuple[Head, ...]:
        """What each output means, of one classifier, too."""
        if self.heads is not None:
            return self.heads
        from deploy.tasks import BINARY, CLASSIFICATION, Head

        binary = self.threshold is not None
        task, width = (BINARY, 1) if binary else (CLASSIFICATION, self.classes)
        found = Head("", task, (width,), self.classes, self.threshold, outputs_are=self.outputs_are)
        return (found,)

    def describe(self) -> dict[str, Any]:
        """The description as a JSON object that `parse` reads; always in the same order."""
        described = {"schema": _schema(self.heads is not None)} | dataclasses.asdict(self)
        has_heads = self.heads is not None
        described["verified"] = [found.describe(heads=has_heads) for found in self.verified]
        described["needs"] = dict(sorted(self.needs.items()))
        described["provenance"]["versions"] = dict(sorted(self.provenance.versions.items()))
        if self.code is None:
            del described["code"]
        else:
            described["code"]["sources"] = dict(sorted(self.code.sources.items()))
        if self.data is None:
            del described["data"]
        if self.heads is None:
            del described["heads"]
        else:
            described["heads"] = [head.describe() for head in self.heads]
        listed: dict[str, Any] = _lists(described)
        return listed

    @classmethod
    def parse(cls, content: Any) -> Artifact:
        """Read an untrusted description.

        Raises ArtifactError for a field that is missing, unknown, of the wrong type or out of
        range, for another schema, and for fields that contradict each other.
        """
        fields = Fields(content, "description")
        has_heads = fields.has("heads")
        fields.schema("schema", _schema(has_heads), "description")
        readers = _READERS | (_OF_HEADS if has_heads else {})
        artifact = fields.make(cls, readers, newer=("code", "data", "heads"))
        if has_heads and artifact.heads is None:
            raise ArtifactError("description.heads is null", value=artifact.file)
        _check_agreement(artifact)
        return artifact


def _schema(has_heads: bool) -> dict[str, Any]:
    return SCHEMA | {"version": HEADS_VERSION} if has_heads else dict(SCHEMA)


_READERS: dict[str, Reader] = {
    "format": lambda fields, key: fields.choice(key, FORMATS),
    "file": lambda fields, key: fields.text(key, longest=_LONGEST_NAME),
    "quantize": lambda fields, key: fields.choice(key, QUANTIZATIONS),
    "optimize": lambda fields, key: fields.choice(key, OPTIMIZATIONS),
    "inputs": lambda fields, key: fields.objects(key, Port.read, _MOST_PORTS),
    "outputs": lambda fields, key: fields.objects(key, Port.read, _MOST_PORTS),
    "preprocessing": lambda fields, key: fields.objects(key, InputRule.read, _MOST_PORTS),
    "outputs_are": lambda fields, key: fields.choice(key, OUTPUTS_ARE),
    "tensors": lambda fields, key: fields.objects(key, StoredTensor.read),
    "verified": lambda fields, key: fields.objects(key, Verification.read),
    "provenance": lambda fields, key: fields.one(key, made(Provenance)),
    "code": lambda fields, key: fields.one(key, GeneratedCode.read),
    "data": lambda fields, key: fields.one(key, made(DataFile)),
    "heads": lambda fields, key: fields.objects(key, read_head, _MOST_PORTS),
}
_OF_HEADS: dict[str, Reader] = {
    "verified": lambda fields, key: fields.objects(key, Verification.read_values),
}


def read_artifact(file: Path | str) -> Artifact:
    """The description beside the artefact `file`, checked to be of this file.

    Raises ArtifactError if either is missing or unreadable, as `Artifact.parse` does, if the
    file's name, size or sha256 differs, and if the check vectors beside it are not its own.
    """
    file = Path(file)
    beside = file.with_name(file.name + DESCRIPTION_SUFFIX)
    vectors = file.with_name(file.name + VECTORS_SUFFIX)
    artifact = _parsed(read_regular(beside, _MOST_BYTES, _UNREADABLE), beside)
    size, digest = size_and_sha256(file, MOST_ARTIFACT_BYTES, _UNREADABLE)
    if artifact.data is not None:
        size += artifact.data.bytes
        artifact.data.check(file.parent)
    checked = artifact.vectors_sha256
    if vectors.exists():
        checked = size_and_sha256(vectors, MOST_VECTORS_BYTES, _UNREADABLE)[1]
    for what, found, said in (
        ("name", file.name, artifact.file),
        ("size", size, artifact.bytes),
        ("sha256", digest, artifact.sha256),
    ):
        if found != said:
            raise ArtifactError(
                f"the description is of another file: the {what} differs",
                value=f"{file} has {found}, the description says {said}",
            )
    if checked != artifact.vectors_sha256:
        raise ArtifactError(
            "the check vectors are of another artefact",
            value=f"{vectors} has sha256 {checked}, the description says {artifact.vectors_sha256}",
            hint="export it again",
        )
    return artifact


def _parsed(content: bytes, beside: Path) -> Artifact:
    """As `Artifact.parse`, with the file named in errors."""
    found = parse_json(content, str(beside))
    try:
        return Artifact.parse(found)
    except ArtifactError as error:
        shown = "" if error.value is None else f" ({error.value})"
        hint = f"{error.hint}; export it again" if error.hint else "export it again"
        raise ArtifactError(error.what, value=f"{beside}{shown}", hint=hint) from error


def is_file_name(name: str) -> bool:
    """Whether an artefact may be called that: as files may be on every system."""
    odd = name in (".", "..") or set(name) & set('/\\:*?"<>|') or name != name.strip()
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable() and not odd


def _check_agreement(artifact: Artifact) -> None:
    name = artifact.file
    if not is_file_name(name):
        raise ArtifactError("description.file is not a file name", value=name)
    if artifact.code is not None and artifact.format != "c":
        raise ArtifactError("only C code has description.code", value=artifact.format)
    if artifact.data is not None:
        other = artifact.data.file
        if artifact.format != "onnx":
            raise ArtifactError("only ONNX files have description.data", value=artifact.format)
        if not is_file_name(other) or other.startswith(name):
            raise ArtifactError("description.data names no file beside it", value=other)
    if not artifact.outputs or not artifact.inputs:
        raise ArtifactError(
            "an artefact needs inputs and outputs",
            value=f"{len(artifact.inputs)} inputs, {len(artifact.outputs)} outputs",
        )
    names = [port.name for port in artifact.inputs]
    for what, ports in (("inputs", artifact.inputs), ("outputs", artifact.outputs)):
        if len({port.name for port in ports}) < len(ports):
            value = ", ".join(port.name for port in ports)
            raise ArtifactError(f"two {what} have the same name", value=value)
    if sorted(names) != sorted(rule.name for rule in artifact.preprocessing):
        raise ArtifactError(
            "description.preprocessing does not match the inputs", value=", ".join(names)
        )
    if artifact.heads is None:
        _check_scores(artifact)
    else:
        _check_heads(artifact, artifact.heads)
    if artifact.labels is not None and len(artifact.labels) != artifact.classes:
        raise ArtifactError(
            "labels and classes differ in number",
            value=f"{len(artifact.labels)} labels, {artifact.classes} classes",
        )
    if artifact.labels is not None and len(set(artifact.labels)) < len(artifact.labels):
        raise ArtifactError("two classes have the same label", value=", ".join(artifact.labels))


def _check_scores(artifact: Artifact) -> None:
    scores = artifact.outputs[scores_first(artifact.outputs)[0]].shape[-1:]
    binary = artifact.threshold is not None
    expected = 1 if binary else artifact.classes
    fits = scores and scores[0] in (None, expected) and artifact.outputs_are in SCORES_ARE
    if not fits or artifact.classes < 2 or (binary and artifact.classes != 2):
        raise ArtifactError(
            "description.outputs, classes and threshold do not agree",
            value=f"{scores[0] if scores else 'no'} scores, {artifact.classes} classes, "
            f"threshold {artifact.threshold}",
        )


def _check_heads(artifact: Artifact, heads: tuple[Head, ...]) -> None:
    """Refuse heads that are not those of the outputs, in the order of their numbers in a row."""
    from deploy.tasks import PARTS, part_key

    ports = [artifact.outputs[place] for place in scores_first(artifact.outputs)]
    fit = len(heads) == len(ports) and all(
        len(ports) == 1 or head.name == port.name
        for head, port in zip(heads, ports)  # noqa: B905 - Python 3.9
    )
    # A port with the batch axis alone gives one number a row.
    sizes = [(head.shape, port.shape[1:] or (1,)) for head, port in zip(heads, ports)]  # noqa: B905
    for shape, wanted in sizes:
        fit = fit and (
            len(shape) == len(wanted)
            and all(size in (None, own) for size, own in zip(wanted, shape))  # noqa: B905
        )
    if not fit:
        value = ", ".join(f"{head.name or 'one'} {list(head.shape)}" for head in heads)
        raise ArtifactError("description.heads does not match the outputs", value=value)
    first = next((head for head in heads if head.classes), None)
    said = (artifact.classes, artifact.threshold, artifact.outputs_are)
    meant = (first.classes, first.threshold, first.outputs_are) if first else (0, None, NUMBERS)
    if said != meant:
        value = f"{artifact.classes} classes, threshold {artifact.threshold}"
        raise ArtifactError("description.heads, classes and threshold do not agree", value=value)
    keys = {head.key(metric) for head in heads for metric in head.shown}
    known = {part_key(key, part) for key in keys for part in PARTS}
    if strange := {key for one in artifact.verified for key in one.values} - known:
        raise ArtifactError("description.verified has a metric of no head", value=min(strange))


def _lists(content: Any) -> Any:
    """Tuples as lists, as JSON gives them back."""
    if isinstance(content, dict):
        return {key: _lists(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_lists(value) for value in content]
    return content
