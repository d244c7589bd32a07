"""Accuracy against sparsity, each layer alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor import PruningSpec, apply_masks, prune, sensitivity
from compressor.data import Dataset
from compressor.data.training_data import TrainingData
from compressor.errors import CheckpointError, DataError, ModelError, UsageError
from compressor.models import accuracy_of

LAYERS = ["stem", "inner", "head"]
ASIDE = 48


def _measured(row: Any) -> dict[float, float]:
    return {found.target_sparsity: found.accuracy for found in row.measurements}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "sparsities"),
    [
        ({}, (0.5, 0.9)),
        ({"criterion": "taylor", "calibration": 20}, (0.8,)),
        ({"granularity": "1x3"}, (0.9,)),
        ({"granularity": "1:6"}, None),
        ({"granularity": "channel"}, (0.7,)),
    ],
    ids=["weight", "taylor", "1x3", "1:6", "channel"],
)
def test_it_is_what_pruning_that_layer_gives(trained, tiny_data, options, sparsities):
    found = sensitivity(trained, tiny_data, sparsities=sparsities, validation=ASIDE, **options)

    assert found.examples == ASIDE
    accuracies = []
    for row in found.layers:
        assert len(row.measurements) == len(sparsities or (1,))
        for measured in row.measurements:
            spec = PruningSpec(measured.target_sparsity, (row.layer,), **options)
            alone = prune(trained, tiny_data, spec, retrain=False, validation=ASIDE)
            assert measured.accuracy == alone.validation_accuracy
            accuracies.append(measured.accuracy)
    assert min(accuracies) < found.dense_accuracy


def test_the_rows_and_what_they_were_measured_on(trained, tiny_data):
    found = sensitivity(trained, tiny_data, sparsities=(0.9, 0.25), validation=ASIDE)

    x, labels = TrainingData.of(tiny_data, ASIDE).validation_part()
    assert found.dense_accuracy == accuracy_of(trained, x, labels)
    assert [row.layer for row in found.layers] == LAYERS
    assert [row.parameters for row in found.layers] == [54, 324, 384]
    for row in found.layers:
        assert [f.target_sparsity for f in row.measurements] == [0.25, 0.9]
        for measured in row.measurements:
            assert measured.sparsity == pytest.approx(
                measured.target_sparsity, abs=1.5 / row.parameters
            )
    described = found.describe()
    assert described["data"] == {"name": "quarters", "digest": tiny_data.digest}
    assert {"machine", "versions"} == set(described["environment"])


def test_how_far_a_layer_may_go(trained, tiny_data):
    found = sensitivity(trained, tiny_data, validation=ASIDE)

    limits = []
    for row in found.layers:
        within = 0
        for measured in row.measurements:
            if found.dense_accuracy - measured.accuracy > 0.01:
                break
            within += 1
        targets = [measured.target_sparsity for measured in row.measurements]
        assert row.highest_sparsity == ([None, *targets][within])
        limits.append(within)
    assert max(limits) > 0
    assert min(limits) < 11


def test_zeros_that_are_there_already_count(small_net, tiny_data):
    model = small_net()
    hidden = model.get_layer("hidden").kernel
    values = hidden.numpy()
    values[: len(values) // 2] = 0
    hidden.assign(values)

    found = sensitivity(model, tiny_data, layers=("hidden",), sparsities=(0.25,))

    assert [m.sparsity for m in found.layers[0].measurements] == [0.5]
    assert _measured(found.layers[0]) == {0.25: found.dense_accuracy}


def test_examples_are_drawn_from_all_classes_of_sorted_data(small_net, tiny_data):
    model = small_net()
    model.get_layer("scores").bias.assign([1000.0, 0, 0, 0])
    order = np.argsort(tiny_data.y_train)
    data = Dataset.from_arrays(
        "sorted",
        tiny_data.x_train[order],
        tiny_data.y_train[order],
        tiny_data.x_test,
        np.where(tiny_data.y_test == 0, 1, tiny_data.y_test),
    )

    found = sensitivity(model, data, sparsities=(0.5,), validation=80, images=20)

    # The model says class 0 to everything: of test examples none is right, of the first all are.
    assert found.examples == 20
    assert 0 < found.dense_accuracy < 0.6


def test_the_model_stays_as_it_is(trained, tiny_data, weights_of):
    before, constraints = weights_of(trained), [v.constraint for v in trained.variables]

    for granularity in ("weight", "channel"):
        sensitivity(trained, tiny_data, sparsities=(0.9,), granularity=granularity)

    assert all(map(np.array_equal, before, weights_of(trained)))
    assert constraints == [v.constraint for v in trained.variables]


def test_masks_on_the_model_stay_as_they_are(small_net, tiny_data):
    model = small_net()
    mask = np.random.default_rng(1).random((64, 12)) < 0.5
    apply_masks(model, {"hidden": mask})

    sensitivity(model, tiny_data, sparsities=(0.9,))

    constraint = model.get_layer("hidden").kernel.constraint
    assert np.array_equal(constraint.mask.numpy(), mask)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_the_weights_come_back_when_it_ends_early(
    small_net, tiny_data, weights_of, monkeypatch, error
):
    model = small_net()
    before = weights_of(model)
    predict, calls = model.predict_on_batch, []

    def stopping(batch):
        calls.append(int((model.get_layer("hidden").kernel.numpy() == 0).sum()))
        if len(calls) == 2:
            raise error
        return predict(batch)

    monkeypatch.setattr(model, "predict_on_batch", stopping)
    with pytest.raises(error):
        sensitivity(model, tiny_data, sparsities=(0.9,))

    assert calls[1] > 600 > calls[0]
    assert all(map(np.array_equal, before, weights_of(model)))


def test_coupled_layers_are_one_row(trained, tiny_data):
    found = sensitivity(trained, tiny_data, sparsities=(0.5,), granularity="channel")

    assert [row.layers for row in found.layers] == [("stem", "inner")]
    assert found.layers[0].parameters == 54 + 324
    # Half the filters of stem, and what inner makes of and from them: at least a half is zero.
    assert found.layers[0].measurements[0].sparsity > 0.5
    assert found.left_alone == {"head": "its units are the model's outputs"}


def test_layers_of_several_kernels(keras, tiny_data):
    layers = keras.layers
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, name="first"),
            layers.SeparableConv2D(6, 3, name="parted"),
            layers.Reshape((16, 6), name="rows"),
            layers.LSTM(4, name="memory"),
            layers.Dense(4, name="scores"),
        ]
    )

    every = sensitivity(model, tiny_data, sparsities=(0.5,))
    one = sensitivity(model, tiny_data, sparsities=(0.5,), layers=("memory:recurrent_kernel",))
    blocks = sensitivity(model, tiny_data, sparsities=(0.5,), granularity="1x4")

    sizes = {row.layer: row.parameters for row in every.layers}
    assert sizes == {"first": 36, "parted": 24 + 36, "memory": 96 + 64, "scores": 16}
    assert [(row.layer, row.parameters) for row in one.layers] == [("memory:recurrent_kernel", 64)]
    assert [row.layer for row in blocks.layers] == ["parted", "memory:recurrent_kernel", "scores"]
    assert blocks.layers[0].measurements[0].sparsity == 0.5
    assert "parted:depthwise_kernel" in blocks.left_alone


@pytest.mark.slow
def test_a_file_and_a_folder_are_what_they_hold(trained, tiny_data, tmp_path):
    trained.save(tmp_path / "model.keras")
    before = (tmp_path / "model.keras").read_bytes()
    options = {"sparsities": (0.8,), "layers": ("head",)}

    memory = sensitivity(trained, tiny_data, **options)
    for path in (tmp_path / "model.keras", str(tmp_path)):
        found = sensitivity(path, tiny_data, **options)
        assert found.layers == memory.layers
        assert found.model == str(path)
    assert memory.model == "residual"
    assert (tmp_path / "model.keras").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_what_cannot_be_asked_for(small_net, trained, tiny_data, rejected, tmp_path):
    model = small_net()
    for options, says in (
        ({"layers": ("hiden",)}, "hiden; did you mean hidden?"),
        ({"layers": ()}, "layers must be given"),
        ({"sparsities": (0.5, 1.0)}, "below 1: 1.0"),
        ({"sparsities": (-0.1,)}, "below 1: -0.1"),
        ({"sparsities": (float("nan"),)}, "below 1: nan"),
        ({"sparsities": ()}, "sparsities must be given"),
        ({"sparsities": (0.5, 0.5)}, "[0.5, 0.5]"),
        ({"images": 0}, "at least 1: 0"),
        ({"granularity": "2x2"}, "unknown granularity: 2x2"),
        ({"granularity": "2:4", "sparsities": (0.9,)}, "2:4 fixes the sparsity to 0.5: 0.9"),
        ({"criterion": "luck"}, "unknown criterion: luck"),
        ({"calibration": 0}, "calibration"),
    ):
        assert says in rejected(UsageError, sensitivity, model, tiny_data, **options)
    channels = {"granularity": "channel", "layers": ("head",)}
    assert "the model's outputs" in rejected(
        UsageError, sensitivity, trained, tiny_data, **channels
    )
    groups = {"granularity": "2:4", "layers": ("inner",)}
    assert "groups of 4" in rejected(UsageError, sensitivity, trained, tiny_data, **groups)
    (tmp_path / "sparse.npz").write_bytes(b"")
    assert "takes a Keras model" in rejected(UsageError, sensitivity, tmp_path, tiny_data)
    missing = tmp_path / "missing.keras"
    assert "no such file" in rejected(CheckpointError, sensitivity, missing, tiny_data)


def test_data_and_models_that_do_not_fit(keras, small_net, tiny_data, rejected):
    model = small_net()
    wide = Dataset.from_arrays(
        "wide",
        np.zeros((24, 9, 9), np.uint8),
        np.arange(24) % 4,
        np.zeros((8, 9, 9), np.uint8),
        np.arange(8) % 4,
    )
    assert "do not fit" in rejected(DataError, sensitivity, model, wide)
    model.trainable = False
    assert "frozen" in rejected(ModelError, sensitivity, model, tiny_data)
    broken = small_net()
    broken.get_layer("hidden").kernel.assign(np.full((64, 12), np.nan))
    assert "NaN" in rejected(ModelError, sensitivity, broken, tiny_data)
    bare = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(name="flat")])
    assert "no layer" in rejected(ModelError, sensitivity, bare, tiny_data)


def test_progress_names_every_layer(trained, tiny_data):
    class Heard:
        def __init__(self) -> None:
            self.titles: list[str] = []

        def stage(self, title: str, images: int = 0, images_left: int = 0) -> None:
            self.titles.append(title)

        def progress(self, step: int, steps: int, loss: float, accuracy: float) -> None:
            raise AssertionError("nothing is trained")

    heard = Heard()
    sensitivity(trained, tiny_data, sparsities=(0.5,), listener=heard)

    assert len(heard.titles) == 1 + len(LAYERS)
    assert all(name in title for name, title in zip(["dense", *LAYERS], heard.titles, strict=True))


def test_the_result_is_json(trained, tiny_data, tmp_path: Path):
    trained.save(tmp_path / "a.keras")
    described = sensitivity(str(tmp_path / "a.keras"), tiny_data, sparsities=(0.5,)).describe()

    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert set(described) == {
        *("compressor_version", "model", "granularity", "criterion", "data", "examples"),
        "inputs",
        *("tolerance", "dense_accuracy", "layers", "left_alone", "environment"),
    }
    assert set(described["layers"][0]) == {
        *("layer", "layers", "parameters", "measurements", "highest_sparsity"),
    }
    assert set(described["layers"][0]["measurements"][0]) == {
        *("target_sparsity", "sparsity", "accuracy"),
    }
