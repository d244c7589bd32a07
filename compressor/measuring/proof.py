"""Whether an artefact computes, in the runtime at hand, what its description promises.

1. Where all test examples of the data set that the description's accuracy was measured on are run,
   the accuracies must agree within the tolerance of the parity check, and the outputs of the check
   vectors must be numbers.
2. Otherwise the check vectors beside the file decide.
3. Without either, or without a description, the row is unproven.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from compressor.data import Dataset, draw_examples, named, rows, take
from compressor.errors import CheckFailedError, UsageError
from compressor.exporters import ACCURACY_TOLERANCE
from compressor.measuring.subjects import Subject
from deploy.artifact_parts import InputRule, Port, scores_first
from deploy.errors import RequestError
from deploy.examples import artifact_inputs, predicted_classes

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

    @classmethod
    def of(cls, data: Dataset, most: int | None) -> Examples:
        """All test examples, or `most` of them, drawn over all classes and always the same."""
        return cls(data, draw_examples(data.x_test, data.y_test, most or rows(data.x_test)))

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.index)

    @property
    def labels(self) -> np.ndarray:
        """int64 (count,)."""
        return np.asarray(self.data.y_test[self.index], np.int64)

    def drawn(self, count: int) -> Examples:
        """`count` of them at most, over all classes."""
        few = draw_examples(self.index, self.labels, count)
        return dataclasses.replace(self, index=self.index[few])

    @property
    def complete(self) -> bool:
        """Whether they are all that the data set has for testing."""
        return self.count == rows(self.data.x_test)

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


def predictions(
    predict: Predict,
    rules: tuple[InputRule, ...],
    examples: Examples,
    subject: Subject,
    outputs: list[dict[str, Any]],
    chunk: int,
) -> np.ndarray:
    """The class that an artefact gives each example, int64 (count,); `chunk` run by one call.

    `outputs` are as the runtime reports them.
    """
    columns = _columns(subject, outputs)
    one = sum(array.nbytes for array in examples.inputs(rules, slice(0, 1)).values())
    step = max(min(chunk, _CHUNK_BYTES // max(one, 1)), 1)
    threshold = None if subject.artifact is None else subject.artifact.threshold
    parts = []
    for start in range(0, examples.count, step):
        scores = predict(examples.inputs(rules, slice(start, start + step)))
        if scores.ndim != 2 or not scores.shape[1]:
            raise CheckFailedError(
                "the artefact does not output class scores", value=f"outputs {scores.shape}"
            )
        scores = scores[:, :columns]
        # An output with NaN or infinity has no class and counts as wrong.
        numbers = np.isfinite(scores).all(axis=1)
        parts.append(np.where(numbers, predicted_classes(scores, threshold), -1))
    return np.concatenate(parts)


def _columns(subject: Subject, outputs: list[dict[str, Any]]) -> int | None:
    """How many numbers of a row are scores, where others of the `outputs` follow; else None."""
    artifact = subject.artifact
    if len(outputs) < 2:
        return None
    if artifact is not None:
        return artifact.classes if artifact.threshold is None else 1
    ports = [Port(**port | {"shape": tuple(port["shape"])}) for port in outputs]
    shape = ports[scores_first(ports)[0]].shape
    if len(shape) != 2 or shape[1] is None:
        what = "none of several outputs is known to be class scores"
        raise CheckFailedError(what, value=", ".join(port.name for port in ports)[:200])
    return shape[1]


def verdict(
    subject: Subject,
    examples: Examples | None,
    accuracy: float | None,
    check: Mapping[str, Any] | None,
) -> tuple[str, str | None]:
    """Status and reason of a case that ran: right, unproven or wrong."""
    artifact = subject.artifact
    if artifact is None:
        return UNPROVEN, "it has no description"
    if check is not None and check["difference"] is None:
        return WRONG, _differs(check)
    first = artifact.verified[0] if artifact.verified else None
    promised = None if first is None else first.accuracy
    comparable = (
        examples is not None
        and examples.complete
        and first is not None
        and first.examples == examples.count
        and artifact.provenance.data_sha256 == examples.data.digest
    )
    if comparable and accuracy is not None and promised is not None and examples is not None:
        allowed = max(ACCURACY_TOLERANCE[artifact.quantize], 1 / examples.count)  # type: ignore[index]
        if abs(accuracy - promised) > allowed + 1e-9:
            return WRONG, (
                f"accuracy {100 * accuracy:.2f} %, its description says {100 * promised:.2f} %"
            )
        return RIGHT, None if check is None or check["passed"] else _differs(check)
    if check is None:
        return UNPROVEN, "neither its data nor check vectors are available"
    return (RIGHT, None) if check["passed"] else (WRONG, _differs(check))


def _differs(check: Mapping[str, Any]) -> str:
    if check["difference"] is None:
        return "outputs for the check vectors are NaN, infinite, or of another shape"
    return (
        f"outputs differ by {check['difference']:.2g} from the check vectors', "
        f"{check['tolerance']:.2g} is their tolerance"
    )
