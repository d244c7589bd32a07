"""Streams from a damaged or hostile file end in one line."""

import tracemalloc

import numpy as np
import pytest

from compressor.encodings import SparseKernel
from compressor.errors import CheckpointError

MATRIX = np.array([[0, 5, 0], [7, 0, 0], [0, 8, 9], [0, 0, 0]], np.float32)
F4, I4, I8 = np.float32, np.int32, np.int64

GOOD = SparseKernel.encode(MATRIX).streams

# streams that replace good ones, what the message says
CONTENTS = [
    ({"indices": np.zeros((4, 3), I8)}, "indices must have 2 columns: 3"),
    ({"indices": np.zeros((3, 2), I8)}, "indices must have 4 entries: 3"),
    ({"ids": np.array([1, 0, 2], I4)}, "ids must have 4 entries: 3"),
    ({"ids": np.array([1, 0, 4, 2], I4)}, "ids must lie from 0 to 3: 4"),
    ({"ids": np.array([1, -1, 2, 2], I4)}, "ids must lie from 0 to 3: -1"),
    ({"ids": np.array([1, 2, 0, 2], I4)}, "units and ids must ascend, .* entry: 2"),
    ({"ids": np.array([1, 2, 2, 2], I4)}, "units and ids must ascend, .* entry: 2"),
    (
        {"indices": np.array([[0, 0], [1, 0], [1, 1], [3, 0]], I8)},
        "output units must lie from 0 to 2: 3",
    ),
    (
        {"indices": np.array([[0, 0], [1, 0], [1, 1], [2**62, 0]], I8)},
        "output units must lie from 0 to 2: 4611686018427387904",
    ),
    (
        {"indices": np.array([[0, 0], [1, 0], [1, 2], [2, 0]], I8)},
        "positions in a list must count from 0, not at entry: 2",
    ),
    ({"values": np.array([7, 5, 0, 9], F4)}, "a zero is stored .* entry: 2"),
]


def assert_one_line(streams, message):
    for read in (SparseKernel.check, SparseKernel.dense):
        with pytest.raises(CheckpointError, match=message) as caught:
            read(SparseKernel((4, 3), streams))
        text = str(caught.value)
        assert "a damaged coo-paper tensor" in text
        assert "\n" not in text and len(text) < 300
        assert caught.value.exit_code == 2


def assert_refused_or_canonical(shape, streams):
    """What decodes is, byte for byte, what its tensor encodes to."""
    try:
        tensor = SparseKernel(shape, streams).dense()
    except CheckpointError as error:
        assert "\n" not in str(error)
        return
    assert tensor.dtype == np.float32 and tensor.shape == shape
    for key, stream in SparseKernel.encode(tensor).streams.items():
        assert stream.tobytes() == streams[key].tobytes()


@pytest.mark.parametrize(("changes", "message"), CONTENTS)
def test_contents(changes, message):
    assert_one_line({**GOOD, **changes}, message)


@pytest.mark.parametrize("key", list(GOOD))
def test_streams_of_another_kind(key):
    stream = GOOD[key]
    missing = {other: array for other, array in GOOD.items() if other != key}
    assert_one_line(missing, "its streams must be")
    for wrong, message in [
        (stream.astype(np.float64), f"{key} must be .*: float64"),
        (stream.astype(stream.dtype.newbyteorder()), f"{key} must be"),
        (stream.astype(object), f"{key} must be .*: object"),
        (stream[None], f"{key} must have {stream.ndim} axes: {stream.ndim + 1}"),
        (np.zeros((), stream.dtype), f"{key} must have {stream.ndim} axes: 0"),
    ]:
        assert_one_line({**GOOD, key: wrong}, message)


def test_a_stream_too_many():
    assert_one_line({**GOOD, "x\n" * 1000: np.zeros(1)}, "its streams must be")


@pytest.mark.parametrize("shape", [(1,), (2, 3), (3, 4), (0, 3), (4, 0), (5, 3), (1000,)])
def test_streams_of_another_shape(shape):
    assert_refused_or_canonical(shape, GOOD)


def test_checking_takes_no_memory_by_the_shape():
    tracemalloc.start()
    SparseKernel((2**15, 2**15), GOOD).check()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
