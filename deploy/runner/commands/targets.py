"""What is right for the examples that are run, and the metrics that follow."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from deploy import tasks
from deploy.answers import Answers, Predictions
from deploy.arrays import decode_array, decode_arrays
from deploy.errors import ArtifactError, RequestError
from deploy.tasks import Head

_ZIP = b"PK"


class Collected:
    """The answers to all examples, and their targets: arrays (n, ...) in the order of the heads."""

    def __init__(self, heads: tuple[Head, ...], targets: list[np.ndarray], where: str) -> None:
        self._heads, self._targets, self._where = heads, targets, where
        self._answers: list[Answers | Predictions] = []

    @classmethod
    def of(cls, heads: tuple[Head, ...], content: bytes, where: str) -> Collected:
        """With the targets in a .npy or .npz file; raises RequestError where they do not fit."""
        try:
            if content.startswith(_ZIP):
                arrays = dict(decode_arrays(content, where))
            else:
                arrays = {heads[0].name: decode_array(content, where)}
        except ArtifactError as error:
            raise RequestError(error.what, value=error.value, hint=error.hint) from error
        if set(arrays) != {head.name for head in heads}:
            value = f"{where} has {', '.join(arrays) or 'none'}"
            hint = f"give {', '.join(head.name or 'one .npy' for head in heads)}"
            raise RequestError("the targets are not those of the outputs", value=value, hint=hint)
        return cls(heads, [_checked(head, arrays[head.name], where) for head in heads], where)

    def add(self, answers: Answers | Predictions) -> None:
        """Keep what the model says of the next examples."""
        self._answers.append(answers)

    def lines(self, *, as_json: bool) -> Iterator[str]:
        """The metrics, a line each, or all in a JSON object {"examples": ..., "metrics": ...}."""
        found, count = self._values(), sum(map(len, self._answers))
        if as_json:
            yield json.dumps({"examples": count, "metrics": found}, allow_nan=False)
            return
        for key, value in found.items():
            metric = tasks.METRICS[key.rpartition("/")[2]]
            yield f"{key}\t{metric.text(value)}\t{count} examples"

    def _values(self) -> dict[str, float]:
        count, given = sum(map(len, self._answers)), len(self._targets[0])
        if count != given:
            value = f"{self._where} has {given}, there are {count} examples"
            raise RequestError("there is not one target an example", value=value)
        if isinstance(self._answers[0], Predictions):
            classes = np.concatenate([found.classes for found in self._answers])  # type: ignore[union-attr]
            return {tasks.ACCURACY: float(np.mean(classes == self._targets[0]))}
        found = {}
        for place, head in enumerate(self._heads):
            parts = [answers.parts[place] for answers in self._answers]  # type: ignore[union-attr]
            outputs = np.concatenate([part.outputs for part in parts])
            targets, anomalies = self._targets[place], None
            if head.task == tasks.RECONSTRUCTION:
                anomalies = targets
                targets = np.concatenate([part.inputs for part in parts])
                if tasks.AUC not in head.shown:
                    found[head.key(tasks.AUC)] = tasks.area_under_curve(
                        tasks.row_errors(outputs, targets), anomalies
                    )
            values = head.values(outputs, targets, anomalies)
            found |= {head.key(metric): value for metric, value in values.items()}
        return {key: value for key, value in found.items() if np.isfinite(value)}


def _checked(head: Head, array: np.ndarray, where: str) -> np.ndarray:
    """The targets of a head in the form that `Head.values` wants."""
    whole = head.task not in (tasks.REGRESSION,)
    if array.dtype.kind not in "iubf" or not np.isfinite(array).all():
        raise RequestError("the targets are no numbers", value=f"{where} ({array.dtype})")
    if whole and array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
        raise RequestError("the targets are no classes", value=f"{where} ({head.task})")
    one = {tasks.REGRESSION: head.shape, tasks.MULTI_LABEL: head.shape}
    one[tasks.SEGMENTATION] = head.shape[:-1]
    shape = one.get(head.task, ())
    if not array.ndim or not len(array) or array.size != len(array) * int(np.prod(shape)):
        value = f"{where} {list(array.shape)}, an example takes {list(shape)}"
        raise RequestError("the targets do not fit the outputs", value=value)
    found = array.reshape(len(array), *shape)
    most = 1 if head.task in (tasks.MULTI_LABEL, tasks.RECONSTRUCTION) else max(head.classes, 2) - 1
    known = found if head.ignored is None else found[found != head.ignored]
    if whole and known.size and not 0 <= known.min() <= known.max() <= most:
        value = f"{where} has {known.min():g} to {known.max():g}, not 0 to {most}"
        raise RequestError("the targets are out of range", value=value)
    return found.astype(np.int64) if whole else found
