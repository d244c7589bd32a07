"""Tracing Keras with operators that converters know, instead of TensorFlow's own for the same."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from compressor.foundation import quiet_tensorflow

_KNOWN = ("bilinear", "nearest")
"""What the formats resize images by, as TensorFlow does."""


@contextlib.contextmanager
def portable_operators(*, flat: bool) -> Iterator[None]:
    """Within, what is traced in this process has fewer operators that only TensorFlow has.

    1. Functions inside are not compiled: Keras compiles grouped convolutions with XLA.
    2. Resizing by another method than `_KNOWN`, or with antialiasing, is a product with a constant
       matrix along each axis; it is linear and separable. The sizes must be fixed.
    3. Categories are encoded by comparison, not by counting into bins.
    4. A dilated 3D convolution is one operator.
    5. Where channels come first, they are moved to the end for a convolution, which TFLite and
       TensorFlow's own processor kernels want, and a bias is added by broadcasting, which the
       converter to TFLite does along the last axis otherwise.
    6. With `flat`, for TFLite: 3D pooling is 2D pooling of the planes, then across them, and a 3D
       convolution in groups is one for each group.
    """
    tensorflow, _ = quiet_tensorflow.load()
    network = tensorflow.nn
    categories = importlib.import_module("keras.src.utils.tf_utils")
    patches: list[tuple[Any, str, Callable[..., Any]]] = [
        (tensorflow, "function", _function),
        (tensorflow.image, "resize", _resize),
        (categories, "tf_encode_categorical_inputs", _bins),
        (network, "bias_add", _bias),
        (network, "convolution", functools.partial(_convolution, flat=flat)),
    ]
    if flat:
        patches += [(network, "avg_pool", _pool), (network, "max_pool", _pool)]
        patches += [(network, "pool", _any_pool), (network, "conv_transpose", _transposed)]
    with contextlib.ExitStack() as changes:
        for owner, name, replacement in patches:
            stock = getattr(owner, name)
            changes.callback(setattr, owner, name, stock)
            setattr(owner, name, _where_it_fits(stock, replacement))
        yield


def _where_it_fits(stock: Callable[..., Any], replacement: Callable[..., Any]) -> Any:
    """`replacement`, which takes `stock` and its arguments, or `stock` where that returns None."""
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def call(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options)
        given.apply_defaults()
        found = replacement(stock, **given.arguments)
        return stock(*args, **options) if found is None else found

    return call


def _function(stock: Any, *, func: Any, jit_compile: bool | None, **_: Any) -> Any:
    if not jit_compile:
        return None
    return func if func is not None else lambda inner: inner


def _bins(stock: Any, **_: Any) -> Any:
    raise ValueError("Keras then encodes them as its other backends do")


def _bias(stock: Any, *, value: Any, bias: Any, data_format: str | None, **_: Any) -> Any:
    if not _channels_first(data_format):
        return None
    tensorflow, _keras = quiet_tensorflow.load()
    return value + tensorflow.reshape(bias, (-1, *[1] * (len(value.shape) - 2)))


def _resize(stock: Any, *, images: Any, size: Any, method: str, antialias: bool, **_: Any) -> Any:
    tensorflow, _keras = quiet_tensorflow.load()
    sizes = images.shape[1:3]
    if (method in _KNOWN and not antialias) or len(images.shape) != 4 or None in sizes:
        return None
    x = tensorflow.cast(images, "float32")
    for before, after, equation in zip(
        sizes, size, ("bhwc,hi->biwc", "bhwc,wi->bhic"), strict=True
    ):
        with tensorflow.init_scope():
            rows = np.eye(before, dtype=np.float32)[..., None, None]
            weights = stock(rows, (after, 1), method, antialias=antialias).numpy()
        x = tensorflow.einsum(equation, x, weights[..., 0, 0])
    return x


def _convolution(
    stock: Any,
    *,
    input: Any,
    filters: Any,
    strides: Any,
    padding: str,
    data_format: str | None,
    dilations: Any,
    flat: bool,
    **_: Any,
) -> Any:
    tensorflow, _keras = quiet_tensorflow.load()
    if _channels_first(data_format):
        x = tensorflow.nn.convolution(_to_end(input), filters, strides, padding, None, dilations)
        return _to_front(x)
    if len(input.shape) != 5:
        return None
    groups = input.shape[-1] // filters.shape[-2] if flat else 1
    found = [
        tensorflow.nn.conv3d(x, kernel, _five(strides), padding, dilations=_five(dilations))
        for x, kernel in zip(
            tensorflow.split(input, groups, -1), tensorflow.split(filters, groups, -1), strict=True
        )
    ]
    return found[0] if groups == 1 else tensorflow.concat(found, -1)


def _transposed(
    stock: Any, *, input: Any, output_shape: Any, data_format: str | None, **options: Any
) -> Any:
    if not _channels_first(data_format):
        return None
    tensorflow, _keras = quiet_tensorflow.load()
    first, channels, *sizes = tensorflow.unstack(output_shape, num=len(input.shape))
    shape = tensorflow.stack([first, *sizes, channels])
    return _to_front(stock(_to_end(input), output_shape=shape, data_format=None, **options))


def _pool(
    stock: Any,
    *,
    input: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str | None,
    **_: Any,
) -> Any:
    tensorflow, _keras = quiet_tensorflow.load()
    if len(input.shape) != 5 or _channels_first(data_format) or None in input.shape[1:]:
        return None
    depth, plane = input.shape[1], input.shape[2:]
    sizes, steps = _five(ksize), _five(strides)
    x = tensorflow.reshape(input, (-1, *plane))
    x = stock(x, sizes[2:4], steps[2:4], padding)
    height, width, channels = x.shape[1:]
    x = tensorflow.reshape(x, (-1, depth, height * width, channels))
    x = stock(x, (sizes[1], 1), (steps[1], 1), padding)
    return tensorflow.reshape(x, (-1, x.shape[1], height, width, channels))


def _any_pool(
    stock: Any,
    *,
    input: Any,
    window_shape: Any,
    pooling_type: str,
    strides: Any,
    padding: str,
    data_format: str | None,
    dilations: Any,
    **_: Any,
) -> Any:
    network = quiet_tensorflow.load()[0].nn
    if len(input.shape) != 5 or not np.all(np.equal(dilations or 1, 1)):
        return None
    pool = network.max_pool if pooling_type == "MAX" else network.avg_pool
    return pool(input, window_shape, strides or 1, padding, data_format)


def _five(sizes: Any) -> list[int]:
    """A size for each axis of a batch of volumes, channels last, of one, three or five sizes."""
    given = np.ravel(1 if sizes is None else sizes).tolist()
    return given if len(given) == 5 else [1, *np.broadcast_to(given, 3).tolist(), 1]


def _channels_first(data_format: str | None) -> bool:
    return (data_format or "").startswith("NC")


def _to_end(x: Any) -> Any:
    tensorflow, _keras = quiet_tensorflow.load()
    return tensorflow.transpose(x, (0, *range(2, len(x.shape)), 1))


def _to_front(x: Any) -> Any:
    tensorflow, _keras = quiet_tensorflow.load()
    return tensorflow.transpose(x, (0, len(x.shape) - 1, *range(1, len(x.shape) - 1)))
