"""Hard-swish in int8 files: XNNPACK computes it, and it is as near to Keras as LiteRT's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compressor.exporters.request import Request
from compressor.exporters.tflite import export
from deploy.runner.tflite_engines import LitertEngine
from tests.support.stock_runtimes import run_artefact


def net(keras, gain: float) -> Any:
    """A convolution, hard-swish, and squeeze-excite; `gain` scales what hard-swish takes."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    picture = keras.Input((12, 12, 3), name="picture")
    x = layers.Conv2D(16, 3, name="conv")(picture)
    x = layers.Activation("hard_silu")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(16, 1, activation="hard_sigmoid")(layers.Activation("hard_silu")(gate))
    x = layers.GlobalAveragePooling2D()(layers.Multiply()([x, gate]))
    model = keras.Model(picture, layers.Dense(5)(x))
    model.get_layer("conv").kernel.assign(gain * model.get_layer("conv").kernel)
    return model


@pytest.mark.sampled(2)
@pytest.mark.parametrize("gain", [8.0, 1.0, 1e-5, 2e3])
def test_int8_of_hard_swish_is_near_keras_and_computed_by_xnnpack(keras, tmp_path, gain):
    model, path = net(keras, gain), tmp_path / "int8.tflite"
    pictures = np.random.default_rng(2).uniform(-1, 1, (48, 12, 12, 3)).astype(np.float32)
    request = Request("litert", quantize="int8", calibration=(pictures,))
    path.write_bytes(export(model, request).content)
    wanted = np.asarray(model(pictures))
    error = run_artefact(path, {"picture": pictures}) - wanted
    assert np.sqrt(np.mean(error**2)) < 0.06 * np.std(wanted)
    engine = LitertEngine(str(path), threads=1)
    assert engine.delegate["of"] > 8
    # Of inputs beyond +-700 it stays an operator of its own.
    assert engine.delegate["of"] - engine.delegate["nodes"] <= (1 if gain > 100 else 0)
