"""Fewer bits a weight: what is rounded to what, and that zeros stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from compressor.errors import ModelError
from compressor.exporters.quantization import (
    make_codebook,
    quantize_least_squares,
    quantize_symmetric,
)


def _weights(seed: int, shape: tuple[int, ...], density: float) -> np.ndarray:
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=shape) * generator.choice([0.01, 1, 30], size=shape[-1])
    return (weights * (generator.random(shape) < density)).astype(np.float32)


@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 9)),
    density=st.floats(0, 1),
    bits=st.sampled_from([4, 8]),
    axis=st.sampled_from([None, 0, 1, -1]),
)
def test_integers_are_within_half_a_step_and_keep_zeros(
    seed: int, shape: tuple[int, ...], density: float, bits: int, axis: int | None
) -> None:
    weights = _weights(seed, shape, density)

    quantized = quantize_symmetric(weights, bits=bits, axis=axis)

    step = quantized.scale.reshape([-1 if i == (axis or 0) % 2 else 1 for i in range(2)])
    if axis is None:
        step = quantized.scale[0]
    assert quantized.values.dtype == np.int8
    assert np.abs(quantized.values.astype(int)).max() <= 2 ** (bits - 1) - 1
    assert (np.abs(quantized.dequantized() - weights) <= 0.5001 * step).all()
    assert (quantized.values[weights == 0] == 0).all()
    assert (quantized.scale > 0).all()


def test_each_channel_has_a_scale_of_its_own() -> None:
    weights = np.array([[1.0, 100.0], [-0.5, 50.0]], np.float32)

    quantized = quantize_symmetric(weights, axis=1)

    np.testing.assert_allclose(quantized.scale, [1 / 127, 100 / 127], rtol=1e-6)
    np.testing.assert_array_equal(quantized.values, [[127, 127], [-64, 64]])


@given(seed=st.integers(0, 10_000), size=st.integers(1, 400), density=st.floats(0, 1))
def test_a_codebook_gives_each_weight_its_nearest_entry(
    seed: int, size: int, density: float
) -> None:
    weights = _weights(seed, (size, 3), density)

    book = make_codebook(weights)

    found = book.dequantized()
    assert len(book.table) <= 16
    assert (found[weights == 0] == 0).all()
    nearest = np.abs(weights[..., None] - book.table).min(axis=-1)
    np.testing.assert_allclose(np.abs(found - weights), nearest, rtol=1e-6, atol=0)


def test_a_codebook_of_weights_without_zeros_keeps_no_entry_for_them() -> None:
    weights = np.linspace(1, 2, 1000, dtype=np.float32)

    book = make_codebook(weights, zero=False)

    assert len(book.table) == 16
    assert (book.table >= 1).all()
    assert np.abs(book.dequantized() - weights).max() <= 1 / 30


def test_few_different_weights_are_stored_without_loss() -> None:
    weights = np.array([[0.5, -0.25, 0.0], [0.5, 3.0, -0.25]], np.float32)

    np.testing.assert_array_equal(make_codebook(weights).dequantized(), weights)


def test_kmeans_is_better_than_equal_steps() -> None:
    weights = np.random.default_rng(3).normal(size=20_000).astype(np.float32)

    found = make_codebook(weights).dequantized()

    equal = quantize_symmetric(weights, bits=4).dequantized()
    assert np.mean((found - weights) ** 2) < 0.6 * np.mean((equal - weights) ** 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(bad: float) -> None:
    weights = np.array([1.0, bad], np.float32)

    with pytest.raises(ModelError, match="not finite"):
        quantize_symmetric(weights)
    with pytest.raises(ModelError, match="not finite"):
        make_codebook(weights)


def test_a_tensor_of_zeros_stays_one() -> None:
    weights = np.zeros((4, 4), np.float32)

    assert not quantize_symmetric(weights, axis=0).dequantized().any()
    assert not make_codebook(weights).dequantized().any()


@pytest.mark.parametrize(
    ("bits", "quantize"), [(8, quantize_symmetric), (4, quantize_least_squares)]
)
def test_weights_that_were_rounded_before_keep_their_values(bits, quantize):
    generator = np.random.default_rng(5)
    codes = generator.integers(-5, 6, (300, 7))
    codes[:, 3] = 0
    weights = (codes * generator.uniform(0.01, 2, 7)).astype(np.float32)
    found = quantize(weights, bits=bits, axis=1)
    np.testing.assert_array_equal(found.values, codes)
    np.testing.assert_allclose(found.dequantized(), weights, rtol=1e-6)
