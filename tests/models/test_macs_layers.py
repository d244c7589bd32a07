"""Multiply-accumulates, against numbers computed by hand."""

import numpy as np
import pytest

from compressor.experiment.paper_checkpoint import read_sparse_checkpoint, write_sparse_checkpoint
from compressor.experiment.predictors import sparse_predictor
from compressor.models.macs import Macs, kernel_uses, layer_macs
from compressor.models.paper import paper_cnn


def macs_of(model):
    # Of many random weights one may be zero.
    for variable in model.weights:
        variable.assign(np.ones(variable.shape))
    return layer_macs(model)


@pytest.fixture
def one_layer(keras):
    """The MACs of a model that is one layer, on inputs of a shape without the batch."""

    def measure(layer, *shape):
        image = keras.Input(shape)
        found = macs_of(keras.Model(image, layer(image)))
        assert list(found) == [layer.name]
        return found[layer.name]

    return measure


def all_nonzero(macs):
    return Macs(macs, macs)


def test_the_paper_s_cnn():
    assert macs_of(paper_cnn()) == {
        "conv1": all_nonzero(28 * 28 * 5 * 5 * 32),
        "conv2": all_nonzero(14 * 14 * 5 * 5 * 32 * 64),
        "fc1": all_nonzero(3_211_264),
        "fc2": all_nonzero(10_240),
    }


def test_weights_that_are_zero_count_only_as_dense():
    model = paper_cnn((8, 8, 1), 4)
    values = np.ones((5, 5, 1, 32))
    values[:, :, :, 8:] = 0
    values[0, 0, 0, 0] = 0
    model.get_layer("conv1").kernel.assign(values)
    model.get_layer("fc2").kernel.assign(np.zeros((1024, 4)))

    found = layer_macs(model)

    assert found["conv1"] == Macs(64 * 25 * 32, 64 * (25 * 8 - 1))
    assert found["fc2"] == Macs(4096, 0)


@pytest.mark.parametrize(
    ("kind", "options", "shape", "macs"),
    [
        ("Dense", {"units": 3}, (5,), 15),
        ("Dense", {"units": 3}, (7, 2, 5), 7 * 2 * 15),
        ("Conv1D", {"filters": 4, "kernel_size": 3}, (10, 2), 8 * 3 * 2 * 4),
        ("Conv1D", {"filters": 4, "kernel_size": 3, "padding": "causal"}, (10, 2), 10 * 24),
        ("Conv1D", {"filters": 4, "kernel_size": 3, "dilation_rate": 2}, (10, 2), 6 * 24),
        ("Conv2D", {"filters": 4, "kernel_size": 3}, (8, 6, 2), 6 * 4 * 9 * 2 * 4),
        ("Conv2D", {"filters": 4, "kernel_size": 3, "strides": 2}, (8, 7, 2), 3 * 3 * 72),
        (
            "Conv2D",
            {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"},
            (8, 7, 2),
            4 * 4 * 72,
        ),
        ("Conv2D", {"filters": 4, "kernel_size": 3, "groups": 2}, (5, 5, 6), 9 * 9 * 3 * 4),
        ("Conv3D", {"filters": 2, "kernel_size": 2}, (3, 3, 3, 1), 8 * 8 * 2),
        ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}, (6, 5), 4 * 3 * 5 * 2),
        ("DepthwiseConv2D", {"kernel_size": 3}, (8, 8, 5), 36 * 9 * 5),
        (
            "DepthwiseConv2D",
            {"kernel_size": 3, "strides": 2, "padding": "same"},
            (8, 8, 5),
            16 * 9 * 5,
        ),
        ("SeparableConv1D", {"filters": 4, "kernel_size": 3}, (6, 5), 4 * (15 + 20)),
        (
            "SeparableConv2D",
            {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"},
            (8, 8, 5),
            16 * (9 * 5 + 5 * 4),
        ),
        (
            "Conv2DTranspose",
            {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"},
            (4, 4, 2),
            16 * 9 * 2 * 4,
        ),
        ("LSTM", {"units": 3}, (7, 5), 7 * 4 * (5 * 3 + 3 * 3)),
        ("GRU", {"units": 3, "return_sequences": True}, (7, 5), 7 * 3 * (5 * 3 + 3 * 3)),
        ("SimpleRNN", {"units": 3}, (7, 5), 7 * (15 + 9)),
        ("Embedding", {"input_dim": 9, "output_dim": 4}, (7,), 0),
        ("EinsumDense", {"equation": "abc,cd->abd", "output_shape": (None, 3)}, (7, 5), 7 * 15),
        ("EinsumDense", {"equation": "abc,bcd->abd", "output_shape": (7, 3)}, (7, 5), 7 * 15),
        ("EinsumDense", {"equation": "...x,xy->...y", "output_shape": 3}, (7, 2, 5), 14 * 15),
        ("Conv1DTranspose", {"filters": 4, "kernel_size": 3}, (7, 5), 7 * 3 * 5 * 4),
        ("ConvLSTM1D", {"filters": 2, "kernel_size": 3}, (4, 8, 3), 4 * 6 * 3 * 8 * (3 + 2)),
        (
            "ConvLSTM2D",
            {"filters": 2, "kernel_size": 3, "padding": "same", "return_sequences": True},
            (4, 6, 5, 3),
            4 * 6 * 5 * 9 * 8 * (3 + 2),
        ),
    ],
)
def test_a_layer(keras, one_layer, kind, options, shape, macs):
    assert one_layer(getattr(keras.layers, kind)(name="x", **options), *shape) == all_nonzero(macs)


def test_channels_first(keras, one_layer):
    layer = keras.layers.Conv2D(4, 3, data_format="channels_first", name="x")

    assert one_layer(layer, 2, 8, 6) == all_nonzero(6 * 4 * 9 * 2 * 4)


def test_wrapped_layers(keras, one_layer):
    layers = keras.layers
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="x")
    assert one_layer(both, 7, 5) == all_nonzero(2 * 7 * 4 * (5 * 3 + 3 * 3))
    steps = layers.TimeDistributed(layers.Conv2D(4, 3, name="inner"), name="x")
    assert one_layer(steps, 7, 8, 8, 2) == all_nonzero(7 * 36 * 72)
    normed = layers.SpectralNormalization(layers.Dense(3), name="x")
    assert one_layer(normed, 7, 5) == all_nonzero(7 * 15)
    cells = layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], name="x")
    assert one_layer(cells, 7, 5) == all_nonzero(7 * (12 * (5 + 3) + 6 * (3 + 2)))


def test_a_model_at_every_step(keras):
    layers = keras.layers
    frame = keras.Sequential([keras.Input((8, 8, 2)), layers.Conv2D(4, 3, name="c")], name="frame")
    frames = keras.Input((7, 8, 8, 2))
    model = keras.Model(frames, layers.TimeDistributed(frame, name="steps")(frames))

    assert macs_of(model) == {"steps": all_nonzero(7 * 36 * 72)}
    assert kernel_uses(model) == {"steps/c": {"kernel": 7 * 36}}


def test_nested_models_and_layers_that_are_called_twice(keras):
    layers = keras.layers
    block = keras.Sequential(
        [keras.Input((6,)), layers.Dense(6, name="a"), layers.Dense(6, name="b")], name="block"
    )
    shared = layers.Dense(6, name="shared")
    vector = keras.Input((6,))
    x = block(shared(block(shared(shared(vector)))))
    found = macs_of(keras.Model(vector, layers.Dense(2, name="head")(x)))

    assert found == {
        "shared": all_nonzero(3 * 36),
        "block/a": all_nonzero(2 * 36),
        "block/b": all_nonzero(2 * 36),
        "head": all_nonzero(12),
    }


def test_a_nested_model_of_any_size_has_the_sizes_that_it_is_called_with(keras):
    layers = keras.layers
    backbone = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(2, 3, strides=2, name="c")], name="backbone"
    )
    image = keras.Input((9, 7, 3))

    assert macs_of(backbone) == {"c": None}
    assert macs_of(keras.Model(image, backbone(image))) == {"backbone/c": all_nonzero(12 * 54)}


def test_rows_that_are_folded_into_the_batch_count(keras):
    rows = keras.Input((4, 8))
    x = keras.layers.Dense(3, name="d")(keras.ops.reshape(rows, (-1, 8)))

    assert macs_of(keras.Model(rows, x)) == {"d": all_nonzero(4 * 24)}


def test_sizes_that_are_not_fixed_are_not_guessed(keras):
    layers = keras.layers
    words = keras.Input((None,))
    x = layers.Embedding(9, 4, name="words")(words)
    x = layers.Conv1D(4, 3, name="conv")(x)
    x = layers.LSTM(3, name="lstm")(x)
    found = macs_of(keras.Model(words, layers.Dense(2, name="head")(x)))

    assert found == {
        "words": all_nonzero(0),
        "conv": None,
        "lstm": None,
        "head": all_nonzero(6),
    }


def test_layers_of_other_kinds_are_not_guessed(keras):
    layers = keras.layers

    class Mixed(layers.Layer):
        def build(self, shape):
            self.mixing = self.add_weight(shape=(6, 6), name="mixing")

        def call(self, inputs):
            return inputs @ self.mixing

    words = keras.Input((4, 6))
    x = Mixed(name="mixed")(words)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.PReLU(name="rectify")(x)

    assert macs_of(keras.Model(words, x)) == {"mixed": None}


def test_the_projections_of_attention(keras):
    layers = keras.layers
    asked, told = keras.Input((5, 6)), keras.Input((9, 6))
    x = layers.MultiHeadAttention(2, 3, name="many")(asked, told)
    x = layers.GroupQueryAttention(4, 4, 2, name="few")(value=told, query=x)
    model = keras.Model([asked, told], x)

    assert macs_of(model) == {
        "many": all_nonzero(5 * 6 * 6 + 2 * 9 * 6 * 6 + 5 * 6 * 6),
        "few": all_nonzero(5 * 6 * 16 + 2 * 9 * 6 * 8 + 5 * 16 * 6),
    }
    assert kernel_uses(model)["many/key"] == {"kernel": 9}
    assert kernel_uses(model)["few/attention_output"] == {"kernel": 5}


def test_a_model_with_code_of_its_own_is_not_guessed(keras):
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.dense = keras.layers.Dense(3, name="dense")

        def call(self, inputs):
            return self.dense(self.dense(inputs))

    own = Own()
    vector = keras.Input((3,))
    model = keras.Model(vector, own.dense(keras.layers.Dense(3, name="first")(own(vector))))

    assert macs_of(own) == {"dense": None}
    assert macs_of(model) == {"own/dense": None, "first": all_nonzero(9)}


def test_kernels_that_are_not_what_is_multiplied_are_not_guessed(keras):
    vector = keras.Input((8,))
    model = keras.Model(vector, keras.layers.Dense(8, name="x")(vector))
    model.get_layer("x").enable_lora(2)

    assert macs_of(model) == {"x": None}


def test_the_model_of_a_sparse_checkpoint(tmp_path):
    write_sparse_checkpoint(paper_cnn((8, 8, 1), 4), ["conv2", "fc1"], tmp_path / "s.npz")
    checkpoint = read_sparse_checkpoint(tmp_path / "s.npz")
    model = sparse_predictor(checkpoint, tmp_path / "s.npz").model

    times = {"conv1": 64, "conv2": 16, "fc1": 1, "fc2": 1}
    assert kernel_uses(model) == {name: {"kernel": uses} for name, uses in times.items()}
    assert macs_of(model) == {
        "conv1": all_nonzero(64 * 800),
        "conv2": None,
        "fc1": None,
        "fc2": all_nonzero(4096),
    }
