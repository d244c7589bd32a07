"""The names of classes: whether a model has as many, and their numbers in another order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressor.data.dataset import Dataset
from compressor.data.inputs import listed
from compressor.data.targets import is_classes
from compressor.errors import DataError


def check_label_names(data: Dataset, classes: int) -> None:
    """Raise DataError where the names of the classes of `data` are not as many as `classes`.

    Names are numbered in their order, so that one missing shifts the numbers after it. Nothing is
    checked for a model without classes (0), nor for data without names.
    """
    if data.labels is None or not classes or len(data.labels) == classes:
        return
    raise DataError(
        f"the data have {len(data.labels)} classes, the model {classes}",
        value=listed(data.labels),
        hint="give data with all classes, and no others",
    )


def numbered_as(data: Dataset, labels: Sequence[str] | None, classes: int, whose: str) -> Dataset:
    """The data with the class numbers that `labels` of an artefact, `whose`, give their names.

    Raises DataError for a name that is not among `labels`, and as `check_label_names` does where
    there are none. Data without names stay as they are.
    """
    if data.labels is None or not classes or not is_classes(data.y_train):
        return data
    if labels is None:
        check_label_names(data, classes)
        return data
    if unknown := [name for name in data.labels if name not in labels]:
        raise DataError(
            "the data have classes that the artefact does not know",
            value=f"{listed(unknown)}; {whose} has {listed(labels)}",
            hint="give the artefact's data with --data",
        )
    numbers = np.array([labels.index(name) for name in data.labels], np.int64)
    if np.array_equal(numbers, np.arange(len(numbers))):
        return data
    return Dataset.from_arrays(
        data.name,
        data.x_train,
        numbers[data.y_train],
        data.x_test,
        numbers[data.y_test],
        sample_weights=data.sample_weights,
        labels=labels,
        notes=data.notes,
    )
