"""Layer-wise least squares on one kernel: what stays, what it becomes, and bad statistics."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from compressor.pruning import reconstruction_solver
from compressor.pruning.magnitude import keep_highest
from compressor.pruning.reconstruction_channels import Consumer, removal_costs
from compressor.pruning.reconstruction_solver import (
    _PENALTY,
    LayerProblem,
    _System,
    solve,
)

INPUTS, OUTPUTS, KEPT = 24, 10, 60


def keep(scores: np.ndarray, progress: float) -> np.ndarray:
    left = scores.size - round((scores.size - KEPT) * progress)
    return keep_highest(scores.ravel(), left)[1].reshape(scores.shape)


def problem(rows: np.ndarray, weights: np.ndarray, **options) -> LayerProblem:
    """Of one group, whose outputs have a bias of 0.5."""
    options = {"has_bias": True, "rectified": False, **options}
    importance = np.ones((1, weights.shape[1]), np.float32)
    outputs = (rows @ weights + np.float32(0.5))[None]
    return LayerProblem(rows[None], outputs, weights[None], importance, keep=keep, **options)


def correlated(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixed = generator.normal(size=(count, 8)) @ generator.normal(size=(8, INPUTS))
    return (mixed + 0.3 * generator.normal(size=(count, INPUTS)) + 1).astype(np.float32)


def dense(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(INPUTS, OUTPUTS)).astype(np.float32)


def error(given: LayerProblem, weights: np.ndarray) -> float:
    """After the best bias."""
    made, wanted = given.made(weights)
    return float(np.square(made - wanted).sum())


def magnitude(given: LayerProblem) -> np.ndarray:
    return given.weights * keep(np.abs(given.weights), 1.0)


def test_what_is_left_makes_up_for_what_goes():
    given = problem(correlated(400), dense())
    weights, mask = solve(given)
    assert mask.sum() == KEPT and not weights[~mask].any()
    assert error(given, weights) < 0.25 * error(given, magnitude(given))


def test_weights_that_are_enough_are_found():
    sparse = dense() * keep(np.abs(dense(2)), 1.0)
    rows = np.random.default_rng(3).normal(size=(500, INPUTS)).astype(np.float32)
    weights, mask = solve(problem(rows, sparse))
    np.testing.assert_array_equal(mask[0], sparse != 0)
    np.testing.assert_allclose(weights[0], sparse, atol=1e-4)


@pytest.mark.parametrize("rows", [INPUTS - 4, INPUTS, 4 * INPUTS])
@pytest.mark.parametrize("most", [INPUTS, INPUTS - 1])
def test_the_matrix_and_its_inverse_by_way_of_the_rows(rows, most, monkeypatch):
    monkeypatch.setattr(reconstruction_solver, "MOST_INPUTS", most)
    scaled = correlated(rows) / np.float32(4 * np.sqrt(rows))
    system = _System(scaled[None])
    assert (system.gram is None) == (most < INPUTS)
    weights = dense()[None]
    matrix = scaled.T @ scaled + system.pull * np.eye(INPUTS)
    np.testing.assert_allclose(system.apply(weights)[0], matrix @ weights[0], atol=1e-4)
    shifted = system.apply(weights) + np.float32(_PENALTY) * weights
    np.testing.assert_allclose(system.solve(shifted), weights, atol=1e-4)


def test_as_few_rows_as_there_are_still_help():
    given = problem(correlated(INPUTS - 4), dense())
    assert error(given, solve(given)[0]) < 0.25 * error(given, magnitude(given))


def test_behind_a_relu_what_is_below_zero_does_not_matter():
    plain = problem(correlated(400), dense())
    decided = keep(np.abs(plain.weights), 1.0)
    plain = dataclasses.replace(plain, outputs=plain.outputs - 8, decided=decided)
    behind = dataclasses.replace(plain, rectified=True)
    found = {name: solve(given)[0] for name, given in (("plain", plain), ("behind", behind))}
    assert error(behind, found["behind"]) < error(behind, found["plain"])


def test_outputs_that_matter_more_keep_more():
    importance = np.ones((1, OUTPUTS), np.float32)
    importance[0, 0] = 20
    given = dataclasses.replace(problem(correlated(400), dense()), importance=importance)
    _, mask = solve(given)
    assert mask[0, :, 0].sum() > 2 * mask[0, :, 1:].sum() / (OUTPUTS - 1)


def test_outputs_that_nothing_depends_on_are_pruned_and_no_more():
    given = problem(correlated(400), dense())
    importance = np.array(given.importance)
    importance[:, ::2] = 0
    decided = keep(np.abs(given.weights), 1.0)
    given = dataclasses.replace(given, importance=importance)
    found, mask = solve(dataclasses.replace(given, decided=decided))
    np.testing.assert_array_equal(mask, decided)
    np.testing.assert_array_equal(found[..., ::2], (given.weights * mask)[..., ::2])
    alone = problem(correlated(400), dense()[:, 1::2])
    alone = dataclasses.replace(alone, decided=decided[..., 1::2])
    np.testing.assert_allclose(found[..., 1::2], solve(alone)[0], atol=1e-4)
    assert not solve(given)[1][..., ::2].any()


@pytest.mark.parametrize("kind", ["constant", "zero", "equal", "rare", "one row"])
@pytest.mark.parametrize("has_bias", [True, False])
def test_inputs_that_say_little(kind, has_bias):
    rows = correlated(50)
    if kind == "one row":
        rows = rows[:1]
    elif kind == "equal":
        rows[:, 1:] = rows[:, :1]
    elif kind == "rare":
        rows[1:, :5] = 0
    else:
        rows[:, :5] = 3.0 * (kind == "constant")
    given = problem(rows, dense(), has_bias=has_bias)
    weights, mask = solve(given)
    assert mask.sum() == KEPT and np.isfinite(weights).all()
    assert np.abs(weights).max() < 100
    assert error(given, weights) <= error(given, magnitude(given)) + 1e-4


def test_the_channel_that_the_others_can_replace_goes_first():
    rows = np.random.default_rng(4).normal(size=(300, 6)).astype(np.float32)
    rows[:, 4:] = rows[:, 2:4] + 0.01 * rows[:, 4:]  # channel 2 repeats channel 1
    weights = np.random.default_rng(5).normal(size=(6, 3)).astype(np.float32)
    weights[4:] *= 5
    owners = np.array([0, 0, 1, 1, 2, 2])

    def costs(gone=()):
        part = Consumer(rows, weights, np.ones(3), owners)
        return removal_costs([part], np.arange(3), np.array(gone, int))

    first = costs()
    assert first[1:].min() < 0.1 * first[0]  # by itself, channel 2 has the largest weights
    assert len(set(first)) == 3
    assert costs(gone=[1])[1] == 0 and costs(gone=[1])[2] > first[0] / 2


def test_a_channel_that_says_nothing_any_more_goes_first():
    generator = np.random.default_rng(4)
    dense_rows = generator.normal(size=(300, 3)).astype(np.float32)
    weights = np.array([[3.0], [1.0], [1.0]], np.float32)
    rows = np.array(dense_rows)
    rows[:, 0] = generator.normal(size=300)
    part = Consumer(rows, weights, np.ones(1), np.arange(3), dense_rows @ weights)
    costs = removal_costs([part], np.arange(3), np.array([], int))
    assert costs[0] < 0.1 * costs[1:].min()


def test_no_rows_have_no_means():
    given = problem(correlated(0), dense())
    np.testing.assert_array_equal(given.centres(given.inputs), np.zeros((1, 1, INPUTS)))
