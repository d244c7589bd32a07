"""Models that were pruned before: what is zero stays zero, whatever is pruned now."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor as command

import compressor
from compressor import PruningSpec, TrainingOptions
from compressor.models.files import load_model
from compressor.pruning import load_masks, magnitude_prune

OPTIONS = TrainingOptions(steps=6, batch_size=32, learning_rate=0.01)
SIZE = 64 * 16


@pytest.fixture(scope="module")
def build(keras):
    """A network whose layer `a` has 204 of 1,024 weights left."""

    def made(**of_a: Any) -> Any:
        layers = keras.layers
        keras.utils.set_random_seed(3)
        model = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Flatten(),
                layers.Dense(16, activation="relu", name="a", **of_a),
                layers.Dense(16, activation="relu", name="b"),
                layers.Dense(4, name="c"),
            ]
        )
        kernel = model.get_layer("a").kernel
        kernel.assign(np.where(magnitude_prune(kernel.numpy(), 0.8).mask, kernel.numpy(), 0))
        return model

    return made


def left(model: Any, layer: str = "a") -> np.ndarray:
    return np.asarray(model.get_layer(layer).kernel.numpy()) != 0


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "how",
    [
        {"sparsity": {"b": 0.9}},
        {"sparsity": 0.5, "schedule": "iterative", "rounds": 2},
        {"sparsity": {"b": 0.9}, "schedule": "iterative", "rounds": 2},
        {"sparsity": 0.5, "schedule": "gradual"},
        {"sparsity": {"b": 0.9}, "schedule": "gradual"},
        {"sparsity": 0.95},
        {"sparsity": 0.3, "scope": "global"},
        {"sparsity": 0.5, "granularity": "1x4"},
        {"granularity": "2:4"},
        {"sparsity": 0.5, "criterion": "taylor"},
        {"sparsity": 0.5, "criterion": "reconstruct"},
        {"sparsity": {"b": 0.5}, "criterion": "reconstruct"},
        {"sparsity": 0.3, "criterion": "reconstruct", "scope": "global", "granularity": "1x4"},
    ],
    ids=str,
)
def test_zeros_stay_through_every_kind_of_pruning(build, tiny_data, how):
    model = build()
    before = left(model)

    found = compressor.prune(model, tiny_data, PruningSpec(**how), options=OPTIONS)

    after = left(found.model)
    assert not after[~before].any() and after.any()
    if how.get("sparsity") == 0.95:
        assert after.sum() == compressor.kept_weights(SIZE, 0.95)  # of the whole kernel
    elif "granularity" not in how and how.get("scope") != "global":
        assert (after == before).all()  # which has more zeros than were asked for
    assert (after <= found.masks["a"]).all() and not found.masks["a"][~before].any()
    rows = {row["layer"]: row["kept"] for row in found.layers}
    assert rows.get("a", after.sum()) == after.sum()
    assert found.zeros_kept == [{"layer": "a", "parameters": SIZE, "zeros": SIZE - before.sum()}]


@pytest.mark.parametrize(
    ("criterion", "data"), [("magnitude", True), ("magnitude", False), ("reconstruct", True)]
)
def test_zeros_stay_without_retraining(build, tiny_data, criterion, data):
    model, spec = build(), PruningSpec(0.5, criterion=criterion)

    found = compressor.prune(model, tiny_data if data else None, spec, retrain=False)

    assert (left(found.model) == left(model)).all()
    assert found.layers[0]["kept"] == left(model).sum() == found.masks["a"].sum()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("criterion", ["magnitude", "reconstruct"])
@pytest.mark.parametrize("schedule", ["one-shot", "iterative"])
def test_channels_that_stay_keep_their_zeros(build, tiny_data, schedule, criterion):
    model = build()
    options = {"granularity": "channel", "schedule": schedule, "rounds": 2, "criterion": criterion}

    found = compressor.prune(model, tiny_data, PruningSpec(0.5, **options), options=OPTIONS)

    after = left(found.model)
    assert after.shape == (64, 8) and 0 < after.mean() < 0.3
    before = {column.tobytes() for column in left(model).T}
    assert {column.tobytes() for column in after.T} <= before
    assert (found.masks["a"] == after).all() and list(found.masks) == ["a"]
    assert found.model.get_layer("b").units == 8 and left(found.model, "b").all()


def test_what_is_not_pruned_may_change(build, keras, tiny_data):
    """Few zeros, none but zeros, frozen ones, and those that a constraint of the user's makes."""
    model = build(kernel_constraint=keras.constraints.NonNeg())
    few = np.ones((16, 16), np.float32)
    few[0, :10] = 0
    model.get_layer("b").kernel.assign(few)
    model.get_layer("c").kernel.assign(np.zeros((16, 4), np.float32))

    found = compressor.prune(model, tiny_data, PruningSpec(0.5, ("b",)), options=OPTIONS)

    assert found.zeros_kept == [] and list(found.masks) == ["b"]
    assert left(found.model, "c").any()


def test_a_constraint_that_makes_no_zeros_is_none_of_a_pruning(build, keras, tiny_data):
    model = build(kernel_constraint=keras.constraints.MaxNorm(0.5))
    found = compressor.prune(model, tiny_data, PruningSpec(0.5, ("b",)), retrain=False)
    assert [row["layer"] for row in found.zeros_kept] == ["a"]


@pytest.fixture(scope="module")
def pruned_once(small_file, tiny_file, tmp_path_factory) -> Path:
    """The last step of a pruning of 5 % of one layer, too little to be seen."""
    folder = tmp_path_factory.mktemp("once") / "run"
    words = ("--sparsity", "hidden=0.05", "--max-steps", 4, "--force")
    outcome = command("prune", small_file, "--data", tiny_file, "-o", folder, *words)
    assert outcome.code == 0, outcome.stderr
    return folder / "step_2_2"


@pytest.mark.parametrize(
    "how",
    [
        ("--sparsity", "scores=0.5"),
        ("--sparsity", "scores=0.5", "--no-retrain"),
        pytest.param(
            ("--sparsity", "scores=0.5", "--pruning-schedule", "gradual"), marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_the_masks_beside_a_file_hold_and_the_command_says_so(
    pruned_once, tiny_file, tmp_path, how
):
    steps = () if "--no-retrain" in how else ("--max-steps", 4)
    words = ("--data", tiny_file, "-o", tmp_path / "run", *how, *steps, "--force")

    outcome = command("prune", pruned_once / "model.keras", *words)

    assert outcome.code == 0, outcome.stderr
    note = "  note: weights that are zero already stay so: hidden (39 of 768)\n"
    assert outcome.stdout.count("note: weights") == 1 and note in outcome.stdout
    last = tmp_path / "run" / ("step_2_1" if "--no-retrain" in how else "step_2_2")
    before, after = (left(load_model(s / "model.keras"), "hidden") for s in (pruned_once, last))
    assert (before == after).all() and before.sum() == 729
    masks = load_masks(last / "masks.npz")
    assert (masks["hidden"] == before).all() and not masks["scores"].all()


def test_masks_of_something_else_beside_a_file_are_not_looked_at(pruned_once, tiny_file, tmp_path):
    shutil.copy(pruned_once / "model.keras", tmp_path)
    np.savez(tmp_path / "masks.npz", other=np.zeros(3))
    words = ("--data", tiny_file, "--no-retrain", "-o", tmp_path / "run")
    outcome = command("prune", tmp_path / "model.keras", *words)
    assert outcome.code == 0 and "note: weights" not in outcome.stdout


def test_a_unit_that_another_layer_still_has_is_not_gone(keras, tiny_data):
    """Of layers that are added a unit goes by what it is in all, not by the zeros of one."""
    layers = keras.layers
    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 1))
    one, other = (layers.Conv2D(8, 3, name=name)(image) for name in ("one", "other"))
    joined = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Add()([one, other])))
    model = keras.Model(image, layers.Dense(4, name="scores")(joined))
    kernel, strong = (model.get_layer(name).kernel for name in ("one", "other"))
    kernel.assign(kernel.numpy() * (np.arange(8) >= 2))
    strong.assign(strong.numpy() * np.where(np.arange(8) < 2, 100, 1))
    kept = strong.numpy()[..., :2]

    spec = PruningSpec(0.25, granularity="channel", criterion="taylor")
    found = compressor.prune(model, tiny_data, spec, retrain=False)

    left = found.model.get_layer("other").kernel.numpy()
    assert left.shape[-1] == 6
    np.testing.assert_array_equal(left[..., :2], kept)


def test_a_gradual_pruning_below_the_zeros_that_are_there_takes_no_more(build, tiny_data):
    model = build()
    bias = model.get_layer("a").bias
    bias.assign(np.where(np.arange(16) < 8, -1e3, 0))  # units without any gradient: all ties
    before = left(model)
    spec = PruningSpec({"a": 0.3}, criterion="taylor", schedule="gradual")
    found = compressor.prune(model, tiny_data, spec, options=OPTIONS)
    np.testing.assert_array_equal(found.masks["a"], before)
