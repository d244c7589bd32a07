"""What single classes lose, which the whole hides."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deploy.tasks import Head, columns
from deploy.text import clean

MAX_CLASS_DROP = 0.05
"""Of its recall that a class may lose unless the user says otherwise."""

RECALLS, COUNTS, LABELS = "class_recalls", "class_counts", "class_labels"
"""Keys of documents: the recall of each class on the test examples, how many it has, its name."""


@dataclasses.dataclass(frozen=True)
class ClassDrop:
    """The recall of a class in two documents."""

    head: Head
    number: int
    """of the class, from 0"""
    count: int
    """of its test examples"""
    before: float
    after: float
    label: str = ""
    """the name of the class, where it is known"""

    @property
    def shown(self) -> str:
        """The class for a reader: "2", or "2 (cat)", and of which output."""
        named = f"{self.number} ({clean(self.label)})" if self.label else f"{self.number}"
        return f"{named} of {clean(self.head.name)}" if self.head.name else named

    @property
    def loss(self) -> float:
        return self.before - self.after


def class_recalls_of(
    heads: tuple[Head, ...],
    scores: np.ndarray,
    targets: Sequence[np.ndarray],
    labels: Sequence[str] | None = None,
) -> dict[str, Any]:
    """`class_recalls` and `class_counts` of scores (n, all columns) by `Head.key`, for a document.

    `targets` are as `Head.values` takes them. Classes without an example have no recall. `labels`
    name the classes of the first output that has any; they become its `class_labels`.
    """
    found: dict[str, Any] = {}
    named = next((head for head in heads if head.classes), None)
    if labels is not None and named is not None and len(labels) == named.classes:
        found[named.key(LABELS)] = list(labels)
    for head, part, wanted in zip(heads, columns(heads, scores), targets, strict=True):
        if (known := head.recalls(part, wanted)) is not None:
            recalls = [None if np.isnan(value) else float(value) for value in known[0]]
            found |= {head.key(RECALLS): recalls, head.key(COUNTS): list(map(int, known[1]))}
    return found


def class_drops(
    heads: Sequence[Head], before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[ClassDrop]:
    """The recall of each class before and after, the one that lost most first."""
    found = []
    for head in heads:
        recalls, counts = (head.key(name) for name in (RECALLS, COUNTS))
        if not all(recalls in document for document in (before, after)):
            continue
        rows = zip(before[recalls], after[recalls], after.get(counts) or [], strict=False)
        labels = dict(enumerate(after.get(head.key(LABELS)) or []))
        for number, (old, new, count) in enumerate(rows):
            if old is not None and new is not None:
                found.append(ClassDrop(head, number, count, old, new, labels.get(number, "")))
    return sorted(found, key=lambda drop: (-drop.loss, drop.number))


def worst_class(heads: Sequence[Head], found: Mapping[str, Any]) -> ClassDrop | None:
    """The class of least recall in one document; None where there are no classes."""
    rows = class_drops(heads, found, found)
    return min(rows, key=lambda row: (row.after, row.number), default=None)
