"""What pruning does to models and data that it once misread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor as command

import compressor
from compressor.data.stored import storable
from compressor.errors import UsageError
from compressor.models import preprocessing_of
from compressor.models.evaluation import predict_scores
from compressor.models.head_metrics import _ours
from compressor.models.layers import all_layers, count_parameters
from compressor.pruning.granularity import parse_granularity
from compressor.pruning.kernels import select_kernels
from compressor.shrinking import shrink
from deploy.tasks import ACCURACY, CLASSIFICATION, Head, losses


def test_a_metric_that_has_no_value_any_more_is_lost() -> None:
    head = Head("", CLASSIFICATION, (2,), 2, None, "precision", (ACCURACY, "precision"))

    assert losses([head], {"precision": 0.9}, {}) == {head.key(): float("inf")}
    assert losses([head], {}, {}) == {}


def test_what_is_frozen_inside_a_layer_stays_frozen(keras: Any) -> None:
    entering = keras.Input((6, 8))
    attention = keras.layers.MultiHeadAttention(2, 4)
    model = keras.Model(entering, keras.layers.Dense(3)(attention(entering, entering)))
    attention._query_dense.trainable = False
    x = np.random.default_rng(0).random((4, 6, 8)).astype(np.float32)

    found = shrink(model, x).model

    assert len(found.trainable_variables) == len(model.trainable_variables)


def test_bools_are_inputs_of_0_and_1_and_targets_are_classes() -> None:
    bools = np.array([[True, False]])

    assert storable(bools, "x", "x_train").dtype == np.float32
    assert storable(bools, "y", "y_train").dtype == np.uint8


def test_bytes_that_are_pooled_before_they_are_rescaled_are_scaled_once(keras: Any) -> None:
    layers = keras.layers
    image = keras.Input((4, 4, 1))
    x = layers.GaussianNoise(0.1)(layers.AveragePooling2D(2)(layers.UpSampling2D(2)(image)))
    x = layers.Flatten()(layers.Rescaling(1 / 255)(layers.SpatialDropout2D(0.1)(x)))
    model = keras.Model(image, layers.Dense(2)(x))

    feed = preprocessing_of(model, np.zeros((3, 4, 4, 1), np.uint8))

    assert feed.rules[0].scale == 1 and "rescales it itself" in feed.rules[0].reason


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_scores_of_half_precision_are_float32(keras: Any, dtype: str) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype=dtype)])
    x = np.ones((5, 3), np.float32)

    scores = predict_scores(model.predict_on_batch, x, preprocessing_of(model, x))

    assert scores.dtype == np.float32 and scores.shape == (5, 2)


def test_a_compiled_accuracy_of_another_threshold_is_not_measured_as_ours(keras: Any) -> None:
    kinds = [keras.metrics.BinaryAccuracy(threshold=part) for part in (0.5, 0.9)]
    found = [keras.saving.serialize_keras_object(kind) for kind in kinds]

    assert [_ours(CLASSIFICATION, metric) for metric in found] == [ACCURACY, None]


def test_a_layer_may_call_what_it_likes_layers(keras: Any) -> None:
    class Stack(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, layers: Any) -> None:
            super().__init__(name="stack")
            self.layers = layers

        def build(self, shape: Any) -> None:
            self.mix = self.add_weight(shape=(shape[-1], 4), name="mix")

        def call(self, x: Any) -> Any:
            return x @ self.mix

    for layers in (2, [keras.layers.Dense(3)]):
        model = keras.Sequential([keras.Input((5,)), Stack(layers)])
        assert [*all_layers(model)] == ["stack"] and count_parameters(model) == 20


@pytest.mark.parametrize("keys", [("x", "y", "w_train"), ("x_train", "y_train", "w")])
def test_sample_weights_are_found_by_either_name(tmp_path: Path, keys: Any, rejected: Any) -> None:
    arrays = [np.ones((40, 2), np.float32), np.arange(40) % 2, np.ones(40, np.float32)]
    given = dict(zip(keys, arrays, strict=True))
    np.savez(tmp_path / "data.npz", **given)

    for source in (given, tmp_path / "data.npz"):
        weights = compressor.load_dataset(source).sample_weights
        assert weights is not None and len(weights) > 20
    twice = dict.fromkeys(("w", "w_train"), arrays[2]) | given
    np.savez(tmp_path / "twice.npz", **twice)
    assert "twice" in rejected(UsageError, compressor.load_dataset, tmp_path / "twice.npz")


def test_a_pruning_without_retraining_leaves_no_retrained_model_of_before(
    keras: Any, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.random((80, 5)).astype(np.float32), np.arange(80) % 2
    data, source, run = tmp_path / "d.npz", tmp_path / "m.keras", tmp_path / "run"
    np.savez(data, x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)]).save(source)
    both = ("prune", source, "--data", data, "-o", run)

    assert command(*both, "--sparsity", 0.5, "--max-steps", 2).code == 0
    assert (run / "step_2_2").is_dir()
    assert command(*both, "--sparsity", 0.2, "--no-retrain", "--force").code == 0

    assert not (run / "step_2_2").exists() and (run / "step_2_1").is_dir()


def test_a_kernel_of_a_named_layer_that_does_not_fit_is_named(keras: Any) -> None:
    entering = keras.Input((4, 8))
    model = keras.Model(entering, keras.layers.LSTM(6, name="lstm")(entering))

    found = select_kernels(model, ("lstm",), parse_granularity("1x4"))

    assert [*found.kernels] == ["lstm"] and [*found.left_alone] == ["lstm:recurrent_kernel"]


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_that_cannot_be_used_is_refused(
    keras: Any, tiny_data: compressor.Dataset, seed: int, rejected: Any
) -> None:
    model = keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(4)])

    assert "a seed must be" in rejected(
        UsageError, compressor.prune, model, tiny_data, compressor.PruningSpec(0.5), seed=seed
    )


def test_classes_may_be_numbers_of_numpy() -> None:
    assert compressor.TrainingOptions(1, class_weight={np.int64(1): 2.0})


def test_metrics_that_only_look_like_ours_are_not_taken_for_them(keras: Any) -> None:
    def ours(task: str, metric: Any) -> str | None:
        return _ours(task, keras.saving.serialize_keras_object(metric))

    metrics = keras.metrics
    assert ours("segmentation", metrics.BinaryIoU()) == "mean_iou"
    assert ours("segmentation", metrics.BinaryIoU(target_class_ids=[1])) is None
    assert ours("segmentation", metrics.BinaryIoU(threshold=0.3)) is None
    of_each = metrics.AUC(curve="PR", multi_label=True)
    assert ours("multi-label", of_each) == "mean_average_precision"
    assert ours("multi-label", metrics.AUC(curve="PR")) is None
