"""Reading folders of pictures, a subfolder a class, in the order of Keras and with its sizes."""

from __future__ import annotations

import dataclasses
import itertools
import os
import stat
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.found import Asked, Found, found_in, planned
from compressor.data.inputs import listed
from compressor.data.stored import Spool
from compressor.data.streams import reason_of
from compressor.errors import DataError
from compressor.foundation import quiet_tensorflow

LARGEST_PICTURE = 10**8
"""Pixels that a picture may have, whatever its file says."""
_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_SUFFIXES = "PNG, JPEG, BMP or GIF"
_MOST_CLASSES = 65536
_BATCH = 32
_COLORED = (".bmp", ".gif")
_CHANNELS = (1, 3, 4)
_GREY = {"1", "L", "LA", "I", "I;16", "F"}
"""modes of pictures without colours"""


def read_pictures(parts: Mapping[str, Path], asked: Asked, folder: Path) -> Found:
    """Read the pictures of each part, a subfolder a class, whose name becomes a label.

    They become uint8 (n, height, width, channels) of the size and channels of `asked.size`; what
    it leaves open is the one size of all, and one channel where none of them has colours, else
    three. The parts are train, test and val (`planned`). Hidden files and folders are left out, and
    linked folders inside those of the classes; a link to a folder that is in the data set already
    is no class, as a note says. Raises DataError, naming the pictures that cannot be read, and for
    a class without pictures to train on; a class without pictures to test on is in the notes.
    """
    asked.only("a folder of pictures", "resize")
    indexed = {part: _Part(path, folder) for part, path in parts.items()}
    labels = tuple(sorted({name for part in indexed.values() for name in part.classes}))
    if len(labels) > _MOST_CLASSES:
        raise DataError("there are too many classes", value=len(labels))
    size, channels = _size(indexed, asked)
    plan, notes = planned(indexed)
    if links := [link for part in indexed.values() for link in part.links]:
        left = listed(str(link.relative_to(folder)) for link in links)
        notes += (f"left out, as links to what the data set has already: {left}",)
    found: dict[str, Any] = {"x_test": None, "y_test": None, "w_train": None}
    for name, each in plan.items():
        spool = Spool()
        for part in each:
            part.write(spool, labels, size, channels)
        arrays = spool.finish()
        notes += spool.notes(arrays)
        counts = np.bincount(np.asarray(arrays["y"]), minlength=len(labels))
        missing = [label for label, count in zip(labels, counts, strict=True) if not count]
        if missing and name == "train":
            raise DataError(
                "there is no picture to train on of a class",
                value=f"{listed(missing)} in {folder}",
                hint="add pictures, or remove the class from the other part",
            )
        if missing:
            notes += (f"no picture to test on of {listed(missing)}",)
        found |= {f"x_{name}": arrays["x"], f"y_{name}": arrays["y"]}
    shown = found_in(found, folder.resolve().name, folder)
    return dataclasses.replace(shown, labels=labels, notes=notes)


class _Part:
    """The pictures of one part."""

    def __init__(self, folder: Path, whole: Path) -> None:
        self.folder = folder
        found = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        self.links = _doubles(found, whole.resolve())
        pictures = {path.name: _pictures(path) for path in found if path not in self.links}
        self.classes = tuple(pictures)
        self.paths = [path for each in pictures.values() for path in each]
        self.numbers = np.repeat(np.arange(len(pictures)), [*map(len, pictures.values())])
        if not self.paths:
            raise DataError(
                "the folder has no subfolders of pictures",
                value=self.folder,
                hint=f"give each class a subfolder of {_SUFFIXES} files",
            )
        self.sizes, self.modes, bad = [], [], []
        for path in self.paths:
            size, mode = _header(path)
            self.sizes.append(size)
            self.modes.append(mode)
            if size is None:
                bad.append(path)
        if bad:
            raise self._unreadable(bad)

    def write(self, spool: Spool, labels: Sequence[str], size: Any, channels: int) -> None:
        """Add the pictures to `spool`, as x and y."""
        tensorflow, _ = quiet_tensorflow.load()
        numbers = np.array([labels.index(name) for name in self.classes], np.int64)
        # TensorFlow reads these in colour only.
        colored = channels == 1 and any(path.suffix.lower() in _COLORED for path in self.paths)
        try:
            batches = self._dataset(size, 3 if colored else channels)
            for start, pictures in zip(itertools.count(0, _BATCH), batches, strict=False):
                classes = self.numbers[start : start + _BATCH]
                if colored:
                    pictures = tensorflow.image.rgb_to_grayscale(pictures)
                pictures = np.clip(np.rint(pictures), 0, 255).astype(np.uint8)
                spool.append({"x": pictures, "y": numbers[classes]})
        except tensorflow.errors.OpError as error:
            if bad := [path for path in self.paths if not _decodes(path)]:
                raise self._unreadable(bad) from error
            raise DataError(
                "a picture cannot be read",
                value=f"in {self.folder} ({reason_of(error)})",
                hint="save them as PNG or JPEG",
            ) from error

    def _dataset(self, size: tuple[int, int], channels: int) -> Any:
        """Batches of the pictures, float32, as `image_dataset_from_directory` of Keras reads."""
        tensorflow, _ = quiet_tensorflow.load()

        def read(path: Any) -> Any:
            content = tensorflow.io.read_file(path)
            picture = tensorflow.io.decode_image(content, channels, expand_animations=False)
            return tensorflow.image.resize(picture, size)

        paths = tensorflow.data.Dataset.from_tensor_slices(
            [os.fsencode(path) for path in self.paths]
        )
        return paths.map(read, num_parallel_calls=tensorflow.data.AUTOTUNE).batch(_BATCH)

    def _unreadable(self, bad: Sequence[Path]) -> DataError:
        names = listed(str(path.relative_to(self.folder)) for path in bad)
        return DataError(
            f"{len(bad)} of {len(self.paths)} pictures cannot be read",
            value=f"{names} in {self.folder}",
            hint=f"remove them, or save them as {_SUFFIXES} of at most {LARGEST_PICTURE:,} pixels",
        )


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a class, by folder and name; those whose names begin with a dot are none."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        shown = [name for name in names if not name.startswith(".")]
        found.append((root, sorted(name for name in shown if name.lower().endswith(_ENDINGS))))
    return [Path(root, name) for root, names in sorted(found) for name in names]


def _doubles(folders: Sequence[Path], whole: Path) -> list[Path]:
    """Those that are links into the resolved folder `whole`, to one around it, or to one twice."""
    found, targets = [], set()
    for path in folders:
        if not path.is_symlink():
            continue
        target = path.resolve()
        inside = target.is_relative_to(whole) or whole.is_relative_to(target)
        if inside or target in targets:
            found.append(path)
        targets.add(target)
    return found


def _size(parts: Mapping[str, _Part], asked: Asked) -> tuple[tuple[int, int], int]:
    """((height, width), channels) of the pictures."""
    height, width, channels = asked.size()
    first = next(iter(parts.values()))
    if channels is None:
        modes = {mode for part in parts.values() for mode in part.modes}
        channels = 1 if modes <= _GREY else 3
    if channels not in _CHANNELS:
        raise DataError("pictures have 1, 3 or 4 channels", value=channels)
    if height is None or width is None:
        sizes = {size for part in parts.values() for size in part.sizes}
        if len(sizes) > 1:
            few = ", ".join("x".join(map(str, size)) for size in sorted(sizes)[:3])
            hint = "give --resize HEIGHTxWIDTH"
            raise DataError("the pictures have different sizes", value=few, hint=hint)
        height, width = first.sizes[0]
    return (height, width), channels


def _header(path: Path) -> tuple[Any, str]:
    """((height, width), mode) of a picture; (None, "") where it cannot be read, or is too large."""
    from PIL import Image

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None, ""
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
            width, height = picture.size
            fits = 0 < width * height <= LARGEST_PICTURE
            return ((height, width), picture.mode) if fits else (None, "")
    except Exception:  # Pillow raises many kinds for files that are no pictures
        return None, ""


def _decodes(path: Path) -> bool:
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
            picture.load()
    except Exception:  # Pillow raises many kinds for files that are no pictures
        return False
    return True
