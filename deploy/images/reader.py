"""Reading files of examples as the stored rows that a model was trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.artifact import Artifact
from deploy.artifact_parts import InputRule, Port
from deploy.errors import ArtifactError, RequestError
from deploy.images.headers import idx_shape, png_size

if TYPE_CHECKING:
    from deploy.vectors import CheckVectors

_NPY, _ZIP, _GZIP, _PNG = b"\x93NUMPY", b"PK", b"\x1f\x8b", b"\x89PNG"
_BYTES = 255
_MOST_PIXELS = 2**24
_MOST_CHANNELS = 4


class TooManyExamplesError(RequestError):
    """More or larger examples than allowed at once."""


class ExampleReader:
    """Reads examples for one artefact from files whose content tells their format.

    PNG pictures; IDX files, raw or gzipped; .npy of one example or of n; .npz of arrays (n, ...) by
    the names of the artefact's sources. Pictures, and other arrays of uint8 with rows and columns,
    are fitted: colour and grey are converted; another size is refused or, with `resize`, resized by
    the means of areas; `invert` is for dark on light pictures if the model knows light on dark. The
    limits are `most_pixels` of a PNG picture, `most_bytes` unpacked or computed from another file,
    `most_examples` in a file. Headers are checked against the limits and the model's input before
    anything is unpacked.
    """

    def __init__(
        self,
        artifact: Artifact,
        vectors: Callable[[], CheckVectors],
        *,
        resize: bool = False,
        invert: bool = False,
        most_pixels: int = _MOST_PIXELS,
        most_bytes: int = 2**30,
        most_examples: int | None = None,
    ) -> None:
        self._rules = artifact.preprocessing
        self._resize, self._invert = resize, invert
        self._most_pixels, self._most_bytes = most_pixels, most_bytes
        self._most_examples = most_examples
        self._ports = {port.name: port for port in artifact.inputs}
        self._vectors = vectors
        self._ranges: dict[str, str] = {}

    def read(self, content: bytes, where: object) -> Mapping[str, np.ndarray]:
        """The stored arrays, (n, ...) by their sources, in the bytes of a file.

        `where` names it in messages. Raises RequestError for an unknown format, damaged content,
        NaN or infinity, and examples that do not fit the model's input; TooManyExamplesError for
        too many.
        """
        try:
            if content.startswith(_ZIP):
                from deploy.arrays import decode_arrays

                arrays = decode_arrays(content, where)
                for array in arrays.values():
                    self._check_count(array.shape[0] if array.ndim else 0, where)
                    self._check_numbers(array, where)
                return self._named(arrays, where)
            return {self._rule(where).source: self._rows(content, where)}
        except ArtifactError as error:
            raise RequestError(error.what, value=error.value, hint=error.hint) from error

    def _named(self, arrays: Mapping[str, np.ndarray], where: object) -> dict[str, np.ndarray]:
        """The arrays of an .npz file: that of one input as one of an .npy, of several the rows."""
        if len(self._rules) == len(arrays) == 1:
            ((name, array),) = arrays.items()
            asked = self._invert or self._resize or _picture_shape(self._rules[0].shape)
            return {name: self._arranged(array, where) if asked and array.size else array}
        if self._invert or self._resize:
            what = "arrays of several inputs cannot be inverted or resized"
            raise RequestError(what, value=where)
        found = dict(arrays)
        for rule in self._rules:
            array = found.get(rule.source, np.zeros(0))
            # Numbers of a row that is no picture are what they are.
            pixels = array.size and array.dtype == np.uint8 and _picture_shape(rule.shape)
            if pixels and not self._are_bits(array, rule):
                found[rule.source] = self._as_stored(array, f"{where}, {rule.source}", rule)
        return found

    def _rule(self, where: object) -> InputRule:
        if len(self._rules) != 1:
            names = ", ".join(rule.source for rule in self._rules)
            raise RequestError(
                "the model has several inputs",
                value=f"{where} is for one; they are {names}",
                hint="give an .npz file with an array for each",
            )
        return self._rules[0]

    def _rows(self, content: bytes, where: object) -> np.ndarray:
        if content.startswith(_PNG):
            from deploy.images.colours import to_bytes
            from deploy.images.png import decode_png

            size = png_size(content)
            if size is not None:
                self._target(size, where)
            picture = to_bytes(decode_png(content, where, self._most_pixels))
            return self._fitted(picture[None], where)
        pixels = False
        if content.startswith(_NPY):
            from deploy.arrays import decode_array

            array = decode_array(content, where)
        elif content.startswith((b"\0\0", _GZIP)):
            array, pixels = self._idx(content, where), True
        else:
            raise RequestError(
                "not a PNG, IDX, .npy or .npz file",
                value=f"{where} (begins with {content[:4].hex() or 'nothing'})",
            )
        if not array.size:
            raise RequestError("the file has no examples", value=f"{where} (shape {array.shape})")
        self._check_shape(array.shape, where)
        self._check_numbers(array, where)
        return self._arranged(array, where, pixels=pixels)

    def _idx(self, content: bytes, where: object) -> np.ndarray:
        import io

        from deploy.images.idx import OversizeError, decode_idx

        self._check_shape(idx_shape(content), where)
        try:
            return decode_idx(io.BytesIO(content), len(content), where, limit=self._most_bytes)
        except OversizeError as error:
            raise TooManyExamplesError(error.what, value=error.value) from error

    def _check_shape(self, shape: tuple[int, ...], where: object) -> None:
        """Refuse too many examples, or far larger ones than the model takes."""
        row = self._rules[0].shape
        one = _is_one(shape, row) or _is_picture(shape, _picture_shape(row))
        count = 1 if one or not shape else shape[0]
        self._check_count(count, where)
        if self._most_examples is None or self._resize or None in row:
            return
        # Only a guard of memory; whether they fit is checked later.
        most = count * _MOST_CHANNELS * math.prod(size or 0 for size in row)
        if math.prod(shape) > most:
            raise RequestError(
                "the examples are larger than the model takes",
                value=f"{where} has {list(shape if one else shape[1:])}, it takes {list(row)}",
            )

    def _check_count(self, count: int, where: object) -> None:
        if self._most_examples is not None and count > self._most_examples:
            raise TooManyExamplesError(
                f"more than {self._most_examples:,} examples at once",
                value=f"{where} has {count:,}",
            )

    def _check_numbers(self, array: np.ndarray, where: object) -> None:
        """Refuse NaN, infinity, and what would overflow the type of the model's inputs."""
        if array.dtype.kind != "f":
            return
        if all(port.dtype != "float64" for port in self._ports.values()):
            with np.errstate(over="ignore"):
                array = array.astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise RequestError("the examples hold NaN or infinity", value=where)

    def _arranged(self, array: np.ndarray, where: object, *, pixels: bool = False) -> np.ndarray:
        """An array as rows (n, ...); pictures are fitted. `pixels` are never bits."""
        shape = self._rules[0].shape
        if _is_one(array.shape, shape):
            array = array[None]
        wanted = _picture_shape(shape)
        asked = pixels or self._invert or self._resize
        if not asked and self._are_bits(array, self._rules[0]):
            return array
        if array.dtype == np.uint8 and wanted is not None:
            if _may_be_planes(array.shape, wanted):
                grey = [*array.shape, 1]
                raise RequestError(
                    "this may be one picture in another layout, or several grey pictures",
                    value=f"{where} has {list(array.shape)}, the model takes {list(shape)}",
                    hint=f"put channels last, or give grey pictures as {grey}",
                )
            pictures = _pictures(array, wanted)
            if pictures is not None:
                return self._fitted(pictures, where)
        if self._invert or self._resize:
            raise RequestError(
                "only pictures of uint8 can be inverted or resized",
                value=f"{where} ({array.dtype} {array.shape})",
            )
        rule = self._rules[0]
        return self._as_stored(array, where, rule) if array.dtype == np.uint8 else array

    def _fitted(self, pictures: np.ndarray, where: object) -> np.ndarray:
        """Pictures uint8 (n, h, w, c) as the rows that the model takes."""
        from deploy.images.colours import resized, with_channels

        height, width, channels = self._target(pictures.shape[1:3], where, pictures.shape[3])
        if pictures.shape[1:3] != (height, width):
            needed = 4 * max(pictures.size, len(pictures) * height * pictures.shape[2])
            if needed > self._most_bytes:
                raise RequestError(
                    "too much to resize at once", value=f"{where} needs {needed:,} bytes"
                )
            fitted = resized(with_channels(pictures, channels), height, width)
        else:
            fitted = with_channels(pictures, channels)
        if self._invert:
            colours = slice(0, 3)  # not alpha
            fitted = np.concatenate([_BYTES - fitted[..., colours], fitted[..., 3:]], axis=3)
        return self._as_stored(fitted, where, self._rules[0])

    def _target(
        self, size: tuple[int, ...], where: object, channels: int | None = None
    ) -> tuple[int, int, int]:
        """The height, width and channels that the model takes for a picture of this size, (h, w).

        `channels` are the picture's, as far as they are known. Raises RequestError if it takes no
        pictures, or none of this size.
        """
        rule = self._rules[0]
        wanted = _picture_shape(rule.shape) or _flat_shape(rule.shape, size, channels)
        if wanted is None:
            raise RequestError(
                "the model takes no pictures", value=f"{where}; it takes {list(rule.shape)}"
            )
        height, width = wanted[0] or size[0], wanted[1] or size[1]  # an open axis takes any size
        if (height, width) != tuple(size) and not self._resize:
            raise RequestError(
                "the picture has another size than the model takes",
                value=f"{where} is {size[1]} x {size[0]}, the model takes {width} x {height}",
                # A client cannot give a server options.
                hint="start run or serve with --resize",
            )
        return height, width, wanted[2] or 0

    def _are_bits(self, array: np.ndarray, rule: InputRule) -> bool:
        """Whether bytes are 0 or 1 because the model was trained on nothing else."""
        ones = array.dtype == np.uint8 and array.max(initial=0) <= 1
        return bool(ones) and self._range(rule) == "bits"

    def _as_stored(self, values: np.ndarray, where: object, rule: InputRule) -> np.ndarray:
        """Bytes, 0 to 255, in the range that the model was trained on."""
        found = self._range(rule)
        if found == "bytes":
            return values
        if found in ("unit", "bits"):
            return values.astype(np.float32) / np.float32(_BYTES)
        raise RequestError(
            "the model was not trained on pixels",
            value=f"{where}; its check vectors go below zero",
            hint="give an .npy of float32 with numbers like those it was trained on",
        )

    def _range(self, rule: InputRule) -> str:
        """The range of the stored values of an input: bytes, unit (0 to 1), bits, or signed.

        A rule that scales means bytes; without one, the check vectors show it.
        """
        if rule.scale != 1:
            return "bytes"
        if rule.name not in self._ranges:
            known = self._vectors().inputs.get(rule.name)
            self._ranges[rule.name] = _shown_range(self._ports[rule.name], known)
        return self._ranges[rule.name]


def _shown_range(port: Port, known: np.ndarray | None) -> str:
    if known is None or not known.size:
        return "bytes"
    if known.dtype.kind != "f":
        if port.scale is None or port.zero_point is None:
            return "bytes"
        known = (known.astype(np.float32) - port.zero_point) * np.float32(port.scale)
    if known.min() < 0:
        return "signed"
    if known.max() > 1:
        return "bytes"
    return "bits" if np.isin(known, (0, 1)).all() else "unit"


def _is_one(shape: tuple[int, ...], row: tuple[int | None, ...]) -> bool:
    """Whether an array of this shape is one example, not n."""
    if len(shape) == len(row):
        return all(
            wanted in (None, size)
            for size, wanted in zip(shape, row)  # noqa: B905 - Python 3.9
        )
    if len(shape) != 2 or len(row) != 3:
        return False
    # A grey picture without a channel axis, not flat rows.
    return None in row or shape == row[:2] or shape[1] != math.prod(size or 0 for size in row)


def _picture_shape(row: tuple[int | None, ...]) -> tuple[int | None, ...] | None:
    """Height, width and channels of a row that is a picture; None for any other row."""
    if len(row) == 2:
        return (*row, 1)
    return row if len(row) == 3 and row[2] is not None else None


def _flat_shape(
    row: tuple[int | None, ...], size: Any, given: int | None
) -> tuple[int, int, int] | None:
    """The same for a flat row of the values of a picture of this size, and of `given` channels.

    Alpha is taken only from a picture that has it.
    """
    if len(row) != 1 or row[0] is None:
        return None
    channels, rest = divmod(row[0], math.prod(size))
    fits = channels in (1, 3) or (channels == 4 and given in (None, 2, 4))
    return (*size, channels) if fits and not rest else None


def _pictures(array: np.ndarray, wanted: tuple[int | None, ...]) -> np.ndarray | None:
    """Bytes (n, h, w), (n, h, w, c) or (h, w, c) as (n, h, w, c); None for other shapes."""
    if array.ndim == 4:
        return array if array.shape[3] <= 4 else None
    if array.ndim != 3:
        return None
    return array[None] if _is_picture(array.shape, wanted) else array[..., None]


def _is_picture(shape: tuple[int, ...], wanted: tuple[int | None, ...] | None) -> bool:
    """Whether an array of this shape, (h, w, c), is one colour picture, not n grey ones."""
    return (
        wanted is not None and len(shape) == 3 and shape[2] in (1, 3, 4) and shape[2] != wanted[1]
    )


def _may_be_planes(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether grey pictures of this shape, (n, h, w), could as well be one of (c, h, w)."""
    colours = wanted[2] or 0
    planes = len(shape) == 3 and colours > 1 and shape[0] == colours
    return planes and not _is_picture(shape, wanted)
