"""A data set in memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.data.checks import as_inputs, check_agreement, check_label_range
from compressor.data.inputs import Array, Inputs, Targets, named, rows
from compressor.data.stored import StoredRows, parts_of
from compressor.data.targets import as_targets, as_weights, class_numbers, is_classes
from compressor.errors import DataError
from compressor.foundation import several

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and targets to train on, and others to test on.

    x_train, x_test: (n, ...) as stored, uint8 (bytes), int32 (other integers) or float32; for a
    model of several inputs a read-only mapping of such arrays by name, sorted by name. y_train,
    y_test: `Targets` or None; (n,) int64 where they can be class numbers, else (n, ...) uint8,
    int32 or float32 (`as_targets`); for several outputs a read-only mapping of such arrays by the
    outputs' names; None where there are no targets. `sample_weights` are float32 (n,), of the
    training set, `labels` the names of the classes, in order, and `notes` say what the reader did
    with the data. `digest` is the sha256 of the
    arrays and their names (`array_digest`): the same data has the same digest whatever file it came
    from. Made by `from_arrays`, the arrays are read-only, since writing to them would make the
    digest a lie.
    """

    name: str
    x_train: Inputs
    y_train: Any
    x_test: Inputs
    y_test: Any
    digest: str
    sample_weights: Array | None = None
    labels: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def from_arrays(
        cls,
        name: str,
        x_train: Inputs,
        y_train: Targets | None,
        x_test: Inputs,
        y_test: Targets | None,
        *,
        sample_weights: Array | None = None,
        labels: Sequence[str] | None = None,
        notes: Sequence[str] = (),
        places: tuple[str, str, str, str] = ("x_train", "y_train", "x_test", "y_test"),
    ) -> Dataset:
        """Check and convert inputs and targets (`compressor.data.checks`) and digest them.

        x_train and x_test are arrays, or mappings from the same names to arrays, and so are the
        targets, which may be absent from both parts. `places` names the four in messages. Raises
        DataError when one cannot be used, or when they do not fit each other.
        """
        if (y_train is None) != (y_test is None):
            raise DataError(
                "one part of the data set has targets and the other none",
                value=places[1] if y_train is None else places[3],
            )
        train, test = as_inputs(x_train, x_test, (places[0], places[2]))
        x_train, x_test = _frozen_inputs(train), _frozen_inputs(test)
        if y_train is not None and y_test is not None:
            targets = as_targets(y_train, y_test, (places[1], places[3]))
            y_train, y_test = map(_frozen_inputs, targets)
        check_agreement(x_train, y_train, x_test, y_test)
        items = [item for item in (x_train, y_train, x_test, y_test) if item is not None]
        if sample_weights is not None:
            sample_weights = _frozen(as_weights(sample_weights, "sample weights"))
            if len(sample_weights) != rows(x_train):
                raise DataError(
                    "train set has not as many sample weights as images",
                    value=f"{rows(x_train)} images, {len(sample_weights)} weights",
                )
            items.append({"sample weights": sample_weights})
        names = None if labels is None else several(labels)
        digest = _digest(*items)
        return cls(
            name, x_train, y_train, x_test, y_test, digest, sample_weights, names, tuple(notes)
        )

    @property
    def classes(self) -> int:
        """The number of classes: the largest label of both sets, plus one.

        Raises DataError, saying why, where the targets are no class numbers, or where the test set
        has labels out of the training set's range.
        """
        train, test = class_numbers(self.y_train, "y_train"), class_numbers(self.y_test, "y_test")
        check_label_range(train, test)
        return int(max(train.max(), test.max())) + 1

    def describe(self) -> dict[str, Any]:
        """What a report says about the data set; fit for JSON.

        With named inputs `image_shape` and `dtype` are objects by name. Targets that are no class
        numbers have their shapes and dtypes in `targets`, by the name of the output, instead of
        `classes`.
        """
        shapes: Any = {name: list(x.shape[1:]) for name, x in named(self.x_train).items()}
        dtypes: Any = {name: str(x.dtype) for name, x in named(self.x_train).items()}
        if not isinstance(self.x_train, Mapping):
            shapes, dtypes = shapes[""], dtypes[""]
        described = {
            "name": self.name,
            "digest": self.digest,
            "train": rows(self.x_train),
            "test": rows(self.x_test),
            "image_shape": shapes,
            "dtype": dtypes,
        }
        if is_classes(self.y_train):
            # Whole numbers of a regression need not be class numbers.
            with contextlib.suppress(DataError):
                return described | {"classes": self.classes}
        targets = {} if self.y_train is None else named(self.y_train)
        return described | {
            "targets": {
                name: {"shape": list(y.shape[1:]), "dtype": str(y.dtype)}
                for name, y in targets.items()
            }
        }

    def split(self, validation: int, seed: int) -> tuple[Indices, Indices]:
        """Indices into the training set: (to train on, to validate on), int64, both sorted.

        The first `validation` of `default_rng(seed).permutation(n)` are to validate on; none
        is in both, and all are in one. Raises DataError unless 0 <= validation < n.
        """
        count = rows(self.x_train)
        if not 0 <= validation < count:
            raise DataError(
                "validation set cannot be taken from the training set",
                value=f"{validation} of {count} images",
                hint=f"choose 0 to {count - 1}",
            )
        if seed < 0:
            raise DataError("seed is negative", value=seed)
        order = np.random.default_rng(seed).permutation(count).astype(np.int64)
        return np.sort(order[validation:]), np.sort(order[:validation])


def array_digest(*arrays: Array) -> str:
    """sha256, as 64 hex digits, over dtype, shape and little-endian bytes of each array."""
    return _digest(*arrays)


def _digest(*items: Inputs) -> str:
    """The sha256 of arrays as they are, and of named ones with their names before them."""
    digest = hashlib.sha256()
    for name, array in (pair for item in items for pair in named(item).items()):
        if name:
            digest.update(f"{json.dumps(name)}\n".encode())
        little = array.dtype.newbyteorder("<")
        digest.update(f"{little.str} {array.shape}\n".encode())
        for part in parts_of(array):
            digest.update(np.ascontiguousarray(part, dtype=little).data)
    return digest.hexdigest()


def _frozen_inputs(arrays: dict[str, Array]) -> Inputs:
    if "" in arrays:
        return _frozen(arrays[""])
    return MappingProxyType({name: _frozen(array) for name, array in arrays.items()})


def _frozen(array: Array) -> Array:
    if isinstance(array, StoredRows):
        return array
    # A view, so that an array which the caller still holds stays writable for the caller.
    view = array.view()
    view.flags.writeable = False
    return view
