"""What outputs are held against: class numbers where they can be, otherwise numbers as they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from compressor.data.checks import (
    Labels,
    as_labels,
    as_numbers,
    check_labels_dtype,
    shared_names,
)
from compressor.data.inputs import Array, Targets, listed, named, place_of
from compressor.data.stored import contiguous
from compressor.errors import DataError
from deploy.text import clean


def as_targets(
    y_train: Targets, y_test: Targets, places: tuple[str, str]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The targets of both parts by the name of the output, sorted by name; "" names one array.

    What `as_labels` can number in both parts becomes int64 (n,). Otherwise both keep their shape:
    integers of several axes (masks, several labels a row) as uint8, or as int32 where they do not
    fit; all else as float32. Raises DataError for what no task can use: other names in the parts,
    an empty array, rows of different shapes, NaN, infinity, and any dtype but integers, bools and
    floats.
    """
    train, test = {}, {}
    for name in shared_names((y_train, y_test), places, "targets"):
        where = [place_of(name, place, "output") for place in places]
        train[name], test[name] = _pair((named(y_train)[name], named(y_test)[name]), where)
    return train, test


def class_numbers(targets: Targets | None, where: str) -> Labels:
    """The targets as class numbers, int64 (n,). Raises DataError, saying why, if they are none."""
    if targets is None:
        raise DataError("the data set has no labels", value=where, hint="store y_train and y_test")
    if isinstance(targets, Mapping):
        raise DataError(
            "the data set has targets for several outputs, not one label a row",
            value=f"{where}: {listed(targets)}",
        )
    return as_labels(targets, where)


def is_classes(targets: Targets | None) -> bool:
    """Whether targets of a data set are class numbers, one a row."""
    return isinstance(targets, np.ndarray) and targets.ndim == 1 and targets.dtype == np.int64


def as_weights(weights: Array, where: str) -> Array:
    """Sample weights -> float32 (n,). Raises DataError for any that is negative or no number."""
    check_labels_dtype(weights.dtype, where)
    if weights.ndim != 1 or not weights.size:
        raise DataError("sample weights are one number a row", value=f"{where} {weights.shape}")
    weights = as_numbers(weights, where, "sample weights")
    if weights.min() < 0 or not weights.any():
        raise DataError(
            "sample weights must be 0 or more, and not all 0",
            value=f"{where} holds {weights.min():g}..{weights.max():g}",
        )
    return weights


def _pair(pair: tuple[Array, Array], places: list[str]) -> tuple[Array, Array]:
    for array, where in zip(pair, places, strict=True):
        check_labels_dtype(array.dtype, where)
        if array.ndim == 0:
            raise DataError("wrong number of dimensions of labels", value=f"{where} is one number")
        if array.size == 0:
            raise DataError("there are no labels", value=f"{where} has shape {array.shape}")
    try:
        train, test = (as_labels(array, at) for array, at in zip(pair, places, strict=True))
    except DataError:
        train, test = _as_stored(pair, places)
    return train, test


def _as_stored(pair: tuple[Array, Array], places: list[str]) -> tuple[Array, Array]:
    train, test = pair
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            "train and test targets have different shapes",
            value=f"{train.shape[1:]} and {test.shape[1:]} ({clean(places[0])})",
        )
    if train.ndim > 1 and all(array.dtype.kind in "uib" for array in pair):
        low = min(int(array.min()) for array in pair)
        high = max(int(array.max()) for array in pair)
        for dtype in (np.uint8, np.int32):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return contiguous(train, dtype), contiguous(test, dtype)
    train, test = (as_numbers(array, at, "labels") for array, at in zip(pair, places, strict=True))
    return train, test
