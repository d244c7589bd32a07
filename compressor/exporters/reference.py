"""What an artefact is held against: the outputs of its model on examples, and what is right."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from compressor.data import Array, Inputs, rows, take
from compressor.models import Objective, Preprocessing, class_drops, class_recalls_of
from deploy.tasks import ACCURACY, CLASSIFYING, RECONSTRUCTION, Head, columns

Predict = Callable[[dict[str, Array]], np.ndarray]
"""Arrays (n, ...) by the artefact's input names -> float32 (n, classes)."""

CLASS_DROP = 0.02
"""of the recall of a class, from which on it is said, where it is more than one example"""
_CHUNK_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Reference:
    """The outputs of the Keras model on the examples of the parity check."""

    x: Inputs
    """as stored, n examples"""
    feed: Preprocessing
    scores: np.ndarray
    """float32 (n, classes)"""
    labels: Any
    """targets as the data set has them, such as int64 (n,); None where there are none"""
    objective: Objective
    """of heads in the order in which a file's outputs follow each other (`file_order`)"""
    rounding: float = 0.0
    """rounding of the Keras model's own outputs in half precision, as a fraction of the largest"""
    factors: np.ndarray | None = None
    """float32 (columns,), what outputs are multiplied by: of several, other than the first, so that
    the largest value of each counts alike; in a file, outputs that are no heads follow"""
    made_up: bool = False
    """whether the inputs are not of a data set"""

    @property
    def heads(self) -> tuple[Head, ...]:
        """What the outputs mean, in the order of the columns of `scores`."""
        return self.objective.heads

    @functools.cached_property
    def own_values(self) -> Mapping[str, float]:
        """Every metric of the model; see `values`."""
        return self.values(self.scores)

    @property
    def outputs(self) -> np.ndarray:
        """Those of the heads as the model gives them, float32 (n, columns)."""
        return self._unscaled(self.scores)[:, : sum(head.width for head in self.heads)]

    @property
    def accuracy(self) -> float | None:
        """Of the model, 0 to 1."""
        return self.own_values.get(ACCURACY)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which metrics cannot decide here, a sentence each."""
        found = []
        for head in self.heads:
            judged = head.deciding(self.own_values)
            if judged is not head:
                what = f"The {head.decides.title} has no value on the examples to choose on"
                found.append(f"{what}: there the {judged.decides.title} decides.")
        return tuple(found)

    def class_notes(
        self, scores: np.ndarray, labels: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """Which class loses most of its recall by outputs (n, columns), where that is much."""
        if not self.own_values:
            return ()
        targets = self.objective.targets_of(self.x, self.labels, self.feed)
        before, after = (
            class_recalls_of(self.heads, self._unscaled(one), targets, labels)
            for one in (self.scores, scores)
        )
        found = []
        for head in self.heads:
            for drop in class_drops([head], before, after)[:1]:
                if drop.loss > CLASS_DROP and drop.loss * drop.count > 1.5:
                    found.append(
                        f"Class {drop.shown} loses most: its recall is "
                        f"{100 * drop.after:.2f} %, the model's {100 * drop.before:.2f} %, of "
                        f"{drop.count:,} examples to choose on."
                    )
        return tuple(found)

    def values(self, scores: np.ndarray) -> Mapping[str, float]:
        """Every metric of outputs (n, columns), by `Head.key`; none where there are no targets."""
        gives_back = all(head.task == RECONSTRUCTION for head in self.heads)
        if self.made_up or (self.labels is None and not gives_back):
            return {}
        targets = self.objective.targets_of(self.x, self.labels, self.feed)
        return self.objective.values(
            self._unscaled(scores), targets, self.objective.anomalies_of(self.labels)
        )

    def parts(self, scores: np.ndarray) -> list[np.ndarray]:
        """The outputs (n, width) of each head; of one alone with what else a file gives."""
        return [scores] if len(self.heads) == 1 else columns(self.heads, scores)

    def predictions(self, scores: np.ndarray) -> np.ndarray:
        """What the first head says: the class of each row, int64 (n,)."""
        return self.objective.predictions(self._unscaled(scores)[:, : self.heads[0].width])

    def agreement(self, scores: np.ndarray) -> float | None:
        """The fraction of rows with the same class as from the model, the least of all heads."""
        both = (columns(self.heads, self._unscaled(one)) for one in (scores, self.scores))
        found = [
            float(np.mean(head.predictions(one) == head.predictions(other)))
            for head, one, other in zip(self.heads, *both, strict=True)
            if head.task in CLASSIFYING
        ]
        return min(found) if found else None

    def only(self, chosen: np.ndarray) -> Reference:
        """The outputs on the examples with these numbers, int64 (n,)."""
        x, scores, labels = take(self.x, chosen), self.scores[chosen], take(self.labels, chosen)
        return dataclasses.replace(self, x=x, scores=scores, labels=labels)

    def _unscaled(self, scores: np.ndarray) -> np.ndarray:
        return scores if self.factors is None else scores / self.factors

    def inputs(self, names: tuple[str, ...], part: slice) -> dict[str, Array]:
        """The inputs of an artefact for a part of the examples, by their `names`."""
        fed = self.feed.arrays(take(self.x, part))
        # Artefacts take float32 where the model takes another float type.
        arrays = [np.asarray(a, np.float32) if _is_float(a) else np.asarray(a) for a in fed]
        return dict(zip(names, arrays, strict=True))


def run_examples(
    predict: Predict, names: tuple[str, ...], reference: Reference, *, flat: bool = True
) -> np.ndarray:
    """The outputs of an artefact on the examples, float32 (n, columns); not `flat`, (n, ...)."""
    count = rows(reference.x)
    one = sum(array.nbytes for array in reference.inputs(names, slice(0, 1)).values())
    chunk = max(_CHUNK_BYTES // max(one, 1), 1)
    parts = [
        predict(reference.inputs(names, slice(start, min(start + chunk, count))))
        for start in range(0, count, chunk)
    ]
    found = np.concatenate(parts)
    if flat:
        found = found.reshape(len(found), -1)
    return found if reference.factors is None else found * reference.factors


def _is_float(array: Array) -> bool:
    return "float" in str(array.dtype)  # bfloat16 is of no kind that numpy knows
