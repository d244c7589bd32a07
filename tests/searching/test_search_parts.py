"""The parts of a search: evolution, allocation, structures, goals and recipes."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest

import compressor
from compressor.data import TrainingData
from compressor.errors import CheckpointError, ModelError, UsageError
from compressor.foundation import SilentListener
from compressor.models import objective_for
from compressor.pruning import all_kernels
from compressor.pruning.magnitude import kept_weights
from compressor.pruning.selection import lamp_counts, lamp_scores
from compressor.runs import RunDirectory
from compressor.searching import SCHEMES, Evolution, Goal, read_recipe
from compressor.searching.allocation import allocate, stored_bytes
from compressor.searching.finishing import choose
from compressor.searching.proposals import Proposals
from compressor.searching.session import _Search
from compressor.searching.standard import Standard
from compressor.searching.steps import narrow
from compressor.searching.structure import Structure
from compressor.searching.trials import Budget

STEP = {
    "kind": "train",
    "steps": 3,
    "batch_size": 8,
    "learning_rate": 0.01,
    "dropout_scale": 1.0,
    "distillation": {"weight": 0.5, "temperature": 2.0},
    "teacher": 0,
    "seed": 1,
}
RECIPE = {
    "schema": "compressor.recipe",
    "schema_version": 1,
    "model": "a" * 64,
    "data": "b" * 64,
    "validation": 8,
    "threads": 1,
    "steps": [STEP],
    "export": {"runtime": "onnxruntime", "quantize": "none", "optimize": "size"},
}


@pytest.fixture
def structure(residual_net, tiny_data):
    model, part = residual_net(), TrainingData.of(tiny_data, 24)
    return Structure(model, part, objective_for(model, tiny_data), 0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_scheme_finds_the_least_and_repeats_itself(scheme):
    def runs():
        points = []

        def objective(point):
            points.append(point.copy())
            return float(np.sum((point - 0.3) ** 2))

        how = Evolution(scheme, population=12, generations=30)
        how.minimise(objective, [np.ones(2)], 2, seed=1)
        return np.array(points)

    first = runs()

    assert np.array_equal(first, runs())
    assert np.array_equal(first[0], np.ones(2))
    # Half of the population begins near the point, and some of that at the bounds, where it lies.
    assert np.all(first[:6] > 0.3) and 1 < np.sum(first[:6] == 1) < 12
    assert np.min(np.sum((first - 0.3) ** 2, axis=1)) < 1e-3
    assert first.min() >= 0 and first.max() <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"scheme": "best/3"},
        {"population": 4},
        {"scale": 0},
        {"crossover": 1.5},
        {"generations": 0},
    ],
)
def test_evolutions_that_cannot_be_used_are_refused(options, rejected):
    rejected(UsageError, Evolution, **options)


def lamp(kernels, kept):
    """The sparsity of each kernel by the scores alone, with `kept` weights left in all."""
    counts = lamp_counts({name: lamp_scores(k**2) for name, k in kernels.items()}, kept)
    return {name: 1 - counts[name] / kernel.size for name, kernel in kernels.items()}


def kept(kernel, sparsity):
    """How many weights stay; a sparsity of 0 is not pruned at all."""
    return kept_weights(kernel.size, sparsity) if sparsity else kernel.size


def test_allocation_keeps_as_many_weights_as_asked_and_empties_no_kernel():
    generator = np.random.default_rng(0)
    kernels = {
        "small": generator.normal(size=(4, 5)),
        "large": generator.normal(size=(200, 50)),
        "tiny": 1e-6 * generator.normal(size=(3, 3)),
    }

    found = lamp(kernels, 500)

    left = {name: round((1 - found[name]) * kernels[name].size) for name in kernels}
    assert sum(left.values()) == 500
    assert min(left.values()) >= 1
    # The scores do not depend on the scale of a kernel.
    assert found["tiny"] < found["large"]
    assert lamp({"one": np.ones((2, 2))}, 99) == {"one": 0.0}


def test_allocation_by_bytes_keeps_whole_what_would_save_none():
    generator = np.random.default_rng(0)
    kernels = {
        "first": generator.normal(size=(5, 5, 8)),
        "wide": generator.normal(size=(300, 100)),
        "last": generator.normal(size=(60, 10)),
    }

    found = allocate(kernels, 2_000)

    counts = {name: kept(kernels[name], found[name]) for name in kernels}
    taken = sum(stored_bytes(kernels[name].size, counts[name]) for name in kernels)
    assert found["first"] == found["last"] == 0
    assert 0.95 * 2_000 <= taken <= 2_000
    # All its weights for the same bytes: more than the scores alone would leave.
    assert counts["last"] > round((1 - lamp(kernels, sum(counts.values()))["last"]) * 600)


def test_allocation_by_bytes_is_never_over_them_but_for_one_weight_of_each():
    generator = np.random.default_rng(1)
    kernels = {f"{n}": generator.normal(size=(40 * n, 30)) for n in (1, 2, 3)}
    every = sum(kernel.size for kernel in kernels.values())

    for most in (1, 900, 1_500, 3_000, every - 1, every, 10 * every):
        found = allocate(kernels, most)
        left = {name: kept(kernels[name], found[name]) for name in kernels}
        taken = sum(stored_bytes(kernels[name].size, left[name]) for name in kernels)
        assert taken <= most or all(count == 1 for count in left.values())
    assert set(found.values()) == {0.0}


def test_a_narrowed_model_has_the_widths_and_weights_that_were_said(structure, tiny_data):
    widths = {"stem": 3}

    found = narrow(structure, widths)

    assert structure.widths == {"stem": 6}
    assert found.get_layer("stem").filters == found.get_layer("inner").filters == 3
    said = structure.weights(widths)
    assert said == sum(int(np.prod(k.shape)) for k in all_kernels(found).values())


def test_the_last_layer_of_a_narrowed_model_is_fitted_to_the_dense_one(structure, tiny_data):
    x, _ = TrainingData.of(tiny_data, 24).validation_part()
    x = x[..., None].astype(np.float32) / 255
    dense = structure.model.predict_on_batch(x)
    structure.stitch({"stem": 3})
    stitched = structure.model.predict_on_batch(x)
    structure.restore()

    found = narrow(structure, {"stem": 3}).predict_on_batch(x)

    errors = [np.mean(np.square(one - dense)) for one in (found, stitched)]
    assert 0 < errors[0] < errors[1]


def test_widths_of_which_no_model_can_be_made_are_worse_than_any(structure, monkeypatch):
    def cannot(*arguments, **options):
        raise ModelError("the model cannot be rebuilt")

    monkeypatch.setattr("compressor.searching.structure.shrink", cannot)
    structure.stitch({"stem": 3})

    assert structure.score() == np.inf


@pytest.mark.slow
def test_narrowing_leaves_the_dense_model_as_it_was(structure, tiny_data):
    before = [np.array(v.numpy()) for v in structure.model.variables]

    narrow(structure, {"stem": 2})

    assert all(
        np.array_equal(one, v.numpy())
        for one, v in zip(before, structure.model.variables, strict=True)
    )


@pytest.mark.slow
def test_the_score_falls_with_the_width(structure):
    scores = []
    for width in (6, 4, 1):
        structure.stitch({"stem": width})
        scores.append(structure.score())

    assert scores[0] < scores[1] < scores[2]


def test_many_inputs_are_scored_as_one_is(keras):
    """A batch of examples is cut, not the list of a model's inputs."""
    names = [f"f{number:02}" for number in range(20)]
    inputs = [keras.Input((1,), name=name) for name in names]
    hidden = keras.layers.Dense(8, activation="relu")(keras.layers.Concatenate()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(hidden))
    random = np.random.default_rng(0)
    x = {name: random.normal(size=(60, 1)).astype(np.float32) for name in names}
    labels = random.integers(0, 3, 60)
    data = compressor.Dataset.from_arrays("table", x, labels, x, labels)
    found = Structure(model, TrainingData.of(data, 24), objective_for(model, data), 0)

    found.stitch(dict.fromkeys(found.widths, 5))

    assert np.isfinite(found.score()) and np.isfinite(found.narrowed()[1])


def test_what_time_decided_is_decided_anew_with_more_of_it(tmp_path):
    def decided(seconds, now):
        with RunDirectory(tmp_path, {"kind": "search"}) as run:
            search = object.__new__(_Search)
            search._run, search._budget = run, Budget(seconds, None)
            search._how = SimpleNamespace(goal=goal)
            return search._decided("wider", now)

    goal = Goal()
    assert [decided(60, False), decided(60, True), decided(600, True)] == [0, 0, 1]
    goal = Goal(max_drop=0.5)
    assert decided(600, 0.25) == 0.25  # for another goal other trainings were done


def test_proposals_keep_to_the_budget_and_are_repeatable(small_net, tiny_data):
    part = TrainingData.of(tiny_data, 24)
    model = small_net()
    structure = Structure(model, part, objective_for(model, tiny_data), 0)

    def found():
        how = Evolution(population=6, generations=2)
        return Proposals(lambda: structure, "weights", how, seed=0).under(0.5)

    first = found()

    assert first == found()
    assert all(
        one["cost"] <= 0.5 * structure.weights(structure.widths) for one in first["candidates"]
    )
    assert structure.weights(structure.widths) == 64 * 12 + 12 * 4


@pytest.mark.parametrize(
    "step", ["dense-files", "pace", "decided-length-3-trial-0123456789ab", "decided-first-0.050000"]
)
def test_what_a_search_left_is_its_own(tmp_path, step):
    """One that was killed is gone on with, and a new one in its place knows nothing of it."""
    for model in ("one", "other"):
        with RunDirectory(tmp_path, {"kind": "search", "model": model}, force=True) as run:
            assert run.step(step, lambda _, model=model: {"of": model}) == {"of": model}
        (tmp_path / f".{step}.new").mkdir()
        (tmp_path / ".crash").write_text("trial-0123456789ab\n")

    with RunDirectory(tmp_path, {"kind": "search", "model": "other"}) as run:
        assert run.step(step, lambda _: {"of": "nobody"}) == {"of": "other"}
        run.step(step, lambda _: {"of": "nobody"}, force=True)
    with RunDirectory(tmp_path, {"kind": "search", "model": "third"}, force=True):
        assert not (tmp_path / ".crash").exists() and not (tmp_path / step).exists()


def test_widths_that_were_cut_short_say_after_how_long(small_net, tiny_data, monkeypatch):
    part = TrainingData.of(tiny_data, 24)
    model = small_net()
    structure = Structure(model, part, objective_for(model, tiny_data), 0)
    passed = iter(range(10**6))
    monkeypatch.setattr(time, "monotonic", lambda: next(passed))

    def found(most):
        how = Evolution(population=6, generations=2)
        return Proposals(lambda: structure, "weights", how, 0, most=most).under(0.5)

    short = found(0.5)
    assert short["cut_after"] == 0.5 and len(short["candidates"]) == 1 and not short["cut"]
    assert "cut_after" not in found(10**6)


def test_widths_that_were_cut_short_are_evolved_again_with_more_time(tmp_path):
    def proposed(most, cut_after):
        with RunDirectory(tmp_path, {"kind": "search"}) as run:
            search = object.__new__(_Search)
            search._run, search._budget, search._cost = run, Budget(None, 5), "weights"
            search._how, search._listener = SimpleNamespace(evolution=Evolution()), SilentListener()
            found = {"candidates": [], "cut": False, "made_with": most}
            found |= {"cut_after": cut_after} if cut_after else {}
            search._proposals = SimpleNamespace(most=most, under=lambda share: found)
            return search._propose(1 / 64)["made_with"]

    assert [proposed(5, 5), proposed(5, 5), proposed(50, None), proposed(500, None)] == [
        5,
        5,
        50,
        50,
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"minimize": "power"}, "minimised"),
        ({"max_drop": 0.1, "min_accuracy": 0.9}, "twice"),
        ({"max_drop": -1}, "points"),
        ({"min_accuracy": 99}, "0.99 is 99 %"),
        ({"max_bytes": 0}, "bytes"),
        ({"max_latency_ms": float("nan")}, "latency"),
        ({"runtimes": ()}, "runtimes"),
        ({"runtimes": ("abacus",)}, "abacus"),
    ],
)
def test_goals_that_cannot_be_used_are_refused(options, said, rejected):
    assert said in rejected(UsageError, Goal, **options)


def test_ram_that_an_earlier_goal_did_not_measure_may_be_too_much():
    row = {"bytes": 10, "latency_ms": 1.0}
    assert Goal(max_ram=50).excesses(row) == ["RAM that was not measured, 50 are allowed"]
    assert Goal(max_ram=50).excesses(row | {"ram_bytes": 50}) == Goal().excesses(row) == []


def test_what_layers_become_takes_bounded_memory(structure, monkeypatch):
    def scores():
        found = []
        for width in (5, 3, 5):
            structure.stitch({"stem": width})
            found.append(structure.score())
        structure.restore()
        return found

    first = scores()
    monkeypatch.setattr("compressor.searching.structure._MOST_KEPT", 0)
    structure.stitch({"stem": 4})

    assert len(structure._made) == 1 and scores() == first


def test_a_goal_accepts_what_so_few_examples_cannot_tell_from_it():
    dense = {"validation_accuracy": 0.5}
    accepted = Standard.of(Goal(min_accuracy=0.99), dense, 5000).accepted["accuracy"]
    assert accepted == pytest.approx(0.99 - 0.0014, abs=1e-4)


@pytest.mark.parametrize("examples", [30, 300, 5000])
def test_a_drop_is_kept_to_the_example(examples):
    """The dense model has the same examples, and is itself within any drop, none as well."""
    for drop in (0, 0.1, 10):
        lost = int(examples * drop / 100)
        standard = Standard.of(
            Goal(max_drop=drop), {"validation_accuracy": (examples - 1) / examples}, examples
        )
        assert standard.holds({"validation_accuracy": (examples - 1 - lost) / examples})
        assert not standard.holds({"validation_accuracy": (examples - 2 - lost) / examples})
    assert Goal().max_drop == 0.1


@pytest.mark.parametrize("step", [STEP, STEP | {"shift": 1}])
def test_a_recipe_is_read_as_it_was_written(tmp_path, step):
    path, recipe = tmp_path / "a.recipe.json", RECIPE | {"steps": [step]}
    path.write_text(json.dumps(recipe))

    assert read_recipe(path).describe() == recipe


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "other"}, "not a recipe"),
        ({"schema_version": 2}, "another version"),
        ({"model": "../x"}, "damaged"),
        ({"steps": []}, "damaged"),
        ({"steps": [STEP | {"kind": "sparse"}]}, "damaged"),
        ({"steps": [STEP | {"steps": -1}]}, "damaged"),
        ({"steps": [STEP | {"shift": 10**9}]}, "damaged"),
        ({"steps": [STEP | {"teacher": 1}]}, "later one"),
        ({"steps": [STEP, {"kind": "narrow", "widths": {}, "seed": 0}]}, "first step"),
        ({"export": {"runtime": "onnxruntime"}}, "damaged"),
        ({"threads": 10**9}, "damaged"),
    ],
)
def test_what_is_no_recipe_is_refused(change, said, tmp_path, rejected):
    path = tmp_path / "a.recipe.json"
    path.write_text(json.dumps(RECIPE | change))

    assert said in rejected(CheckpointError, read_recipe, path)


def test_what_keeps_to_the_goal_is_preferred_to_what_is_only_fast():
    row = {"bytes": 10, "latency_ms": 1.0}
    fast = row | {"file": "fast", "validation_accuracy": 0.97, "ratio": 0.9}
    slow = row | {"file": "slow", "validation_accuracy": 0.992, "ratio": 1.2}
    both = row | {"file": "both", "validation_accuracy": 0.991, "ratio": 1.0, "bytes": 20}

    asked = Standard.of_accuracy(0.989)

    assert choose([fast, slow], Goal(), asked)[0] is slow
    assert choose([fast, slow, both], Goal(), asked)[0] is both
    assert choose([fast], Goal(), asked)[0] is fast


def test_proposals_end_with_the_time_and_none_is_over_the_budget(keras, tiny_data):
    layers = [keras.layers.Dense(8, activation="relu") for _ in range(2)]
    shape = [keras.Input((8, 8, 1)), keras.layers.Flatten()]
    model = keras.Sequential([*shape, *layers, keras.layers.Dense(4)])
    structure = Structure(model, TrainingData.of(tiny_data, 24), objective_for(model, tiny_data), 0)

    def under(share, may_go_on, **most):
        how = Evolution(population=6, generations=2)
        proposals = Proposals(lambda: structure, "weights", how, 0, may_go_on, **most)
        return proposals.under(share)

    cut, whole = under(0.5, lambda: False), under(0.5, lambda: True)
    own = under(0.5, lambda: True, most=0.0)

    assert cut["cut"] and cut["evaluations"] == 1
    assert not own["cut"] and own["candidates"] == cut["candidates"]
    assert not whole["cut"] and whole["evaluations"] > 1
    assert under(1e-3, lambda: True)["candidates"] == []


@pytest.mark.slow
def test_a_first_convolution_that_has_few_weights_gets_narrow_with_the_others(keras, tiny_data):
    layers = [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(24, 3, activation="relu", padding="same", name="first"),
        keras.layers.Conv2D(8, 3, strides=4, activation="relu", name="second"),
        keras.layers.Flatten(),
        keras.layers.Dense(400, activation="relu", name="wide"),
        keras.layers.Dense(4),
    ]
    model = keras.Sequential(layers)
    part = TrainingData.of(tiny_data, 24)
    structure = Structure(model, part, objective_for(model, tiny_data), 0)
    how = Evolution(population=6, generations=1)

    found = Proposals(lambda: structure, "weights", how, 0).under(0.1)["candidates"]

    # One of them has no layer that is far narrower than the others, in proportion.
    powers = [
        [np.log(width) / np.log(structure.widths[name]) for name, width in one["widths"].items()]
        for one in found
    ]
    assert min(max(one) - min(one) for one in powers) < 0.25
    for one in found:
        assert structure.macs(one["widths"]) <= 0.1 ** (1 / 1.5) * structure.macs(structure.widths)
        assert one["cost"] <= 0.1 * structure.weights(structure.widths)
    assert found and all(one["widths"]["first"] < 24 for one in found)


def test_a_score_on_fewer_than_three_examples_is_a_number(small_net, tiny_data):
    model = small_net()
    structure = Structure(model, TrainingData.of(tiny_data, 2), objective_for(model, tiny_data), 0)

    structure.stitch({"hidden": 3})

    assert np.isfinite(structure.score())
    assert all(np.isfinite(variable.numpy()).all() for variable in model.variables)


def test_a_frozen_model_is_refused_before_anything_is_made(
    small_net, tiny_data, tmp_path, rejected
):
    model = small_net(trainable=False, last={"trainable": False})
    model.save(tmp_path / "frozen.keras")

    message = rejected(
        ModelError, compressor.search, tmp_path / "frozen.keras", tiny_data, trials=1
    )

    assert "trainable" in message
    assert not (tmp_path / "frozen-search").exists()
