"""Whether an artefact computes, in the runtime at hand, what its description promises.

1. Where all test examples of the data set that the description's metrics were measured on are run,
   those that decide must agree within the tolerance of the parity check, and the outputs of the
   check vectors must be numbers.
2. Otherwise the check vectors beside the file decide.
3. Without either, or without a description, the row is unproven.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from compressor.data import Dataset, draw_examples, named, rows, take
from compressor.data.drawing import most_judged
from compressor.data.targets import is_classes
from compressor.errors import CheckFailedError, UsageError
from compressor.exporters import tolerance
from compressor.measuring.subjects import Subject
from compressor.models.targets import anomalies_of, stored_targets
from deploy.artifact_parts import InputRule, Port, scores_first
from deploy.errors import RequestError
from deploy.examples import artifact_inputs
from deploy.metrics import classes_of
from deploy.tasks import ACCURACY, CLASSIFYING, RECONSTRUCTION, Head, columns, values_of
from deploy.text import clean

RIGHT, UNPROVEN, WRONG, FAILED = "right", "unproven", "wrong", "failed"
_CHUNK_BYTES = 64 * 2**20
_GUESSED = "guessed, for there is no description"

Predict = Callable[[Mapping[str, np.ndarray]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Examples:
    """The test examples that artefacts are run on."""

    data: Dataset
    index: np.ndarray
    """int64: which of the data set's test examples they are, sorted"""
    complete: bool
    """whether they are all that an artefact of so many numbers is judged on"""

    @classmethod
    def of(cls, data: Dataset, most: int | None, columns: int = 1) -> Examples:
        """All test examples, or `most` of them, drawn over all classes and always the same.

        Outputs of many `columns` are judged on some of them; see `most_judged`.
        """
        x, y = data.x_test, data.y_test
        count = min(most_judged(columns), rows(x))
        index = draw_examples(x, y, count if most is None else min(most, count))
        return cls(data, index, complete=len(index) == count)

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.index)

    @property
    def targets(self) -> Any:
        """Those of the data set; None where it has none."""
        return take(self.data.y_test, self.index)

    def drawn(self, count: int) -> Examples:
        """`count` of them at most, over all classes."""
        few = draw_examples(self.index, self.targets, count)
        return dataclasses.replace(self, index=self.index[few], complete=False)

    def inputs(self, rules: tuple[InputRule, ...], part: slice) -> dict[str, np.ndarray]:
        """What an artefact is fed for a part of them. Raises UsageError where they do not fit."""
        try:
            return artifact_inputs(rules, named(take(self.data.x_test, self.index[part])))
        except RequestError as error:
            raise UsageError(
                error.what, value=error.value, hint="give the artefact's data with --data"
            ) from error


def rules_of(subject: Subject, ports: list[dict[str, Any]], data: Dataset) -> tuple[InputRule, ...]:
    """How examples are fed to an artefact: per the description, else by a heuristic.

    `ports` are the inputs that the runtime reports. The heuristic scales uint8 data to 0 to 1 where
    the input takes real numbers, and feeds the first array to an input whose name is not known.
    """
    if subject.artifact is not None:
        return subject.artifact.preprocessing
    arrays = named(data.x_test)
    rules = []
    for port in ports:
        name = str(port["name"])
        source = name if name in arrays else next(iter(arrays))
        real = port["dtype"].startswith("float") or port["scale"] is not None
        scaled = real and arrays[source].dtype == np.uint8
        scale, how = (1 / 255, "uint8 scaled to 0..1") if scaled else (1.0, "as stored")
        shape = tuple(port["shape"][1:])
        rules.append(InputRule(name, source, shape, port["dtype"], scale, f"{how}, {_GUESSED}"))
    return tuple(rules)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an artefact made of the examples."""

    count: int
    values: Mapping[str, float]
    """every metric by its key; none where there are no targets for it"""
    classes: np.ndarray | None
    """predicted by the first output of classes, int64 (count,)"""


def outcome(
    predict: Predict,
    rules: tuple[InputRule, ...],
    examples: Examples,
    subject: Subject,
    outputs: list[dict[str, Any]],
    chunk: int,
) -> Outcome:
    """Run the examples, `chunk` by one call; `outputs` are as the runtime reports them.

    No value is known of an artefact without a description whose outputs are no scores. Raises
    CheckFailedError for outputs of another shape than is described, DataError where the targets are
    not those of the task.
    """
    one = sum(array.nbytes for array in examples.inputs(rules, slice(0, 1)).values())
    step = max(min(chunk, _CHUNK_BYTES // max(one, 1)), 1)
    parts = [slice(start, start + step) for start in range(0, examples.count, step)]
    artifact = subject.artifact
    if artifact is not None and artifact.heads is not None:
        return _of_heads(predict, rules, examples, artifact.heads, parts)
    most = _columns(subject, outputs)
    threshold = None if artifact is None else artifact.threshold
    found = []
    for part in parts:
        scores = predict(examples.inputs(rules, part))
        known = scores.ndim == 2 and scores.shape[1] > 0 and most != 0
        if not known and artifact is None:
            return Outcome(examples.count, {}, None)
        if not known:
            raise CheckFailedError(
                "the artefact does not output class scores", value=f"outputs {scores.shape}"
            )
        scores = scores[:, :most]
        # An output with NaN or infinity has no class and counts as wrong.
        numbers = np.isfinite(scores).all(axis=1)
        found.append(np.where(numbers, classes_of(scores, threshold), -1))
    classes, targets = np.concatenate(found), examples.targets
    if artifact is None and not is_classes(targets):
        return Outcome(len(classes), {}, None)
    return Outcome(len(classes), {ACCURACY: float(np.mean(classes == targets))}, classes)


def _of_heads(
    predict: Predict,
    rules: tuple[InputRule, ...],
    examples: Examples,
    heads: tuple[Head, ...],
    parts: Sequence[slice],
) -> Outcome:
    found, inputs = [], []
    width = sum(head.width for head in heads)
    gives_back = any(head.task == RECONSTRUCTION for head in heads)
    for part in parts:
        fed = examples.inputs(rules, part)
        outputs = predict(fed)
        outputs = outputs.reshape(len(outputs), -1)
        if outputs.shape[1] != width:
            value = f"{outputs.shape[1]} numbers an example, described are {width}"
            raise CheckFailedError("the artefact has another output than described", value=value)
        found.append(outputs)
        if gives_back:
            inputs.append(next(iter(fed.values())))
    outputs = np.concatenate(found)
    classes = next(
        (
            head.predictions(part)
            for head, part in zip(heads, columns(heads, outputs), strict=True)
            if head.task in CLASSIFYING
        ),
        None,
    )
    if not np.isfinite(outputs).all():
        return Outcome(len(outputs), {}, None)
    stored = stored_targets(examples.targets, heads)
    targets = [np.concatenate(inputs) if target is None else target for target in stored]
    values = values_of(heads, outputs, targets, anomalies_of(examples.targets))
    return Outcome(len(outputs), values, classes)


def _columns(subject: Subject, outputs: list[dict[str, Any]]) -> int | None:
    """How many numbers of a row are scores, where others of the `outputs` follow; else None.

    0 where none of several outputs is known to be scores.
    """
    artifact = subject.artifact
    if len(outputs) < 2:
        return None
    if artifact is not None:
        return artifact.classes if artifact.threshold is None else 1
    ports = [Port(**port | {"shape": tuple(port["shape"])}) for port in outputs]
    shape = ports[scores_first(ports)[0]].shape
    return shape[1] or 0 if len(shape) == 2 else 0


def verdict(
    subject: Subject,
    examples: Examples | None,
    values: Mapping[str, float],
    check: Mapping[str, Any] | None,
) -> tuple[str, str | None]:
    """Status and reason of a case that ran, with these metrics: right, unproven or wrong."""
    artifact = subject.artifact
    if artifact is None:
        return UNPROVEN, "it has no description"
    if check is not None and check["difference"] is None:
        return WRONG, _differs(check)
    first = artifact.verified[0] if artifact.verified else None
    heads = artifact.tasks
    promised = {} if first is None else {head.key(): first.value(head.key()) for head in heads}
    comparable = (
        examples is not None
        and examples.complete
        and first is not None
        and first.examples == examples.count
        and artifact.provenance.data_sha256 == examples.data.digest
    )
    said = {key: value for key, value in promised.items() if value is not None}
    if comparable and said and examples is not None:
        for head in heads:
            if (
                reason := _broken(head, said, values, artifact.quantize, examples.count)
            ) is not None:
                return WRONG, reason
        return RIGHT, None if check is None or check["passed"] else _differs(check)
    if check is None:
        return UNPROVEN, "neither its data nor check vectors are available"
    return (RIGHT, None) if check["passed"] else (WRONG, _differs(check))


def _broken(
    head: Head,
    said: Mapping[str, float],
    values: Mapping[str, float],
    quantize: str,
    count: int,
) -> str | None:
    """Which promise of the description a head breaks, in a line; None where it keeps it."""
    key = head.key()
    if key not in said:
        return None
    metric, found = head.decides, values.get(key)
    allowed = tolerance(head, quantize)  # type: ignore[arg-type]
    if metric.fraction:
        allowed = max(allowed, 1 / count)
    if found is not None and abs(metric.loss(said[key], found)) <= allowed + 1e-9:
        return None
    of = f" of {clean(head.name)}" if head.name else ""
    return f"{metric.title}{of} {metric.text(found)}, its description says {metric.text(said[key])}"


def _differs(check: Mapping[str, Any]) -> str:
    if check["difference"] is None:
        return "outputs for the check vectors are NaN, infinite, or of another shape"
    return (
        f"outputs differ by {check['difference']:.2g} from the check vectors', "
        f"{check['tolerance']:.2g} is their tolerance"
    )
