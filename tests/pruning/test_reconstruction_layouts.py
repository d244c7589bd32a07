"""Kernels as matrices: rows times matrix is what the layer computes."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.pruning.reconstruction_layouts import layout_of

LAYERS = {
    "dense": ("Dense", (5, 6), {"units": 4}),
    "conv": ("Conv2D", (9, 8, 4), {"filters": 6, "kernel_size": (3, 2), "padding": "same"}),
    "strided": (
        "Conv2D",
        (9, 8, 4),
        {"filters": 6, "kernel_size": 3, "strides": (2, 3), "padding": "same"},
    ),
    "dilated": ("Conv2D", (9, 8, 4), {"filters": 6, "kernel_size": 2, "dilation_rate": (2, 3)}),
    "grouped": (
        "Conv2D",
        (9, 8, 4),
        {"filters": 6, "kernel_size": 3, "groups": 2, "strides": 2, "padding": "valid"},
    ),
    "causal": (
        "Conv1D",
        (9, 4),
        {"filters": 3, "kernel_size": 3, "padding": "causal", "dilation_rate": 2},
    ),
    "volume": ("Conv3D", (4, 5, 3, 2), {"filters": 3, "kernel_size": 2, "padding": "same"}),
    "depthwise": (
        "DepthwiseConv2D",
        (9, 8, 4),
        {"kernel_size": 3, "depth_multiplier": 2, "strides": 2, "padding": "same"},
    ),
    "separable": ("SeparableConv2D", (9, 8, 4), {"filters": 6, "kernel_size": 3}),
    "einsum": ("EinsumDense", (5, 6), {"equation": "abc,cd->abd", "output_shape": (None, 4)}),
    "heads": (
        "EinsumDense",
        (5, 2, 3),
        {"equation": "abcd,cde->abe", "output_shape": (None, 4), "bias_axes": "e"},
    ),
}


@pytest.mark.parametrize("name", list(LAYERS))
def test_rows_times_the_matrix_is_what_the_layer_computes(keras, name):
    kind, shape, options = LAYERS[name]
    bias = {"bias_initializer": "random_normal"}
    if kind == "EinsumDense" and "bias_axes" not in options:
        bias = {}
    layer = getattr(keras.layers, kind)(**options, **bias)
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    wanted = np.asarray(layer(x))
    variable = layer.pointwise_kernel if kind == "SeparableConv2D" else layer.trainable_weights[0]
    layout = layout_of(layer, variable)
    rows = layout.rows(x, np.arange)
    matrix = layout.to_matrix(variable.numpy())
    made = (rows @ matrix).transpose(1, 0, 2).reshape(rows.shape[1], -1)
    values = layout.bias_values(lambda found: found.numpy())
    made = made if values is None else made + values
    np.testing.assert_allclose(made, wanted.reshape(made.shape), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layout.to_kernel(matrix), variable.numpy())


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_the_recurrent_kernel_multiplies_the_state_before(keras, kind):
    layer = getattr(keras.layers, kind)(5)
    x = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    last = np.asarray(layer(x))
    layout = layout_of(layer, layer.cell.recurrent_kernel)
    states = layout.rows(x, np.arange).reshape(3, 4, 5)
    assert not states[:, 0].any()
    np.testing.assert_allclose(states[:, 3], np.asarray(layer(x[:, :3])), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(layer(x)), last)
    np.testing.assert_array_equal(
        layout_of(layer, layer.cell.kernel).rows(x, np.arange)[0], x.reshape(-1, 2)
    )


def test_rows_are_drawn(keras):
    layer = keras.layers.Conv2D(2, 3)
    x = np.random.default_rng(0).normal(size=(3, 6, 6, 1)).astype(np.float32)
    layer(x)
    layout = layout_of(layer, layer.kernel)
    counts = []

    def draw(count):
        counts.append(count)
        return np.array([0, 17, 47])

    whole = layout.rows(x, np.arange)
    np.testing.assert_array_equal(layout.rows(x, draw), whole[:, [0, 17, 47]])
    assert counts == [3 * 4 * 4]
