"""The benchmark of allocations over a table: what it enumerates, and what it scores."""

import itertools

import numpy as np
import pytest
from scipy.special import log_softmax

from benchmarks import exhaustive, tables
from compressor.data import TrainingData
from compressor.models import preprocessing_of
from compressor.pruning.kernels import all_kernels

COUNTS = [[3, 6, 12, 24], [5, 10, 20, 40], [2, 4, 8]]


def scores():
    """Each allocation's, best in the middle, and none like another."""
    tops = itertools.product(*map(range, map(len, COUNTS)))
    wanted = np.array([1.2, 2.1, 0.9])
    return {exhaustive.name_of(one): 1 + float(np.square(one - wanted).sum()) for one in tops}


@pytest.mark.parametrize("budget", [10, 31, 45, 72])
def test_all_allocations_leave_room_for_no_more_of_any_kernel(budget):
    allocations = exhaustive.Allocations(COUNTS, budget)

    found = allocations.all()

    feasible = {
        one
        for one in itertools.product(*map(range, map(len, COUNTS)))
        if allocations.weights(one) <= budget
    }
    dominated = {
        one
        for one in feasible
        for other in feasible
        if one != other and all(a <= b for a, b in zip(one, other, strict=True))
    }
    assert found == sorted(feasible - dominated)
    points = np.random.default_rng(0).random((50, 3))
    assert {allocations.at(point) for point in points} <= {*found}
    assert allocations.shared_out([0, 100, 3]) in found


def test_what_is_smaller_than_every_candidate_is_refused():
    with pytest.raises(ValueError, match="fewest weights"):
        exhaustive.Allocations(COUNTS, 9)


@pytest.mark.parametrize("budget", [31, 45])
def test_no_method_goes_over_the_budget_or_below_the_best(budget):
    allocations = exhaustive.Allocations(COUNTS, budget, scores())

    found = exhaustive.compared(allocations, allocations.shared_out([24, 5, 2]), seeds=2)

    best = min(scores()[exhaustive.name_of(one)] for one in allocations.all())
    assert found["best"] == best and found["allocations"] == len(allocations.all())
    methods = found["methods"]
    assert {"LAMP", "LAMP and pair moves", *exhaustive.OPTIMISERS} == {*methods}
    for method in methods.values():
        assert method["most_weights"] <= budget and min(method["scores"]) >= best
    assert methods["LAMP and pair moves"]["scores"][0] < methods["LAMP"]["scores"][0]
    assert methods["LAMP and pair moves"]["looked_at"][0] <= exhaustive.MOVES
    assert methods["DE best/2"]["scores"] == [best, best]
    table = tables.exhaustive_table({"rows": [{"model": "a model", "budgets": [found]}]})
    assert f"| a model | {budget} weights, {len(allocations.all())} allocations |" in table
    assert "| DE best/2: % above it, scored | 0.0 (0.0), " in table


def test_an_allocation_is_scored_as_the_whole_model_is(small_net, tiny_data, tmp_path):
    model = small_net()
    names = [*all_kernels(model)]
    made = [
        exhaustive.candidates_of(model, tiny_data, name, tmp_path / "of", most=40, levels=3)
        for name in names
    ]
    for name, candidates in zip(names, made, strict=True):
        size = all_kernels(model)[name].numpy().size
        counts = [int(np.count_nonzero(arrays[0])) for arrays in candidates]
        assert counts == [round(min(size, 40) * share) for share in (0.5, 0.5**0.5, 1)]
    data = TrainingData.of(tiny_data, None)
    scored = exhaustive.Scored(model, tiny_data, made)
    x, _ = data.validation_part(exhaustive.SCORED)
    dense = model.get_weights()

    for levels in [(0, 1), (0, 2), (1, 2), (0, 1)]:
        found = scored.score(levels)

        model.set_weights(dense)
        x_in = preprocessing_of(model, x)(x)
        wanted = model.predict(x_in, verbose=0)
        for kernel, candidates, level in zip(
            all_kernels(model).values(), made, levels, strict=True
        ):
            kernel.layer.set_weights(candidates[level])
        logits = model.predict(x_in, verbose=0)
        assert found == pytest.approx(divergence(wanted, logits), rel=1e-3)


def divergence(wanted, logits):
    """What the score is defined as, each logit fitted by numpy's own least squares."""
    third = len(wanted) // 3
    fitted = np.stack(
        [
            np.polyval(np.polyfit(logits[:third, k], wanted[:third, k], 1), logits[third:, k])
            for k in range(logits.shape[1])
        ],
        axis=1,
    )
    told = log_softmax(wanted[third:], axis=1)
    return float((np.exp(told) * (told - log_softmax(fitted, axis=1))).sum(axis=1).mean())
