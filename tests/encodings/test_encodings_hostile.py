"""Streams from a damaged or hostile file end in one line."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from compressor.encodings import ENCODINGS, Encoded, get_encoding
from compressor.encodings.registry import decode
from compressor.errors import CheckpointError

MATRIX = np.array([[0, 5, 0], [7, 0, 0], [0, 8, 9], [0, 0, 0]], np.float32)
F4, I4, I8, U1 = np.float32, np.int32, np.int64, np.uint8

GOOD = {name: dict(encoding.encode(MATRIX).streams) for name, encoding in ENCODINGS.items()}

# encoding, the streams that replace good ones, what the message says
CONTENTS = [
    ("dense", {"values": np.zeros(11, F4)}, "values must have 12 entries: 11"),
    ("coo", {"rows": np.array([0, 1, 2, 4], I4)}, "rows must lie from 0 to 3: 4"),
    ("coo", {"rows": np.array([-1, 1, 2, 2], I4)}, "rows must lie from 0 to 3: -1"),
    ("coo", {"columns": np.array([1, 0, 1, 3], I4)}, "columns must lie from 0 to 2: 3"),
    ("coo", {"columns": np.array([1, 0, 2, 1], I4)}, "coordinates must ascend, .* entry: 3"),
    ("coo", {"columns": np.array([1, 0, 1, 1], I4)}, "coordinates must ascend, .* entry: 3"),
    ("coo", {"rows": np.array([0, 1, 2], I4)}, "rows must have 4 entries: 3"),
    ("coo", {"values": np.array([5, 7, 8], F4)}, "rows must have 3 entries: 4"),
    ("coo", {"values": np.array([5, 0, 8, 9], F4)}, "a zero is stored .* entry: 1"),
    ("coo", {"values": np.array([5, -0.0, 8, 9], F4)}, "a zero is stored .* entry: 1"),
    ("coo-paper", {"indices": np.zeros((4, 3), I8)}, "indices must have 2 columns: 3"),
    ("coo-paper", {"indices": np.zeros((3, 2), I8)}, "indices must have 4 entries: 3"),
    ("coo-paper", {"ids": np.array([1, 0, 2], I4)}, "ids must have 4 entries: 3"),
    ("coo-paper", {"ids": np.array([1, 0, 4, 2], I4)}, "ids must lie from 0 to 3: 4"),
    ("coo-paper", {"ids": np.array([1, -1, 2, 2], I4)}, "ids must lie from 0 to 3: -1"),
    ("coo-paper", {"ids": np.array([1, 2, 0, 2], I4)}, "units and ids must ascend, .* entry: 2"),
    ("coo-paper", {"ids": np.array([1, 2, 2, 2], I4)}, "units and ids must ascend, .* entry: 2"),
    (
        "coo-paper",
        {"indices": np.array([[0, 0], [1, 0], [1, 1], [3, 0]], I8)},
        "output units must lie from 0 to 2: 3",
    ),
    (
        "coo-paper",
        {"indices": np.array([[0, 0], [1, 0], [1, 1], [2**62, 0]], I8)},
        "output units must lie from 0 to 2: 4611686018427387904",
    ),
    (
        "coo-paper",
        {"indices": np.array([[0, 0], [1, 0], [1, 2], [2, 0]], I8)},
        "positions in a list must count from 0, not at entry: 2",
    ),
    ("coo-paper", {"values": np.array([7, 5, 0, 9], F4)}, "a zero is stored .* entry: 2"),
    ("csr", {"pointers": np.array([0, 1, 2, 4], I4)}, "pointers must have 5 entries: 4"),
    ("csr", {"pointers": np.array([1, 1, 2, 4, 4], I4)}, "pointers must run from 0 to 4: 1 to 4"),
    ("csr", {"pointers": np.array([0, 1, 2, 4, 5], I4)}, "pointers must run from 0 to 4: 0 to 5"),
    ("csr", {"pointers": np.array([0, 3, 2, 4, 4], I4)}, "must not descend, row: 1"),
    (
        "csr",
        {"pointers": np.array([0, 2**31 - 1, -(2**31), 4, 4], I4)},
        "must not descend, row: 1",
    ),
    ("csr", {"columns": np.array([1, 0, 1], U1)}, "columns must have 4 entries: 3"),
    ("csr", {"columns": np.array([1, 0, 1, 3], U1)}, "columns must lie from 0 to 2: 3"),
    ("csr", {"columns": np.array([1, 0, 2, 1], U1)}, "columns of a row must ascend, .*: 3"),
    ("csr", {"columns": np.array([1, 0, 1, 2], np.uint16)}, "columns must be uint8: uint16"),
    ("csr", {"values": np.array([5, 7, 8, 0], F4)}, "a zero is stored .* entry: 3"),
    ("bitmask", {"mask": np.array([138], U1)}, "mask must have 2 entries: 1"),
    ("bitmask", {"mask": np.array([138, 1, 0], U1)}, "mask must have 2 entries: 3"),
    ("bitmask", {"mask": np.array([138, 17], U1)}, "behind the last weight, byte: 17"),
    ("bitmask", {"mask": np.array([139, 1], U1)}, "values must have 5 entries: 4"),
    ("bitmask", {"values": np.array([0, 7, 8, 9], F4)}, "a zero is stored .* entry: 0"),
    ("gap8", {"gaps": np.array([1, 2, 4], U1)}, "gaps must have 4 entries: 3"),
    ("gap8", {"gaps": np.array([1, 2, 4, 5], U1)}, "gaps lead past 12 weights: 12"),
    ("gap8", {"gaps": np.array([1, 2, 0, 1], U1)}, "a gap is 0 at entry: 2"),
    ("gap8", {"values": np.array([5, 7, 0, 9], F4)}, "a zero that is no filler at entry: 2"),
    ("gap8", {"values": np.array([5, 7, 8, 0], F4)}, "a zero that is no filler at entry: 3"),
]


def assert_one_line(encoded, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        decode(encoded)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300
    assert caught.value.exit_code == 2


def assert_refused_or_canonical(encoded):
    """What decodes is, byte for byte, what its tensor encodes to."""
    try:
        tensor = decode(encoded)
    except CheckpointError as error:
        assert "\n" not in str(error)
        return
    again = get_encoding(encoded.encoding).encode(tensor)
    for key, stream in again.streams.items():
        bits = encoded.streams[key]
        if encoded.encoding == "dense":
            # A dense -0 is a zero like any other, and decodes to +0.
            bits = np.where(bits.view(np.uint32) == 0x8000_0000, F4(0), bits)
        assert stream.tobytes() == bits.tobytes()


@pytest.mark.parametrize(("name", "changes", "message"), CONTENTS)
def test_contents(name, changes, message):
    assert_one_line(Encoded(name, (4, 3), {**GOOD[name], **changes}), message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([0, 1], F4), None),
        (np.array([-0.0, 1], F4), "a zero that is no filler at entry: 0"),
        (np.array([1, 0], F4), "a zero that is no filler at entry: 1"),
    ],
)
def test_a_filler_of_gap8_is_a_positive_zero_with_more_behind(values, message):
    encoded = Encoded("gap8", (600,), {"gaps": np.array([255, 255], U1), "values": values})
    if message:
        assert_one_line(encoded, message)
    else:
        assert np.flatnonzero(decode(encoded)).tolist() == [510]


@pytest.mark.parametrize("name", list(ENCODINGS))
def test_streams_of_another_kind(name):
    streams = GOOD[name]
    for key, stream in streams.items():
        missing = {other: array for other, array in streams.items() if other != key}
        assert_one_line(Encoded(name, (4, 3), missing), "its streams must be")
        for wrong, message in [
            (stream.astype(np.float64), f"{key} must be .*: float64"),
            (stream.astype(stream.dtype.newbyteorder()), f"{key} must be")
            if stream.itemsize > 1
            else (stream.astype(object), f"{key} must be .*: object"),
            (stream[None], f"{key} must have {stream.ndim} axes: {stream.ndim + 1}"),
            (np.zeros((), stream.dtype), f"{key} must have {stream.ndim} axes: 0"),
            (stream.tolist(), f"{key} is no array: list"),
            (None, f"{key} is no array: NoneType"),
        ]:
            assert_one_line(Encoded(name, (4, 3), {**streams, key: wrong}), message)
    surplus = {**streams, "x\n" * 1000: np.zeros(1)}
    assert_one_line(Encoded(name, (4, 3), surplus), "its streams must be")


@pytest.mark.parametrize("name", list(ENCODINGS))
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((), "must have 1 to 32 axes: 0"),
        ((1,) * 33, "must have 1 to 32 axes: 33"),
        ((-4, -3), "a negative dimension"),
        ((4.0, 3), "a sequence of integers"),
        ("43", "a sequence of integers"),
        (None, "a sequence of integers"),
        ((2**31,), "at most 2147483647 weights"),
        ((2**40, 2**40), "at most 2147483647 weights"),
        ((2**62, 4, 0), "at most 2147483647 weights"),
    ],
)
def test_shapes(name, shape, message):
    assert_one_line(Encoded(name, shape, GOOD[name]), message)


@pytest.mark.parametrize("name", list(ENCODINGS))
@pytest.mark.parametrize("shape", [(1,), (2, 3), (3, 4), (0, 3), (4, 0), (5, 3), (1000,)])
def test_streams_of_another_shape(name, shape):
    assert_refused_or_canonical(Encoded(name, shape, GOOD[name]))


def test_no_memory_for_a_hostile_shape(monkeypatch):
    def refuse(*_):
        raise MemoryError

    monkeypatch.setattr(np, "zeros", refuse)
    assert_one_line(Encoded("coo", (2**15, 2**15), GOOD["coo"]), "no memory for its shape")


@st.composite
def mutations(draw):
    """An encoded tensor with one stream cut, repeated, or with some of its bytes changed."""
    name = draw(st.sampled_from(sorted(ENCODINGS)))
    streams = dict(GOOD[name])
    key = draw(st.sampled_from(sorted(streams)))
    stream = streams[key]
    kind = draw(st.sampled_from(["cut", "repeat", "bytes"]))
    if kind == "cut":
        stream = stream[: draw(st.integers(0, len(stream)))]
    elif kind == "repeat":
        stream = np.concatenate([stream, stream])
    else:
        raw = bytearray(stream.tobytes())
        for _ in range(draw(st.integers(1, 4))):
            raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
        stream = np.frombuffer(bytes(raw), stream.dtype).reshape(stream.shape)
    return Encoded(name, MATRIX.shape, {**streams, key: stream})


@settings(max_examples=150, deadline=None)
@given(encoded=mutations())
def test_fuzzed_streams_are_refused_or_canonical(encoded):
    assert_refused_or_canonical(encoded)
