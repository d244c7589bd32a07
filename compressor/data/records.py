"""Reading TFRecord files, whose features a line describes."""

from __future__ import annotations

import dataclasses
import math
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.data import streams
from compressor.data.files import open_regular
from compressor.data.found import Asked, Found
from compressor.data.pictures import LARGEST_PICTURE
from compressor.errors import DataError, UsageError
from compressor.foundation import quiet_tensorflow
from deploy.text import clean

_HEADER, _FOOTER = 12, 4
_FEATURE = re.compile(
    r"([^=,:]{1,200})=(picture|uint8|int64|float32)(?::(\d{1,9}(?:x\d{1,9}){0,7}))?"
)
_BATCH = 64
_MOST_VALUES = 2**31


@dataclasses.dataclass(frozen=True)
class Feature:
    """A feature of a `tf.train.Example`.

    `kind` is picture (JPEG, PNG, GIF or BMP), uint8 (raw bytes), int64 or float32; `shape` is that
    of a row, () for one number.
    """

    name: str
    kind: str
    shape: tuple[int, ...]


def features_of(spec: str) -> tuple[Feature, ...]:
    """Parse NAME=TYPE or NAME=TYPE:SHAPE, separated by commas, such as `image=picture,label=int64`.

    A SHAPE is 96x96x3, HEIGHT x WIDTH x CHANNELS of a picture. Raises UsageError.
    """
    found = []
    for word in spec.split(","):
        match = _FEATURE.fullmatch(word.strip())
        if match is None:
            raise UsageError(
                "a feature is NAME=TYPE or NAME=TYPE:SHAPE",
                value=word[:200],
                hint="TYPE is picture, uint8 (bytes), int64 or float32: image=picture:96x96x3",
            )
        shape = tuple(int(size) for size in (match[3] or "").split("x") if size)
        fits = match[2] != "picture" or len(shape) in (0, 3)
        if not (fits and 0 < math.prod(shape) < _MOST_VALUES):
            raise UsageError("the shape of a feature cannot be used", value=word[:200])
        found.append(Feature(match[1].strip(), match[2], shape))
    if len({feature.name for feature in found}) < len(found):
        raise UsageError("a feature is named twice", value=spec[:200])
    return tuple(found)


def begins_record(start: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins so could be of records: its first one fits."""
    if len(start) < _HEADER:
        return False
    (length,) = struct.unpack("<Q", start[:8])
    return 0 < length <= size - _HEADER - _FOOTER and start[4:8] == bytes(4)


def read_records(parts: Mapping[str, Sequence[Path]], asked: Asked) -> Found:
    """Read TFRecord files of `tf.train.Example`, uncompressed, as `asked.features` describes them.

    The first feature is the input and the second the target, unless `asked.x` and `asked.y` name
    them. Raises DataError for a damaged file, or one whose examples do not have the features.
    """
    asked.only("TFRecord files", "x", "y", "features", "resize")
    if asked.features is None:
        raise UsageError(
            "what the examples of TFRecord files hold must be told",
            value=next(iter(parts["train"])),
            hint="give --features, such as image=picture:96x96x3,label=int64",
        )
    features = features_of(asked.features)
    x = asked.x or (features[0].name,)
    y = asked.y or tuple(feature.name for feature in features[1:2])
    names = [feature.name for feature in features]
    if missing := [key for key in (*x, *y) if key not in names]:
        raise UsageError("--features does not describe it", value=missing[0])
    used = [feature for feature in features if feature.name in (*x, *y)]
    if asked.resize and not any(one.kind == "picture" and not one.shape for one in used):
        raise UsageError("--resize has no effect: no picture among the features takes a size")
    tensorflow, _ = quiet_tensorflow.load()
    parse = _parser(tensorflow, used, asked.size())
    found = {}
    for part, files in parts.items():
        for path in files:
            _check_lengths(path)
        records = tensorflow.data.TFRecordDataset([str(path) for path in files])
        found[part] = records.map(parse).batch(_BATCH)
    how = dataclasses.replace(asked, x=x, y=y)
    return streams.read_stream(found, how, parts["train"][0].resolve().stem)


def _parser(tensorflow: Any, features: Sequence[Feature], size: tuple[int | None, ...]) -> Any:
    io = tensorflow.io
    schema = {
        feature.name: io.FixedLenFeature(feature.shape, feature.kind)
        if feature.kind in ("int64", "float32")
        else io.FixedLenFeature((), "string")
        for feature in features
    }

    def decode(feature: Feature, value: Any) -> Any:
        if feature.kind == "uint8":
            return tensorflow.reshape(io.decode_raw(value, "uint8"), feature.shape)
        if feature.kind != "picture":
            return value
        shape = feature.shape or size
        picture = io.decode_image(value, channels=shape[2] or 3, expand_animations=False)
        pixels = tensorflow.reduce_prod(tensorflow.shape(picture, "int64")[:2])
        limit = tensorflow.debugging.Assert(pixels <= LARGEST_PICTURE, ["too large"])
        with tensorflow.control_dependencies([limit]):
            picture = tensorflow.identity(picture)
        if shape[0] and shape[1]:
            resized = tensorflow.image.resize(picture, shape[:2])
            picture = tensorflow.cast(tensorflow.round(resized), "uint8")
        return picture

    def parse(record: Any) -> dict[str, Any]:
        values = io.parse_single_example(record, schema)
        return {feature.name: decode(feature, values[feature.name]) for feature in features}

    return parse


def _check_lengths(path: Path) -> None:
    """Raise DataError unless the records fill the file: TensorFlow allocates what they promise."""
    with open_regular(path) as (file, size):
        place = 0
        while place < size:
            file.seek(place)
            header = file.read(_HEADER)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == _HEADER else size
            place += _HEADER + length + _FOOTER
            if place > size:
                hint = "compressed files must be unpacked first"
                raise DataError("TFRecord file is damaged", value=clean(path), hint=hint)
