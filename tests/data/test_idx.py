"""The IDX reader, on good files and on hostile ones."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc

import numpy as np
import pytest

from compressor.data.files import LARGEST_DATASET
from compressor.data.idx import read_idx

MIB = 2**20
IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def header(code, *shape):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)


def zeros(mebibytes):
    """A gzip stream of zeros, made of many small ones: quick to write, long to unzip."""
    return gzip.compress(bytes(16 * MIB), 1, mtime=0) * (mebibytes // 16)


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="file-idx3-ubyte"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_file


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_type(write, to_idx, dtype, zipped):
    array = np.array([[[0, 1], [2, 3]], [[100, 5], [127, 7]]], dtype)
    content = to_idx(array)
    read = read_idx(str(write(gzip.compress(content, mtime=0) if zipped else content)))
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    assert np.array_equal(read, array)


def test_bytes_of_a_hand_written_file(write):
    path = write(bytes.fromhex("00000b02 00000001 00000002 0102 fffe"))
    assert read_idx(path).tolist() == [[258, -2]]


def test_four_dimensions(write, to_idx):
    assert read_idx(write(to_idx(IMAGES[..., None])), "images").shape == (2, 4, 3, 1)


def test_gzip_is_told_by_content(write, to_idx):
    assert np.array_equal(read_idx(write(to_idx(IMAGES), "raw.gz")), IMAGES)
    assert np.array_equal(read_idx(write(gzip.compress(to_idx(IMAGES), mtime=0), "zipped")), IMAGES)


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"", None, "truncated"),
        (b"\0\0\x08", None, "truncated"),
        (b"PK\x03\x04" + bytes(50), None, "not an IDX file"),
        (b"\0\x01\x08\x01" + bytes(50), None, "begins with 00010801"),
        (header(0x0A, 1) + b"\0", None, "unknown type code"),
        (header(0x00, 1) + b"\0", None, "(0x00)"),
        (header(0x08), None, "wrong number of dimensions"),
        (b"\0\0\x08\xff" + bytes(1020), None, "wrong number of dimensions"),
        (header(0x08, 2) + b"\0\0", "images", "wrong number of dimensions for images"),
        (header(0x08, 1, 1) + b"\0", "images", "expected 3 or 4"),
        (header(0x08, 1, 1, 1, 1, 1) + b"\0", "images", "expected 3 or 4"),
        (header(0x08, 2, 1) + b"\0\0", "labels", "expected 1"),
        (header(0x09, 1, 1, 1) + b"\0", "images", "(int8)"),
        (header(0x0C, 1, 1, 1) + bytes(4), "images", "images are uint8, float32, float64"),
        (header(0x0D, 1) + bytes(4), "labels", "labels are uint8, int8, int16, int32"),
        (header(0x08, 0, 28, 28), "images", "holds no images"),
        (header(0x08, 3, 0, 28), "images", "holds no images"),
        (header(0x08, 0), "labels", "holds no labels"),
        (header(0x08, 2, 4, 3)[:-1], "images", "truncated"),
        (header(0x08, 2, 4, 3) + bytes(23), "images", "header says 40 bytes, it holds 39"),
        (header(0x08, 2, 4, 3) + bytes(25), "images", "longer than its header says"),
        (header(0x08, *[2**32 - 1] * 4) + bytes(9), "images", "truncated"),
        # 2**16 * 2**16 * 2**32 = 2**64, which is 0 in 64 bits
        (header(0x08, 2**16, 2**16, 2**31, 2) + bytes(9), "images", "truncated"),
        (header(0x0E, *[2**32 - 1] * 32) + bytes(9), None, "truncated"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_refused(write, refused, content, kind, said, zipped):
    path = write(gzip.compress(content, mtime=0) if zipped else content)
    message = refused(read_idx, path, kind)
    if not (zipped and "it holds" in said):
        assert said in message
    assert str(path) in message


@pytest.mark.parametrize("missing", [1, 4, 8, 9, 30])
def test_truncated_gzip(write, to_idx, refused, missing):
    message = refused(read_idx, write(gzip.compress(to_idx(IMAGES), mtime=0)[:-missing]))
    assert "gzip file is truncated" in message


def test_wrong_crc(write, to_idx, refused):
    content = bytearray(gzip.compress(to_idx(IMAGES), mtime=0))
    content[-8] ^= 1
    assert "gzip file is damaged" in refused(read_idx, write(content))


def test_damaged_deflate(write, to_idx, refused):
    content = bytearray(gzip.compress(to_idx(IMAGES), mtime=0))
    content[10] |= 0x06  # a block type that does not exist
    assert "gzip file is damaged" in refused(read_idx, write(content))


def test_garbage_after_gzip(write, to_idx, refused):
    message = refused(read_idx, write(gzip.compress(to_idx(IMAGES), mtime=0) + b"garbage"))
    assert "gzip file is damaged" in message


def test_data_after_the_image_in_gzip(write, to_idx, refused):
    message = refused(read_idx, write(gzip.compress(to_idx(IMAGES) + b"x", mtime=0)))
    assert "longer than its header says" in message


@pytest.mark.parametrize(
    ("start", "unzipped", "said", "memory"),
    [
        (header(0x08, 2, 4, 3), 1024, "longer than its header says", 4),
        # Could be there as far as the size of the file tells, and is not: read to its end.
        (header(0x08, 2**10, 2**10, 33), 32, "it holds 33,554,448", 40),
        (header(0x08, 2**10, 2**10, 2**12 - 1), 32, "it holds at most", 4),
        (header(0x0E, 2**30, 2**30, 2**30), 32, "it holds at most", 4),
    ],
)
def test_gzip_bomb_takes_little_memory(write, refused, start, unzipped, said, memory):
    path = write(gzip.compress(start, mtime=0) + zeros(unzipped))
    tracemalloc.start()
    message = refused(read_idx, path, "images")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert said in message
    assert peak < memory * MIB


def test_cap_is_named(tmp_path, refused):
    """A file as large as its header says, but over the cap: sparse, it takes no disk."""
    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.write(header(0x08, 2**12, 2**10, 2**10 + 1))
        file.truncate(16 + LARGEST_DATASET + 2**22)
    assert "larger than 4 GiB" in refused(read_idx, path, "images")


def test_missing_file(tmp_path, refused):
    message = refused(read_idx, tmp_path / "none")
    assert "cannot read the data set" in message
    assert "No such file" in message


def test_impossible_name(refused):
    assert "cannot read the data set" in refused(read_idx, "x" * 5000)
    assert "cannot read the data set" in refused(read_idx, "null\0byte")


def test_unreadable_file(write, to_idx, refused, monkeypatch):
    def deny(*arguments):
        raise PermissionError(13, "Permission denied")

    path = write(to_idx(IMAGES))
    monkeypatch.setattr(os, "open", deny)
    assert "Permission denied" in refused(read_idx, path)


def test_directory(tmp_path, refused):
    assert "not a regular file" in refused(read_idx, tmp_path)
    assert "is a directory" in refused(read_idx, tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_fifo_does_not_hang(tmp_path, refused):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    assert "is a FIFO" in refused(read_idx, path)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices here")  # noqa: PTH110
def test_device(refused):
    assert "is a device" in refused(read_idx, "/dev/zero")


def test_symbolic_link_loop(tmp_path, refused):
    path = tmp_path / "loop"
    path.symlink_to(path)
    assert "cannot read the data set" in refused(read_idx, path)


def test_line_break_in_a_name(write, refused):
    assert "two lines" in refused(read_idx, write(b"nothing", "two\nlines"))
