"""Hard-swish and squeeze-excite in ONNX files: few operators in float32, small in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compressor.exporters.onnx import export
from compressor.exporters.request import Request
from tests.support.stock_runtimes import run_artefact


@pytest.fixture(scope="module")
def net(keras) -> Any:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    x = picture = keras.Input((12, 12, 3), name="picture")
    for _ in range(3):
        x = layers.Activation("hard_silu")(layers.Conv2D(24, 3, padding="same")(x))
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        gate = layers.Conv2D(24, 1, activation="hard_sigmoid")(gate)
        x = layers.Multiply()([x, gate])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(picture, layers.Dense(5)(x))


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(2).uniform(-4, 4, (48, 12, 12, 3)).astype(np.float32)


def written(folder: Path, net: Any, quantize: Any, pictures: np.ndarray) -> Path:
    path = folder / f"{quantize}.onnx"
    calibration = (pictures,) if quantize == "int8" else ()
    request = Request("onnxruntime", quantize=quantize, calibration=calibration)
    path.write_bytes(export(net, request).content)
    return path


@pytest.mark.slow
def test_hard_swish_and_hard_sigmoid_are_one_operator_each(net, pictures, tmp_path):
    path = written(tmp_path, net, "none", pictures)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert (kinds.count("HardSwish"), kinds.count("HardSigmoid")) == (3, 3)
    assert not {"Clip", "Add"} & set(kinds)
    wanted = np.asarray(net(pictures))
    found = run_artefact(path, {"picture": pictures})
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_int8_is_smaller_than_float32(net, pictures, tmp_path):
    path = written(tmp_path, net, "int8", pictures)
    assert path.stat().st_size < 0.6 * 4 * net.count_params()
    wanted = np.asarray(net(pictures))
    error = run_artefact(path, {"picture": pictures}) - wanted
    assert np.sqrt(np.mean(error**2)) < 0.06 * np.std(wanted)


@pytest.mark.parametrize("shift", [3.0, 2.5])
def test_what_only_resembles_hard_swish_is_computed_as_it_is(keras, pictures, tmp_path, shift):
    ops = keras.ops
    picture = keras.Input((12, 12, 3), name="picture")
    # Another shift, and a gate that is used twice.
    gate = ops.relu6(picture + shift) * (1 / 6)
    other = ops.relu6(picture + 3.0)
    net = keras.Model(picture, keras.layers.Flatten()(picture * gate + other * (1 / 6) + other))
    path = written(tmp_path, net, "none", pictures)
    wanted = np.asarray(net(pictures))
    found = run_artefact(path, {"picture": pictures})
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
