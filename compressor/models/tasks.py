"""Which task an output has: by its compiled loss, its shape and activation, and its targets."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from compressor.data import Array
from compressor.errors import ModelError
from compressor.models.compiled import Compiled, kind_of, name_of
from compressor.models.outputs import Output
from deploy.tasks import (
    BINARY,
    CLASSIFICATION,
    MULTI_LABEL,
    RECONSTRUCTION,
    REGRESSION,
    SEGMENTATION,
)

_OF_CLASSES = {
    "sparsecategoricalcrossentropy",
    "categoricalcrossentropy",
    "categoricalfocalcrossentropy",
    "categoricalgeneralizedcrossentropy",
    "categoricalhinge",
    "kldivergence",
    "dice",
    "tversky",
}
_OF_YES_AND_NO = {"binarycrossentropy", "binaryfocalcrossentropy", "hinge", "squaredhinge"}
_COUNTING = ("accuracy", "precision", "recall", "auc", "iou", "score")
"""What the metrics of classes are called, or end in."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of an output when its task is decided."""

    output: Output
    compiled: Compiled
    like_input: bool
    """whether it has the shape of the model's one input"""
    targets: Array | None = None
    """those of the data set, of training and test examples; None without"""
    has_data: bool = False
    are_inputs: bool = False
    """whether the targets are the inputs"""

    @property
    def shape(self) -> tuple[int | None, ...]:
        return self.output.shape

    @property
    def width(self) -> int | None:
        """The size of the last axis."""
        return self.shape[-1] if self.shape else 1

    @property
    def flat(self) -> bool:
        """Whether an example gives one row of numbers."""
        return len(self.shape) <= 1

    @property
    def classes(self) -> int | None:
        """How many class numbers (n,) the targets have; None where they are something else."""
        found = self.targets
        if found is None or found.ndim != 1 or found.dtype.kind not in "iu":
            return None
        return int(found.max()) + 1

    @property
    def one_a_row(self) -> bool:
        """Whether there is one target for a row of several scores, which only classes can be."""
        return self.targets is not None and self.targets.ndim == 1 and self.flat and self.width != 1

    @property
    def yes_or_no(self) -> bool:
        """Whether all targets are 0 or 1."""
        found = self.targets
        return found is not None and bool(np.all((found == 0) | (found == 1)))

    @property
    def of_positions(self) -> bool:
        """Whether the targets are integers for each position of the output, or one-hot."""
        found = self.targets
        if found is None or self.flat:
            return False
        shape = tuple(found.shape[1:])
        whole = found.dtype.kind in "iu"
        if whole and _fits(shape, self.shape[:-1]):
            return True
        if _fits(shape, (*self.shape[:-1], 1)):
            return whole or (self.width == 1 and self.yes_or_no)
        return _fits(shape, self.shape) and self.yes_or_no


def task_of(evidence: Evidence) -> tuple[str, str]:
    """The task of an output, and why: a clause for after "task: regression, ".

    Raises ModelError where nothing says which one it is.
    """
    loss = evidence.compiled.loss
    task = _by_loss(evidence, kind_of(loss)) if loss is not None else _by_outputs(evidence)
    return task, _reason(evidence, loss)


def _by_loss(seen: Evidence, loss: str) -> str:
    if loss in _OF_CLASSES and seen.width != 1:
        return CLASSIFICATION if seen.flat else SEGMENTATION
    if loss in _OF_CLASSES:
        return BINARY if seen.flat else SEGMENTATION
    if loss in _OF_YES_AND_NO:
        if _is_copy(seen, never_classes=False):
            return RECONSTRUCTION
        if not seen.flat:
            return SEGMENTATION
        if seen.width == 1:
            return BINARY
        return MULTI_LABEL if seen.classes is None else CLASSIFICATION
    if _is_copy(seen, never_classes=True):
        return RECONSTRUCTION
    return _by_numbers(seen)


def _by_numbers(seen: Evidence) -> str:
    """The task of an output whose loss compares numbers, and which is no copy of the input."""
    counts = any(kind_of(metric).endswith(_COUNTING) for metric in seen.compiled.metrics)
    if seen.targets is None:
        said = "softmax" if seen.width != 1 else "sigmoid"
        if not counts and seen.output.activation != said:
            return REGRESSION
        return _of_classes(seen)
    if seen.flat and seen.width == 1 and seen.classes is not None:
        return BINARY if seen.classes <= 2 else REGRESSION
    if seen.one_a_row:
        return CLASSIFICATION
    if seen.of_positions and (seen.width != 1 or seen.output.activation or counts):
        return SEGMENTATION
    if seen.flat and seen.width != 1 and seen.yes_or_no and (counts or seen.output.activation):
        return MULTI_LABEL
    return REGRESSION


def _by_outputs(seen: Evidence) -> str:
    activation = seen.output.activation
    if activation != "softmax" and _is_copy(seen, never_classes=False):
        return RECONSTRUCTION
    if seen.targets is None:
        if seen.flat and seen.width != 1 and activation == "sigmoid":
            return MULTI_LABEL
        if not (seen.flat or activation):
            raise _unclear(seen)
        return _of_classes(seen)
    if seen.classes is not None or seen.one_a_row or (seen.flat and activation == "softmax"):
        if not seen.flat:
            raise _unclear(seen)
        return _of_classes(seen)
    if seen.of_positions:
        return SEGMENTATION
    if seen.flat and seen.width != 1 and seen.yes_or_no:
        return MULTI_LABEL
    return REGRESSION


def _of_classes(seen: Evidence) -> str:
    if not seen.flat:
        return SEGMENTATION
    return BINARY if seen.width == 1 else CLASSIFICATION


def _is_copy(seen: Evidence, *, never_classes: bool) -> bool:
    """Whether the output is to be the input.

    Class numbers beside it are those of something else, unless as many classes as scores may be.
    """
    if not seen.like_input:
        return False
    if seen.targets is None:
        counts = any(kind_of(metric).endswith(_COUNTING) for metric in seen.compiled.metrics)
        known = seen.compiled.loss is not None or seen.has_data or not seen.flat
        return known and not (counts and not never_classes)
    if seen.classes is not None:
        return never_classes or not seen.flat or seen.classes != seen.width
    return seen.are_inputs


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    pairs = zip(found, wanted, strict=False)
    return len(found) == len(wanted) and all(size in (None, have) for have, size in pairs)


def _reason(seen: Evidence, loss: Any) -> str:
    by = f"by its compiled loss {name_of(loss)}" if loss is not None else "by its output"
    if seen.targets is not None:
        by += " and its targets" if loss is not None else " and the targets"
    return by


def _unclear(seen: Evidence) -> ModelError:
    return ModelError(
        "what the outputs of the model mean is not known",
        value=f"output {(None, *seen.shape)}, not compiled",
        hint="say it with --task (task= in Python), such as segmentation or regression",
    )


def check_possible(task: str, output: Output, *, like_input: bool) -> None:
    """Raise ModelError where an output of this shape cannot have the task that was asked for."""
    flat, width = len(output.shape) <= 1, output.shape[-1] if output.shape else 1
    problem = {
        CLASSIFICATION: None if flat and width != 1 else "one score per class, (n, classes)",
        BINARY: None if flat and width == 1 else "one score, (n, 1)",
        MULTI_LABEL: None if flat else "one score per label, (n, labels)",
        SEGMENTATION: "scores at positions, (n, ..., classes)" if flat else None,
        RECONSTRUCTION: None if like_input else "an output of the shape of its one input",
    }.get(task)
    if problem:
        raise ModelError(
            f"{task} needs {problem}",
            value=f"output {output.name} {(None, *output.shape)}",
            hint="choose another --task",
        )
