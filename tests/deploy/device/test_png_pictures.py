"""PNG pictures of every kind are read as Pillow reads them; damaged ones are refused."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from deploy.errors import RequestError
from deploy.images.png import decode_png

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
KINDS = [
    *[(GREY, depth) for depth in (1, 2, 4, 8, 16)],
    *[(PALETTE, depth) for depth in (1, 2, 4, 8)],
    *[(kind, depth) for kind in (RGB, GREY_ALPHA, RGBA) for depth in (8, 16)],
]
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
ADAM7.append((0, 1, 1, 2))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def paeth(a: int, b: int, c: int) -> int:
    distances = [(abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c)]
    return min(distances)[2]


def filtered(rows: np.ndarray, unit: int, kinds: list[int]) -> bytes:
    """Rows of bytes, each after its filter, byte by byte as the standard writes it."""
    out = bytearray()
    above = [0] * rows.shape[1]
    for number, row in enumerate(rows.tolist()):
        kind = kinds[number % len(kinds)]
        out.append(kind)
        for place, value in enumerate(row):
            a = row[place - unit] if place >= unit else 0
            b, c = above[place], above[place - unit] if place >= unit else 0
            guess = (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]
            out.append((value - guess) % 256)
        above = row
    return bytes(out)


def packed(values: np.ndarray, depth: int) -> np.ndarray:
    """Values (h, w, c) as rows of bytes."""
    height = len(values)
    if depth == 16:
        return values.astype(">u2").view(np.uint8).reshape(height, -1)
    if depth == 8:
        return values.astype(np.uint8).reshape(height, -1)
    bits = values.reshape(height, -1, 1) >> np.arange(depth)[::-1] & 1
    return np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)


def encode(
    values: np.ndarray,
    kind: int,
    depth: int,
    *,
    kinds: tuple[int, ...] = (0, 1, 2, 3, 4),
    interlaced: bool = False,
    before: bytes = b"",
    level: int = 6,
) -> bytes:
    """A PNG file of stored values (h, w, c)."""
    height, width, channels = values.shape
    unit = max(channels * depth // 8, 1)
    data = b""
    for x, y, dx, dy in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = values[y::dy, x::dx]
        if part.size:
            data += filtered(packed(part, depth), unit, list(kinds))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    squeezed = zlib.compress(data, level)
    half = len(squeezed) // 2
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + before
        + chunk(b"IDAT", squeezed[:half])
        + chunk(b"IDAT", squeezed[half:])
        + chunk(b"IEND", b"")
    )


def pictures(kind: int, depth: int, size: tuple[int, int]) -> np.ndarray:
    generator = np.random.default_rng(kind * 100 + depth)
    return generator.integers(0, 2**depth, (*size, CHANNELS[kind]))


COLOURS = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 13), (1, 40), (40, 1)])
@pytest.mark.parametrize(("kind", "depth"), KINDS)
def test_every_kind_of_picture(kind, depth, size, interlaced) -> None:
    values = pictures(kind, depth, size)
    palette = chunk(b"PLTE", COLOURS[: 2**depth].tobytes()) if kind == PALETTE else b""
    content = encode(values, kind, depth, interlaced=interlaced, before=palette)

    found = decode_png(content, "it")

    if kind == PALETTE:
        expected = COLOURS[values[..., 0]]
    else:
        expected = values * (255 // (2**depth - 1)) if depth < 8 else values
    assert found.dtype == (np.uint16 if depth == 16 else np.uint8)
    assert np.array_equal(found, expected)
    if depth < 16:
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[found.shape[2]]
        theirs = np.asarray(Image.open(io.BytesIO(content)).convert(mode))
        assert np.array_equal(theirs.reshape(found.shape), found)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(28, 28), (61, 33), (200, 150)])
def test_pictures_that_pillow_wrote(mode, size) -> None:
    generator = np.random.default_rng(len(mode))
    smooth = np.cumsum(generator.integers(-3, 4, (*size[::-1], 4)), axis=1).astype(np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(smooth[..., 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(smooth).convert(mode)
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)

    found = decode_png(stream.getvalue(), "it")

    if mode == "I;16":
        assert np.array_equal(found[..., 0], smooth[..., 0].astype(np.uint16) * 257)
    else:
        shown = {"1": "L", "P": "RGBA"}.get(mode, mode)
        expected = np.asarray(picture.convert(shown))
        assert np.array_equal(found, expected.reshape(*size[::-1], -1))


def test_transparent_colours_become_alpha() -> None:
    grey = np.array([[[0], [1], [2], [3]]])
    clear = chunk(b"tRNS", struct.pack(">H", 2))
    assert decode_png(encode(grey, GREY, 2, before=clear), "it").tolist() == [
        [[0, 255], [85, 255], [170, 0], [255, 255]]
    ]

    wide = np.array([[[258, 1, 2], [257, 1, 2]]])
    clear = chunk(b"tRNS", struct.pack(">HHH", 257, 1, 2))
    found = decode_png(encode(wide, RGB, 16, before=clear), "it")
    assert found[0, :, 3].tolist() == [65535, 0]

    numbers = np.array([[[0], [1], [2]]])
    palette = chunk(b"PLTE", COLOURS[:3].tobytes()) + chunk(b"tRNS", bytes([7, 0]))
    found = decode_png(encode(numbers, PALETTE, 2, before=palette), "it")
    assert found[0, :, 3].tolist() == [7, 0, 255]
    assert np.array_equal(found[0, :, :3], COLOURS[:3])


RIGHT = encode(pictures(RGB, 8, (9, 7)), RGB, 8, before=chunk(b"tEXt", b"Title\0digit"))


def refusal(content: bytes, **options: int) -> str:
    with pytest.raises(RequestError) as caught:
        decode_png(content, "some.png", **options)
    message = str(caught.value)
    assert message.isprintable()
    assert "some.png" in message
    return message


def header(width: int, height: int, depth: int = 8, kind: int = 0, *rest: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, depth, kind, *(rest or (0, 0, 0)))
    data = chunk(b"IDAT", zlib.compress(bytes(20)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", body) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not begin"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (RIGHT[:-1], "truncated"),
        (RIGHT + b"x", "bytes after its end"),
        (header(0, 3), "no pixels"),
        (header(2**31 - 1, 2**31 - 1), "too many"),
        (header(2**15, 1), "too many"),
        (header(1, 1, 3), "colour type 0 with 3 bits"),
        (header(1, 1, 8, 5), "colour type 5"),
        (header(1, 1, 8, 0, 1, 0, 0), "unknown compression"),
        (header(1, 1, 8, 0, 0, 0, 2), "interlacing"),
        (header(40, 40), "do not have the size in its header"),
        (header(1, 1, 8, 3), "lacks its palette"),
        (RIGHT[:8] + RIGHT[33:], "does not begin with IHDR"),
        (RIGHT[:33] + RIGHT[8:], "two headers"),
        (RIGHT[:33] + chunk(b"IEND", b""), "no data"),
        (RIGHT[:33] + chunk(b"CgBI", b"") + RIGHT[33:], "needs the unknown chunk CgBI"),
        (RIGHT[:33] + chunk(b"PLTE", b"1234") + RIGHT[33:], "palette of 4 bytes"),
        (RIGHT[:33] + chunk(b"tRNS", b"1") + RIGHT[33:], "does not fit"),
        (RIGHT[:20] + b"\1" + RIGHT[21:], "checksum of IHDR"),
        (encode(np.full((1, 1, 1), 3), PALETTE, 2, before=chunk(b"PLTE", bytes(9))), "colour that"),
    ],
)
def test_what_is_wrong_is_said(content, said) -> None:
    message = refusal(content)
    assert any(part in message for part in said.split("|"))


def test_a_picture_of_many_pixels_is_refused_before_it_is_unpacked() -> None:
    bomb = encode(np.zeros((900, 900, 1), int), GREY, 8, kinds=(0,), level=9)
    assert len(bomb) < 10_000
    assert "900 x 900" in refusal(bomb, most_pixels=10_000)


def test_a_picture_that_was_cut_anywhere_or_had_a_bit_flipped_is_refused() -> None:
    for length in range(len(RIGHT)):
        refusal(RIGHT[:length])
    for bit in range(8 * len(RIGHT)):
        altered = bytearray(RIGHT)
        altered[bit // 8] ^= 1 << bit % 8
        refusal(bytes(altered))


def test_whatever_comes_is_a_picture_or_refused_in_one_line() -> None:
    """Content that has right checksums and nonsense in it, too."""
    random_bytes = random.Random(3)
    for number in range(400):
        depth, kind = random_bytes.choice(KINDS)[::-1]
        values = pictures(kind, depth, (random_bytes.randint(1, 9), random_bytes.randint(1, 9)))
        extra = b"".join(
            chunk(
                random_bytes.choice([b"PLTE", b"tRNS", b"IDAT", b"IHDR", b"gAMA"]),
                random_bytes.randbytes(random_bytes.choice([0, 1, 2, 3, 6, 13, 48])),
            )
            for _ in range(random_bytes.randint(0, 2))
        )
        content = encode(values, kind, depth, interlaced=bool(number % 2), before=extra)
        try:
            found = decode_png(content, "some.png")
        except RequestError as error:
            assert str(error).isprintable()
        else:
            assert found.shape[:2] == values.shape[:2]
