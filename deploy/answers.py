"""What a model says of examples: classes, labels, numbers, masks or anomaly scores."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from deploy import tasks
from deploy.artifact_parts import Verification
from deploy.tasks import Head

_MOST_NUMBERS = 16
"""Numbers of an example that are shown in a line; JSON has all."""


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions for n examples: `probabilities`, float32 (n, classes), and the `labels`.

    `classes` (n,) are the predicted ones, by the largest score or by the threshold.
    """

    probabilities: np.ndarray
    classes: np.ndarray
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.classes)

    def label(self, number: int) -> str:
        return self.labels[int(self.classes[number])]

    def probability(self, number: int) -> float:
        """The probability of the predicted class of example `number`."""
        return float(self.probabilities[number, int(self.classes[number])])

    def describe(self, number: int) -> dict[str, Any]:
        """Example `number` as a JSON object; probabilities in the order of the classes."""
        return {
            "class": int(self.classes[number]),
            "label": self.label(number),
            "probability": round(self.probability(number), 6),
            "probabilities": [round(float(value), 6) for value in self.probabilities[number]],
        }

    def texts(self, number: int, most: int) -> list[str]:
        """Example `number` for a reader: label, probability, and the `most` likely ones."""
        found = [self.label(number), f"{self.probability(number):.4f}"]
        if most > 1:
            ranking = self.ranking(number, most)
            found.append(" ".join(f"{label}:{value:.4f}" for label, value in ranking))
        return found

    def ranking(self, number: int, most: int) -> list[tuple[str, float]]:
        """The `most` likely labels of example `number` with their probabilities, best first."""
        row = self.probabilities[number]
        order = np.argsort(-row, kind="stable")[:most]
        return [(self.labels[int(place)], float(row[place])) for place in order]


@dataclasses.dataclass(frozen=True)
class HeadAnswers:
    """What one output says of n examples: `outputs`, float32 (n, *head.shape).

    `labels` name the classes; `inputs` (n, ...) are those that a reconstruction gives back.
    """

    head: Head
    outputs: np.ndarray
    labels: tuple[str, ...]
    inputs: np.ndarray | None = None

    @functools.cached_property
    def errors(self) -> np.ndarray | None:
        """The reconstruction error of each example, float64 (n,): its anomaly score."""
        return None if self.inputs is None else tasks.row_errors(self.outputs, self.inputs)

    def describe(self, number: int) -> dict[str, Any]:
        """Example `number` as a JSON object."""
        if self.head.task in tasks.CLASSIFYING:
            return self._classes.describe(number)
        if self.head.task == tasks.MULTI_LABEL:
            values = self._probabilities[number]
            return {
                "labels": self._said(number),
                "probabilities": [round(float(value), 6) for value in values],
            }
        if self.head.task == tasks.SEGMENTATION:
            return {"mask": self.mask(number).tolist(), "shares": self._shares(number)}
        if (errors := self.errors) is not None:
            return {"reconstruction_error": _digits(errors[number])}
        return {"values": _nested(self.outputs[number])}

    def texts(self, number: int, most: int) -> list[str]:
        """Example `number` for a reader."""
        if self.head.task in tasks.CLASSIFYING:
            return self._classes.texts(number, most)
        if self.head.task == tasks.MULTI_LABEL:
            return [" ".join(self._said(number)) or "-"]
        if self.head.task == tasks.SEGMENTATION:
            shares = self._shares(number)
            return [" ".join(f"{label}:{share:.4f}" for label, share in shares.items())]
        if (errors := self.errors) is not None:
            return [f"{errors[number]:.6g}"]
        row = self.outputs[number].ravel()
        more = ["..."] if row.size > _MOST_NUMBERS else []
        return [" ".join([*(f"{value:.6g}" for value in row[:_MOST_NUMBERS]), *more])]

    def mask(self, number: int) -> np.ndarray:
        """The class of each position of example `number`, int64."""
        return self.head.predictions(self.outputs[number : number + 1])[0]

    @functools.cached_property
    def _classes(self) -> Predictions:
        probabilities = probabilities_of(self.outputs, self.head.outputs_are, self.head.threshold)
        return Predictions(probabilities, self.head.predictions(self.outputs), self.labels)

    @functools.cached_property
    def _probabilities(self) -> np.ndarray:
        logits = self.head.outputs_are == "logits"
        return _sigmoid(self.outputs) if logits else np.clip(self.outputs, 0, 1)

    def _said(self, number: int) -> list[str]:
        said = self.head.predictions(self.outputs[number : number + 1])[0]
        return [label for label, yes in zip(self.labels, said) if yes]  # noqa: B905 - Python 3.9

    def _shares(self, number: int) -> dict[str, float]:
        """The fraction of the positions of each class that has any."""
        mask = self.mask(number)
        counts = np.bincount(mask.ravel(), minlength=len(self.labels)) / mask.size
        pairs = zip(self.labels, counts)  # noqa: B905 - Python 3.9
        return {label: _digits(share) for label, share in pairs if share}


def gives(head: Head) -> str:
    """What an output gives, for a reader: "8 labels", "1 number"."""
    if head.task in tasks.CLASSIFYING:
        return f"{head.classes} classes"
    if head.task == tasks.MULTI_LABEL:
        return f"{head.classes} labels"
    if head.task == tasks.SEGMENTATION:
        positions = " x ".join(map(str, head.shape[:-1]))
        return f"{head.classes} classes at each of {positions} positions"
    if head.task == tasks.RECONSTRUCTION:
        return f"the {head.width:,} numbers of its input"
    return f"{head.width:,} number{'s' * (head.width > 1)}"


def proven(heads: Sequence[Head], verified: Verification) -> str:
    """The metrics that decide, as they were verified: "accuracy 99.12 %"; empty without any."""
    found = [(head, verified.value(head.key())) for head in heads]
    return ", ".join(
        f"{head.decides.title}{f' of {head.name}' if head.name else ''} {head.decides.text(value)}"
        for head, value in found
        if value is not None
    )


@dataclasses.dataclass(frozen=True)
class Answers:
    """What the outputs of a model say of n examples, in the order of its heads."""

    parts: tuple[HeadAnswers, ...]

    def __len__(self) -> int:
        return len(self.parts[0].outputs)

    def describe(self, number: int) -> dict[str, Any]:
        """Example `number` as a JSON object; of several outputs, {"outputs": one by each name}."""
        if len(self.parts) == 1:
            return self.parts[0].describe(number)
        return {"outputs": {part.head.name: part.describe(number) for part in self.parts}}

    def texts(self, number: int, most: int) -> list[str]:
        """Example `number` for a reader; of several outputs, NAME= and what it says."""
        if len(self.parts) == 1:
            return self.parts[0].texts(number, most)
        return [f"{part.head.name}={' '.join(part.texts(number, most))}" for part in self.parts]


def answers_of(
    heads: tuple[Head, ...],
    outputs: np.ndarray,
    fed: Sequence[np.ndarray],
    labels: tuple[str, ...] | None,
) -> Answers:
    """The answers in `outputs`, (n, all columns), of inputs `fed`, (n, ...) each.

    `labels` name the classes of the first head that has any, which others are counted.
    """
    parts = []
    for head, part in zip(heads, tasks.columns(heads, outputs)):  # noqa: B905 - Python 3.9
        names, labels = (labels, None) if head.classes else (None, labels)
        names = names or tuple(map(str, range(head.classes)))
        inputs = _reconstructed(head, fed) if head.task == tasks.RECONSTRUCTION else None
        shaped = part.reshape(len(part), *head.shape)
        parts.append(HeadAnswers(head, shaped, names, inputs))
    return Answers(tuple(parts))


def _reconstructed(head: Head, fed: Sequence[np.ndarray]) -> np.ndarray:
    """The input that a head gives back: the first one of as many numbers."""
    fits = (array for array in fed if array[:1].size == head.width)
    return next(fits, np.zeros((len(fed[0]), *head.shape), np.float32))


def probabilities_of(scores: np.ndarray, outputs_are: str, threshold: float | None) -> np.ndarray:
    """Scores (n, k) as probabilities, float32 (n, classes); softmax, or sigmoid of one score."""
    logits = outputs_are == "logits"
    if threshold is not None:
        second = _sigmoid(scores) if logits else np.clip(scores, 0, 1)
        return np.concatenate([1 - second, second], axis=1).astype(np.float32)
    if not logits:
        return scores
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    normal: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return normal.astype(np.float32, copy=False)


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    # tanh does not overflow, unlike exp.
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * scores))


def _nested(values: np.ndarray) -> Any:
    if values.ndim:
        return [_nested(part) for part in values]
    return _digits(values)


def _digits(value: Any) -> float:
    """What a float32 tells of a number."""
    return float(f"{float(value):.7g}")
