"""From which proportion on an encoding pays, computed and measured."""

import dataclasses
import math

import numpy as np
import pytest

from compressor.encodings import (
    ENCODINGS,
    computed_break_even,
    expected_model_bytes,
    measured_break_even,
)

SHAPES = [(3136, 1024), (1024, 10)]
PRUNED = 3_221_504
DENSE = 53_130
PARAMETERS = PRUNED + DENSE
MOMENTS, WEIGHTS = 12 * PARAMETERS, 4 * PARAMETERS


def test_the_paper_breaks_even_at_half_because_of_its_baseline():
    # 24 (1 - p) n + 4 * 53130 = 12 (n + 53130)
    exact = 1 - (12 * PARAMETERS - 4 * DENSE) / (24 * PRUNED)
    found = computed_break_even("coo-paper", SHAPES, DENSE, MOMENTS)
    assert found == pytest.approx(exact, abs=1.1e-6)
    assert found == pytest.approx(0.5, abs=0.006)


@pytest.mark.parametrize(
    ("name", "proportion"),
    [
        ("dense", 0),
        ("coo-paper", 5 / 6),
        ("coo", 2 / 3),
        # 4 (rows + 2) + 6 n_1 (1 - p) + 5 n_2 (1 - p) = 4 n
        ("csr", 1 - (4 * PRUNED - 4 * (3137 + 1025)) / (6 * 3_211_264 + 5 * 10_240)),
        ("bitmask", 1 / 32),
        ("gap8", 1 / 5),
        ("entropy", 0),
    ],
)
def test_against_the_weights_alone(name, proportion):
    found = computed_break_even(name, SHAPES, DENSE, WEIGHTS)
    assert found == pytest.approx(proportion, abs=1.1e-6)


@pytest.mark.parametrize("name", list(ENCODINGS))
@pytest.mark.parametrize("baseline", [MOMENTS, WEIGHTS, WEIGHTS // 10])
def test_it_fits_there_and_not_just_below(name, baseline):
    def size(proportion):
        kept = [(shape, (1 - proportion) * math.prod(shape)) for shape in SHAPES]
        return expected_model_bytes(name, kept, DENSE)

    found = computed_break_even(name, SHAPES, DENSE, baseline)
    if found is None:
        assert name == "dense" and size(1) > baseline
        return
    assert 0 <= found < 1
    assert all(size(p) <= baseline for p in np.linspace(found, 1, 20))
    assert found == 0 or size(found - 1e-6) > baseline


def test_never():
    # The parameters that stay dense are more than the baseline already.
    assert computed_break_even("gap8", SHAPES, DENSE, 4 * DENSE - 1) is None
    assert computed_break_even("csr", [(100, 100)], 0, 4 * 100) is None
    kernel = {"fc": np.ones((100, 100), np.float32)}
    assert measured_break_even("csr", kernel, 0, 4 * 100) is None
    assert measured_break_even("dense", kernel, 0, 4 * 100 * 100 - 1) is None


def test_always():
    assert computed_break_even("coo", SHAPES, 0, 12 * PRUNED) == 0
    assert measured_break_even("coo", {"fc": np.ones((30, 30), np.float32)}, 0, 12 * 900) == 0


@pytest.mark.parametrize("name", list(ENCODINGS))
@pytest.mark.parametrize("bytes_a_parameter", [4, 12, 0.5])
def test_measured_agrees_with_computed_on_random_kernels(name, bytes_a_parameter):
    rng = np.random.default_rng(5)
    kernels = {
        "conv": rng.normal(size=(5, 5, 4, 16)).astype(np.float32),
        "fc": rng.normal(size=(200, 300)).astype(np.float32),
    }
    shapes = [kernel.shape for kernel in kernels.values()]
    baseline = bytes_a_parameter * (sum(kernel.size for kernel in kernels.values()) + 500)
    computed = computed_break_even(name, shapes, 500, baseline)
    measured = measured_break_even(name, kernels, 500, baseline)
    if computed is None:
        assert measured is None
    else:
        # One step of the grid, and one weight a kernel lost in rounding down.
        assert measured == pytest.approx(computed, abs=0.0015)


def test_measured_really_prunes_the_smallest_and_changes_nothing():
    # All that is left at the start of each row is close together: gap8 needs no filler,
    # where random positions would.
    kernel = np.full((100, 1000), 0.001, np.float32)
    kernel[0] = -5
    before = kernel.copy()
    baseline = 5 * 1000
    found = measured_break_even("gap8", {"fc": kernel}, 0, baseline)
    assert found == 0.99
    np.testing.assert_array_equal(kernel, before)
    pruned = np.where(np.abs(kernel) > 1, kernel, 0).astype(np.float32)
    assert ENCODINGS["gap8"].nbytes(pruned) == baseline
    assert computed_break_even("gap8", [kernel.shape], 0, baseline) > 0.99


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ENCODINGS)
def test_nothing_is_encoded_where_a_count_says_it_all(name, monkeypatch):
    """Eleven encodings of a kernel of three million weights took a second each."""
    rng = np.random.default_rng(5)
    kernel = rng.normal(size=(300, 40)).astype(np.float32)
    kernel[rng.random(kernel.shape) < 0.4] = 0
    kernel.reshape(-1)[:9] = -0.0
    encoding, calls = ENCODINGS[name], []
    wanted = sum(stream.nbytes for stream in encoding.encode(kernel).values())
    counted = dataclasses.replace(
        encoding, _streams=lambda matrix: calls.append(1) or encoding._streams(matrix)
    )
    monkeypatch.setattr("compressor.encodings.sizes.ENCODINGS", {name: counted})
    assert counted.nbytes(kernel) == wanted
    found = measured_break_even(name, {"fc": kernel}, 0, 2.5 * kernel.size)
    by_hand = first_that_fits(encoding, kernel, 2.5 * kernel.size)
    assert found == by_hand
    assert bool(calls) == (name == "gap8")


def first_that_fits(encoding, kernel, baseline):
    order = np.argsort(np.abs(kernel), axis=None, kind="stable")
    for step in range(2000):
        pruned = kernel.copy()
        pruned.reshape(-1)[order[: math.floor(step / 2000 * kernel.size)]] = 0
        if sum(stream.nbytes for stream in encoding.encode(pruned).values()) <= baseline:
            return step / 2000
    return None
