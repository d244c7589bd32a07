"""Which layers a user can name."""

import pytest

from compressor.errors import ModelError, UsageError
from compressor.models.layers import paper_name, prunable_layers, resolve_layers
from compressor.models.paper import paper_cnn


@pytest.fixture(scope="module")
def paper():
    return paper_cnn((8, 8, 1), 4)


def test_the_papers_names_and_the_layers_mean_the_same(paper):
    assert list(resolve_layers(paper, ["w_fc2", "w_fc1"])) == ["fc1", "fc2"]
    assert list(resolve_layers(paper, ["fc1", "w_fc1"])) == ["fc1"]
    assert list(resolve_layers(paper, ["all"])) == ["conv1", "conv2", "fc1", "fc2"]
    assert resolve_layers(paper, ["w_conv2"])["conv2"] is paper.get_layer("conv2")
    assert (paper_name("fc1"), paper_name("other")) == ("w_fc1", None)


def test_what_can_be_pruned_in_another_model(keras, residual_net):
    assert list(prunable_layers(residual_net())) == ["stem", "inner", "head"]
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 2)),
            layers.Conv1D(3, 3, name="conv"),
            layers.DepthwiseConv1D(3, name="depthwise"),
            layers.LSTM(4, name="lstm"),
            layers.Dense(2, name="dense"),
        ]
    )
    assert list(prunable_layers(model)) == ["conv", "dense"]


def test_layers_of_a_nested_model_and_a_shared_one(keras):
    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="one"), layers.ReLU()], name="block"
    )
    shared = layers.Dense(4, name="shared")
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2, name="out")(shared(inner(shared(x)))))
    assert sorted(prunable_layers(model)) == ["block/one", "out", "shared"]
    assert list(resolve_layers(model, ["block/one"])) == ["block/one"]


def test_an_unknown_name_is_answered_with_near_ones(rejected, paper):
    assert "did you mean" in rejected(UsageError, resolve_layers, paper, ["w_fc3"])
    assert "w_fc1" in rejected(UsageError, resolve_layers, paper, ["w_fc11"])
    assert "choose from conv1, conv2" in rejected(UsageError, resolve_layers, paper, ["zzz"])
    assert "no layer named" in rejected(UsageError, resolve_layers, paper, [])


def test_a_layer_without_a_kernel(rejected, paper):
    message = rejected(UsageError, resolve_layers, paper, ["fc1", "pool1"])
    assert "pool1 (MaxPooling2D)" in message and "choose from conv1" in message


def test_a_model_without_any_kernel(rejected, keras):
    model = keras.Sequential([keras.Input((4, 4)), keras.layers.Flatten()], name="flat")
    assert "flat" in rejected(ModelError, resolve_layers, model, ["all"])
