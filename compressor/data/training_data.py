"""A data set, split for a training."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from compressor.data import Dataset
from compressor.data.drawing import draw_examples
from compressor.data.inputs import Inputs, rows, take
from compressor.errors import UsageError

VALIDATION_IMAGES = 5000


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """A data set, with part of its training images set aside for every choice."""

    data: Dataset
    train: np.ndarray
    """int64 indices into the training images"""
    validation: np.ndarray
    """int64 indices into the training images, none of which is in `train`"""

    @classmethod
    def of(cls, data: Dataset, validation: float | None = None) -> TrainingData:
        """Set `validation` images aside: 5,000, or a twelfth of a smaller training set.

        Below 1 it is a fraction of the training images.

        Which ones depends on their number alone, so that all seeds of an experiment choose on
        the same images.
        """
        count = rows(data.x_train)
        if validation is None:
            validation = max(min(VALIDATION_IMAGES, count // 12), 1)
        elif 0 < validation < 1:
            validation = max(round(validation * count), 1)
        if validation < 1:
            raise UsageError(
                "at least one image must be set aside for validation", value=validation
            )
        train, aside = data.split(int(validation), seed=0)
        return cls(data, train, aside)

    def steps(self, epochs: float, batch_size: int) -> int:
        """How many batches `epochs` passes over the training images are, at least 1."""
        return max(round(epochs * len(self.train) / batch_size), 1)

    def training_part(self, most: int | None = None, seed: int = 0) -> tuple[Inputs, Any]:
        """The examples to train on, or `most` of them, drawn over all classes by the `seed`.

        Every part is the inputs and their targets, as the data set has them: None without any.
        """
        return self._part(self.train, most, seed)

    def validation_part(self, most: int | None = None) -> tuple[Inputs, Any]:
        """The examples to choose on, or `most` of them, drawn over all classes, always the same."""
        return self._part(self.validation, most)

    def choosing_part(self, least: int) -> tuple[Inputs, Any]:
        """The examples to choose on; where they are fewer than `least`, with training examples.

        Those are drawn over all classes, always the same.
        """
        missing = max(least - len(self.validation), 0)
        added = self.train[draw_examples(self.train, take(self.data.y_train, self.train), missing)]
        chosen = np.sort(np.concatenate([self.validation, added]))
        return take(self.data.x_train, chosen), take(self.data.y_train, chosen)

    def _part(self, chosen: np.ndarray, most: int | None, seed: int = 0) -> tuple[Inputs, Any]:
        if most is not None and most < len(chosen):
            chosen = chosen[draw_examples(chosen, take(self.data.y_train, chosen), most, seed)]
        return take(self.data.x_train, chosen), take(self.data.y_train, chosen)
