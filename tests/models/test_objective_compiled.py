"""What models were compiled with, in forms that are easy to misread."""

from __future__ import annotations

import numpy as np
import pytest

import compressor
from compressor import PruningSpec
from compressor.models.files import load_model
from compressor.models.objective import objective_of
from compressor.models.outputs import outputs_of

HALF = PruningSpec(0.5)


def own_loss(labels, scores):
    return 0.0 * scores[:, 0]


def own_metric(labels, scores):
    return scores[:, 0]


@pytest.mark.parametrize("loss", [own_loss, lambda labels, scores: scores[:, 0]])
def test_a_model_in_memory_with_a_loss_of_the_users_is_pruned_by_an_inferred_one(
    small_net, tiny_data, loss
):
    model = small_net()
    model.compile("adam", loss, metrics=["accuracy", own_metric])
    found = compressor.prune(model, tiny_data, HALF, retrain=False)
    assert found.objective["source"] == "inferred"
    assert any("is not one of Keras's" in note for note in found.objective["notes"])
    assert model.loss is loss


def test_a_metric_of_the_users_costs_only_itself(keras, small_net, tiny_data, tmp_path):
    model = small_net(last={"activation": "softmax"})
    smooth = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile("adam", smooth, metrics=["accuracy", own_metric])
    model.save(tmp_path / "own.keras")
    found = objective_of(load_model(tmp_path / "own.keras"))
    assert found.source == "compiled"
    assert found.loss.get_config()["label_smoothing"] == 0.1
    assert found.describe()["metrics"] == ["accuracy"]
    assert any("own_metric" in note for note in found.notes)


def test_metrics_by_the_name_of_the_output(small_net, tiny_data, tmp_path):
    model = small_net(last={"activation": "softmax"})
    model.compile("adam", "sparse_categorical_crossentropy", metrics={"scores": ["accuracy"]})
    model.save(tmp_path / "named.keras")
    found = objective_of(load_model(tmp_path / "named.keras"))
    assert (found.source, found.metrics) == ("compiled", ("accuracy",))


def test_a_loss_that_the_user_gave_another_name(keras, small_net, tiny_data):
    model = small_net()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, name="ce")
    model.compile("adam", loss)
    assert objective_of(model).labels == "index"
    assert compressor.prune(model, tiny_data, HALF, retrain=False).objective["loss"] == "ce"


@pytest.mark.parametrize(
    ("loss", "threshold"), [("mse", 0.5), ("hinge", 0.0), ("binary_crossentropy", 0.5)]
)
def test_the_loss_decides_where_a_binary_classifier_says_one(keras, loss, threshold):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", loss)
    scores = np.array([[-0.2], [0.2], [0.7]])
    found = objective_of(model, examples=(np.zeros((3, 2), np.float32), np.array([0, 1, 1])))
    assert found.threshold == threshold
    np.testing.assert_array_equal(found.predictions(scores), scores[:, 0] > threshold)


def test_which_output_of_a_nested_model_and_what_may_follow_it(keras):
    layers = keras.layers
    x = keras.Input((4,))
    logits = layers.Dense(3)(x)
    inner = keras.Model(x, [logits, layers.Softmax()(logits)])
    outer = keras.Input((4,))

    def kind(output):
        (found,) = outputs_of(keras.Model(outer, output))
        return "probabilities" if found.activation else "logits"

    first, second = inner(outer)
    assert kind(layers.Reshape((3,))(second)) == "probabilities"
    assert kind(layers.Reshape((3,))(first)) == "logits"
    assert kind(layers.Activation("linear", dtype="float32")(second)) == "probabilities"
    assert kind(layers.Average()([second, second])) == "probabilities"
    assert kind(layers.Average()([second, first])) == "logits"
    assert kind(layers.Dense(3)(second)) == "logits"


@pytest.mark.slow
def test_metric_objects_of_a_narrowed_model_can_be_used(keras, small_net, tiny_data):
    model = small_net()
    top = keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top2")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=[top])
    spec = PruningSpec(0.5, layers=("hidden",), granularity="channel")
    found = compressor.prune(model, tiny_data, spec, retrain=False)
    x = tiny_data.x_test[..., None] / np.float32(255)
    values = found.model.evaluate(x, tiny_data.y_test, verbose=0, return_dict=True)
    assert values["accuracy"] == pytest.approx(found.accuracy)
    assert values["top2"] >= values["accuracy"]
