"""Whether a model is any better than the same answer to everything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.data import Array
from compressor.models.aims import Objective
from deploy.tasks import (
    CLASSIFYING,
    METRICS,
    MULTI_LABEL,
    Head,
    columns,
    default_metric,
)


def no_better(
    objective: Objective,
    scores: np.ndarray,
    targets: Sequence[Array],
    training: Sequence[Array | None],
) -> list[str]:
    """What outputs (n, all columns) are no better than, a line for each output that it is so of.

    That is the largest class of the `training` targets, the mean of them, or of the inputs that are
    to be reconstructed. Outputs of classes are better, too, where their mean recall is, since a
    model of rare classes gives up accuracy for it.
    """
    found = []
    parts = columns(objective.heads, scores)
    for head, part, wanted, seen in zip(objective.heads, parts, targets, training, strict=True):
        line = _line(head, part, wanted, seen)
        if line is not None:
            found.append(f"output {head.name}: {line}" if head.name else line)
    return found


def _line(head: Head, outputs: np.ndarray, wanted: Array, seen: Array | None) -> str | None:
    outputs = outputs.reshape(len(outputs), *head.shape)
    if head.ignored is not None and np.all(wanted == head.ignored):
        return None
    if head.task == MULTI_LABEL:
        name, answer = "mean_average_precision", "the same scores for all"
        constant = np.zeros_like(outputs)
    elif head.classes:
        name = "accuracy" if head.task in CLASSIFYING else "mean_iou"
        assert seen is not None
        known = seen if head.ignored is None else seen[seen != head.ignored]
        largest = int(np.bincount(known.ravel(), minlength=head.classes).argmax())
        answer = f"class {largest} for all"
        constant = _always(head, outputs, largest)
    else:
        name = head.metric if head.metric in _ERRORS else default_metric(head.task)
        answer = "the mean"
        mean = wanted if seen is None else seen
        constant = np.broadcast_to(mean.mean(axis=0, dtype=np.float64), outputs.shape)
    metric = METRICS[name]
    both = (head.judged(made, wanted) for made in (outputs, constant))
    reached, given = (metric.compute(made, held, head.threshold) for made, held in both)
    if metric.better(reached, given) or not np.isfinite([reached, given]).all():
        return None
    if head.task in CLASSIFYING and _recalls_more(head, outputs, wanted):
        return None
    return (
        f"{head.task}: the model is no better than {answer}, {metric.title} "
        f"{metric.text(reached)} against {metric.text(given)}"
    )


def _always(head: Head, outputs: np.ndarray, largest: int) -> np.ndarray:
    constant = np.zeros_like(outputs)
    if head.threshold is None:
        constant[..., largest] = 1
    else:
        constant += head.threshold + (1 if largest else -1)
    return constant


def _recalls_more(head: Head, outputs: np.ndarray, wanted: Array) -> bool:
    """Whether the mean recall is above that of one class alone."""
    recalls = head.recalls(outputs, wanted)
    assert recalls is not None
    known = recalls[0][~np.isnan(recalls[0])]
    return bool(known.sum() > 1 + 1e-9)


_ERRORS = ("mean_absolute_error", "mean_squared_error", "root_mean_squared_error")
