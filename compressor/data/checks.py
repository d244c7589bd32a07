"""What every data set must satisfy, whatever file it came from.

The readers hand raw arrays in; inputs come out as uint8, int32 or float32, labels as int64,
C-contiguous and in the byte order of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.data.inputs import Array, Inputs, Targets, listed, named, place_of, rows
from compressor.data.stored import contiguous
from compressor.errors import DataError
from deploy.text import clean

LARGEST_LABEL = 65535

Labels = npt.NDArray[np.int64]


def check_images_dtype(dtype: np.dtype[Any], where: str) -> None:
    """Raise DataError unless images may be of `dtype`: an integer or a float."""
    _check_kind(dtype, "uif", where, "store images as uint8 or float32")


def check_labels_dtype(dtype: np.dtype[Any], where: str) -> None:
    """Raise DataError unless labels may be of `dtype`: an integer, a bool or a float."""
    _check_kind(dtype, "uifb", where, "store labels as integers, or one-hot")


def as_images(images: Array, where: str, dimensions: int = 2) -> Array:
    """Images (n, ...) of integers or floats -> the same as uint8, int32 or float32.

    uint8 stays; other integers, tokens or numbers of any kind, become int32, however small they
    are, since only bytes are scaled for a model; floats become float32. Raises DataError when
    there is no image, when there are fewer than `dimensions`, when a value is NaN or infinite or
    does not fit, and on any other dtype. `where` names the array in the message.
    """
    check_images_dtype(images.dtype, where)
    if images.ndim < dimensions:
        raise DataError(
            "wrong number of dimensions of images",
            value=f"{where} has shape {images.shape}",
            hint="images are (n, height, width), (n, height, width, channels) or (n, features)",
        )
    if images.size == 0:
        raise DataError("there are no images", value=f"{where} has shape {images.shape}")
    low, high = _range(images)
    if images.dtype.kind == "f":
        return _as_float32(images, low, high, where, "images")
    if images.dtype == np.uint8:
        return contiguous(images, images.dtype)
    limits = np.iinfo(np.int32)
    if low < limits.min or high > limits.max:
        raise DataError(
            "integers do not fit into int32",
            value=f"{where} holds {low}..{high}",
            hint="store them as float32, or number the tokens from 0",
        )
    return contiguous(images, np.int32)


def as_inputs(
    x_train: Inputs, x_test: Inputs, places: tuple[str, str]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The inputs of both parts, converted by `as_images`: by name, sorted by name.

    One array has the name ""; a named input may also be (n,), one number a row. Raises DataError
    as `as_images` does, and when the parts have not the same inputs.
    """
    names = shared_names((x_train, x_test), places, "inputs")
    least = 1 if isinstance(x_train, Mapping) else 2
    train, test = (
        {name: as_images(named(x)[name], place_of(name, place), least) for name in names}
        for x, place in zip((x_train, x_test), places, strict=True)
    )
    return train, test


def as_labels(labels: Array, where: str) -> Labels:
    """Labels -> int64 (n,).

    Takes (n,) or (n, 1) of integers, bools or whole floats, and one-hot (n, k), k > 1.
    Raises DataError when there is no label, when one is negative, NaN, not whole or above
    65535, when a row is not exactly one-hot, and on any other dtype or shape.
    """
    check_labels_dtype(labels.dtype, where)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, 2):
        raise DataError(
            "wrong number of dimensions of labels",
            value=f"{where} has shape {labels.shape}",
            hint="labels are (n,), (n, 1) or one-hot (n, classes)",
        )
    if labels.size == 0:
        raise DataError("there are no labels", value=f"{where} has shape {labels.shape}")
    if labels.ndim == 2:
        labels = _from_one_hot(labels, where)
    # The range is checked before the cast: a cast of NaN or 2**64 - 1 gives any number.
    low, high = _range(labels)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError("labels hold NaN or infinity", value=where)
    if low < 0:
        raise DataError("label is negative", value=f"{low} in {where}")
    if high > LARGEST_LABEL:
        raise DataError(f"label is above {LARGEST_LABEL}", value=f"{high} in {where}")
    if labels.dtype.kind == "f":
        broken = labels[labels != np.floor(labels)]
        if broken.size:
            raise DataError("label is not a whole number", value=f"{broken[0]} in {where}")
    return np.ascontiguousarray(labels, dtype=np.int64)


def as_numbers(array: Array, where: str, noun: str) -> Array:
    """Integers, bools or floats as float32. Raises DataError for any that is no number in it."""
    return _as_float32(array, *_range(array), where, noun)


def check_agreement(
    x_train: Inputs, y_train: Targets | None, x_test: Inputs, y_test: Targets | None
) -> None:
    """Raise DataError unless the arrays fit each other.

    As many targets as rows of every input; inputs of one shape and dtype in both parts.
    """
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        for name, images in named(x).items():
            counted = f"rows of input {clean(name)}" if name else "images"
            for output, labels in ({} if y is None else named(y)).items():
                if len(images) != len(labels):
                    of = f" of output {clean(output)}" if output else ""
                    raise DataError(
                        f"{part} set has not as many labels as images",
                        value=f"{len(images)} {counted}, {len(labels)} labels{of}",
                        hint="check that both files belong together",
                    )
            if len(images) != rows(x):
                raise DataError(
                    f"the inputs of the {part} set have not as many rows",
                    value=f"{rows(x)} and {len(images)} {counted}",
                )
    for name, train in named(x_train).items():
        test = named(x_test)[name]
        where = f" (input {clean(name)})" if name else ""
        if train.shape[1:] != test.shape[1:]:
            raise DataError(
                "train and test images have different shapes",
                value=f"{train.shape[1:]} and {test.shape[1:]}{where}",
            )
        if train.dtype != test.dtype:
            # uint8 images and float images are scaled differently before the model sees them.
            raise DataError(
                "train and test images have different types",
                value=f"{train.dtype} and {test.dtype}{where}",
            )


def check_label_range(y_train: Labels, y_test: Labels) -> None:
    """Raise DataError unless the test set's labels lie within those of the training set."""
    low, high = y_train.min(), y_train.max()
    if y_test.min() < low or y_test.max() > high:
        raise DataError(
            "labels out of range",
            value=f"test set has {y_test.min()}..{y_test.max()}, train set {low}..{high}",
            hint="a model cannot learn a label that it is never shown",
        )


def shared_names(
    parts: tuple[Inputs | Targets, Inputs | Targets], places: tuple[str, str], noun: str
) -> list[str]:
    """The names of the inputs or targets of both parts, sorted; "" for one array.

    Raises DataError for a bad one, and for parts that have not the same.
    """
    names = [_sorted_names(part, place) for part, place in zip(parts, places, strict=True)]
    if names[0] != names[1]:
        shown = " and ".join(listed(part) if part != [""] else "one array" for part in names)
        raise DataError(
            f"train and test set have different {noun}",
            value=shown,
            hint=f"both need the same {noun} under the same names",
        )
    return names[0]


def _sorted_names(x: Inputs | Targets, place: str) -> list[str]:
    if not isinstance(x, Mapping):
        return [""]
    names = list(x)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise DataError(
            "named arrays need a name each",
            value=f"{place} has {listed(map(repr, names))}",
            hint="give each the name that it has in the model",
        )
    return sorted(names)


def _check_kind(dtype: np.dtype[Any], allowed: str, where: str, hint: str) -> None:
    if dtype.hasobject:
        raise DataError("array of Python objects is refused", value=where, hint=hint)
    # A structured or sub-array dtype has kind "V".
    if dtype.kind not in allowed:
        shown = f"{where} is {clean(dtype)}"
        raise DataError("array has a type that cannot be used", value=shown, hint=hint)


def _range(array: Array) -> tuple[Any, Any]:
    """The smallest and largest value; NaN when there is one. Makes no temporary array."""
    with np.errstate(all="ignore"):
        # Python numbers: 65535 compared with a float16 would overflow.
        return array.min().item(), array.max().item()


def _as_float32(images: Array, low: Any, high: Any, where: str, noun: str) -> Array:
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{noun} hold NaN or infinity", value=where)
    # Compared after rounding to float32, since what rounds to its largest value still fits.
    with np.errstate(all="ignore"):
        fits = np.isfinite(np.float32(low)) and np.isfinite(np.float32(high))
        if not fits:
            raise DataError(
                f"{noun} hold values too large for float32",
                value=f"{where} holds {low:.6g}..{high:.6g}",
            )
        return contiguous(images, np.float32)


def _from_one_hot(labels: Array, where: str) -> Labels:
    ones = np.count_nonzero(labels == 1, axis=1)
    others = np.count_nonzero(labels, axis=1)  # NaN counts as nonzero
    bad = np.flatnonzero((ones != 1) | (others != 1))
    if bad.size:
        raise DataError(
            "labels are not one-hot",
            value=f"row {bad[0]} of {where}, shape {labels.shape}",
            hint="give one 1 and otherwise 0 in every row, or labels of shape (n,)",
        )
    return labels.argmax(axis=1).astype(np.int64)
