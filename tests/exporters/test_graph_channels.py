"""Channels of .tflite and .onnx files: whole ones go, with all that depends on them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from command_line import compressor
from graph_files import WRITERS, dense_tflite, gray_onnx, onnx_model, weights
from onnx import helper
from onnx_styles import write_style

import compressor as library
from compressor.errors import ModelError, UsageError
from compressor.exporters.onnx import channels as onnx_channels
from compressor.exporters.tflite import (
    channels as tflite_channels,
    graph,
    kernels as tflite_kernels,
)
from compressor.foundation import quiet_tensorflow
from tests.support.stock_runtimes import run_artefact

FORMATS = ("tflite", "onnx")
FIRST = {"tflite": "net/fc1/MatMul", "onnx": "fc1.weight"}
node = helper.make_node


def _shapes(path: Path) -> dict[str, list[int]]:
    rows = library.inspect(path)["layers"]
    return {"/".join(filter(None, (row["layer"], row["variable"]))): row["shape"] for row in rows}


def _residual(path: Path, *, dead: bool = False) -> Path:
    """Convolutions joined by Add, a depthwise one, Concat, a squeeze-and-excite gate, Flatten."""
    arrays = {
        **{"a": weights(8, 3, 3, 3), "ab": weights(8, seed=1), "b": weights(8, 8, 3, 3)},
        **{"c": weights(8, 1, 3, 3), "cb": weights(8, seed=2), "d": weights(4, 16, 1, 1)},
        **{"g": weights(8, 16), "gb": weights(16, seed=3), "w": weights(5, 4 * 36)},
        **{"scale": np.abs(weights(8, 1, 1, seed=4)), "axes": np.array([2, 3])},
        **{"flat": np.array([-1, 4 * 36]), "one": np.array([0, 8]), "up": np.array([0, 16, 1, 1])},
    }
    if dead:
        for name in ("a", "ab", "b"):
            arrays[name][3:5] = 0
    nodes = [
        node("Conv", ["x", "a", "ab"], ["a1"], pads=[1, 1, 1, 1]),
        node("Relu", ["a1"], ["a2"]),
        node("Conv", ["a2", "b"], ["b1"], pads=[1, 1, 1, 1]),
        node("Add", ["a2", "b1"], ["sum"]),
        node("Mul", ["sum", "scale"], ["scaled"]),
        node("Conv", ["scaled", "c", "cb"], ["c1"], group=8, pads=[1, 1, 1, 1]),
        node("Concat", ["scaled", "c1"], ["both"], axis=1),
        node("GlobalAveragePool", ["scaled"], ["mean"]),
        node("Reshape", ["mean", "one"], ["row"]),
        node("Gemm", ["row", "g", "gb"], ["gate"]),
        node("Sigmoid", ["gate"], ["open"]),
        node("Reshape", ["open", "up"], ["map"]),
        node("Mul", ["both", "map"], ["gated"]),
        node("Conv", ["gated", "d"], ["d1"]),
        node("Reshape", ["d1", "flat"], ["last"]),
        node("Gemm", ["last", "w"], ["y"], transB=1),
    ]
    onnx.save(onnx_model(nodes, arrays, {"x": ["N", 3, 6, 6]}, {"y": ["N", 5]}), path)
    return path


def _pruned(source: Path, target: Path, sparsity: Any, **options: Any) -> dict[str, Any]:
    spec = library.PruningSpec(sparsity, granularity="channel", **options)
    return library.prune_graph(source, target, spec, input_range=(0, 1), force=True)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", FORMATS)
def test_half_of_the_units_go(kind: str, tmp_path: Path) -> None:
    source, target = WRITERS[kind](tmp_path / f"found.{kind}"), tmp_path / f"pruned.{kind}"

    said = compressor(
        *("prune", source, "--no-retrain", "--granularity", "channel", "--sparsity", 0.5),
        *("-o", target),
    )

    assert said.code == 0, said.stderr
    assert _shapes(target)[FIRST[kind]] == [32, 32]  # of 64 units
    assert target.stat().st_size < 0.62 * source.stat().st_size
    assert "left alone" in said.stdout
    assert "32 of 64 units kept" in said.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_left_makes_up_for_them(kind: str, tmp_path: Path) -> None:
    source, target = WRITERS[kind](tmp_path / f"found.{kind}"), tmp_path / f"pruned.{kind}"
    plain = _pruned(source, target, 0.5)

    record = _pruned(source, target, 0.5, criterion="reconstruct", calibration=512)

    assert record["comparison"]["spread"] < plain["comparison"]["spread"] / 3
    assert [row["units_kept"] for row in record["layers"]] == [32]
    for report in record["reconstruction"].values():
        assert report["error"] < report["magnitude_error"]


@pytest.mark.slow
def test_what_depends_on_channels_goes_with_them(tmp_path: Path) -> None:
    source, target = _residual(tmp_path / "found.onnx", dead=True), tmp_path / "pruned.onnx"

    record = _pruned(source, target, {"a": 0.25})

    assert {row["layer"]: row["units_kept"] for row in record["layers"]} == {
        **{"a": 6, "b": 6, "g": 12},
    }
    shapes = _shapes(target)
    assert (shapes["a"], shapes["b"], shapes["c"]) == ([6, 3, 3, 3], [6, 6, 3, 3], [6, 1, 3, 3])
    assert (shapes["d"], shapes["g"]) == ([4, 12, 1, 1], [6, 12])
    session = importlib.import_module("onnxruntime").InferenceSession(str(target))
    x = np.random.default_rng(1).random((3, 3, 6, 6), np.float32)
    assert session.run(None, {"x": x})[0].shape == (3, 5)


@pytest.mark.slow
def test_dead_channels_go_exactly(tmp_path: Path) -> None:
    source = tmp_path / "found.onnx"
    arrays = {"a": weights(8, 3, 3, 3), "b": weights(4, 8, 1, 1), "w": weights(5, 4 * 36)}
    arrays["a"][[2, 5]] = 0
    nodes = [
        node("Conv", ["x", "a"], ["a1"], pads=[1, 1, 1, 1]),
        node("Tanh", ["a1"], ["a2"]),
        node("Conv", ["a2", "b"], ["b1"]),
        node("Flatten", ["b1"], ["flat"]),
        node("Gemm", ["flat", "w"], ["y"], transB=1),
    ]
    onnx.save(onnx_model(nodes, arrays, {"x": ["N", 3, 6, 6]}, {"y": ["N", 5]}), source)

    record = _pruned(source, tmp_path / "pruned.onnx", {"a": 0.25})

    assert record["comparison"]["difference"] < 1e-5
    assert _shapes(tmp_path / "pruned.onnx")["a"] == [6, 3, 3, 3]
    narrow = _pruned(source, tmp_path / "pruned.onnx", 0.5)
    assert [row["units_kept"] for row in narrow["layers"]] == [4, 2]
    assert _shapes(tmp_path / "pruned.onnx")["w"] == [5, 2 * 36]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"criterion": "reconstruct", "calibration": 64}])
def test_images_of_one_channel(options: dict[str, Any], tmp_path: Path) -> None:
    source, target = gray_onnx(tmp_path / "found.onnx"), tmp_path / "pruned.onnx"

    record = _pruned(source, target, 0.5, **options)

    assert {row["layer"]: row["units_kept"] for row in record["layers"]} == {"a": 8, "b": 8}
    shapes = _shapes(target)
    assert (shapes["a"], shapes["b"], shapes["w"]) == ([8, 1, 3, 3], [8, 8, 1, 1], [5, 8 * 16])


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"criterion": "reconstruct", "calibration": 64}])
def test_images_of_one_channel_in_tflite(
    keras: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    tensorflow, _ = quiet_tensorflow.load()
    layers = keras.layers
    image = keras.Input((6, 6, 1))
    x = layers.Flatten()(layers.Conv2D(8, 3, activation="relu")(image))
    model = keras.Model(image, layers.Dense(5)(x))
    source, target = tmp_path / "found.tflite", tmp_path / "pruned.tflite"
    source.write_bytes(tensorflow.lite.TFLiteConverter.from_keras_model(model).convert())

    record = _pruned(source, target, 0.5, **options)

    assert [row["units_kept"] for row in record["layers"]] == [4]


@pytest.mark.slow
def test_units_that_nothing_makes_up_for_are_named(tmp_path: Path) -> None:
    source, target = tmp_path / "found.onnx", tmp_path / "pruned.onnx"
    arrays = {"a": weights(8, 3, 3), "b": weights(8, 8, 3), "w": weights(5, 8 * 8)}
    nodes = [
        node("Conv", ["x", "a"], ["a1"]),
        node("Relu", ["a1"], ["a2"]),
        node("Conv", ["a2", "b"], ["b1"]),
        node("Flatten", ["b1"], ["flat"]),
        node("Gemm", ["flat", "w"], ["y"], transB=1),
    ]
    onnx.save(onnx_model(nodes, arrays, {"x": ["N", 3, 12]}, {"y": ["N", 5]}), source)

    said = compressor(
        *("prune", source, "--no-retrain", "--granularity", "channel", "--sparsity", 0.5),
        *("--criterion", "reconstruct", "--calibration", 64, "--input-range", "0,1", "-o", target),
    )

    assert said.code == 0, said.stderr
    assert "a: 8x3x3, 4 of 8 units kept\n  nothing makes up for its units in b\n" in said.stdout
    assert said.stdout.count("nothing makes up") == 1  # w is refit


@pytest.mark.slow
def test_layers_that_must_stay_whole_are_named(tmp_path: Path) -> None:
    source = write_style(tmp_path / "found.onnx", "attention")
    with pytest.raises(ModelError, match="its units go into MatMul"):
        _pruned(source, tmp_path / "pruned.onnx", 0.5)
    source = _residual(tmp_path / "found.onnx")
    with pytest.raises(UsageError, match="w: its units are outputs of the model"):
        _pruned(source, tmp_path / "pruned.onnx", {"w": 0.5})


@pytest.mark.slow
def test_one_threshold_for_all(tmp_path: Path) -> None:
    source, target = _residual(tmp_path / "found.onnx"), tmp_path / "pruned.onnx"

    record = _pruned(source, target, 0.5, criterion="reconstruct", calibration=64, scope="global")

    kept = {row["layer"]: row["units_kept"] for row in record["layers"]}
    assert kept["a"] + kept["d"] == (8 + 4) / 2
    assert kept["b"] == kept["a"] == kept["g"] / 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_weights_are_shared_out_by_what_they_cost(kind: str, tmp_path: Path) -> None:
    source, target = WRITERS[kind](tmp_path / f"found.{kind}"), tmp_path / f"pruned.{kind}"
    made = {"input_range": (0, 1), "force": True}
    each = library.PruningSpec(0.8, criterion="reconstruct", calibration=512)
    layered = library.prune_graph(source, target, each, **made)

    spec = library.PruningSpec(0.8, criterion="reconstruct", calibration=512, scope="global")
    record = library.prune_graph(source, target, spec, **made)

    kept = [row["kept"] for row in record["layers"]]
    total = sum(row["parameters"] for row in record["layers"])
    assert sum(kept) == total - int(0.8 * total) - 1
    assert kept != [row["kept"] for row in layered["layers"]]
    assert record["comparison"]["spread"] < layered["comparison"]["spread"]


@pytest.mark.slow
def test_a_network_of_the_stock_converter(keras: Any, tmp_path: Path) -> None:
    tensorflow, _ = quiet_tensorflow.load()
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(image)
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", name="block")(x))
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.MaxPooling2D()(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.Concatenate()([layers.Conv2D(6, 1, name="left")(x), layers.ZeroPadding2D(0)(x)])
    x = layers.Dense(12, activation="tanh", name="hidden")(layers.Flatten()(x))
    model = keras.Model(image, layers.Dense(4, name="head")(x))
    source, target = tmp_path / "found.tflite", tmp_path / "pruned.tflite"
    source.write_bytes(tensorflow.lite.TFLiteConverter.from_keras_model(model).convert())

    record = _pruned(source, target, 0.5, criterion="reconstruct", calibration=256)

    assert {row["units_kept"] for row in record["layers"]} == {4, 3, 6}
    graph = schema.ModelT.InitFromPackedBuf(target.read_bytes()).subgraphs[0]
    assert max(tensor.shape[-1] for tensor in graph.tensors if len(tensor.shape) == 4) == 7
    small = library.export(target, tmp_path / "small.tflite", quantize="int8", input_range=(0, 1))
    assert small["bytes"] < source.stat().st_size / 2


@pytest.mark.slow
def test_a_bias_of_several_layers_is_no_hindrance(tmp_path: Path) -> None:
    source = tmp_path / "found.onnx"
    arrays = {"a": weights(8, 32), "b": weights(8, 8), "zeros": weights(8), "c": weights(5, 8)}
    nodes = [
        node("Gemm", ["x", "a", "zeros"], ["h"], transB=1),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "b", "zeros"], ["i"], transB=1),
        node("Gemm", ["i", "c"], ["y"], transB=1),
    ]
    onnx.save(onnx_model(nodes, arrays, {"x": ["N", 32]}, {"y": ["N", 5]}), source)

    record = _pruned(source, tmp_path / "pruned.onnx", {"a": 0.25, "b": 0.5})

    assert [row["units_kept"] for row in record["layers"]] == [6, 4]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_units_that_nothing_reads_are_not_stored(kind: str, tmp_path: Path) -> None:
    source = WRITERS[kind](tmp_path / f"found.{kind}", hidden=256)
    last = {"onnx": "fc2.weight", "tflite": "net/fc2/MatMul"}[kind]
    kernels = importlib.import_module(f"compressor.exporters.{kind}.kernels")
    model = kernels.open_model(source.read_bytes())
    values = kernels.kernels_of(model)[last][0].copy()
    values[:, :100] = 0
    kernels.store(model, {last: values})
    source.write_bytes(kernels.write(model))

    record = library.export(source, tmp_path / f"small.{kind}")

    assert _shapes(tmp_path / f"small.{kind}")[FIRST[kind]] == [156, 32]
    assert record["verdict"]["difference"] < 1e-5


@pytest.mark.slow
def test_names_of_weights_are_short(tmp_path: Path) -> None:
    source = tmp_path / "found.onnx"
    first, last = "net/a/MatMul/ReadVariableOp:0", "net/b"
    arrays = {first: weights(32, 64), last: weights(64, 5)}
    nodes = [node("MatMul", ["x", first], ["h"]), node("MatMul", ["h", last], ["y"])]
    onnx.save(onnx_model(nodes, arrays, {"x": ["N", 32]}, {"y": ["N", 5]}), source)

    record = library.export(source, tmp_path / "small.onnx", quantize="float16")

    assert {tensor["name"] for tensor in record["tensors"]} == {"a/MatMul", "b"}


def test_a_reshape_that_mixes_examples_is_not_followed(tmp_path: Path) -> None:
    source = tmp_path / "found.onnx"
    arrays = {"a": weights(8, 3, 1, 1), "half": np.array([-1, 8, 8]), "w": weights(64, 5)}
    nodes = [
        node("Conv", ["x", "a"], ["h"]),
        node("Reshape", ["h", "half"], ["two"]),
        node("Flatten", ["two"], ["flat"]),
        node("MatMul", ["flat", "w"], ["y"]),
    ]
    onnx.save(onnx_model(nodes, arrays, {"x": ["N", 3, 4, 4]}, {"y": ["M", 5]}), source)

    walk = onnx_channels.walk_channels(onnx.load(source))

    assert walk.map().blocked["a"] == "its units go into Reshape"


def test_scales_go_with_their_channels(tmp_path: Path) -> None:
    """Of a dynamic-range file with units that nothing reads."""
    source, target = dense_tflite(tmp_path / "found.tflite"), tmp_path / "small.tflite"
    model = tflite_kernels.open_model(source.read_bytes())
    values = tflite_kernels.kernels_of(model)["net/fc2/MatMul"][0].copy()
    values[:, :40] = 0
    tflite_kernels.store(model, {"net/fc2/MatMul": values})
    first = tflite_kernels.kernels_of(model)["net/fc1/MatMul"][0]
    index = next(i for i, one in enumerate(graph.main(model).tensors) if "fc1/M" in str(one.name))
    scales = np.abs(first).max(axis=1) / 127
    codes = np.round(first / scales[:, None]).astype(np.int8)
    graph.set_constant(model, index, codes)
    numbers = {"scale": scales.tolist(), "zeroPoint": [0] * 64}
    graph.main(model).tensors[index].quantization = schema.QuantizationParametersT(**numbers)
    model.operatorCodes[0].version = 7  # the first with integers for each channel
    source.write_bytes(tflite_kernels.write(model))

    narrow = tflite_channels.without_unread(tflite_kernels.open_model(source.read_bytes()))
    target.write_bytes(tflite_kernels.write(narrow))

    x = {"x": np.random.default_rng(0).standard_normal((8, 32)).astype(np.float32)}
    assert _shapes(target)["net/fc1/MatMul"] == [24, 32]
    np.testing.assert_allclose(*(run_artefact(path, x) for path in (target, source)), atol=1e-6)
