"""Layers as people have them, exported by both formats, and executed by their stock runtimes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from stock_runtimes import run_artefact

import compressor
from compressor.errors import ModelError
from compressor.exporters import onnx as onnx_files, tflite as tflite_files, tracing
from compressor.exporters.request import Request

FORMATS = {"onnx": ("onnxruntime", onnx_files.export), "tflite": ("litert", tflite_files.export)}
AUGMENTATION = ("RandomBrightness", "RandomContrast", "RandomHue", "RandomRotation", "RandomZoom")
ACTIVATIONS = (
    *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu"),
    *("hard_tanh", "leaky_relu", "log_sigmoid", "log_softmax", "mish", "relu6", "selu", "silu"),
    *("soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid"),
    *("sparsemax", "squareplus", "tanh_shrink"),
)

pytestmark = pytest.mark.parametrize("file_format", FORMATS)


def model_of(keras: Any, shape: tuple[int, ...], *layers: Any, dtype: str = "float32") -> Any:
    """The layers in turn, what they give averaged over all axes but the last, and a Dense layer.

    The kernel of every layer is random, and so is every bias.
    """
    x = entry = keras.Input(shape, dtype=dtype, name="given")
    for layer in layers:
        x = layer(x)
    while len(x.shape) > 2:
        x = keras.ops.mean(x, axis=1)
    model = keras.Model(entry, keras.layers.Dense(5, name="head")(x))
    generator = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(generator.normal(size=variable.shape) * 0.3)
    return model


def batch_of(model: Any, count: int = 6) -> np.ndarray:
    generator = np.random.default_rng(2)
    shape, dtype = (count, *model.inputs[0].shape[1:]), model.inputs[0].dtype
    if "int" in dtype:
        return generator.integers(0, 9, shape).astype(dtype)
    return (generator.random(shape) * 4 - 2).astype(dtype)


def written(
    file_format: str, model: Any, folder: Path, quantize: str = "none", **options: Any
) -> tuple[Any, Path]:
    runtime, export = FORMATS[file_format]
    file = export(model, Request(runtime, quantize, **options))
    path = folder / f"model.{file_format}"
    path.write_bytes(file.content)
    return file, path


def assert_right(file_format: str, model: Any, folder: Path) -> Path:
    """A batch and a single example give what the model gives."""
    _, path = written(file_format, model, folder)
    given = batch_of(model)
    expected = np.asarray(model.predict_on_batch(given))
    for count in (len(given), 1):
        found = run_artefact(path, {"given": given[:count]})
        np.testing.assert_allclose(found, expected[:count], atol=1e-5 * np.abs(expected).max())
    return path


@pytest.mark.sampled(1)
def test_augmentation_leaves_nothing_in_the_file(keras, file_format, tmp_path):
    layers = keras.layers
    random = [getattr(layers, name)(0.2) for name in AUGMENTATION]
    random += [layers.RandomFlip(), layers.RandomErasing(), layers.RandomTranslation(0.1, 0.1)]
    random += [layers.RandAugment(), layers.CutMix(), layers.GaussianNoise(0.1)]
    last = [layers.SpatialDropout2D(0.2), layers.ActivityRegularization(0.1)]
    plain = model_of(keras, (8, 8, 3), layers.Conv2D(4, 3, name="conv"))
    model = model_of(keras, (8, 8, 3), *random, layers.Conv2D(4, 3, name="conv"), *last)

    path = assert_right(file_format, model, tmp_path)

    assert path.read_bytes() == written(file_format, plain, tmp_path)[0].content


def test_a_random_crop_is_what_keras_does_in_inference(keras, file_format, tmp_path):
    layers = keras.layers
    model = model_of(keras, (9, 9, 3), layers.RandomCrop(5, 6), layers.Conv2D(4, 3))

    assert_right(file_format, model, tmp_path)


def test_captured_constants_are_in_the_file(keras, file_format, tmp_path):
    normal = keras.layers.Normalization(name="normal")
    normal.adapt(np.random.default_rng(3).normal(3, 2, (40, 6)).astype(np.float32))
    matrix = np.random.default_rng(4).normal(size=(6, 4)).astype(np.float32)
    captured = keras.ops.convert_to_tensor(matrix)
    scaled = keras.layers.Rescaling([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1])
    model = model_of(keras, (6,), normal, scaled, lambda x: keras.ops.matmul(x, captured))

    path = assert_right(file_format, model, tmp_path)

    if file_format == "onnx":
        assert [entry.name for entry in onnx.load(path).graph.input] == ["given"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
def test_categories_are_encoded(keras, file_format, tmp_path, mode):
    layers, size = keras.layers, 1 if mode == "one_hot" else 5
    bins = layers.Discretization(bin_boundaries=[-1.5, 0.0, 0.25])
    encoding = layers.CategoryEncoding(9, output_mode=mode)

    assert_right(file_format, model_of(keras, (size,), bins, encoding), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bilinear", "nearest", "bicubic", "lanczos3", "area"])
def test_images_are_resized_by_every_method(keras, file_format, tmp_path, method):
    layers = keras.layers
    smaller = layers.Resizing(7, 5, interpolation=method)
    larger = layers.Resizing(9, 12, interpolation=method, antialias=method == "bicubic")

    model = model_of(keras, (11, 10, 2), smaller, larger, layers.CenterCrop(6, 5))

    assert_right(file_format, model, tmp_path)


def test_every_activation(keras, file_format, tmp_path):
    def all_of_them(x: Any) -> Any:
        parts = [keras.layers.Activation(name)(x) for name in ACTIVATIONS]
        return keras.layers.Concatenate()(parts)

    assert_right(file_format, model_of(keras, (6,), keras.layers.Dense(4), all_of_them), tmp_path)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("last", [True, False])
def test_three_dimensions(keras, file_format, tmp_path, last):
    layers, order = keras.layers, "channels_last" if last else "channels_first"
    model = model_of(
        keras,
        (7, 8, 9, 4) if last else (4, 7, 8, 9),
        layers.Conv3D(6, 2, dilation_rate=2, groups=2, data_format=order),
        layers.MaxPooling3D(2, strides=1, padding="same", data_format=order),
        layers.AveragePooling3D((2, 3, 2), strides=1, data_format=order),
        layers.Conv3D(14, 2, data_format=order, activation="relu"),
    )

    assert_right(file_format, model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("pixels", [1, 3])
def test_normalised_layers_of_convnext(keras, file_format, tmp_path, pixels):
    """Of one pixel, too: a moved Transpose must not become a Reshape to another shape."""
    layers = keras.layers
    block = [
        make()
        for _ in range(2)
        for make in (
            lambda: layers.DepthwiseConv2D(3, padding="same"),
            layers.LayerNormalization,
            lambda: layers.Dense(16, activation="gelu"),
            lambda: layers.Dense(8),
        )
    ]
    model = model_of(keras, (2 * pixels, 2 * pixels, 3), layers.Conv2D(8, 2, 2), *block)
    assert_right(file_format, model, tmp_path)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("pool", ["MaxPooling2D", "AveragePooling2D"])
@pytest.mark.parametrize("size", [(1, 1), ((0, 1), (0, 1))])
def test_padding_before_a_pool_counts_as_zeros(keras, file_format, tmp_path, pool, size):
    """Where all that the window holds is negative, the padding is the maximum."""
    layers = keras.layers
    model = model_of(
        keras,
        (5, 5, 3),
        layers.Conv2D(4, 1),
        layers.Rescaling(0.1, -9.0),
        layers.ZeroPadding2D(size),
        getattr(layers, pool)(3, 2),
    )
    assert_right(file_format, model, tmp_path)


def test_channels_that_come_first(keras, file_format, tmp_path):
    layers, order = keras.layers, "channels_first"
    model = model_of(
        keras,
        (2, 6, 6),
        layers.Conv2D(10, 3, groups=2, data_format=order, activation="relu"),
        layers.Conv2DTranspose(11, 3, strides=2, data_format=order),
        layers.MaxPooling2D(2, data_format=order),
        layers.Flatten(),
    )
    try:
        model.predict(np.zeros((1, 2, 6, 6), np.float32), verbose=0)
    except Exception as error:  # TensorFlow has kernels for it on some processors only
        pytest.skip(f"TensorFlow cannot run the model here: {' '.join(str(error).split())[:200]}")

    assert_right(file_format, model, tmp_path)


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "causal and dilated": ((12, 8), "Conv1D", {"padding": "causal", "dilation_rate": 2}),
    "strided": ((9, 9, 8), "Conv2D", {"padding": "same", "strides": 2}),
    "dilated": ((9, 9, 8), "Conv2D", {"dilation_rate": 2}),
    "of volumes": ((5, 5, 5, 8), "Conv3D", {"strides": 2}),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_grouped_convolutions(keras, file_format, tmp_path, name):
    shape, kind, options = CONVOLUTIONS[name]
    layer = getattr(keras.layers, kind)(8, 3, groups=4, activation="relu", **options)

    path = assert_right(file_format, model_of(keras, shape, layer), tmp_path)

    if file_format == "onnx":
        convolutions = [n for n in onnx.load(path).graph.node if n.op_type == "Conv"]
        groups = [a.i for n in convolutions for a in n.attribute if a.name == "group"]
        assert groups == [4]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("quantize", "within"),
    [("none", 1e-5), ("float16", 2e-3), ("dynamic", 0.03), ("int8", 0.05), ("int4", 0.3)],
)
def test_a_pruned_grouped_kernel_is_compressed(keras, file_format, tmp_path, quantize, within):
    model = model_of(keras, (9, 9, 16), keras.layers.Conv2D(64, 3, groups=4, name="grouped"))
    kernel = model.get_layer("grouped").kernel
    values = np.asarray(kernel)
    kernel.assign(np.where(np.abs(values) < np.quantile(np.abs(values), 0.9), 0, values))
    given = batch_of(model, 20)
    expected = np.asarray(model.predict_on_batch(given))

    file, path = written(file_format, model, tmp_path, quantize, calibration=(given,))

    (tensor,) = (tensor for tensor in file.tensors if tensor.name == "grouped/kernel")
    assert tensor.encoding != "dense"
    assert tensor.zeros >= 0.89 * values.size
    found = run_artefact(path, {"given": given})
    assert np.abs(found - expected).max() <= within * np.abs(expected).max()


@pytest.mark.parametrize(
    ("kind", "options", "dtype"),
    [
        ("TextVectorization", {"vocabulary": ["a", "b"], "output_mode": "multi_hot"}, "string"),
        ("StringLookup", {"vocabulary": ["a", "b"], "output_mode": "multi_hot"}, "string"),
        ("IntegerLookup", {"vocabulary": [1, 2], "output_mode": "multi_hot"}, "int64"),
        ("Hashing", {"num_bins": 5, "output_mode": "multi_hot"}, "int32"),
    ],
)
def test_tables_are_refused_by_name(
    keras: Any,
    file_format: str,
    tmp_path: Path,
    rejected: Callable[..., str],
    kind: str,
    options: dict[str, Any],
    dtype: str,
) -> None:
    layer = getattr(keras.layers, kind)(**options, name="table")
    x = keras.Input((1,), dtype=dtype)
    model = keras.Model(x, keras.layers.Dense(2)(keras.ops.cast(layer(x), "float32")))

    line = rejected(ModelError, compressor.export, model, tmp_path / f"model.{file_format}")

    assert f"table ({kind})" in line and "cannot be exported" in line


def test_a_layer_without_a_counterpart_is_named(keras, file_format, tmp_path, rejected):
    odd = {
        "onnx": keras.layers.Lambda(keras.ops.erfinv, name="odd"),
        "tflite": keras.layers.Conv2DTranspose(4, 3, dilation_rate=2, name="odd"),
    }[file_format]
    model = model_of(keras, (6, 6, 2), keras.layers.Conv2D(2, 1, name="plain"), odd)

    line = rejected(ModelError, written, file_format, model, tmp_path)

    assert "(odd)" in line


def test_a_model_that_keras_cannot_run_is_refused(keras, file_format, tmp_path, rejected):
    layers = keras.layers
    x = keras.Input((8, 8, 1))
    cropped = layers.Flatten()(layers.RandomCrop(4, 4)(x))  # in inference Keras does not crop
    model = keras.Model(x, layers.Dense(2, name="head")(cropped))

    line = rejected(ModelError, compressor.export, model, tmp_path / f"model.{file_format}")

    assert "the model fails on random inputs" in line and "head" in line


def test_more_weights_than_a_file_holds(keras, file_format, tmp_path, rejected, monkeypatch):
    monkeypatch.setattr(tracing, "LARGEST", 40)

    line = rejected(ModelError, written, file_format, model_of(keras, (6,)), tmp_path)

    assert "2 GB" in line
