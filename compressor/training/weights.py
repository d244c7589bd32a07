"""How much each example counts in the loss: by its class, and by the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from compressor.data import Array
from compressor.errors import UsageError
from compressor.foundation import is_number, is_whole
from compressor.models import Aim, Objective

ClassWeight = Literal["balanced"] | Mapping[int, float]
"""Class -> its weight, 1 where it is not named; `balanced` makes all classes count alike: n /
(classes x examples of the class)."""

_LARGEST = 1e6


def described(given: ClassWeight) -> Any:
    """Class weights as JSON."""
    if isinstance(given, Mapping):
        return {str(name): float(given[name]) for name in sorted(given)}
    return given


def check_class_weight(given: ClassWeight | None) -> None:
    """Raise UsageError for class weights that cannot be used."""
    if given is None or (isinstance(given, str) and given == "balanced"):
        return
    if not isinstance(given, Mapping) or not given:
        hint = "give balanced, or a weight for each class, such as 0=1,1=14"
        raise UsageError("class weights are not known", value=str(given)[:80], hint=hint)
    for name, weight in given.items():
        if not is_whole(name) or name < 0:
            raise UsageError("a class is a number from 0", value=repr(name)[:80])
        if not (is_number(weight) and 0 <= weight <= _LARGEST):
            raise UsageError("a class weight must lie between 0 and 1,000,000", value=repr(weight))
    if not any(given.values()):
        raise UsageError("all class weights are 0", value=dict(given))


def example_weights(
    objective: Objective,
    stored: Sequence[Array | None],
    class_weight: ClassWeight | None,
    sample_weights: Array | None,
) -> list[Array] | None:
    """The weights of the examples for each output's loss, float32 (n,), or (n, ...) of positions.

    `stored` are the targets as `Objective.stored_targets` gives them. Positions of a mask that an
    aim has `left_out` weigh 0. None where all count alike.
    Raises UsageError for class weights of a model that gives no classes.
    """
    masked = any(aim.left_out is not None for aim in objective.aims)
    if class_weight is None and sample_weights is None and not masked:
        return None
    of_classes = [aim.of_classes for aim in objective.aims]
    if class_weight is not None and not any(of_classes):
        tasks = ", ".join(head.task for head in objective.heads)
        raise UsageError("class weights are for classes", value=f"the task is {tasks}")
    if isinstance(class_weight, Mapping) and sum(of_classes) > 1:
        hint = "balanced is for all of them"
        raise UsageError("class weights of several outputs are not told apart", hint=hint)
    found = []
    for aim, targets, applies in zip(objective.aims, stored, of_classes, strict=True):
        weights = np.ones(1, np.float32)
        if class_weight is not None and applies:
            assert targets is not None
            weights = _by_class(aim, targets, class_weight)
        elif aim.left_out is not None:
            assert targets is not None
            weights = np.asarray(targets != aim.left_out, np.float32)
        if sample_weights is not None:
            own = sample_weights.reshape(-1, *[1] * (weights.ndim - 1))
            weights = np.asarray(weights * own, np.float32)
        count = len(sample_weights) if sample_weights is not None else _count(stored)
        found.append(np.broadcast_to(weights, (count, *weights.shape[1:])))
    return found


def _count(stored: Sequence[Array | None]) -> int:
    return next(len(part) for part in stored if part is not None)


def _by_class(aim: Aim, targets: Array, class_weight: ClassWeight) -> Array:
    classes = aim.head.classes
    known = (targets >= 0) & (targets < classes)  # a mask may have a value that is ignored
    if isinstance(class_weight, Mapping):
        if unknown := [name for name in class_weight if name >= classes]:
            raise UsageError(
                "a weight is given for a class that the model does not have",
                value=unknown[0],
                hint=f"its classes are 0 to {classes - 1}",
            )
        table = np.array([class_weight.get(name, 1.0) for name in range(classes)])
    else:
        counts = np.bincount(targets[known], minlength=classes)
        present = max(np.count_nonzero(counts), 1)
        table = counts.sum() / (present * np.maximum(counts, 1))
    weights = table.astype(np.float32)[np.where(known, targets, 0)]
    return np.asarray(np.where(known, weights, np.float32(0)))
