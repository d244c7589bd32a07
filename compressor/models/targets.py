"""What the outputs of a model are held against, from what a data set stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compressor.data import Array, listed
from compressor.data.targets import class_numbers
from compressor.errors import DataError
from deploy.tasks import BINARY, CLASSIFYING, MULTI_LABEL, RECONSTRUCTION, SEGMENTATION, Head
from deploy.text import clean

_GIVE = "give targets, such as y_train, or the column of a table with --label"


def stored_for(y: Any, names: Sequence[str]) -> list[Array | None]:
    """The stored targets of each output, by their `names`; None where there are none.

    Raises DataError for names that the model does not have, and for one array where it has several
    outputs, unless these are labels beside reconstructions.
    """
    if y is None:
        return [None] * len(names)
    if not isinstance(y, Mapping):
        if len(names) > 1:
            raise DataError(
                "the model has several outputs and the data set one array of targets",
                value=f"outputs {listed(names)}",
                hint=f"store y_train/{clean(names[0])} and so on, one array an output",
            )
        return [y]
    if len(names) == len(y) == 1:
        return list(y.values())
    if unknown := [name for name in y if name not in names]:
        raise DataError(
            "the targets of the data set are not the outputs of the model",
            value=f"data {listed(unknown)}; model {listed(names)}",
            hint="name them as the model does",
        )
    return [y.get(name) for name in names]


def stored_targets(
    y: Any, heads: Sequence[Head], names: Sequence[str] | None = None
) -> list[Array | None]:
    """The stored targets of each output in the form of `Head.values`; None for a reconstruction.

    `names` are those of the outputs, by default of the heads. Raises DataError where the targets do
    not fit.
    """
    if isinstance(y, np.ndarray) and all(head.task == RECONSTRUCTION for head in heads):
        return [None] * len(heads)
    stored = stored_for(y, [head.name for head in heads] if names is None else names)
    return [head_targets(part, head) for part, head in zip(stored, heads, strict=True)]


def head_targets(y: Array | None, head: Head) -> Array | None:
    """The stored targets of one output in the form of `Head.values`; None for a reconstruction.

    Raises DataError where they do not fit the task.
    """
    if head.task == RECONSTRUCTION:
        return None
    if y is None:
        raise _unfit(head, "the data set has no targets", "no y", _GIVE)
    if head.task in CLASSIFYING:
        return _classes(y, head)
    if head.task == SEGMENTATION:
        return _masks(y, head)
    if head.task == MULTI_LABEL:
        return _labels(y, head)
    return _numbers(y, head)


def anomalies_of(y: Any) -> Array | None:
    """Labels 0 and 1 (n,) beside a reconstruction, of which both are there; else None."""
    if not isinstance(y, np.ndarray) or y.ndim != 1 or y.dtype.kind not in "iu":
        return None
    return y if y.size and y.min() == 0 and y.max() == 1 else None


def _classes(y: Array, head: Head) -> Array:
    try:
        y = class_numbers(y, "the targets")
    except DataError as error:
        hint = error.hint or "give class numbers from 0, or another --task"
        raise _unfit(head, error.what, error.value, hint) from error
    if y.max() >= head.classes:
        only = " (--task regression, if they are numbers)" if head.task == BINARY else ""
        raise DataError(
            "the data set has more classes than the model",
            value=f"data {int(y.max()) + 1}, model {head.classes}{_named(head)}",
            hint=f"give the data that the model was trained on{only}",
        )
    return y


def _masks(y: Array, head: Head) -> Array:
    positions = head.shape[:-1]
    if y.shape[1:] == (*positions, 1):
        y = y[..., 0]
    elif y.shape[1:] == head.shape and head.threshold is None:
        if not np.array_equal(np.sort(np.unique(y)), [0, 1]) or (y.sum(-1) != 1).any():
            raise _unfit(head, "the masks are not one-hot", _shown(y), "give class numbers")
        y = y.argmax(axis=-1)
    if y.shape[1:] != positions:
        hint = f"give a class for each position, (n, {_axes(positions)})"
        raise _unfit(head, "the masks do not fit the output", _shown(y), hint)
    known = y if head.ignored is None else y[y != head.ignored]
    fit = not known.size or (known.min() >= 0 and known.max() < head.classes)
    if not fit or (y.dtype.kind == "f" and (y != y.round()).any()):
        hint = f"give class numbers 0 to {head.classes - 1}"
        hint += (
            ", or compile the model with a loss that ignores another (ignore_class)"
            if head.ignored is None
            else f", or {head.ignored}, which is ignored"
        )
        raise _unfit(head, "the masks hold other values than classes", _shown(y), hint)
    small = head.classes <= 256 and 0 <= (head.ignored or 0) <= 255
    return y if y.dtype.kind in "iu" else y.astype(np.uint8 if small else np.int32)


def _labels(y: Array, head: Head) -> Array:
    if y.ndim == 1 and y.dtype.kind in "iu" and y.min() >= 0 and y.max() < head.classes:
        return np.eye(head.classes, dtype=np.uint8)[y]  # each row had one label
    if y.shape[1:] != head.shape or not bool(np.all((y == 0) | (y == 1))):
        hint = f"give 0 or 1 for each label, (n, {head.classes})"
        raise _unfit(head, "the targets do not fit", _shown(y), hint)
    return y


def _numbers(y: Array, head: Head) -> Array:
    if int(np.prod(y.shape[1:])) != head.width:
        hint = f"give targets (n, {_axes(head.shape)})"
        raise _unfit(head, "the targets do not fit", _shown(y), hint)
    return y.reshape(len(y), *head.shape)


def _unfit(head: Head, what: str, value: Any, hint: str) -> DataError:
    gives = {MULTI_LABEL: f"{head.classes} labels", SEGMENTATION: "a mask"}
    if head.task in CLASSIFYING:
        gave = f"scores of {head.classes} classes"
    else:
        count = "1 number" if head.width == 1 else f"{head.width} numbers"
        gave = gives.get(head.task, f"{count}, not classes")
    output = f"output {clean(head.name)} of the model" if head.name else "this model"
    return DataError(f"{output} gives {gave} ({head.task}): {what}", value=value, hint=hint)


def _shown(y: Array) -> str:
    shape = ", ".join(["n", *map(str, y.shape[1:])]) + ("," if y.ndim == 1 else "")
    return f"targets ({shape}) of {y.dtype}, {y.min():g}..{y.max():g}"


def _axes(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


def _named(head: Head) -> str:
    return f" (output {clean(head.name)})" if head.name else ""
