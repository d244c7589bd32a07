"""The parity check: an artefact, run by its runtime, against the model that it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from compressor.data import Array, Inputs, rows, take
from compressor.exporters.request import Quantize
from compressor.exporters.verdict import Comparison, Computation, Verdict
from compressor.models import Objective, Preprocessing

Predict = Callable[[dict[str, Array]], np.ndarray]
"""Arrays (n, ...) by the artefact's input names -> float32 (n, classes)."""

Plain = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of the runtime, of plain kernels, of the model: (n, classes) each."""

ACCURACY_TOLERANCE: dict[Quantize, float] = {
    "none": 0.001,
    "float16": 0.001,
    "dynamic": 0.001,
    "int8": 0.002,
    "int4": 0.002,
    "codebook": 0.002,
    "ternary": 0.002,
}
"""By how much the accuracy, 0 to 1, may fall."""

OUTPUT_TOLERANCE: dict[Quantize, float] = {"none": 1e-4, "float16": 1e-2}
"""By how much an output may differ from the model's, as a fraction of the largest."""

COMPUTATION_TOLERANCE: dict[Quantize, float] = {
    **{"none": 1e-4, "float16": 1e-4, "codebook": 1e-4, "ternary": 1e-4},
}
INTEGER_TOLERANCE, MOST_TOLERANCE = 3e-2, 0.5
"""By how much an output may differ from what the runtime's plain kernels make of the same file, as
a fraction of the largest. Integers may round to the next one, in several layers: a step of an int8
output is up to 2/255 of the largest. A single output by the second, where the root mean square is
within the first, and within that of the plain kernels to the model: a softmax makes much of little,
and another rounding moves a deep model as far as rounding did."""

DISAGREEMENT = 0.01
"""Fraction of the examples that may get another class than from the model; half of the model's own
errors, where those are more."""

SPREAD_TOLERANCE = 0.5
"""By how much outputs may differ, as a `spread`, where no plain kernels can run the file."""

RESEMBLANCE = 0.3
"""The least cosine of the angle between outputs and the model's on random inputs, where nothing
says what differences cost. Garbage is below."""

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
    factors: np.ndarray | None = None
    """float32 (columns,), what outputs are multiplied by: of several, other than the scores, so
    that the largest value of each counts alike; those follow the scores in `scores`"""

    @property
    def accuracy(self) -> float | None:
        """Of the Keras model, 0 to 1."""
        if self.labels is None:
            return None
        return float(np.mean(self.predictions(self.scores) == self.labels))

    def predictions(self, scores: np.ndarray) -> np.ndarray:
        """The class of each row, int64 (n,), by the columns that are scores."""
        return self.objective.predictions(scores[:, : self.objective.classes])

    def only(self, chosen: np.ndarray) -> Reference:
        """The outputs on the examples with these numbers, int64 (n,)."""
        labels = None if self.labels is None else self.labels[chosen]
        x, scores = take(self.x, chosen), self.scores[chosen]
        return dataclasses.replace(self, x=x, scores=scores, labels=labels)

    def inputs(self, names: tuple[str, ...], part: slice) -> dict[str, Array]:
        """The inputs of an artefact for a part of the examples, by their `names`."""
        fed = self.feed.arrays(take(self.x, part))
        # Artefacts take float32 where the model takes another float type.
        arrays = [np.asarray(a, np.float32) if _is_float(a) else np.asarray(a) for a in fed]
        return dict(zip(names, arrays, strict=True))


def run(predict: Predict, names: tuple[str, ...], reference: Reference) -> np.ndarray:
    """The scores of an artefact, float32 (n, classes), on the examples."""
    count = rows(reference.x)
    one = sum(array.nbytes for array in reference.inputs(names, slice(0, 1)).values())
    chunk = max(_CHUNK_BYTES // max(one, 1), 1)
    parts = [
        predict(reference.inputs(names, slice(start, min(start + chunk, count))))
        for start in range(0, count, chunk)
    ]
    found = np.concatenate(parts)
    return found if reference.factors is None else found * reference.factors


def compare(scores: np.ndarray, reference: Reference) -> Comparison:
    """How an artefact's `scores`, (n, classes), for all examples compare with the model's."""
    expected, labels = reference.scores, reference.labels
    classes = reference.predictions(scores)
    return Comparison(
        examples=len(expected),
        accuracy=None if labels is None else float(np.mean(classes == labels)),
        reference_accuracy=reference.accuracy,
        difference=float(np.max(np.abs(scores.astype(np.float64) - expected))),
        scale=float(np.max(np.abs(expected))),
        spread=spread(scores, expected),
        agreement=float(np.mean(classes == reference.predictions(expected))),
    )


def judge(
    scores: np.ndarray,
    reference: Reference,
    quantize: Quantize,
    plain: Sequence[Plain] = (),
    floor: float | None = None,
) -> Verdict:
    """The verdict on an artefact's `scores`, (n, classes), for all examples.

    `plain` are scores for some examples: from the runtime, from plain kernels that ran the same
    file at the same batch size, and from the model. An accuracy of `floor`, 0 to 1, is enough,
    whatever the model's.
    """
    verdict = failure(_unusable(scores, reference), reference, quantize)
    if verdict.reason:
        return verdict
    verdict = dataclasses.replace(
        verdict, chosen_on=compare(scores, reference), computation=_computation(plain, quantize)
    )
    if floor is not None and reference.accuracy is not None:
        drop = max(verdict.allowed_drop, reference.accuracy - floor)
        verdict = dataclasses.replace(verdict, allowed_drop=drop)
    reason = _computation_reason(verdict, scores, reference) or _cost_reason(verdict, floor)
    return dataclasses.replace(verdict, passed=not reason, reason=reason)


def judge_single(
    verdict: Verdict, single: np.ndarray, scores: np.ndarray, reference: Reference
) -> Verdict:
    """`verdict`, once some examples were also run one by one, with the outputs `single`.

    `reference` and `scores`, of a batch, are of the same examples. A device runs one example at a
    time, and a runtime may use another kernel for that; the same limits on outputs apply.
    """
    reason = _unusable(single, reference)
    if not reason:
        found, apart = compare(single, reference), spread(single, scores)
        reason = _output_reason(found, verdict.allowed_difference)
        # Without labels nothing says what a difference costs, and plain kernels have decided.
        told = found.accuracy is None and verdict.computation is not None
        if not reason and not told and apart > BATCH_TOLERANCE:
            reason = f"outputs differ by {apart:.2g} of their spread from those of a batch"
    return verdict.failed(f"one example at a time, {reason}") if reason else verdict


def report(verdict: Verdict, scores: np.ndarray, test: Reference) -> Verdict:
    """`verdict`, with a comparison of `scores`, (n, classes), on the test examples.

    Their labels decide nothing: an artefact that passed fails here only by outputs that are no
    numbers, or lie beyond the tolerance of full precision.
    """
    if reason := _unusable(scores, test):
        return verdict.failed(f"for the test examples, {reason}")
    found = dataclasses.replace(verdict, test=compare(scores, test))
    reason = _output_reason(found.reported, found.allowed_difference)
    return found.failed(reason) if reason and found.passed else found


def failure(reason: str, reference: Reference, quantize: Quantize) -> Verdict:
    """The verdict on an artefact without comparable outputs."""
    allowed = OUTPUT_TOLERANCE.get(quantize)
    nothing = Comparison(
        examples=len(reference.scores),
        accuracy=None,
        reference_accuracy=reference.accuracy,
        difference=float("nan"),
        scale=float(np.max(np.abs(reference.scores))),
        spread=float("nan"),
        agreement=0.0,
    )
    return Verdict(
        chosen_on=nothing,
        test=None,
        computation=None,
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
    error = _rms(scores.astype(np.float64) - expected)
    deviation = float(np.sqrt(np.mean(np.var(expected.astype(np.float64), axis=0))))
    return error / max(deviation, 1e-12) if error else 0.0


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _is_float(array: Array) -> bool:
    return "float" in str(array.dtype)  # bfloat16 is of no kind that numpy knows


def _unusable(scores: np.ndarray, reference: Reference) -> str:
    """Why the scores cannot be compared with those of the model, or empty."""
    if scores.shape != reference.scores.shape:
        return f"outputs have shape {scores.shape}, the model's {reference.scores.shape}"
    return "" if np.isfinite(scores).all() else "outputs are NaN or infinite"


def _computation(plain: Sequence[Plain], quantize: Quantize) -> Computation | None:
    if not plain:
        return None
    found, expected, model = (
        np.concatenate(scores).astype(np.float64) for scores in zip(*plain, strict=True)
    )
    # Of numpy, whose maximum of anything and NaN is NaN, wherever that stands.
    scale = max(float(np.max(np.abs(expected))), 1e-6)
    moved, own = _rms(found - expected) / scale, _rms(expected - model) / scale
    rounds = moved <= min(own, INTEGER_TOLERANCE)
    integer = MOST_TOLERANCE if rounds else INTEGER_TOLERANCE
    return Computation(
        examples=max(len(scores) for _, scores, _ in plain),
        difference=float(np.max(np.abs(found - expected))) / scale,
        allowed=COMPUTATION_TOLERANCE.get(quantize, integer),
    )


def _computation_reason(verdict: Verdict, scores: np.ndarray, reference: Reference) -> str:
    """Why the runtime does not compute what the file says, or empty."""
    found = verdict.computation
    if found is not None and not found.difference <= found.allowed:
        return (
            f"outputs differ by {found.difference:.2g} of their scale from those of plain kernels "
            f"on the same file; {found.allowed:.2g} is allowed"
        )
    if verdict.allowed_difference is not None or verdict.chosen_on.accuracy is not None:
        return ""
    if found is None and verdict.chosen_on.spread > SPREAD_TOLERANCE:
        return (
            f"outputs differ by {verdict.chosen_on.spread:.2g} of their spread; "
            f"{SPREAD_TOLERANCE:g} is allowed"
        )
    both = [values.astype(np.float64).ravel() for values in (scores, reference.scores)]
    lengths = [float(np.linalg.norm(values)) for values in both]
    if lengths[1] and both[0] @ both[1] <= RESEMBLANCE * lengths[0] * lengths[1]:
        return "outputs on random inputs have nothing in common with the model's"
    return ""


def _cost_reason(verdict: Verdict, floor: float | None) -> str:
    """Why the file costs too much against the model, or empty."""
    found = verdict.chosen_on
    if reason := _output_reason(found, verdict.allowed_difference):
        return reason
    if found.accuracy is None or found.reference_accuracy is None:
        return ""
    if floor is not None and found.accuracy >= floor:
        return ""
    # Few examples cannot tell less than one of them.
    least = max(verdict.allowed_drop, 1 / found.examples)
    if found.reference_accuracy - found.accuracy > least + 1e-9:
        return (
            f"accuracy {100 * found.accuracy:.2f} % against the model's "
            f"{100 * found.reference_accuracy:.2f} %; {100 * least:.2g} points less are allowed"
        )
    differing = max(DISAGREEMENT, (1 - found.reference_accuracy) / 2, 1 / found.examples)
    if 1 - found.agreement > differing + 1e-9:
        return (
            f"{100 * (1 - found.agreement):.2g} % of the examples get another class than from the "
            f"model; {100 * differing:.2g} % are allowed"
        )
    return ""


def _output_reason(found: Comparison, allowed: float | None) -> str:
    relative = found.difference / max(found.scale, 1e-6)
    if allowed is not None and relative > allowed:
        return (
            f"outputs differ by {found.difference:.3g}, {relative:.2g} of their scale; "
            f"{allowed:g} is allowed"
        )
    return ""
