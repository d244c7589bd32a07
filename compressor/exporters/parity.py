"""The parity check: an artefact, run by its runtime, against the model that it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.data import Array, Inputs, rows, take
from compressor.exporters.request import Quantize
from compressor.foundation import quiet_tensorflow
from compressor.models import Objective, Preprocessing

Predict = Callable[[dict[str, Array]], np.ndarray]
"""Arrays (n, ...) by the artefact's input names -> float32 (n, classes)."""

ACCURACY_TOLERANCE: dict[Quantize, float] = {
    "none": 0.001,
    "float16": 0.001,
    "dynamic": 0.001,
    "int8": 0.002,
    "int4": 0.002,
    "codebook": 0.002,
}
"""By how much the accuracy, 0 to 1, may fall."""

OUTPUT_TOLERANCE: dict[Quantize, float] = {"none": 1e-4, "float16": 1e-2}
"""By how much an output may differ, as a fraction of the largest."""

SPREAD_TOLERANCE = 0.5
"""By how much outputs may differ where weights have fewer bits, as a `spread`. Rounding stays far
below; a wrong kernel does not."""

BATCH_TOLERANCE = 0.1
"""By how much outputs may depend on the batch size, as a `spread`: where the range of activations
is found at run time, it depends on the whole batch."""

_CHUNK_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Reference:
    """The outputs of the Keras model on the examples of the parity check."""

    x: Inputs
    """as stored, n examples"""
    feed: Preprocessing
    scores: np.ndarray
    """float32 (n, classes)"""
    labels: np.ndarray | None
    """int64 (n,), or None where the inputs are random"""
    objective: Objective
    rounding: float = 0.0
    """rounding of the Keras model's own outputs in half precision, as a fraction of the largest"""

    @property
    def accuracy(self) -> float | None:
        """Of the Keras model, 0 to 1."""
        if self.labels is None:
            return None
        return float(np.mean(self.objective.predictions(self.scores) == self.labels))

    def inputs(self, names: tuple[str, ...], part: slice) -> dict[str, Array]:
        """The inputs of an artefact for a part of the examples, by their `names`."""
        _, keras = quiet_tensorflow.load()
        fed = keras.tree.flatten(self.feed(take(self.x, part)))
        # Artefacts take float32 where the model takes another float type.
        arrays = [np.asarray(a, np.float32) if _is_float(a) else np.asarray(a) for a in fed]
        return dict(zip(names, arrays, strict=True))


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How an artefact compares with its model."""

    examples: int
    accuracy: float | None
    """of the artefact in its runtime, 0 to 1; None on random inputs"""
    reference_accuracy: float | None
    """of the Keras model"""
    difference: float
    """max |difference| of the outputs, or NaN"""
    scale: float
    """max |output| of the Keras model"""
    spread: float
    """root mean square of the differences, as a fraction of how outputs vary with the inputs"""
    agreement: float
    """the fraction of examples to which both give the same class"""
    allowed_drop: float
    """of the accuracy"""
    allowed_difference: float | None
    """of the difference, as a fraction of `scale`; None where the spread decides"""
    passed: bool
    reason: str
    """why it did not pass, or empty"""

    def describe(self) -> dict[str, Any]:
        """The verdict as a JSON object, with null for NaN and infinity."""
        described = dataclasses.asdict(self)
        for key in ("difference", "spread"):
            if not np.isfinite(described[key]):
                described[key] = None
        return described


def run(
    predict: Predict, names: tuple[str, ...], reference: Reference, part: slice = slice(None)
) -> np.ndarray:
    """The scores of an artefact, float32 (n, classes), on a part of the examples."""
    numbers = range(*part.indices(rows(reference.x)))
    one = sum(array.nbytes for array in reference.inputs(names, slice(0, 1)).values())
    chunk = max(_CHUNK_BYTES // max(one, 1), 1)
    parts = [
        predict(reference.inputs(names, slice(start, min(start + chunk, numbers.stop))))
        for start in range(numbers.start, numbers.stop, chunk)
    ]
    return np.concatenate(parts)


def judge(scores: np.ndarray, reference: Reference, quantize: Quantize) -> Verdict:
    """The verdict on an artefact's `scores`, (n, classes), for all examples."""
    expected, labels = reference.scores, reference.labels
    if scores.shape != expected.shape:
        reason = f"outputs have shape {scores.shape}, the model's {expected.shape}"
        return failure(reason, reference, quantize)
    classes = reference.objective.predictions(scores)
    verdict = dataclasses.replace(
        failure("", reference, quantize),
        accuracy=None if labels is None else float(np.mean(classes == labels)),
        difference=float(np.max(np.abs(scores.astype(np.float64) - expected))),
        spread=spread(scores, expected),
        agreement=float(np.mean(classes == reference.objective.predictions(expected))),
    )
    reason = _reason(verdict)
    return dataclasses.replace(verdict, passed=not reason, reason=reason)


def judge_single(
    verdict: Verdict,
    single: np.ndarray,
    scores: np.ndarray,
    reference: Reference,
    quantize: Quantize,
) -> Verdict:
    """`verdict`, once the first examples were also run one by one, with the outputs `single`.

    A device runs one example at a time, and a runtime may use another kernel for that; the same
    limits apply.
    """
    first = dataclasses.replace(reference, scores=reference.scores[: len(single)], labels=None)
    found = judge(single, first, quantize)
    reason = found.reason
    apart = spread(single, scores[: len(single)]) if not reason else 0.0
    if apart > BATCH_TOLERANCE:
        reason = f"outputs differ by {apart:.2g} of their spread from those of a batch"
    if not reason:
        difference = max(verdict.difference, found.difference)
        return dataclasses.replace(verdict, difference=difference)
    return dataclasses.replace(verdict, passed=False, reason=f"one example at a time, {reason}")


def failure(reason: str, reference: Reference, quantize: Quantize) -> Verdict:
    """The verdict on an artefact without comparable outputs."""
    allowed = OUTPUT_TOLERANCE.get(quantize)
    return Verdict(
        examples=len(reference.scores),
        accuracy=None,
        reference_accuracy=reference.accuracy,
        difference=float("nan"),
        scale=float(np.max(np.abs(reference.scores))),
        spread=float("nan"),
        agreement=0.0,
        allowed_drop=ACCURACY_TOLERANCE[quantize],
        allowed_difference=None if allowed is None else max(allowed, reference.rounding),
        passed=False,
        reason=reason,
    )


def spread(scores: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square of the differences, as a fraction of each output's standard deviation.

    Both are (n, classes). The deviation is over the inputs, not the classes: otherwise a file that
    gives a constant for each class would be close.
    """
    error = float(np.sqrt(np.mean((scores.astype(np.float64) - expected) ** 2)))
    deviation = float(np.sqrt(np.mean(np.var(expected.astype(np.float64), axis=0))))
    return error / max(deviation, 1e-12) if error else 0.0


def _is_float(array: Array) -> bool:
    return "float" in str(array.dtype)  # bfloat16 is of no kind that numpy knows


def _reason(verdict: Verdict) -> str:
    if not np.isfinite(verdict.difference):
        return "outputs are NaN or infinite"
    relative = verdict.difference / max(verdict.scale, 1e-6)
    allowed = verdict.allowed_difference
    if allowed is not None and relative > allowed:
        return (
            f"outputs differ by {verdict.difference:.3g}, {relative:.2g} of their scale; "
            f"{allowed:g} is allowed"
        )
    if allowed is None and verdict.spread > SPREAD_TOLERANCE:
        return (
            f"outputs differ by {verdict.spread:.2g} of their spread; "
            f"{SPREAD_TOLERANCE:g} is allowed"
        )
    if verdict.accuracy is None or verdict.reference_accuracy is None:
        return ""
    # A test set of few examples cannot tell less than one of them.
    least = max(verdict.allowed_drop, 1 / verdict.examples)
    if verdict.reference_accuracy - verdict.accuracy > least + 1e-9:
        return (
            f"accuracy {100 * verdict.accuracy:.2f} % against the model's "
            f"{100 * verdict.reference_accuracy:.2f} %; {100 * least:.2g} points less are allowed"
        )
    return ""
