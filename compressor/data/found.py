"""What a reader found, and how it becomes a data set: with a test part set aside where none is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from compressor.data.checks import as_labels
from compressor.data.dataset import Dataset
from compressor.data.drawing import draw_examples
from compressor.data.files import LARGEST_DATASET, too_large
from compressor.data.inputs import Array, Inputs, Targets, named, rows, take
from compressor.data.members import KEYS
from compressor.data.stored import StoredRows
from compressor.errors import DataError, UsageError

_TEST = 0.2


@dataclasses.dataclass(frozen=True)
class Asked:
    """How a data set is to be read; what is not asked for is None or empty.

    `x` and `y` are keys of inputs and targets, of the training part and of the test part where that
    has its own; `label` names columns of a table, `features` those of a TFRecord file; `resize` is
    the size of pictures, (height, width) or with channels. `test` is the fraction to set aside for
    testing. `sizes` gives the shape that the model takes, used for pictures where `resize` does not
    say.
    """

    x: tuple[str, ...] = ()
    y: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    features: str | None = None
    resize: tuple[int, ...] | None = None
    test: float | None = None
    sizes: Callable[[], tuple[int | None, ...] | None] | None = None

    def __post_init__(self) -> None:
        if len(self.x) > 2 or len(self.y) > 2:
            raise UsageError(
                "x and y are one key each, or one of the training and one of the test part",
                value=", ".join((*self.x, *self.y)),
            )
        if self.resize is not None and not (
            len(self.resize) in (2, 3) and all(0 < size <= 2**16 for size in self.resize)
        ):
            raise UsageError(
                "the size of pictures is HEIGHTxWIDTH or HEIGHTxWIDTHxCHANNELS",
                value="x".join(map(str, self.resize)),
            )
        if self.test is not None and not 0 < self.test < 1:
            raise UsageError("the fraction to test on must lie between 0 and 1", value=self.test)

    def size(self) -> tuple[int | None, int | None, int | None]:
        """The height, width and channels that pictures get; None where any will do."""
        own = (None if self.sizes is None else self.sizes()) or ()
        own = (*own, 1) if len(own) == 2 else own
        height, width, channels = own if len(own) == 3 else (None, None, None)
        if self.resize is not None:
            height, width, channels = (*self.resize, channels)[:3]
        return height, width, channels

    def only(self, what: str, *names: str) -> None:
        """Raise UsageError where anything else than `names` is asked for, which `what` ignores."""
        for field in dataclasses.fields(self):
            if field.name not in (*names, "test", "sizes") and getattr(self, field.name):
                raise UsageError(f"--{field.name} has no effect on {what}")


@dataclasses.dataclass
class Found:
    """The arrays of a data set as they were found; without a test part, `x_test` is None."""

    name: str
    x_train: Any
    y_train: Any = None
    x_test: Any = None
    y_test: Any = None
    weights: Array | None = None
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    places: tuple[str, str, str, str] = ("x_train", "y_train", "x_test", "y_test")

    def dataset(self, test: float | None = None) -> Dataset:
        """The data set; where there is no test part, the fraction `test` is set aside for it.

        Which examples depends on their number and labels alone, so that every command and every
        seed tests on the same ones. Raises DataError, and UsageError where there is a test part
        though a fraction is asked for.
        """
        notes = self.notes
        self.y_train, self.y_test = map(_in_memory, (self.y_train, self.y_test))
        self.weights = _in_memory(self.weights)
        self.x_train, self.x_test = map(_rows_in_memory, (self.x_train, self.x_test))
        if self.x_test is not None and test is not None:
            raise UsageError("--test has no effect: the data set has a test part", value=test)
        if self.x_test is None:
            notes += (self._split(test or _TEST),)
        return Dataset.from_arrays(
            self.name,
            self.x_train,
            self.y_train,
            self.x_test,
            self.y_test,
            sample_weights=self.weights,
            labels=self.labels,
            notes=notes,
            places=self.places,
        )

    def _split(self, fraction: float) -> str:
        x, y = self.x_train, self.y_train
        self._check_rows(x, y)
        count = rows(x)
        aside = max(round(fraction * count), 1)
        if count - aside < 1:
            raise DataError("too few examples to set some aside for testing", value=count)
        train = draw_examples(x, _strata(y), count - aside)
        test = np.setdiff1d(np.arange(count), train)
        self.x_train, self.y_train = take(x, train), take(y, train)
        self.x_test, self.y_test = take(x, test), take(y, test)
        if self.weights is not None:
            self.weights = self.weights[train]
        self.places = (self.places[0], self.places[1], self.places[0], self.places[1])
        return (
            f"no test part: {aside:,} of {count:,} examples, drawn with seed 0, are set aside for "
            "testing"
        )

    def _check_rows(self, x: Inputs, y: Targets | None) -> None:
        sizes = {}
        for part, where in ((x, self.places[0]), (y, self.places[1])):
            for name, array in {} if part is None else named(part).items():
                if np.ndim(array) == 0:
                    raise DataError("an array of the data set is one number", value=where)
                sizes[f"{name} of {where}" if name else where] = len(array)
        if self.weights is not None:
            sizes["sample weights"] = len(self.weights)
        if len(set(sizes.values())) > 1:
            raise DataError(
                "the data set has not as many labels as images",
                value=", ".join(f"{size} {name}" for name, size in sizes.items()),
                hint="check that they belong together",
            )


def _in_memory(arrays: Any) -> Any:
    """Targets or weights, read from the disk where they lie there."""
    if isinstance(arrays, Mapping):
        return {name: _in_memory(array) for name, array in arrays.items()}
    if isinstance(arrays, StoredRows):
        if arrays.nbytes > LARGEST_DATASET:
            raise too_large("targets")
        return np.asarray(arrays)
    return arrays


def _rows_in_memory(arrays: Any) -> Any:
    """Inputs; those of one number a row need no disk, and are converted in memory."""
    if isinstance(arrays, Mapping):
        return {name: _rows_in_memory(array) for name, array in arrays.items()}
    return _in_memory(arrays) if isinstance(arrays, StoredRows) and arrays.ndim == 1 else arrays


def found_in(arrays: Mapping[str, Any], name: str, where: object) -> Found:
    """The arrays x_train, y_train, x_test, y_test and w_train, or None, found `where`."""
    x_train, y_train, x_test, y_test = (f"{key} in {where}" for key in KEYS)
    return Found(
        name,
        arrays["x_train"],
        arrays["y_train"],
        arrays["x_test"],
        arrays["y_test"],
        arrays.get("w_train"),
        places=(x_train, y_train, x_test, y_test),
    )


def planned(parts: Mapping[str, Any]) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """What makes up train and test, of parts named train, test and val, and the notes on it.

    A `val` is the test part where there is no other, else examples to train on, from which those
    to validate on are drawn.
    """
    plan = {"train": [parts["train"]]} | ({"test": [parts["test"]]} if "test" in parts else {})
    if "val" not in parts:
        return plan, ()
    if "test" in parts:
        plan["train"].append(parts["val"])
        return plan, ("the part val joins the training part",)
    return plan | {"test": [parts["val"]]}, ("the part val is the test part",)


def _strata(y: Targets | None) -> Targets | None:
    """Targets over whose classes the examples are drawn."""
    if not isinstance(y, np.ndarray):
        return y
    try:
        return as_labels(y, "")
    except DataError:
        return None
