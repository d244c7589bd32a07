"""The kernels of all kinds of layers are stored sparse, also where converters turn them around."""

from __future__ import annotations

import numpy as np
import pytest
from layer_table import in_litert, in_onnxruntime

from compressor import PruningSpec
from compressor.exporters import onnx, tflite
from compressor.exporters.request import Request
from compressor.models import count_parameters
from compressor.pruning.masks import remove_masks
from compressor.pruning.pruner import Pruner


def own_layer(keras):
    class Own(keras.layers.Layer):
        def build(self, shape):
            self.matrix = self.add_weight(shape=(shape[-1], 256), name="matrix")

        def call(self, inputs):
            return keras.ops.matmul(inputs, self.matrix)

    return Own(name="own")


LAYERS = {
    "MultiHeadAttention": ((6, 64), lambda k: k.layers.MultiHeadAttention(4, 32)),
    "GroupQueryAttention": ((6, 64), lambda k: k.layers.GroupQueryAttention(32, 8, 2)),
    "EinsumDense": ((6, 64), lambda k: k.layers.EinsumDense("abc,cde->abde", (6, 8, 32))),
    "TimeDistributed": ((6, 64), lambda k: k.layers.TimeDistributed(k.layers.Dense(256))),
    "SpectralNormalization": (
        (6, 64),
        lambda k: k.layers.SpectralNormalization(k.layers.Dense(256)),
    ),
    "Conv1DTranspose": ((6, 64), lambda k: k.layers.Conv1DTranspose(64, 3)),
    "Conv2DTranspose": ((6, 6, 32), lambda k: k.layers.Conv2DTranspose(64, 3, strides=2)),
    "Conv3D": ((4, 4, 4, 32), lambda k: k.layers.Conv3D(32, 3)),
    "Conv3DTranspose": ((2, 2, 2, 32), lambda k: k.layers.Conv3DTranspose(32, 3)),
    "Bidirectional": ((3, 64), lambda k: k.layers.Bidirectional(k.layers.LSTM(32))),
    "a layer of the user's own": ((6, 64), own_layer),
}


@pytest.fixture(scope="module")
def pruned(keras):
    """Build a model of one layer and a Dense, 90 % pruned; with its inputs and outputs."""
    made = {}

    def build(name):
        if name not in made:
            shape, make = LAYERS[name]
            keras.utils.set_random_seed(3)
            given, layer = keras.Input(shape), make(keras)
            x = layer(given, given) if "Attention" in name else layer(given)
            x = keras.layers.GlobalAveragePooling1D()(keras.layers.Reshape((-1, x.shape[-1]))(x))
            model = keras.Model(given, keras.layers.Dense(4)(x))
            Pruner(model, PruningSpec(0.9)).prune()
            remove_masks(model)
            inputs = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
            made[name] = model, inputs, np.asarray(model(inputs, training=False))
        return made[name]

    return build


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    ("export", "runtime", "run"),
    [(tflite.export, "litert", in_litert), (onnx.export, "onnxruntime", in_onnxruntime)],
    ids=["tflite", "onnx"],
)
def test_nine_tenths_of_the_kernel_take_no_place(pruned, name, export, runtime, run):
    model, inputs, right = pruned(name)
    file = export(model, Request(runtime))
    # Ten per cent of the values with their positions, and the graph; dense they alone take 4 bytes.
    assert len(file.content) < 0.2 * 4 * count_parameters(model) + 6000
    np.testing.assert_allclose(run(file.content, inputs), right, atol=1e-5 * np.abs(right).max())
