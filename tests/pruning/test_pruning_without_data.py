"""Pruning in Python without data: by the weights alone, with no accuracy."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import compressor
from compressor import Criterion, PruningSpec
from compressor.errors import UsageError
from compressor.models.files import load_model
from compressor.pruning import criteria


@pytest.fixture(scope="module")
def model(residual_net, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "mine.keras"
    residual_net().save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        PruningSpec(0.5),
        PruningSpec(granularity="2:4", layers=("head",)),
        PruningSpec(0.5, scope="global"),
        PruningSpec({"stem": 0.2, "head": 0.8}),
        PruningSpec(0.5, granularity="channel"),
    ],
)
def test_the_weights_are_those_that_pruning_with_data_leaves(model, tiny_data, tmp_path, spec):
    plan = compressor.make_plan(tiny_data, sparsities=(spec.highest_sparsity,), steps=1)
    known = compressor.prune_run(model, tmp_path / "known", spec, plan, retrain=False)

    found = compressor.prune_run(model, tmp_path / "found", spec, retrain=False)

    assert found["step_2_1"]["layers"] == known["step_2_1"]["layers"]
    assert "accuracy" not in found["dense"] | found["step_2_1"]
    before, after = (
        load_model(tmp_path / run / "step_2_1" / "model.keras").get_weights()
        for run in ("known", "found")
    )
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_a_model_that_is_no_classifier_is_pruned(keras, tmp_path):
    image = keras.Input((6,))
    code = keras.layers.Dense(3, name="code")(image)
    keras.Model(image, [code, keras.layers.Dense(6, name="back")(code)]).save(tmp_path / "a.keras")

    found = compressor.prune_run(tmp_path / "a.keras", None, PruningSpec(0.5), retrain=False)

    assert [row["kept"] for row in found["step_2_1"]["layers"]] == [8, 8]


def test_with_force_nothing_of_an_earlier_pruning_is_exported(model, tiny_data, tmp_path):
    run, spec = tmp_path / "run", PruningSpec(0.5)
    plan = compressor.make_plan(tiny_data, sparsities=(0.5,), steps=1)
    compressor.prune_run(model, run, spec, plan, retrain=False)
    shutil.copytree(run / "step_2_1", run / "step_2_2")

    compressor.prune_run(model, run, PruningSpec(0.8), retrain=False, force=True)

    assert not (run / "step_2_2").exists()


def test_a_criterion_of_ones_own_says_whether_it_needs_data(model, tmp_path, monkeypatch, rejected):
    monkeypatch.setattr(criteria, "_CRITERIA", dict(criteria._CRITERIA))
    compressor.register_criterion(Criterion("squared", lambda w, g: np.square(w)))
    compressor.register_criterion(Criterion("steep", lambda w, g: np.abs(g), needs_gradients=True))

    found, needy = (PruningSpec(0.5, criterion=name) for name in ("squared", "steep"))

    compressor.prune_run(model, tmp_path / "run", found, retrain=False)
    message = rejected(
        UsageError, compressor.prune_run, model, tmp_path / "none", needy, retrain=False
    )
    assert "it is not known which data" in message


@pytest.mark.parametrize("sparsity", [0.5, {"stem": 0.2, "head": 0.8}])
def test_a_sparsity_alone_is_a_specification(model, tmp_path, rejected, sparsity):
    loaded = load_model(model)

    found = compressor.prune(loaded, None, sparsity, retrain=False)
    compressor.prune_run(model, tmp_path / "run", sparsity, retrain=False)

    same = compressor.prune(loaded, None, PruningSpec(sparsity), retrain=False)
    written = load_model(tmp_path / "run" / "step_2_1" / "model.keras")
    assert found.layers == same.layers and found.masks
    for other in (same.model, written):
        for a, b in zip(found.model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    message = rejected(UsageError, compressor.prune, loaded, None, 90, retrain=False)
    assert "sparsity must be at least 0 and below 1: 90" in message


@pytest.mark.slow
def test_in_memory(residual_net, tiny_data, rejected):
    model, spec = residual_net(), PruningSpec(0.5)
    known = compressor.prune(model, tiny_data, spec, retrain=False)

    found = compressor.prune(model, None, spec, retrain=False)

    assert found.accuracy is found.validation_accuracy is None and not found.objective
    assert found.layers == known.layers
    for a, b in zip(found.model.get_weights(), known.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    channels = PruningSpec(0.5, granularity="channel")
    for refused, retrain in ((spec, True), (channels, False)):
        message = rejected(UsageError, compressor.prune, model, None, refused, retrain=retrain)
        assert "this takes a data set" in message
