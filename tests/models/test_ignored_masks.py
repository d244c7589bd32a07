"""Masks with a value that counts nowhere: what the model was compiled to ignore."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compressor import training
from compressor.data import Dataset, TrainingData
from compressor.errors import DataError
from compressor.models import judged, objective_for, save_model
from compressor.models.files import load_model
from compressor.searching.laboratory import reached
from compressor.training import Distillation, TrainingOptions, as_logits

EDGE = 255


@pytest.fixture(scope="module")
def masks():
    """Pictures (n, 4, 4, 1), and masks of where they are bright, whose first column is an edge."""
    x = np.random.default_rng(0).random((64, 4, 4, 1)).astype(np.float32)
    y = (x[..., 0] > 0.5).astype(np.uint8)
    y[:, :, 0] = EDGE
    return Dataset.from_arrays("masks", x[:48], y[:48], x[48:], y[48:])


@pytest.fixture
def net(keras):
    """A model that is right everywhere but in that first column, where nothing is known."""

    def build(ignored: int | None = EDGE, *, by_metric: bool = False) -> Any:
        keras.utils.set_random_seed(0)
        picture = keras.Input((4, 4, 1))
        model = keras.Model(picture, keras.layers.Conv2D(2, 1, name="scores")(picture))
        model.set_weights([np.float32([[[[-9, 9]]]]), np.float32([4.5, -4.5])])
        own = None if by_metric else ignored
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=own)
        metric = keras.metrics.MeanIoU(2, sparse_y_pred=False, ignore_class=ignored)
        model.compile("sgd", loss, metrics=[metric] if by_metric else None)
        return model

    return build


@pytest.mark.parametrize("by_metric", [False, True])
def test_a_compiled_loss_or_metric_says_what_counts_nowhere(net, masks, tmp_path, by_metric):
    save_model(net(by_metric=by_metric), tmp_path / "model.keras")
    model = load_model(tmp_path / "model.keras")

    objective = objective_for(model, masks)
    found = judged(model, TrainingData.of(masks), objective)

    (head,) = objective.heads
    assert (head.task, head.ignored, head.describe()["ignored"]) == ("segmentation", EDGE, EDGE)
    assert found.values["mean_iou"] == found.values["validation_mean_iou"] == 1
    assert sum(found.classes["class_counts"]) == 16 * 4 * 3
    assert found.classes["class_recalls"] == [1, 1] and not found.no_better


def test_masks_of_nothing_else_have_no_metric(net, masks):
    nothing = np.full_like(masks.y_train, EDGE)
    data = Dataset.from_arrays("masks", masks.x_train, masks.y_train, masks.x_train, nothing)
    model = net()

    found = judged(model, TrainingData.of(data), objective_for(model, data))

    assert "mean_iou" not in found.values and found.values["validation_mean_iou"] == 1
    assert found.classes["class_recalls"] == [None, None]


def test_another_value_is_refused_and_the_hint_says_how(net, masks):
    with pytest.raises(DataError, match=r"other values than classes.*ignores another \(ignore_cl"):
        objective_for(net(None), masks)
    with pytest.raises(DataError, match=r"give class numbers 0 to 1, or 254, which is ignored"):
        objective_for(net(254), masks)


def test_a_class_may_be_ignored_and_so_may_a_negative_value(net, masks):
    x, y = masks.x_train, masks.y_train.astype(np.int32)
    negative = np.where(y == EDGE, -1, y)
    data = Dataset.from_arrays("masks", x, negative, x, negative)
    found = objective_for(net(-1), data)
    assert found.heads[0].ignored == -1
    assert found.stored_targets(data.y_train)[0].min() == -1
    known = np.where(y == EDGE, 0, y)
    data = Dataset.from_arrays("masks", x, known, x, known)
    model = net(0, by_metric=True)
    found = judged(model, TrainingData.of(data), objective_for(model, data))
    assert found.classes["class_counts"][0] == 0 and found.classes["class_recalls"][0] is None


@pytest.mark.sampled(1)
@pytest.mark.parametrize("weight", [None, "balanced"])
@pytest.mark.parametrize("distil", [False, True])
def test_it_is_trained_on_nowhere(net, masks, weight, distil):
    """What would teach class 0 everywhere, if it counted, changes nothing."""
    model = net()
    before = model.predict_on_batch(masks.x_test)
    options = TrainingOptions(20, 16, 1e-3, distillation=Distillation() if distil else None)
    options = TrainingOptions(**{**vars(options), "class_weight": weight})
    objective = objective_for(model, masks)
    teacher = model.predict_on_batch(masks.x_train).reshape(48, -1) if distil else None

    training.fit(
        model, masks.x_train, masks.y_train, options, seed=0, objective=objective, teacher=teacher
    )

    after = model.predict_on_batch(masks.x_test)
    assert np.isfinite(after).all()
    assert np.array_equal(before.argmax(-1), after.argmax(-1))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("distil", [False, True])
@pytest.mark.parametrize("by_loss", ["scores", "yes"])
def test_a_loss_that_does_not_ignore_it_is_not_given_it(net, masks, keras, by_loss, distil):
    """A metric alone says what counts nowhere: NaN, or a target of 255, would come of it."""
    model = net(by_metric=True)
    if by_loss == "yes":
        model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(1, 1)])
        model.set_weights([np.float32([[[[18]]]]), np.float32([-9])])
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile("sgd", loss, metrics=[keras.metrics.MeanIoU(2, ignore_class=EDGE)])
    before = model.predict_on_batch(masks.x_test)
    options = TrainingOptions(20, 16, 1e-2, distillation=Distillation() if distil else None)
    teacher = model.predict_on_batch(masks.x_train).reshape(48, -1) if distil else None
    objective = objective_for(model, masks)
    assert objective.heads[0].ignored == EDGE

    training.fit(
        model, masks.x_train, masks.y_train, options, seed=0, objective=objective, teacher=teacher
    )

    after = model.predict_on_batch(masks.x_test)
    assert np.abs(after - before).max() < 1.5
    assert np.array_equal(*(objective.predictions(one.reshape(16, -1)) for one in (before, after)))


@pytest.mark.slow
def test_no_gradient_comes_of_it(net, masks):
    model = net(by_metric=True)
    objective = objective_for(model, masks)
    edges, variables = np.full_like(masks.y_train, EDGE), model.trainable_variables
    for y, learns in ((edges, False), (masks.y_train, True)):
        mean = training.gradient_function(model, variables, masks.x_train, y, objective)
        assert any(part.any() for part in mean()) == learns


def test_a_search_measures_without_it(net, masks):
    model = net()
    part, objective = TrainingData.of(masks, 16), objective_for(model, masks)

    found = reached(model, part, objective)

    row = found.row(as_logits)
    assert row["validation_mean_iou"] == 1 and 0 < row["validation_loss"] < 0.5
    assert found.of_dense()["standard_errors"]["mean_iou"] == 0
