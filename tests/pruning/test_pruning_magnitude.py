"""How many weights magnitude pruning keeps, and which."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from compressor.errors import ModelError, UsageError
from compressor.pruning import kept_weights, magnitude_prune
from compressor.pruning.magnitude import check_sparsity

FC1, FC2 = 3_211_264, 10_240
# The paper's Tables 4 to 9: proportion, kept of w_fc1, kept of w_fc2.
PAPER = [
    (0.1, 2_890_137, 9_215),
    (0.3, 2_247_884, 7_167),
    (0.5, 1_605_631, 5_119),
    (0.7, 963_379, 3_071),
    (0.8, 642_252, 2_047),
    (0.9, 321_126, 1_023),
]
DECIMALS = st.decimals(0, "0.999", places=3).map(float)


def weights(count, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)


@pytest.mark.parametrize(("sparsity", "fc1", "fc2"), PAPER)
def test_the_papers_counts(sparsity, fc1, fc2):
    assert kept_weights(FC1, sparsity) == fc1
    assert kept_weights(FC2, sparsity) == fc2
    kernel = weights(FC2).reshape(1024, 10)
    assert np.count_nonzero(magnitude_prune(kernel, sparsity).mask) == fc2


def test_the_papers_largest_layer_in_fact():
    kernel = weights(FC1).reshape(3136, 1024)
    for sparsity, kept, _ in (PAPER[0], PAPER[-1]):
        threshold, mask = magnitude_prune(kernel, sparsity)
        assert np.count_nonzero(mask) == kept
        assert mask.shape == kernel.shape and mask.dtype == np.bool_
        # The quantile of |w| for a normal distribution of this deviation.
        assert threshold == pytest.approx({0.1: 0.012566, 0.9: 0.164485}[sparsity], rel=0.01)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 99, 100, 101, 640])
@pytest.mark.parametrize("percent", [0, 1, 7, 10, 29, 30, 50, 57, 58, 70, 90, 99])
def test_the_count_is_exact_in_decimal(count, percent):
    expected = count - count * percent // 100 - 1
    assert kept_weights(count, percent / 100) == expected
    found = magnitude_prune(weights(count), percent / 100)
    assert np.count_nonzero(found.mask) == expected


def test_a_product_that_binary_arithmetic_gets_wrong():
    assert math.floor(100 * 0.29) == 28
    assert kept_weights(100, 0.29) == 70


def test_the_threshold_is_a_weight_and_what_is_strictly_greater_stays():
    kernel = np.array([[0.5, -0.1, 0.3], [-0.4, 0.2, -0.6]], np.float32)
    threshold, mask = magnitude_prune(kernel, 0.5)
    assert threshold == pytest.approx(0.4)
    assert mask.tolist() == [[True, False, False], [False, False, True]]


def test_at_sparsity_zero_only_the_smallest_goes():
    threshold, mask = magnitude_prune(np.array([3, -1, 2], np.float32), 0)
    assert (threshold, mask.tolist()) == (1.0, [True, False, True])


@pytest.mark.parametrize("value", [0.0, -0.25])
def test_among_equal_weights_the_later_ones_stay(value):
    threshold, mask = magnitude_prune(np.full((2, 5), value, np.float32), 0.6)
    assert threshold == abs(value)
    assert mask.tolist() == [[False] * 5, [False, False, True, True, True]]


def test_ties_at_the_threshold_go_by_index_and_larger_weights_stay():
    kernel = np.array([1, -1, 9, 1, 1, -9, 0, 1], np.float32)
    # 8 - 4 - 1 = 3 stay: both 9, and the last 1.
    assert np.flatnonzero(magnitude_prune(kernel, 0.5).mask).tolist() == [2, 5, 7]


@given(
    kernel=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=6),
        elements=st.one_of(
            st.sampled_from([0.0, -0.0, 0.5, -0.5]), st.floats(-2, 2, width=32, allow_nan=False)
        ),
    ),
    sparsity=DECIMALS,
)
@settings(max_examples=200, deadline=None)
def test_whatever_the_weights(kernel, sparsity):
    before = kernel.copy()
    threshold, mask = magnitude_prune(kernel, sparsity)
    index = math.floor(kernel.size * Fraction(str(sparsity)))
    magnitude = np.abs(kernel).ravel()
    assert threshold == np.sort(magnitude)[index]
    assert np.count_nonzero(mask) == kernel.size - index - 1
    assert mask.shape == kernel.shape
    flat = mask.ravel()
    assert flat[magnitude > threshold].all() and not flat[magnitude < threshold].any()
    tied = flat[magnitude == threshold]
    assert (np.diff(tied.astype(int)) >= 0).all()
    np.testing.assert_array_equal(kernel, before)


@pytest.mark.parametrize("sparsity", [1.0, 1, -0.1, 90, math.nan, math.inf, "0.5", None])
def test_a_sparsity_that_cannot_be(rejected, sparsity):
    message = rejected(UsageError, magnitude_prune, weights(10), sparsity)
    assert "at least 0 and below 1" in message and str(sparsity) in message
    rejected(UsageError, check_sparsity, sparsity)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers(rejected, bad):
    kernel = weights(12).reshape(3, 4)
    kernel[1, 2] = bad
    message = rejected(ModelError, magnitude_prune, kernel, 0.5)
    assert "NaN or infinite" in message and "(3, 4)" in message


def test_a_kernel_without_weights(rejected):
    rejected(ModelError, magnitude_prune, np.zeros((0, 4), np.float32), 0.5)
