"""Rows that stay on the disk until they are asked for, and what writes them there."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.inputs import Array
from compressor.errors import DataError
from compressor.foundation import storage_errors

MOST_IN_MEMORY = 256 * 2**20
"""Bytes up to which rows are read as an array; more of them stay on the disk."""
_ROOM_LEFT = 256 * 2**20
_PART = 8 * 2**20


class StoredRows:
    """An array (n, ...) in a file, or some of its rows, read by a slice or an array of indices.

    What is read is an array in memory up to `MOST_IN_MEMORY` bytes, else again a `StoredRows`. The
    file is mapped for each reading only, so what was read is not kept. Pickled, it is its path:
    another process of the same machine reads the same file.
    """

    def __init__(
        self,
        path: Path,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        *,
        offset: int = 0,
        index: Array | None = None,
        owner: object = None,
    ) -> None:
        """`shape` is that of the file; `index`, int64, are the rows meant; `owner` keeps it."""
        self._file = (path, np.dtype(dtype), tuple(shape), offset)
        self._index = index
        self._owner = owner
        self.dtype = np.dtype(dtype)
        self.shape = (shape[0] if index is None else len(index), *shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of all values."""
        return self.size * self.dtype.itemsize

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            chosen = np.arange(*index.indices(len(self)))
        elif np.ndim(index) == 0:
            return self[[index]][0]
        else:
            chosen = np.asarray(index)
            chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        wanted = chosen if self._index is None else self._index[chosen]
        if len(wanted) > 1 and len(wanted) * self._row > MOST_IN_MEMORY:
            path, dtype, shape, offset = self._file
            return StoredRows(path, dtype, shape, offset=offset, index=wanted, owner=self._owner)
        return self._read(wanted)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """All rows in memory."""
        rows = np.arange(self._file[2][0]) if self._index is None else self._index
        return self._read(rows).astype(dtype or self.dtype, copy=False)

    def __reduce__(self) -> Any:
        return _again, (self._file, self._index)

    def parts(self) -> Iterator[Array]:
        """All rows, in arrays of a few megabytes."""
        step = max(min(_PART, MOST_IN_MEMORY) // self._row, 1)
        for start in range(0, len(self), step):
            yield self[start : start + step]

    def min(self) -> Any:
        """The smallest value, NaN where there is one."""
        return np.min([part.min() for part in self.parts()])

    def max(self) -> Any:
        """The largest value, NaN where there is one."""
        return np.max([part.max() for part in self.parts()])

    @property
    def _row(self) -> int:
        return max(math.prod(self.shape[1:]) * self.dtype.itemsize, 1)

    def _read(self, rows: Array) -> Array:
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        step = max(_PART // self._row, 1)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            # Mapped anew: what was touched counts as memory of the process until it is unmapped.
            found[part] = self._mapped()[rows[part]]
        return found

    def _mapped(self) -> Array:
        path, dtype, shape, offset = self._file
        try:
            return np.asarray(np.memmap(path, dtype, "r", offset, shape))
        except (OSError, ValueError) as error:
            raise DataError(
                "the rows of the data set are not there any more", value=f"{path} ({error})"
            ) from error


def _again(file: tuple[Any, ...], index: Array | None) -> StoredRows:
    path, dtype, shape, offset = file
    return StoredRows(path, dtype, shape, offset=offset, index=index)


def parts_of(array: Any) -> Iterator[Array]:
    """An array whole, or the rows of a `StoredRows` in parts."""
    if isinstance(array, StoredRows):
        yield from array.parts()
    else:
        yield array


def is_large(array: Any) -> bool:
    """Whether an array should not be copied whole."""
    return isinstance(array, StoredRows) or array.nbytes > MOST_IN_MEMORY


def contiguous(array: Any, dtype: Any) -> Any:
    """The array C-contiguous and of `dtype`; rows on the disk that have it stay there."""
    if isinstance(array, StoredRows) and array.dtype == dtype:
        return array
    return np.ascontiguousarray(array, dtype=dtype)


class Spool:
    """Writes arrays whose number of rows is not known before, batch by batch, to the disk.

    They lie in a private folder in that for temporary files, which is removed with the last array
    in it, at the latest when the process ends. Raises DataError where the disk has no room.
    """

    def __init__(self) -> None:
        with storage_errors():
            self.folder = Path(tempfile.mkdtemp(prefix="compressor-data-"))
        weakref.finalize(self, _remove, self.folder, os.getpid())
        self.bytes = 0
        self._kinds: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._rows: dict[str, int] = {}

    def append(self, batch: Mapping[str, Array]) -> None:
        """Add the rows of a batch, each array (rows, ...) of the dtype and shape of the first."""
        kinds = {name: (array.dtype, array.shape[1:]) for name, array in batch.items()}
        self._kinds = self._kinds or kinds
        if kinds != self._kinds:
            shown = (
                ", ".join(f"{dtype} {shape}" for dtype, shape in each.values())
                for each in (kinds, self._kinds)
            )
            raise DataError(
                "the rows of the data set are not alike",
                value=" after ".join(shown),
                hint="all batches need the same arrays, of one shape and type",
            )
        size = sum(array.nbytes for array in batch.values())
        with storage_errors(self.folder):
            free = shutil.disk_usage(self.folder).free
            if free < size + _ROOM_LEFT:
                raise DataError(
                    "the disk has no room for the data set",
                    value=f"{self.folder}, {self.bytes // 2**20:,} MiB written",
                    hint="use fewer examples, or set TMPDIR to a folder with more room",
                )
            for number, (name, array) in enumerate(batch.items()):
                with open(self.folder / str(number), "ab") as file:
                    file.write(np.ascontiguousarray(array).data)
                self._rows[name] = self._rows.get(name, 0) + len(array)
        self.bytes += size

    def finish(self) -> dict[str, Any]:
        """The arrays by name: on the disk where all together are over `MOST_IN_MEMORY` bytes."""
        found = {}
        for number, (name, (dtype, shape)) in enumerate(self._kinds.items()):
            rows = (self._rows[name], *shape)
            found[name] = StoredRows(self.folder / str(number), dtype, rows, owner=self)
        if self.bytes > MOST_IN_MEMORY:
            return found
        return {name: np.asarray(array) for name, array in found.items()}

    def notes(self, arrays: Mapping[str, Any]) -> tuple[str, ...]:
        """A line on the data that are kept on the disk, of what `finish` gave."""
        if not any(isinstance(array, StoredRows) for array in arrays.values()):
            return ()
        size = f"{self.bytes / 2**30:.1f} GiB"
        return (f"{size} of data are kept in {self.folder} until this process ends",)


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # a fork must not remove what its parent reads
        shutil.rmtree(folder, ignore_errors=True)


def storable(array: Array, where: str, key: str) -> Array:
    """A batch in the type that a data set keeps it in: uint8, int32, int64 (n,) or float32.

    bools become uint8, but of inputs, whose `key` begins with x, float32: bytes are scaled. Raises
    DataError for integers that do not fit, and for any other type; values too large for float32
    become infinite, which a data set refuses.
    """
    if array.dtype.kind == "b" and key.startswith("x"):
        return np.asarray(array, np.float32)
    if array.dtype.kind == "b" or array.dtype == np.uint8:
        return np.asarray(array, np.uint8)
    if array.dtype.kind in "ui":
        dtype: Any = np.int64 if array.ndim == 1 else np.int32
        limits = np.iinfo(dtype)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise DataError("integers do not fit into int32", value=where)
        return np.asarray(array, dtype)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.asarray(array, np.float32)
    raise DataError("array has a type that cannot be used", value=f"{where} is {array.dtype}")
