"""What an encoding stores is enough to get the tensor back, bit for bit."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from compressor.encodings import ENCODINGS, SparseKernel
from compressor.errors import ModelError

NAMES = list(ENCODINGS)

# Any float32 at all, by its bits: NaNs with payloads, infinities, subnormals, both zeros.
_SPECIAL = [0x0, 0x8000_0000, 0x1, 0x7F80_0000, 0xFF80_0000, 0x7FC0_1234, 0x7F80_0001]
_BITS = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from(_SPECIAL))


@st.composite
def tensors(draw):
    """Float32 tensors of rank 1 to 4, of any density, axes of 0 included."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=12))
    bits = draw(hnp.arrays(np.uint32, shape, elements=_BITS, fill=st.just(0)))
    if draw(st.booleans()):
        density = draw(st.floats(0, 1))
        seed = draw(st.integers(0, 2**32 - 1))
        kept = np.random.default_rng(seed).random(shape) < density
        bits = np.where(kept, bits | np.uint32(1), np.uint32(0))
    return bits.view(np.float32)


def bits_of(tensor):
    """The bits of float32 weights, with +0 for -0: what a decoded tensor must have."""
    bits = tensor.view(np.uint32)
    return np.where(bits == 0x8000_0000, np.uint32(0), bits)


def decoded(name, streams, shape):
    """The tensor that the streams say they hold, read as their descriptions say."""
    rows, columns = math.prod(shape[:-1]), shape[-1]
    flat = np.zeros(rows * columns, np.float32)
    if name == "dense":
        positions = slice(None)
    elif name == "coo-paper":
        positions = streams["ids"] * np.int64(columns) + streams["indices"][:, 0]
    elif name == "coo":
        positions = streams["rows"] * np.int64(columns) + streams["columns"]
    elif name == "csr":
        of_row = np.diff(streams["pointers"])
        positions = np.repeat(np.arange(rows) * columns, of_row) + streams["columns"]
    elif name == "bitmask":
        positions = np.unpackbits(streams["mask"], count=flat.size, bitorder="little").nonzero()[0]
    else:
        positions = np.cumsum(streams["gaps"], dtype=np.int64)
    flat[positions] = streams["values"]
    return flat.reshape(shape)


def assert_round_trip(name, tensor):
    before = tensor.copy()
    encoding = ENCODINGS[name]
    streams = encoding.encode(tensor)
    back = decoded(name, streams, tensor.shape)
    np.testing.assert_array_equal(back.view(np.uint32), bits_of(tensor))
    np.testing.assert_array_equal(tensor.view(np.uint32), before.view(np.uint32))
    assert encoding.nbytes(tensor) == sum(stream.nbytes for stream in streams.values())
    # What one tensor becomes does not depend on the zeros' signs.
    again = encoding.encode(back)
    for stream, same in zip(streams.values(), again.values(), strict=True):
        assert not np.shares_memory(stream, tensor)
        assert stream.tobytes() == same.tobytes()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None)
@given(tensor=tensors())
def test_any_tensor_comes_back(name, tensor):
    assert_round_trip(name, tensor)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(2000,), (40, 50), (5, 8, 50), (5, 5, 8, 10)])
@pytest.mark.parametrize("kept", [[], [0], [-1], [0, -1], [254, 255, 256, 511, 766, 1022], "all"])
def test_places_of_the_nonzeros(name, shape, kept):
    tensor = np.zeros(shape, np.float32)
    tensor.reshape(-1)[slice(None) if kept == "all" else kept] = -1.5
    assert_round_trip(name, tensor)


@pytest.mark.parametrize("name", NAMES)
def test_special_values_and_negative_zero(name):
    tensor = np.array(_SPECIAL, np.uint32).view(np.float32)
    back = decoded(name, ENCODINGS[name].encode(tensor), tensor.shape)
    assert [hex(bits) for bits in back.view(np.uint32)] == [
        hex(0 if bits == 0x8000_0000 else bits) for bits in _SPECIAL
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_that_is_not_contiguous(name):
    tensor = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    tensor[tensor % 3 > 0] = 0
    for view in (tensor.T, tensor[:, ::2], tensor[::-1], np.asfortranarray(tensor)):
        assert_round_trip(name, view)


@pytest.mark.parametrize("columns", [255, 256, 257, 65_535, 65_536, 65_537])
@pytest.mark.parametrize("name", NAMES)
def test_wide_matrices(name, columns):
    tensor = np.zeros((3, columns), np.float32)
    tensor[[0, 1, 1, 2], [columns - 1, 0, columns - 1, columns // 2]] = [1, 2, 3, 4]
    assert_round_trip(name, tensor)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (np.zeros((2, 2)), "must be a float32 array: float64"),
        (np.zeros((2, 2), ">f4"), "must be a float32 array: >f4"),
        ([1.0, 2.0], "must be a float32 array: list"),
        (np.array(1, np.float32), r"must have an axis and .*: \(\)"),
    ],
)
def test_what_cannot_be_encoded(name, tensor, message):
    with pytest.raises(ModelError, match=message):
        ENCODINGS[name].encode(tensor)


@pytest.mark.parametrize("shape", [(7,), (40, 50), (3, 0), (0, 3), (5, 5, 8, 10)])
def test_a_sparse_kernel_comes_back(shape):
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    kernel[kernel < 0.5] = 0
    encoded = SparseKernel.encode(kernel)
    encoded.check()
    assert encoded.encoding == "coo-paper" and encoded.shape == shape
    np.testing.assert_array_equal(encoded.dense(), kernel)
    for name, stream in ENCODINGS["coo-paper"].encode(kernel).items():
        np.testing.assert_array_equal(encoded.streams[name], stream)
