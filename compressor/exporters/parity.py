"""The parity check: an artefact, run by its runtime, against the model that it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from compressor.exporters.reference import Reference
from compressor.exporters.request import Quantize
from compressor.exporters.verdict import Comparison, Computation, Verdict
from deploy.tasks import ACCURACY, CLASSIFYING, REGRESSION, Head
from deploy.text import clean

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

_EXACT: tuple[Quantize, ...] = ("none", "float16")
FRACTION_TOLERANCE, ERROR_TOLERANCE = (0.002, 0.005), (0.005, 0.03)
"""By how much any other fraction may fall, such as the mean IoU, and by what part of itself an
error may rise, three times that where it is squared: of what keeps floats, and of all else. They
are measured on every number of an output, so a step of an integer shows."""
_SQUARED = ("mean_squared_error", "reconstruction_error")

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

_LEAST_VARIATION = 1e-4
"""of the largest value of an output: what varies by less counts as varying by so much"""
SPREAD_TOLERANCE = 0.5
"""By how much outputs may differ, as a `spread`, where no plain kernels can run the file."""

RESEMBLANCE = 0.3
"""The least cosine of the angle between outputs and the model's on random inputs, where nothing
says what differences cost. Garbage is below."""

BATCH_TOLERANCE = 0.1
"""By how much outputs may depend on the batch size, as a `spread`: where the range of activations
is found at run time, it depends on the whole batch."""


def compare(scores: np.ndarray, reference: Reference) -> Comparison:
    """How an artefact's `scores`, (n, classes), for all examples compare with the model's."""
    expected = reference.scores
    parts = zip(reference.heads, reference.parts(scores), reference.parts(expected), strict=True)
    spreads = tuple(spread(found, own, each=_of_numbers(head)) for head, found, own in parts)
    return Comparison(
        examples=len(expected),
        heads=reference.heads,
        values=reference.values(scores),
        reference_values=reference.own_values,
        difference=float(np.max(np.abs(scores.astype(np.float64) - expected))),
        scale=float(np.max(np.abs(expected))),
        spread=max(spreads),
        agreement=reference.agreement(scores),
        spreads=spreads,
    )


def judge(
    scores: np.ndarray,
    reference: Reference,
    quantize: Quantize,
    plain: Sequence[Plain] = (),
    floor: Mapping[str, float] | None = None,
    max_drop: float | None = None,
) -> Verdict:
    """The verdict on an artefact's `scores`, (n, columns), for all examples.

    `plain` are scores for some examples: from the runtime, from plain kernels that ran the same
    file at the same batch size, and from the model. Metrics of `floor`, by `Head.key`, are enough,
    whatever the model's. Every head may lose `max_drop`, see `Metric.loss`, where it is given.
    """
    verdict = failure(_unusable(scores, reference), reference, quantize, max_drop)
    if verdict.reason:
        return verdict
    verdict = dataclasses.replace(
        verdict, chosen_on=compare(scores, reference), computation=_computation(plain, quantize)
    )
    enough = [_enough(verdict, head, floor or {}) for head in reference.heads]
    drops = {head.key(): drop for head, (drop, _) in zip(reference.heads, enough, strict=True)}
    verdict = dataclasses.replace(verdict, allowed_drop=drops)
    # What somebody chose to lose is lost by examples that get another class.
    told = max_drop is not None or all(reached for _, reached in enough)
    reason = _computation_reason(verdict, scores, reference) or _cost_reason(
        verdict, reference, told=told
    )
    return dataclasses.replace(verdict, passed=not reason, reason=reason)


def _enough(verdict: Verdict, head: Head, floor: Mapping[str, float]) -> tuple[float, bool]:
    """What a head may lose where `floor` is enough, and whether it reaches that."""
    found, drop = verdict.chosen_on, verdict.allowed_drop[head.key()]
    judged = head.deciding(found.reference_values)
    all_values = found.reference_values, floor, found.values
    own, least, value = (values.get(judged.key()) for values in all_values)
    if own is None or least is None:
        return drop, False
    metric = judged.decides
    return max(drop, metric.loss(own, least)), value is not None and not metric.better(least, value)


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
        told = not found.values and verdict.computation is not None
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


def failure(
    reason: str, reference: Reference, quantize: Quantize, max_drop: float | None = None
) -> Verdict:
    """The verdict on an artefact without comparable outputs."""
    allowed = OUTPUT_TOLERANCE.get(quantize)
    nothing = Comparison(
        examples=len(reference.scores),
        heads=reference.heads,
        values={},
        reference_values=reference.own_values,
        difference=float("nan"),
        scale=float(np.max(np.abs(reference.scores))),
        spread=float("nan"),
        agreement=0.0,
    )
    drops = {
        head.key(): tolerance(head.deciding(reference.own_values), quantize)
        if max_drop is None
        else max_drop
        for head in reference.heads
    }
    return Verdict(
        chosen_on=nothing,
        test=None,
        computation=None,
        allowed_drop=drops,
        allowed_difference=None if allowed is None else max(allowed, reference.rounding),
        passed=False,
        reason=reason,
    )


def tolerance(head: Head, quantize: Quantize) -> float:
    """What the metric that decides of a head may lose by a quantisation; see `Metric.loss`."""
    if head.metric == ACCURACY:
        return ACCURACY_TOLERANCE[quantize]
    if head.decides.fraction:
        return FRACTION_TOLERANCE[quantize not in _EXACT]
    return ERROR_TOLERANCE[quantize not in _EXACT] * (3 if head.metric in _SQUARED else 1)


def spread(scores: np.ndarray, expected: np.ndarray, *, each: bool = False) -> float:
    """Root mean square of the differences, as a fraction of the outputs' standard deviation.

    Both are (n, columns). The deviation is over the inputs, not the columns: otherwise a file that
    gives a constant for each class would be close. With `each` that of the column where it is
    most: columns of another scale are other quantities. Outputs that hardly vary count as varying
    by a ten-thousandth of their largest value.
    """
    expected = expected.astype(np.float64)
    over = 0 if each else None
    error = np.sqrt(np.mean((scores - expected) ** 2, axis=over))
    deviation = np.sqrt(np.mean(np.var(expected, axis=0, keepdims=True), axis=over))
    least = np.maximum(_LEAST_VARIATION * np.max(np.abs(expected), axis=over), 1e-12)
    return float(np.max(error / np.maximum(deviation, least), initial=0.0))


def _of_numbers(head: Head) -> bool:
    """Whether each column of a head is a quantity of its own."""
    return head.task == REGRESSION and len(head.shape) == 1


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


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
    if verdict.allowed_difference is not None or verdict.chosen_on.values:
        return ""
    if found is None and verdict.chosen_on.spread > SPREAD_TOLERANCE:
        return (
            f"outputs differ by {verdict.chosen_on.spread:.2g} of their spread; "
            f"{SPREAD_TOLERANCE:g} is allowed"
        )
    for pair in zip(*map(reference.parts, (scores, reference.scores)), strict=True):
        both = [values.astype(np.float64).ravel() for values in pair]
        lengths = [float(np.linalg.norm(values)) for values in both]
        if lengths[1] and both[0] @ both[1] <= RESEMBLANCE * lengths[0] * lengths[1]:
            return "outputs on random inputs have nothing in common with the model's"
    return ""


def _cost_reason(verdict: Verdict, reference: Reference, *, told: bool) -> str:
    """Why the file costs too much against the model, or empty; `told` is what may be lost."""
    found = verdict.chosen_on
    if reason := _output_reason(found, verdict.allowed_difference):
        return reason
    # Without data nothing says what differences cost.
    for place in range(len(found.heads)) if found.values else ():
        if reason := _loss_reason(verdict, reference, place):
            return reason
        if not told and (reason := _disagreement(found, place)):
            return reason
    return ""


def _loss_reason(verdict: Verdict, reference: Reference, place: int) -> str:
    """Why the metric that decides of a head got too much worse, or empty."""
    found, asked = verdict.chosen_on, verdict.chosen_on.heads[place]
    head = asked.deciding(found.reference_values)
    key, fraction = head.key(), head.decides.fraction
    if key not in found.reference_values:
        return ""
    own = _shown(head, found, own=True)
    if key not in found.values:
        return f"{_of(head)} has no value, the model's is {own}"
    least = _least(reference, head, place)
    allowed = max(verdict.allowed_drop[asked.key()], least)
    if found.losses[asked.key()] <= allowed + 1e-9:
        return ""
    more = "points less are" if fraction else "% more is"
    return (
        f"{_of(head)} {_shown(head, found)} against the model's {own}; {100 * allowed:.2g} {more} "
        "allowed"
    )


def _disagreement(found: Comparison, place: int) -> str:
    """Why a head says too often something else than the model's, or empty."""
    head = found.heads[place]
    if head.task not in CLASSIFYING:
        apart = found.spreads[place]
        if apart <= SPREAD_TOLERANCE:
            return ""
        return (
            f"outputs{_named(head)} differ by {apart:.2g} of their spread from the model's; "
            f"{SPREAD_TOLERANCE:g} is allowed"
        )
    own = found.reference_values.get(head.key(ACCURACY))
    if found.agreement is None or own is None:
        return ""
    differing = max(DISAGREEMENT, (1 - own) / 2, 1 / found.examples)
    if 1 - found.agreement > differing + 1e-9:
        return (
            f"{100 * (1 - found.agreement):.2g} % of the examples get another class than from the "
            f"model; {100 * differing:.2g} % are allowed"
        )
    return ""


def _least(reference: Reference, head: Head, place: int) -> float:
    """What one example more or less makes of a fraction: few examples cannot tell less."""
    count = len(reference.scores)
    if not head.decides.fraction:
        return 0.0
    if head.metric in ("recall", "precision", "mean_recall"):
        targets = reference.objective.targets_of(reference.x, reference.labels, reference.feed)
        return float(1 / np.unique(targets[place], return_counts=True)[1].min())
    return 1 / count


def _of(head: Head) -> str:
    return f"{head.decides.title}{_named(head)}"


def _named(head: Head) -> str:
    return f" of {clean(head.name)}" if head.name else ""


def _shown(head: Head, found: Comparison, *, own: bool = False) -> str:
    return head.decides.text((found.reference_values if own else found.values).get(head.key()))


def _output_reason(found: Comparison, allowed: float | None) -> str:
    relative = found.difference / max(found.scale, 1e-6)
    if allowed is not None and relative > allowed:
        return (
            f"outputs differ by {found.difference:.3g}, {relative:.2g} of their scale; "
            f"{allowed:g} is allowed"
        )
    return ""
