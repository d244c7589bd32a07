"""Weights rounded so that they make up for each other."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.exporters.quantization import make_codebook, quantize_symmetric
from compressor.pruning.reconstruction_solver import LayerProblem
from compressor.pruning.rounding_solver import Integers, Table, round_to


def problem(groups=1, rows=400, inputs=24, outputs=6, sparsity=0.0, seed=0):
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(groups, 5, inputs))
    x = generator.normal(size=(groups, rows, 5)) @ mixed
    x += 0.1 * generator.normal(size=x.shape) + 1
    weights = generator.normal(size=(groups, inputs, outputs)) * (
        generator.random((groups, inputs, outputs)) >= sparsity
    )
    x, weights = x.astype(np.float32), weights.astype(np.float32)
    ones = np.ones((groups, outputs), np.float32)
    return LayerProblem(x, x @ weights, weights, ones, True, False, lambda scores, _: scores != 0)


def error(given, weights):
    change = given.inputs @ weights - given.outputs
    return float(np.square(change - change.mean(axis=1, keepdims=True)).sum())


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("shape", [(1, 24, 6), (3, 9, 2)])
def test_integers(bits, shape):
    groups, inputs, outputs = shape
    given = problem(groups, inputs=inputs, outputs=outputs, sparsity=0.3)
    found = round_to(given, Integers(2 ** (bits - 1) - 1, pins=bits == 8))
    assert not found[given.weights == 0].any()
    flat = found.transpose(1, 0, 2).reshape(inputs, -1)
    # What an exporter makes of them are the same weights.
    again = quantize_symmetric(flat, bits=bits, axis=1)
    np.testing.assert_allclose(again.dequantized(), flat, rtol=1e-5, atol=1e-7)
    if groups == 1:
        nearest = quantize_symmetric(given.weights[0], bits=bits, axis=1).dequantized()[None]
        assert error(given, found) < 0.5 * error(given, nearest)


def test_eight_bits_keep_the_largest_weight_at_the_bound():
    found = round_to(problem(), Integers(127, pins=True))[0]
    # As the stock quantisers take the scale.
    scale = np.abs(found).max(axis=0) / 127
    np.testing.assert_allclose(found / scale, np.rint(found / scale), atol=1e-3)


def test_table():
    given = problem(outputs=12, sparsity=0.3)
    found = round_to(given, Table(16))
    assert len(np.unique(found)) <= 16 and not found[given.weights == 0].any()
    np.testing.assert_array_equal(make_codebook(found).dequantized(), found)
    assert error(given, found) < 0.5 * error(given, make_codebook(given.weights).dequantized())


@pytest.mark.parametrize(
    "grid", [lambda: Integers(127, pins=True), lambda: Integers(1), lambda: Table(16)]
)
def test_what_cannot_be_learnt_from(grid):
    """Dead and constant inputs, fewer rows than inputs, weights that are all zero."""
    given = problem(rows=5)
    given.inputs[..., :6] = 0
    given.inputs[..., 6] = 3
    given.weights[..., 1] = 0
    found = round_to(given, grid())
    assert np.isfinite(found).all() and not found[..., 1].any()
    assert np.abs(found).max() < 10 * np.abs(given.weights).max()
