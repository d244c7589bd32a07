"""Finding and loading the data set that the user named."""

from __future__ import annotations

import stat
from pathlib import Path

from compressor.data import mnist
from compressor.data.dataset import Dataset
from compressor.data.files import LARGEST_DATASET, unreadable
from compressor.data.idx import read_idx
from compressor.data.inputs import Array
from compressor.data.members import KEYS
from compressor.data.npz import read_npz
from compressor.errors import DataError
from deploy.images.idx import Kind
from deploy.text import clean

EMBEDDED = "mnist"
_HINT = f"{EMBEDDED} is the embedded MNIST"
_WANTED = f"a directory with {', '.join(mnist.FILES)} (raw or .gz), or one .npz file"


def load_dataset(path: Path | str | None) -> Dataset:
    """Load a data set; None is the embedded MNIST, and so is `mnist` where no such file exists.

    `path` is a directory with IDX files under the names of MNIST's (`train-images-idx3-ubyte`
    or `train-images.idx3-ubyte`, raw or with `.gz`; raw is preferred), or a directory with
    exactly one .npz file, or an .npz file with x_train, y_train, x_test and y_test; a model of
    several inputs has x_train/NAME and x_test/NAME.
    Raises DataError when it is missing or cannot be used; see `read_idx`, `read_npz` and
    `compressor.data.checks`.
    """
    if path is None or (str(path) == EMBEDDED and not Path(EMBEDDED).exists()):
        return mnist.load_mnist()
    if not str(path):
        raise DataError("path of the data set is empty", hint=_HINT)
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError("data set does not exist", value=path, hint=_HINT) from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    try:
        return _load_directory(path) if stat.S_ISDIR(mode) else _load_npz(path)
    except MemoryError as error:
        raise DataError("data set does not fit into memory", value=path) from error


def _load_directory(directory: Path) -> Dataset:
    try:
        # Hidden files are left out: some systems put a ._data.npz beside data.npz.
        names = sorted(p.name for p in directory.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise unreadable(directory, error) from error
    found = {wanted: _find(directory, wanted, names) for wanted in mnist.FILES}
    missing = [wanted for wanted, file in found.items() if file is None]
    if not missing:
        return _load_idx(directory, [file for file in found.values() if file is not None])
    if len(missing) < len(found):
        raise DataError(
            f"data set lacks {', '.join(missing)}",
            value=directory,
            hint="put the missing files there, raw or as .gz",
        )
    archives = [name for name in names if name.lower().endswith(".npz")]
    if len(archives) > 1:
        raise DataError(
            "directory holds several .npz files",
            value=f"{directory} ({clean(', '.join(archives))})",
            hint="name one of them",
        )
    if not archives:
        raise DataError("directory holds no data set", value=directory, hint=f"give {_WANTED}")
    return _load_npz(directory / archives[0])


def _find(directory: Path, wanted: str, names: list[str]) -> Path | None:
    """The file of the directory that is MNIST's `wanted`, or None."""
    dotted = wanted.replace("-idx", ".idx")
    there = [
        directory / name
        for name in (wanted, dotted, f"{wanted}.gz", f"{dotted}.gz")
        if name in names
    ]
    # Some archives unpack to a directory NAME beside a file NAME with a dot, so a regular
    # file goes first; without one, the reader says what is wrong with the other thing.
    return next((file for file in there if file.is_file()), there[0] if there else None)


def _load_idx(directory: Path, files: list[Path]) -> Dataset:
    room = LARGEST_DATASET
    arrays: list[Array] = []
    for file, name in zip(files, mnist.FILES, strict=True):
        kind: Kind = "images" if "images" in name else "labels"
        arrays.append(read_idx(file, kind, room))
        room -= arrays[-1].nbytes
    x_train, y_train, x_test, y_test = map(str, files)
    return Dataset.from_arrays(
        directory.resolve().name, *arrays, places=(x_train, y_train, x_test, y_test)
    )


def _load_npz(path: Path) -> Dataset:
    if path.suffix.lower() != ".npz":
        raise DataError(
            "data set is neither a directory nor an .npz file", value=path, hint=f"give {_WANTED}"
        )
    x_train, y_train, x_test, y_test = (f"{key} in {path}" for key in KEYS)
    arrays = read_npz(path)
    return Dataset.from_arrays(
        path.stem,
        *(arrays[key] for key in KEYS),
        sample_weights=arrays["w_train"],
        places=(x_train, y_train, x_test, y_test),
    )
