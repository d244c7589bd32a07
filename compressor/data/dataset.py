"""A data set in memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.data.checks import Labels, as_inputs, as_labels, check_agreement
from compressor.data.inputs import Array, Inputs, named, rows
from compressor.errors import DataError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels to train on, and others to test on.

    x_train, x_test: (n, ...) as stored, uint8 (bytes), int32 (other integers) or float32; for a
    model of several inputs a read-only mapping of such arrays by name, sorted by name. y_train,
    y_test: (n,) int64. `digest` is the sha256 of the arrays and the names (`array_digest`):
    the same data has the same digest whatever file it came from. Made by `from_arrays`, the
    arrays are read-only, since writing to them would make the digest a lie.
    """

    name: str
    x_train: Inputs
    y_train: Labels
    x_test: Inputs
    y_test: Labels
    digest: str

    @classmethod
    def from_arrays(
        cls,
        name: str,
        x_train: Inputs,
        y_train: Array,
        x_test: Inputs,
        y_test: Array,
        *,
        places: tuple[str, str, str, str] = ("x_train", "y_train", "x_test", "y_test"),
    ) -> Dataset:
        """Check and convert inputs and labels (`compressor.data.checks`) and digest them.

        x_train and x_test are arrays, or mappings from the same names to arrays. `places`
        names the four in messages. Raises DataError when one cannot be used, or when they do
        not fit each other.
        """
        train, test = as_inputs(x_train, x_test, (places[0], places[2]))
        x_train, x_test = _frozen_inputs(train), _frozen_inputs(test)
        y_train = _frozen(as_labels(y_train, places[1]))
        y_test = _frozen(as_labels(y_test, places[3]))
        check_agreement(x_train, y_train, x_test, y_test)
        digest = _digest(x_train, y_train, x_test, y_test)
        return cls(name, x_train, y_train, x_test, y_test, digest)

    @property
    def classes(self) -> int:
        """The number of classes: the largest label of both sets, plus one."""
        return int(max(self.y_train.max(), self.y_test.max())) + 1

    def describe(self) -> dict[str, Any]:
        """What a report says about the data set; fit for JSON.

        With named inputs `image_shape` and `dtype` are objects by name.
        """
        shapes: Any = {name: list(x.shape[1:]) for name, x in named(self.x_train).items()}
        dtypes: Any = {name: str(x.dtype) for name, x in named(self.x_train).items()}
        if not isinstance(self.x_train, Mapping):
            shapes, dtypes = shapes[""], dtypes[""]
        return {
            "name": self.name,
            "digest": self.digest,
            "train": rows(self.x_train),
            "test": rows(self.x_test),
            "image_shape": shapes,
            "dtype": dtypes,
            "classes": self.classes,
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
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{little.dtype.str} {little.shape}\n".encode())
        digest.update(little.data)
    return digest.hexdigest()


def _frozen_inputs(arrays: dict[str, Array]) -> Inputs:
    if "" in arrays:
        return _frozen(arrays[""])
    return MappingProxyType({name: _frozen(array) for name, array in arrays.items()})


def _frozen(array: Array) -> Array:
    # A view, so that an array which the caller still holds stays writable for the caller.
    view = array.view()
    view.flags.writeable = False
    return view
