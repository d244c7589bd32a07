"""What reads pictures and other examples, for `fuzzing`."""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from pathlib import Path

import numpy as np
from fuzz_files import IMAGES, LARGEST, npy_of, npz, vectors, write_artefact
from fuzzing import Attempt, Target
from mutators import damaged

from deploy.artifact import read_artifact


def idx_of(array: np.ndarray) -> bytes:
    codes = {"uint8": 8, "int32": 12, "float32": 13, "float64": 14}
    header = struct.pack(
        f">BBBB{array.ndim}I", 0, 0, codes[str(array.dtype)], array.ndim, *array.shape
    )
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def idx(folder: Path) -> Attempt:
    """IDX files, raw and gzipped: no more bytes than the file has, or unpacks to."""
    from compressor.data.checks import as_images, as_labels
    from compressor.data.idx import read_idx

    sounds = [idx_of(IMAGES.astype(kind)) for kind in ("uint8", "int32", "float64")]
    path = folder / "images"

    def attempt(chance: random.Random) -> bool:
        sound = chance.choice(sounds)
        kind = chance.randrange(4)
        if kind == 0:
            content = chance.randbytes(chance.randrange(60))
        elif kind == 1:
            content = damaged(gzip.compress(sound, 1, mtime=0), chance)
        else:
            content = damaged(sound, chance)
            content = gzip.compress(content, 1, mtime=0) if kind == 2 else content
        path.write_bytes(content)
        array = read_idx(path, chance.choice((None, "images", "labels")))
        assert array.nbytes <= LARGEST
        as_images(array, "x") if array.ndim > 1 else as_labels(array, "y")
        return True

    return attempt


def png_of(width: int, height: int, depth: int, colour: int, interlaced: int = 0) -> list[bytes]:
    """The chunks of a picture, types and bodies."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rows = (b"\0" + bytes(range(200))[: (width * channels * depth + 7) // 8]) * height
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    parts = [b"IHDR" + header, b"IDAT" + zlib.compress(rows)]
    if colour == 3:
        parts.insert(1, b"PLTE" + bytes(range(48)))
    return [*parts, b"IEND"]


def png(parts: list[bytes]) -> bytes:
    framed = (
        struct.pack(">I", max(len(part) - 4, 0)) + part + struct.pack(">I", zlib.crc32(part))
        for part in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def sound_examples() -> list[bytes]:
    """A file of each format, that `write_artefact` takes."""
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    return [
        *(
            npy_of(picture),
            npy_of(picture[None, ..., None] / np.float32(255)),
            idx_of(picture[None]),
        ),
        *(gzip.compress(idx_of(picture[None]), mtime=0), npz(picture=picture[None])),
        *(png(png_of(8, 8, depth, colour)) for depth, colour in ((8, 0), (16, 2), (4, 3), (8, 6))),
    ]


def examples(folder: Path) -> Attempt:
    """Pictures and arrays that are given to `run`, `serve` and a page."""
    from deploy.images.reader import ExampleReader

    artifact = read_artifact(write_artefact(folder))
    readers = [
        ExampleReader(artifact, vectors, resize=resize, most_pixels=2**20, most_bytes=2**22)
        for resize in (False, True)
    ]
    sounds = sound_examples()
    kinds = [(d, c) for c, ds in ((0, (1, 2, 8)), (2, (16,)), (3, (1, 8)), (4, (8,))) for d in ds]

    def attempt(chance: random.Random) -> bool:
        if chance.randrange(2):
            parts = png_of(*(chance.choice((1, 8, 9)) for _ in "wh"), *chance.choice(kinds), 0)
            place = chance.randrange(len(parts))
            if chance.randrange(3):
                parts[place] = parts[place][:4] + damaged(parts[place][4:], chance)
            else:
                parts.insert(place, chance.choice(parts) if place else b"tRNS\0\0")
            content = png(parts)
        else:
            content = damaged(chance.choice(sounds), chance)
        for array in chance.choice(readers).read(content, "it").values():
            assert array.nbytes <= 2**22
        return True

    for sound in sounds:
        readers[0].read(sound, "sound")
    return attempt


TARGETS: dict[str, Target] = {
    "idx": Target(idx, 8, quick=500),
    "examples": Target(examples, 8, quick=600),
}
