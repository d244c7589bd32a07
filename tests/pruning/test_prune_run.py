"""Pruning a model file into a run directory: its rounds, its records, and going on with it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import compressor
from compressor import Distillation, PruningSpec
from compressor.errors import CompressorError, RunDirectoryError, UsageError
from compressor.models.files import load_model
from compressor.pruning import kept_weights, load_masks, steps
from compressor.pruning.plan import make_plan
from compressor.pruning.schedules import round_sparsity

SIZES = {"stem": 54, "inner": 324, "head": 384}


@pytest.fixture(scope="module")
def model(residual_net, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "mine.keras"
    residual_net().save(path)
    return path


@pytest.fixture(scope="module")
def prune(model, tiny_data):
    def run(output, spec, *, source=None, options=None, **call):
        plan = make_plan(
            tiny_data,
            **{"sparsities": (spec.highest_sparsity,), "steps": 12, "batch_size": 16}
            | {"validation": 16, "learning_rate": 0.01}
            | (options or {}),
        )
        return compressor.prune_run(source or model, output, spec, plan, **call)

    return run


def kept(record):
    return {row["layer"]: row["kept"] for row in record["layers"]}


ITERATIVE = PruningSpec(0.9, schedule="iterative", rounds=3)


@pytest.fixture(scope="module")
def iterative(prune, tmp_path_factory):
    folder = tmp_path_factory.mktemp("iterative") / "run"
    return folder, prune(folder, ITERATIVE)


ROUNDS = ["round-1/step_2_1", "round-1/step_2_2", "round-2/step_2_1", "round-2/step_2_2"]


@pytest.mark.slow
def test_iterative_pruning_keeps_its_rounds(iterative):
    folder, records = iterative
    assert list(records) == ["dense", *ROUNDS, "step_2_1", "step_2_2"]
    for number, part in ((1, "round-1/"), (2, "round-2/"), (3, "")):
        expected = {
            name: kept_weights(size, round_sparsity(0.9, number, 3)) for name, size in SIZES.items()
        }
        assert kept(records[f"{part}step_2_1"]) == expected
        retrained = load_model(folder / part / "step_2_2" / "model.keras")
        masks = load_masks(folder / part / "step_2_2" / "masks.npz")
        for name, count in expected.items():
            kernel = retrained.get_layer(name).kernel.numpy()
            assert np.count_nonzero(kernel) == np.count_nonzero(masks[name]) == count
            assert not kernel[~masks[name]].any()
    assert kept(records["step_2_1"]) == {n: kept_weights(s, 0.9) for n, s in SIZES.items()}
    first, last = (load_masks(folder / p / "step_2_1/masks.npz") for p in ("round-1", "."))
    for name in SIZES:
        assert not (last[name] & ~first[name]).any()


@pytest.mark.parametrize("lost", ["step_2_2", "step_2_1", "round-2/step_2_2"])
@pytest.mark.slow
def test_a_lost_step_is_done_again_and_gives_the_same(
    iterative, prune, tmp_path, monkeypatch, lost
):
    folder = tmp_path / "run"
    shutil.copytree(iterative[0], folder)
    shutil.rmtree(folder / lost)
    done = []
    original = steps.do_in_folder
    monkeypatch.setattr(
        steps, "do_in_folder", lambda here, *a: done.append(here) or original(here, *a)
    )
    records = prune(folder, ITERATIVE)
    assert done == [(folder / lost).with_name(f".{(folder / lost).name}.new")]
    assert records == iterative[1]
    before, after = (
        load_model(root / lost / "model.keras").get_weights() for root in (iterative[0], folder)
    )
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


@pytest.mark.slow
def test_other_options_are_refused_and_named(rejected, iterative, prune):
    for spec, options, said in (
        (PruningSpec(0.9, schedule="iterative", rounds=2), {}, "rounds was 3, is now 2"),
        (PruningSpec(0.9), {}, "pruning_schedule was iterative, is now one-shot"),
        (PruningSpec(0.8, schedule="iterative"), {}, "sparsity was 0.9, is now 0.8"),
        (
            PruningSpec(0.9, schedule="iterative", criterion="taylor"),
            {},
            "criterion was magnitude, is now taylor",
        ),
        (
            PruningSpec(0.9, schedule="iterative", scope="global"),
            {},
            "scope was layer, is now global",
        ),
        (
            PruningSpec(0.9, schedule="iterative", granularity="1x4"),
            {},
            "granularity was weight, is now 1x4",
        ),
        (ITERATIVE, {"distillation": Distillation()}, "distillation"),
        (ITERATIVE, {"rewind": True}, "is now"),
    ):
        message = rejected(RunDirectoryError, prune, iterative[0], spec, options=options)
        assert said in message.replace('"', "")


@pytest.fixture(scope="module")
def gradual(prune, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gradual") / "run"
    return folder, prune(folder, PruningSpec(0.8, schedule="gradual", ramp=0.5))


@pytest.mark.slow
def test_gradual_pruning_has_one_step(gradual):
    folder, records = gradual
    assert list(records) == ["dense", "step_2_2"] and not (folder / "step_2_1").exists()
    record = records["step_2_2"]
    expected = {name: kept_weights(size, 0.8) for name, size in SIZES.items()}
    assert kept(record["pruning"]) == expected
    assert record["nonzeros"] == sum(expected.values()) and record["sparsity"] == 0.8
    model, masks = (
        load_model(folder / "step_2_2/model.keras"),
        load_masks(folder / "step_2_2/masks.npz"),
    )
    for name, mask in masks.items():
        kernel = model.get_layer(name).kernel.numpy()
        assert not kernel[~mask].any() and np.count_nonzero(kernel) == expected[name]
    density = 0.2
    assert record["training"]["dropout_scale"] == pytest.approx(density**0.5)


@pytest.mark.slow
def test_gradual_pruning_can_be_sparsified_and_shrunk(gradual, tiny_data, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(gradual[0], folder)
    records = compressor.sparsify(folder, data=tiny_data)
    assert records["step_3"]["accuracy"] == gradual[1]["step_2_2"]["accuracy"]
    found = compressor.shrink_file(folder)
    assert found["difference"] <= 1e-5 and (folder / "shrunk.keras").is_file()


@pytest.mark.parametrize("schedule", ["gradual", "iterative"])
def test_schedules_that_retrain_cannot_do_without(rejected, prune, tmp_path, schedule):
    spec = PruningSpec(0.5, schedule=schedule)
    message = rejected(UsageError, prune, tmp_path / "run", spec, retrain=False)
    assert f"{schedule} pruning retrains: --no-retrain" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_channels_in_a_run_directory(prune, tiny_data, tmp_path):
    spec = PruningSpec(0.5, granularity="channel")
    records = prune(tmp_path / "run", spec)
    rows = {row["layer"]: row for row in records["step_2_1"]["layers"]}
    assert {n: (r["units"], r["units_kept"]) for n, r in rows.items()} == {
        "stem": (6, 3),
        "inner": (6, 3),
    }
    assert "output" in records["step_2_1"]["left_alone"]["head"]
    wide, narrow = (
        load_model(tmp_path / "run" / step / "model.keras") for step in ("step_2_1", "step_2_2")
    )
    assert wide.get_layer("inner").kernel.shape == (3, 3, 6, 6)
    assert np.count_nonzero(wide.get_layer("inner").kernel.numpy()) == 81
    assert narrow.get_layer("inner").kernel.shape == (3, 3, 3, 3)
    assert narrow.get_layer("inner").kernel.numpy().all()
    assert records["step_2_2"]["parameters"] < 0.6 * wide.count_params()
    assert not (tmp_path / "run" / "step_2_2" / "masks.npz").exists()
    assert prune(tmp_path / "run", spec) == records
    evaluated = compressor.evaluate(tmp_path / "run/step_2_2", tiny_data, max_steps=1)
    assert evaluated.accuracy == records["step_2_2"]["accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["gradual", "iterative"])
def test_channels_by_a_schedule(prune, tmp_path, schedule):
    spec = PruningSpec(0.5, granularity="channel", schedule=schedule, rounds=2)
    prune(tmp_path / "run", spec)
    narrow = load_model(tmp_path / "run" / "step_2_2" / "model.keras")
    assert narrow.get_layer("inner").kernel.shape == (3, 3, 3, 3)


@pytest.mark.slow
def test_distilling_and_rewinding_are_recorded(prune, tmp_path):
    options = {"rewind": True, "distillation": Distillation(0.5, 2.0)}
    records = prune(tmp_path / "run", PruningSpec(0.5), options=options)
    trained = records["step_2_2"]["training"]
    assert trained["distillation"] == {"weight": 0.5, "temperature": 2.0}
    assert trained["rewind"] == 12
    record = json.loads((tmp_path / "run/step_2_2/record.json").read_text())
    assert record["config"]["distillation"] == trained["distillation"]


@pytest.mark.slow
def test_a_layer_that_is_pruned_away_is_recorded(keras, prune, tmp_path):
    layers = keras.layers
    thin = keras.Sequential(
        [
            keras.Input((8, 8)),
            layers.Flatten(),
            layers.Dense(2, name="thin"),
            layers.Dense(4, name="gone"),
        ]
    )
    thin.save(tmp_path / "thin.keras")
    records = prune(tmp_path / "run", PruningSpec(0.95), source=tmp_path / "thin.keras")
    assert records["step_2_1"]["warnings"] == ["all weights of layer gone were pruned away"]
    written = json.loads((tmp_path / "run/step_2_1/record.json").read_text())
    assert written["result"]["warnings"] == records["step_2_1"]["warnings"]


def test_a_plan_for_other_sparsities_is_no_crash(model, tiny_data, tmp_path):
    plan = make_plan(tiny_data, sparsities=(0.5,), steps=2, batch_size=8)
    try:
        compressor.prune_run(model, tmp_path / "run", PruningSpec(0.95), plan)
    except CompressorError as error:
        assert "0.95" in str(error)
