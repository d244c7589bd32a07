"""Exports that odd models and files once broke: what they promise, for models of made-up tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import compressor as command
from onnx import TensorProto, helper, numpy_helper

import compressor
from compressor.errors import ModelError, UsageError
from compressor.exporters import ExportJob
from compressor.exporters.parity import spread
from compressor.exporters.tflite.price import Price
from deploy import read_artifact


def _bytes(keras: Any) -> tuple[Any, compressor.Dataset]:
    """A classifier that rescales bytes itself, and data of bytes: which half is brighter."""
    generator = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    x = generator.integers(0, 256, (240, 6)).astype(np.uint8)
    y = (x[:, :3].astype(int).sum(1) > x[:, 3:].astype(int).sum(1)).astype(int)
    layers = keras.layers
    model = keras.Sequential([keras.Input((6,)), layers.Rescaling(1 / 255), layers.Dense(2)])
    weights = np.array([[-4.0, 4.0]] * 3 + [[4.0, -4.0]] * 3, np.float32)
    model.layers[-1].set_weights([weights, np.zeros(2, np.float32)])
    data = compressor.Dataset.from_arrays("d", x[:160], y[:160], x[160:], y[160:])
    return model, data


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_a_file_that_is_exported_again_is_fed_as_its_description_says(
    keras: Any, tmp_path: Path, kind: str
) -> None:
    model, data = _bytes(keras)
    first, again = tmp_path / f"first.{kind}", tmp_path / f"again.{kind}"
    compressor.export(model, first, data, labels=["right", "left"])

    record = compressor.export(first, again, data, quantize="int8")

    assert record["verdict"]["accuracy"] > 0.9
    assert read_artifact(again).preprocessing[0].scale == 1.0
    assert read_artifact(again).labels == ("right", "left")


def test_each_number_of_a_regression_varies_by_itself() -> None:
    expected = np.stack([np.linspace(0, 9000, 50), np.linspace(0, 1, 50)], axis=1)
    constant = expected * [1, 0]

    assert spread(constant, expected) < 0.01  # beside the large ones
    assert spread(constant, expected, each=True) > 1
    assert spread(expected, expected, each=True) == 0


def test_what_hardly_varies_may_differ_by_rounding() -> None:
    expected = np.full((20, 1), 0.7)

    assert spread(expected + 3e-8, expected) < 0.01
    assert spread(expected + 0.1, expected) > 0.5


def test_an_output_with_the_name_of_an_input_is_refused(
    keras: Any, tmp_path: Path, rejected: Any
) -> None:
    entering = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(3)(entering)
    outputs = {"x": keras.layers.Dense(4)(hidden), "z": keras.layers.Dense(2)(hidden)}
    model = keras.Model({"x": entering}, outputs)

    message = rejected(ModelError, compressor.export, model, tmp_path / "model.onnx")

    assert "named as one: x; " in message and "a name of its own" in message


def test_a_file_of_open_sizes_is_timed_at_those_of_the_examples(keras: Any, tmp_path: Path) -> None:
    """At 1 x 1 its convolutions have nothing to slide over."""
    layers = keras.layers
    image = keras.Input((None, None, 1))
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(image)
    x = layers.Conv2D(4, 3, activation="relu")(x)
    model = keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    x = np.random.default_rng(0).random((120, 12, 12, 1)).astype(np.float32)
    y = model.predict(x, verbose=0).argmax(1)
    y[:2] = y[-2:] = 0, 1
    data = compressor.Dataset.from_arrays("d", x[:80], y[:80], x[80:], y[80:])

    record = compressor.export(model, tmp_path / "open.onnx", data, quantize="auto")

    assert record["verdict"]["passed"]
    quick: Any = {"rounds": 1, "starts": 1, "round_seconds": 0.01}
    run = compressor.bench([tmp_path / "open.onnx"], **quick)
    assert run["rows"][0]["status"] == "right"  # by its check vectors


def test_an_onnx_file_of_one_example_a_batch_becomes_int8(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    first, second = (generator.normal(size=s).astype(np.float32) for s in ((16, 80), (80, 3)))
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["y"]),
    ]
    sides = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])]
        for name, width in (("x", 16), ("y", 3))
    ]
    weights = [numpy_helper.from_array(w, n) for n, w in (("first", first), ("second", second))]
    graph = helper.make_graph(nodes, "g", *sides, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "one.onnx")
    x = generator.random((100, 16)).astype(np.float32)
    y = (np.maximum(x @ first, 0) @ second).argmax(1)
    data = compressor.Dataset.from_arrays("d", x[:70], y[:70], x[70:], y[70:])

    record = compressor.export(
        tmp_path / "one.onnx", tmp_path / "small.onnx", data, quantize="int8"
    )

    assert record["verdict"]["passed"] and record["quantize"] == "int8"


@pytest.mark.parametrize("optimize", ["size", "balanced"])
def test_weights_that_are_all_zero_have_no_price(optimize: Any) -> None:
    assert Price().told(100, optimize) == ""


def test_a_model_without_weights_is_exported(keras: Any, tmp_path: Path) -> None:
    entering = keras.Input((4, 4, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(0.5)(entering))
    keras.Model(entering, pooled).save(tmp_path / "model.keras")

    done = command("export", tmp_path / "model.keras", "-o", tmp_path / "small.tflite")

    assert done.code == 0, done.stderr
    assert (tmp_path / "small.tflite").is_file()


def test_all_files_are_for_one_runtime_of_each_format(
    keras: Any, tmp_path: Path, rejected: Any
) -> None:
    model, data = _bytes(keras)
    model.save(tmp_path / "model.keras")
    twice = ("onnxruntime", "onnxruntime-web")

    message = rejected(
        UsageError,
        compressor.export_all,
        tmp_path / "model.keras",
        tmp_path / "all",
        data,
        runtimes=twice,
    )

    assert "the same files" in message and not (tmp_path / "all").exists()


def test_what_is_set_aside_to_choose_on_calibrates_nothing(keras: Any) -> None:
    x = np.arange(600, dtype=np.float32).reshape(300, 2)
    y = np.arange(300) % 2
    data = compressor.Dataset.from_arrays("d", x[:240], y[:240], x[240:], y[240:])
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])

    with ExportJob(model, data, validation=100, choose_on=0) as job:
        seen = {*job._calibration[0][:, 0].tolist()}
        chosen = {*np.asarray(job.reference.x)[:, 0].tolist()}

    assert len(chosen) == 100 and len(seen) > 100 and not seen & chosen
