"""Finding and loading the data set that the user named."""

from __future__ import annotations

import dataclasses
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compressor.data import mnist, npy, pictures, records, streams, tables
from compressor.data.dataset import Dataset
from compressor.data.files import LARGEST_DATASET, open_regular, unreadable
from compressor.data.found import Asked, Found, found_in
from compressor.data.idx import read_idx
from compressor.data.inputs import Array
from compressor.data.members import KEYS
from compressor.data.npz import read_npz
from compressor.errors import DataError, UsageError
from compressor.foundation import several
from deploy.images.idx import Kind
from deploy.text import clean

EMBEDDED = "mnist"
_HINT = f"{EMBEDDED} is the embedded MNIST"
_WANTED = (
    f"a directory with {', '.join(mnist.FILES)} (raw or .gz), an .npz, .npy, CSV, Parquet or "
    "TFRecord file, a saved tf.data dataset, or a folder with a subfolder of pictures a class"
)


def load_dataset(
    source: Any = None,
    *,
    x: str | Sequence[str] = (),
    y: str | Sequence[str] = (),
    label: str | Sequence[str] = (),
    features: str | None = None,
    resize: tuple[int, ...] | None = None,
    test: float | None = None,
    sizes: Callable[[], tuple[int | None, ...] | None] | None = None,
) -> Dataset:
    """Load a data set; None is the embedded MNIST, and so is `mnist` where no such file exists.

    A path is told apart by content:

    - a directory with IDX files under the names of MNIST's (`train-images-idx3-ubyte` or
      `train-images.idx3-ubyte`, raw or with `.gz`; raw is preferred);
    - an .npz file, or .npy files in a directory, or one .npy file, with x_train, y_train, x_test
      and y_test; `KEY/NAME` for several inputs or outputs; or with `x` and maybe `y`; or with the
      keys `x` and `y` that are given, two each where the test part has its own;
    - a folder of pictures, a subfolder a class, or such folders named train and test or val
      (`read_pictures`), with the size and channels `resize`, else those of the shape that `sizes`
      gives, such as `lambda: model.input_shape[1:]`, else their own;
    - a CSV or Parquet file whose columns `label` are the targets (`read_table`);
    - what `tf.data.Dataset.save` wrote, or TFRecord files with `features` (`read_records`).

    In Python `source` is also a `tf.data.Dataset`, a `keras.utils.PyDataset`, a generator of
    batches, a tuple (x, y) or (x, y, sample weights), or a dict of x_train and so on, or of a
    source as `train` and another as `test` (`from_python`). Without a test part, the fraction
    `test` (0.2) is set aside for it, and `notes` of the data set say so. Large sets are kept on the
    disk (`StoredRows`). Raises DataError for one that is missing or cannot be used, and UsageError
    for an option that has no effect.
    """
    asked = Asked(several(x), several(y), several(label), features, resize, test, sizes)
    if source is None or (str(source) == EMBEDDED and not Path(EMBEDDED).exists()):
        asked.only("the embedded MNIST")
        if test is not None:
            raise UsageError("--test has no effect: MNIST has a test part", value=test)
        return mnist.load_mnist()
    if not isinstance(source, (str, Path)):
        return streams.from_python(source, asked).dataset(test)
    if not str(source):
        raise DataError("path of the data set is empty", hint=_HINT)
    path = Path(source)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError("data set does not exist", value=path, hint=_HINT) from error
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    try:
        found = _directory(path, asked) if stat.S_ISDIR(mode) else _file(path, asked)
        return found.dataset(test)
    except MemoryError as error:
        raise DataError("data set does not fit into memory", value=path) from error


def _file(path: Path, asked: Asked) -> Found:
    with open_regular(path) as (file, size):
        start = file.read(16)
        is_record = records.begins_record(start, size)
    if start.startswith(b"PK") or path.suffix.lower() == ".npz":
        return _npz(path, asked)
    if start.startswith(npy.MAGIC):
        return npy.read_npy([path], asked, (path.stem,))
    if start.startswith(b"PAR1") or path.suffix.lower() in (".csv", ".tsv") or asked.label:
        return tables.read_table({"train": path}, asked)
    if is_record:
        return records.read_records({"train": [path]}, asked)
    raise DataError("the file holds no data set that is known", value=path, hint=f"give {_WANTED}")


def _directory(directory: Path, asked: Asked) -> Found:
    try:
        # Hidden files are left out: some systems put a ._data.npz beside data.npz.
        names = sorted(p.name for p in directory.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise unreadable(directory, error) from error
    found = {wanted: _find(directory, wanted, names) for wanted in mnist.FILES}
    missing = [wanted for wanted, file in found.items() if file is None]
    if not missing:
        return _idx(directory, [file for file in found.values() if file is not None], asked)
    if len(missing) < len(found):
        raise DataError(
            f"data set lacks {', '.join(missing)}",
            value=directory,
            hint="put the missing files there, raw or as .gz",
        )
    if streams.SAVED in names:
        return streams.read_saved({"train": directory}, asked)
    if archives := _ending(directory, names, ".npz"):
        if len(archives) > 1:
            raise DataError(
                "directory holds several .npz files",
                value=f"{directory} ({clean(', '.join(path.name for path in archives))})",
                hint="name one of them",
            )
        return _npz(archives[0], asked)
    if arrays := _ending(directory, names, ".npy"):
        return npy.read_npy(arrays, asked)
    folders = [directory / name for name in names if (directory / name).is_dir()]
    files = _ending(directory, names, ".csv", ".tsv", ".parquet")
    if files and (asked.label or not folders):  # pictures may have a table beside them
        return tables.read_table(_parts(files), asked)
    if files := _record_files(directory, names, asked):
        return records.read_records(_record_parts(files), asked)
    if folders:
        kinds = {_part(path) for path in folders}
        # A class may be called train.
        named = "train" in kinds and (kinds & {"test", "val"} or len(folders) == 1)
        parts = _parts(folders) if named else {"train": directory}
        if all((path / streams.SAVED).exists() for path in parts.values()):
            return streams.read_saved(parts, asked, directory)
        return pictures.read_pictures(parts, asked, directory)
    raise DataError("directory holds no data set", value=directory, hint=f"give {_WANTED}")


def _record_files(directory: Path, names: Sequence[str], asked: Asked) -> list[Path]:
    """Those named .tfrecord, maybe with the number of a shard; with --features all of records."""
    files = [directory / name for name in names if (directory / name).is_file()]
    named = [path for path in files if _RECORDS.search(path.name.lower())]
    return named or [path for path in files if asked.features and _holds_records(path)]


def _holds_records(path: Path) -> bool:
    with open_regular(path) as (file, size):
        return records.begins_record(file.read(16), size)


_RECORDS = re.compile(r"\.tfrecords?(-\d+-of-\d+)?$")


def _ending(directory: Path, names: Sequence[str], *suffixes: str) -> list[Path]:
    return [directory / name for name in names if name.lower().endswith(suffixes)]


_PART = re.compile(r"(train|training|test|testing|val|valid|validation)(?![a-z]).*", re.I)
_MEANT = {"training": "train", "testing": "test", "valid": "val", "validation": "val"}


def _part(path: Path) -> str | None:
    """`train`, `test` or `val`, where a file or folder is named so."""
    match = _PART.fullmatch(path.name)
    return None if match is None else _MEANT.get(match[1].lower(), match[1].lower())


def _parts(paths: Sequence[Path]) -> dict[str, Path]:
    """The file or folder of each part; one alone is to be split."""
    if len(paths) == 1:
        return {"train": paths[0]}
    found = {part: path for path in paths if (part := _part(path))}
    if "train" not in found or len(found) != len(paths) or len(found) < 2:
        shown = ", ".join(path.name for path in paths[:10])
        raise DataError(
            "which of these is the training part, and which the test part, is not known",
            value=f"{paths[0].parent} ({clean(shown)})",
            hint="name them train and test or val, or give one of them",
        )
    return found


def _record_parts(files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files of each part: those that are named train, test or val, else all in one."""
    found: dict[str, list[Path]] = {}
    for path in files:
        found.setdefault(_part(path) or "", []).append(path)
    if "" in found or "train" not in found:
        return {"train": list(files)}
    return found


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


def _idx(directory: Path, files: list[Path], asked: Asked) -> Found:
    asked.only("IDX files")
    room = LARGEST_DATASET
    arrays: list[Array] = []
    for file, name in zip(files, mnist.FILES, strict=True):
        kind: Kind = "images" if "images" in name else "labels"
        arrays.append(read_idx(file, kind, room))
        room -= arrays[-1].nbytes
    found = found_in(dict(zip(KEYS, arrays, strict=True)), directory.resolve().name, directory)
    x_train, y_train, x_test, y_test = map(str, files)
    return dataclasses.replace(found, places=(x_train, y_train, x_test, y_test))


def _npz(path: Path, asked: Asked) -> Found:
    asked.only("an .npz file", "x", "y")
    return found_in(read_npz(path, asked.x, asked.y), path.stem, path)
