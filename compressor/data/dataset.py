"""A data set in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from compressor.data.checks import Array, Labels, as_images, as_labels, check_agreement
from compressor.errors import DataError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels to train on, and others to test on.

    x_train, x_test: (n, ...) uint8 as stored (0..255), or float32 as stored. y_train,
    y_test: (n,) int64. `digest` is the sha256 of the four arrays (`array_digest`): the same
    data has the same digest whatever file it came from. Made by `from_arrays`, the arrays
    are read-only, since writing to them would make the digest a lie.
    """

    name: str
    x_train: Array
    y_train: Labels
    x_test: Array
    y_test: Labels
    digest: str

    @classmethod
    def from_arrays(
        cls,
        name: str,
        x_train: Array,
        y_train: Array,
        x_test: Array,
        y_test: Array,
        *,
        places: tuple[str, str, str, str] = ("x_train", "y_train", "x_test", "y_test"),
    ) -> Dataset:
        """Check and convert four arrays (`compressor.data.checks`) and digest them.

        `places` names the arrays in messages. Raises DataError when one cannot be used, or
        when they do not fit each other.
        """
        x_train = _frozen(as_images(x_train, places[0]))
        y_train = _frozen(as_labels(y_train, places[1]))
        x_test = _frozen(as_images(x_test, places[2]))
        y_test = _frozen(as_labels(y_test, places[3]))
        check_agreement(x_train, y_train, x_test, y_test)
        digest = array_digest(x_train, y_train, x_test, y_test)
        return cls(name, x_train, y_train, x_test, y_test, digest)

    @property
    def classes(self) -> int:
        """The number of classes: the largest label of both sets, plus one."""
        return int(max(self.y_train.max(), self.y_test.max())) + 1

    def describe(self) -> dict[str, Any]:
        """What a report says about the data set; fit for JSON."""
        return {
            "name": self.name,
            "digest": self.digest,
            "train": len(self.x_train),
            "test": len(self.x_test),
            "image_shape": list(self.x_train.shape[1:]),
            "dtype": str(self.x_train.dtype),
            "classes": self.classes,
        }

    def split(self, validation: int, seed: int) -> tuple[Indices, Indices]:
        """Indices into the training set: (to train on, to validate on), int64, both sorted.

        The first `validation` of `default_rng(seed).permutation(n)` are to validate on; none
        is in both, and all are in one. Raises DataError unless 0 <= validation < n.
        """
        count = len(self.x_train)
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
    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"{little.dtype.str} {little.shape}\n".encode())
        digest.update(little.data)
    return digest.hexdigest()


def _frozen(array: Array) -> Array:
    # A view, so that an array which the caller still holds stays writable for the caller.
    view = array.view()
    view.flags.writeable = False
    return view
