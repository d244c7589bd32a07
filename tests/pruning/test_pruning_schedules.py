"""How sparsity rises: the formulas, and what a training sees of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from compressor import PruningSpec, TrainingOptions
from compressor.data.training_data import TrainingData
from compressor.errors import UsageError
from compressor.models.objective import objective_of
from compressor.pruning import kept_weights
from compressor.pruning.pruner import density_of
from compressor.pruning.rounds import prune_gradually
from compressor.pruning.schedules import cubic_sparsity, round_sparsity, update_steps


@pytest.mark.parametrize(
    ("progress", "expected"),
    # 0.8 (1 - (1 - t)^3), by hand.
    [(0.0, 0.0), (0.25, 0.4625), (0.5, 0.7), (0.75, 0.7875), (1.0, 0.8), (-1, 0.0), (2, 0.8)],
)
def test_the_cubic_schedule(progress, expected):
    assert cubic_sparsity(0.8, progress) == pytest.approx(expected)


def test_the_cubic_schedule_ends_exactly():
    for target in (0.1, 0.29, 0.57, 0.9, 0.98):
        assert cubic_sparsity(target, 1.0) == target


def test_each_round_removes_the_same_fraction_and_the_last_is_exact():
    # 0.1 is left after 3 rounds: the cube root of it after each.
    assert round_sparsity(0.9, 1, 3) == pytest.approx(1 - 0.46415888)
    assert round_sparsity(0.9, 2, 3) == pytest.approx(1 - 0.21544347)
    assert [round_sparsity(p, 3, 3) for p in (0.9, 0.29)] == [0.9, 0.29]
    assert round_sparsity(0.75, 1, 2) == pytest.approx(0.5)
    assert round_sparsity(0.7, 1, 1) == 0.7


@pytest.mark.parametrize(
    ("steps", "ramp", "end"),
    [(10, 0.6, 6), (10, 1.0, 10), (2, 0.5, 1), (1, 1.0, 1), (1000, 0.6, 600), (5003, 0.29, 1450)],
)
def test_updates_rise_and_end_exactly_with_the_ramp(steps, ramp, end):
    updates = update_steps(steps, ramp)
    assert list(updates) == sorted(updates)
    assert min(updates) >= 1 and max(updates) == end and updates[end] == 1.0
    assert all(0 < progress <= 1 for progress in updates.values())
    for step, progress in updates.items():
        assert progress == pytest.approx(step / end)
    assert len(updates) <= 80
    gaps = np.diff(list(updates))
    assert not len(gaps) or gaps.max() <= max(end // 40, 1) * 2


def test_a_ramp_shorter_than_a_step(rejected):
    assert "too few steps for gradual pruning: 1" in rejected(UsageError, update_steps, 1, 0.6)


@pytest.fixture
def watched(small_net, tiny_data):
    """Prune gradually, and note after each step where each kernel is zero."""

    def run(sparsity, steps=20, **spec):
        model, zeros = small_net(), []

        def note(*_):
            zeros.append(
                {name: model.get_layer(name).kernel.numpy() == 0 for name in ("hidden", "scores")}
            )

        done, options = prune_gradually(
            model,
            TrainingData.of(tiny_data, 16),
            PruningSpec(sparsity, schedule="gradual", **spec),
            TrainingOptions(steps=steps, batch_size=16, learning_rate=0.01),
            seed=3,
            objective=objective_of(model),
            progress=note,
        )
        return model, zeros, done, options

    return run


@pytest.mark.slow
def test_sparsity_rises_while_training_by_the_formula(watched):
    model, zeros, done, _ = watched(0.9, ramp=0.5)
    assert len(zeros) == 20
    size = 64 * 12
    for step, found in enumerate(zeros, start=1):
        expected = kept_weights(size, cubic_sparsity(0.9, step / 10))
        assert size - found["hidden"].sum() == expected, step
    assert 0.2 < zeros[0]["hidden"].mean() < 0.3
    final = {row["layer"]: row["kept"] for row in done.rows}
    assert final == {"hidden": kept_weights(size, 0.9), "scores": kept_weights(48, 0.9)}
    for name, count in final.items():
        assert np.count_nonzero(model.get_layer(name).kernel.numpy()) == count


@pytest.mark.sampled(1)
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_what_is_gone_never_comes_back(watched, scope):
    _, zeros, done, _ = watched(0.8, scope=scope)
    for earlier, later in itertools.pairwise(zeros):
        for name in ("hidden", "scores"):
            assert later[name][earlier[name]].all()
    for name, mask in done.masks.items():
        np.testing.assert_array_equal(zeros[-1][name], ~mask)


@pytest.mark.slow
def test_after_the_ramp_the_rest_learns_on(watched):
    _, zeros, _, _ = watched(0.8, ramp=0.25)
    changes = [
        step
        for step, (earlier, later) in enumerate(itertools.pairwise(zeros), start=2)
        if (earlier["hidden"] != later["hidden"]).any()
    ]
    assert max(changes) == 5


@pytest.mark.slow
def test_each_layer_rises_to_its_own_target(watched):
    model, _, done, options = watched({"hidden": 0.9, "scores": 0.25})
    kept = {"hidden": kept_weights(768, 0.9), "scores": kept_weights(48, 0.25)}
    assert {row["layer"]: row["kept"] for row in done.rows} == kept
    density = (0.1 * 768 + 0.75 * 48) / (768 + 48)
    assert options.dropout_scale == pytest.approx(density**0.5)
    assert np.count_nonzero(model.get_layer("hidden").kernel.numpy()) == kept["hidden"]


@pytest.mark.slow
def test_gradual_n_of_m_ends_with_n_of_every_m(watched):
    _, zeros, done, _ = watched(None, granularity="1:4")
    stay = np.moveaxis(~zeros[-1]["hidden"], 0, -1).reshape(-1, 4).sum(axis=1)
    assert (stay == 1).all()
    assert density_of(done.rows) == 0.25
    shares = [found["hidden"].mean() for found in zeros]
    assert shares == sorted(shares) and len(set(shares)) == 3
