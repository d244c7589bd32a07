"""The streams and bytes of each encoding, worked out by hand."""

import numpy as np
import pytest

from compressor.encodings import ENCODINGS, ENTROPY, entropy_bound_bytes
from compressor.errors import UsageError

# Rows are inputs, columns output units.
MATRIX = np.array([[0, 5, 0], [7, 0, 0], [0, 8, 9], [0, 0, 0]], np.float32)


def streams_of(name, tensor):
    return {
        key: (str(stream.dtype), stream.tolist())
        for key, stream in ENCODINGS[name].encode(tensor).items()
    }


def bytes_of(name, tensor):
    return ENCODINGS[name].nbytes(tensor)


def test_dense():
    assert streams_of("dense", MATRIX) == {"values": ("float32", MATRIX.ravel().tolist())}
    assert bytes_of("dense", MATRIX) == 4 * 12


def test_coo_paper():
    assert streams_of("coo-paper", MATRIX) == {
        "indices": ("int64", [[0, 0], [1, 0], [1, 1], [2, 0]]),
        "ids": ("int32", [1, 0, 2, 2]),
        "values": ("float32", [7, 5, 8, 9]),
    }
    assert bytes_of("coo-paper", MATRIX) == 24 * 4


def test_coo_paper_computes_the_product_as_embedding_lookup_sparse_does():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(30, 12)).astype(np.float32)
    kernel[rng.random(kernel.shape) < 0.7] = 0
    kernel[:, 4] = 0
    batch = rng.normal(size=(5, 30)).astype(np.float32)
    streams = ENCODINGS["coo-paper"].encode(kernel)
    # combiner="sum": rows of params, chosen by id and weighted, are summed by output unit.
    products = np.zeros((12, 5), np.float32)
    rows = batch.T[streams["ids"]] * streams["values"][:, None]
    np.add.at(products, streams["indices"][:, 0], rows)
    np.testing.assert_allclose(products, kernel.T @ batch.T, rtol=1e-5, atol=1e-5)
    # A SparseTensor's canonical order: row-major, no coordinates twice.
    indices = streams["indices"].tolist()
    assert indices == sorted(indices) and len({tuple(pair) for pair in indices}) == len(indices)


def test_coo():
    assert streams_of("coo", MATRIX) == {
        "rows": ("int32", [0, 1, 2, 2]),
        "columns": ("int32", [1, 0, 1, 2]),
        "values": ("float32", [5, 7, 8, 9]),
    }
    assert bytes_of("coo", MATRIX) == 12 * 4


def test_csr():
    assert streams_of("csr", MATRIX) == {
        "pointers": ("int32", [0, 1, 2, 4, 4]),
        "columns": ("uint8", [1, 0, 1, 2]),
        "values": ("float32", [5, 7, 8, 9]),
    }
    assert bytes_of("csr", MATRIX) == 4 * 5 + 5 * 4


@pytest.mark.parametrize(
    ("columns", "dtype", "size"),
    [
        (1, "uint8", 1),
        (256, "uint8", 1),
        (257, "uint16", 2),
        (65_536, "uint16", 2),
        (65_537, "uint32", 4),
    ],
)
def test_csr_takes_the_narrowest_column_index(columns, dtype, size):
    tensor = np.zeros((2, columns), np.float32)
    tensor[:, -1] = 1
    assert ENCODINGS["csr"].encode(tensor)["columns"].dtype == dtype
    assert ENCODINGS["csr"].nbytes(tensor) == 4 * 3 + 2 * (size + 4)


def test_bitmask():
    # Weights 1, 3, 7 and 8 are set: 2 + 8 + 128, and 1 in the next byte.
    assert streams_of("bitmask", MATRIX) == {
        "mask": ("uint8", [138, 1]),
        "values": ("float32", [5, 7, 8, 9]),
    }
    assert bytes_of("bitmask", MATRIX) == 2 + 4 * 4


def test_gap8():
    assert streams_of("gap8", MATRIX) == {
        "gaps": ("uint8", [1, 2, 4, 1]),
        "values": ("float32", [5, 7, 8, 9]),
    }
    assert bytes_of("gap8", MATRIX) == 5 * 4


@pytest.mark.parametrize(
    ("positions", "gaps"),
    [
        ([0], [0]),
        ([255], [255]),
        ([256], [255, 1]),
        ([510], [255, 255]),
        ([511], [255, 255, 1]),
        ([3, 258], [3, 255]),
        ([3, 259], [3, 255, 1]),
        ([3, 4, 999], [3, 1, 255, 255, 255, 230]),
        ([], []),
    ],
)
def test_gap8_walks_a_long_gap_over_fillers(positions, gaps):
    tensor = np.zeros((10, 100), np.float32)
    tensor.reshape(-1)[positions] = 2
    streams = ENCODINGS["gap8"].encode(tensor)
    assert streams["gaps"].tolist() == gaps
    # The weights stand where the running sum says, and zeros everywhere else.
    reached = np.cumsum(streams["gaps"], dtype=int)
    assert [p for p, v in zip(reached, streams["values"], strict=True) if v] == positions


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dense", 4 * 800),
        ("coo-paper", 24 * 60),
        ("coo", 12 * 60),
        ("csr", 4 * 81 + 5 * 60),
        ("bitmask", 100 + 4 * 60),
    ],
)
def test_expected_bytes_are_exact_where_positions_do_not_matter(name, expected):
    tensor = np.zeros(800, np.float32)
    tensor[np.random.default_rng(1).permutation(800)[:60]] = 1
    tensor = tensor.reshape(4, 20, 10)
    assert ENCODINGS[name].expected_bytes(tensor.shape, 60) == expected
    assert bytes_of(name, tensor) == expected


def simulated_entries(weights, nonzeros, trials, rng):
    """Mean count of gap8 entries, non-zeros and fillers, counted one gap at a time."""
    total = 0
    for _ in range(trials):
        positions = np.sort(rng.choice(weights, nonzeros, replace=False))
        gaps = np.diff(positions, prepend=0)
        total += nonzeros + sum((int(gap) - 1) // 255 for gap in gaps if gap > 255)
    return total / trials


@pytest.mark.parametrize(
    ("weights", "nonzeros", "trials"),
    [(20_000, 1, 2000), (20_000, 5, 1000), (20_000, 40, 200), (50_000, 400, 20), (300, 2, 4000)],
)
def test_gap8_expects_the_fillers_that_random_positions_need(weights, nonzeros, trials):
    simulated = simulated_entries(weights, nonzeros, trials, np.random.default_rng(2))
    expected = ENCODINGS["gap8"].expected_bytes((weights // 10, 10), nonzeros) / 5
    assert expected == pytest.approx(simulated, rel=0.02 if nonzeros == 1 else 0.01)


def test_gap8_expects_exactly_the_mean_over_all_places():
    encoding = ENCODINGS["gap8"]
    tensor = np.zeros(800, np.float32)
    sizes = []
    for position in range(800):
        tensor[:] = 0
        tensor[position] = 1
        sizes.append(encoding.nbytes(tensor))
    assert encoding.expected_bytes((800,), 1) == pytest.approx(np.mean(sizes), rel=1e-9)


@pytest.mark.parametrize("density", [0.002, 0.01, 0.05])
def test_gap8_tends_to_geometric_gaps_in_a_large_matrix(density):
    weights = 3136 * 1024
    positions = np.flatnonzero(np.random.default_rng(3).random(weights) < density)
    nonzeros = density * weights
    longer = (1 - density) ** 255
    expected = ENCODINGS["gap8"].expected_bytes((3136, 1024), nonzeros)
    assert expected == pytest.approx(5 * nonzeros * (1 + longer / (1 - longer)), rel=1e-3)
    tensor = np.zeros((3136, 1024), np.float32)
    tensor.reshape(-1)[positions] = 1
    simulated = bytes_of("gap8", tensor) / len(positions)
    assert simulated == pytest.approx(expected / nonzeros, rel=0.01)


@pytest.mark.parametrize("name", list(ENCODINGS))
def test_fewer_nonzeros_never_take_more(name):
    sizes = [
        ENCODINGS[name].expected_bytes((100, 300), count)
        for count in [0, 0.01, 0.5, 1, 1.5, 2, 3, 5, 10, 100, 1000, 10_000, 29_999.5, 30_000]
    ]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("name", list(ENCODINGS))
def test_counts_that_cannot_be(name):
    for count in (-1, 7, float("nan")):
        with pytest.raises(UsageError, match=f"a count of non-zeros .*: {count} of 6"):
            ENCODINGS[name].expected_bytes((2, 3), count)
    for shape in [(2**31,), (10**400, 2)]:
        with pytest.raises(UsageError, match="at most 2147483647 weights"):
            ENCODINGS[name].expected_bytes(shape, 0)


def test_entropy_bound():
    # Half: one bit a weight. A quarter: 0.8113 bits.
    assert entropy_bound_bytes((8, 100), 400) == pytest.approx(100 + 1600)
    assert entropy_bound_bytes((8, 100), 200) == pytest.approx(0.811278 * 100 + 800, rel=1e-6)
    assert entropy_bound_bytes((8, 100), 0) == 0
    assert entropy_bound_bytes((8, 100), 800) == 3200
    assert entropy_bound_bytes((8, 0), 0) == 0
    assert ENTROPY == "entropy" and ENTROPY not in ENCODINGS


@pytest.mark.parametrize("name", list(ENCODINGS))
@pytest.mark.parametrize("density", [0.01, 0.1, 0.5, 0.9])
def test_no_encoding_of_random_positions_beats_the_bound(name, density):
    nonzeros = density * 1_000_000
    bound = entropy_bound_bytes((1000, 1000), nonzeros)
    assert ENCODINGS[name].expected_bytes((1000, 1000), nonzeros) >= bound
