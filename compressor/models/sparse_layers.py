"""Keras layers that compute with a kernel in the paper's sparse encoding."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np

from compressor.encodings import SparseKernel
from compressor.errors import CheckpointError
from compressor.foundation import quiet_tensorflow

# Columns of a sparse product are computed this many at a time: the working set stays in cache.
_COLUMNS = 128


class SparseMatrix:
    """A kernel as a CSR matrix (outputs, inputs), made from `coo-paper` streams.

    scipy's product is about ten times faster here than TensorFlow's `sparse_dense_matmul` and
    `embedding_lookup_sparse`.
    """

    def __init__(self, encoded: SparseKernel) -> None:
        sparse = importlib.import_module("scipy.sparse")
        inputs, outputs = int(np.prod(encoded.shape[:-1])), encoded.shape[-1]
        rows = np.bincount(encoded.streams["indices"][:, 0], minlength=outputs)
        starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int32)
        parts = (encoded.streams["values"], encoded.streams["ids"], starts)
        self._matrix = sparse.csr_matrix(parts, shape=(outputs, inputs))

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Multiply float32 rows (n, inputs) by the kernel: (n, outputs) float32."""
        result = np.empty((len(rows), self._matrix.shape[0]), np.float32)
        for start in range(0, len(rows), _COLUMNS):
            part = np.ascontiguousarray(rows[start : start + _COLUMNS].T)
            result[start : start + _COLUMNS] = (self._matrix @ part).T
        return result


@functools.cache
def sparse_layer_classes() -> dict[str, Any]:
    """Name in a configuration -> class, made when TensorFlow is loaded."""
    tensorflow, keras = quiet_tensorflow.load()

    class SparseLayer(keras.layers.Layer):  # type: ignore[name-defined]
        """A Dense layer with the configuration `layer`; its kernel comes by `set_kernel`."""

        def __init__(self, layer: dict[str, Any], kernel_shape: list[int], name: str) -> None:
            super().__init__(name=name)
            self.settings = layer
            self.kernel_shape = tuple(kernel_shape)
            self.activation = keras.activations.get(layer["activation"])
            self.matrix: SparseMatrix | None = None
            if layer["use_bias"]:
                self.bias = self.add_weight(shape=(self.kernel_shape[-1],), name="bias")

        def set_kernel(self, encoded: SparseKernel) -> None:
            self.matrix = SparseMatrix(encoded)

        def build(self, input_shape: tuple[int | None, ...]) -> None:
            settings = self.settings
            order = settings.get("data_format", "channels_last")
            if order != "channels_last" or settings.get("groups", 1) != 1:
                raise CheckpointError("this convolution has no sparse form", value=self.name)
            if input_shape[-1] != self.kernel_shape[-2]:
                raise CheckpointError(
                    "a sparse kernel does not fit its layer's input",
                    value=f"{self.name} {self.kernel_shape}, input {input_shape}",
                )

        def call(self, inputs: Any) -> Any:
            rows = self.rows(inputs)
            units = self.kernel_shape[-1]
            shape = tensorflow.concat([tensorflow.shape(rows)[:-1], [units]], axis=0)
            flat = tensorflow.reshape(rows, (-1, rows.shape[-1]))
            product = tensorflow.numpy_function(self._multiply, [flat], tensorflow.float32)
            product = tensorflow.reshape(product, shape)
            product = tensorflow.ensure_shape(product, [*rows.shape[:-1], units])
            if self.settings["use_bias"]:
                product = product + self.bias
            return self.activation(product)

        def _multiply(self, rows: np.ndarray) -> np.ndarray:
            assert self.matrix is not None, f"{self.name} has no kernel"
            return self.matrix.apply(rows)

        def rows(self, inputs: Any) -> Any:
            """The inputs of one output on the last axis."""
            return inputs

    class SparseConv2D(SparseLayer):
        def rows(self, inputs: Any) -> Any:
            settings = self.settings
            return tensorflow.image.extract_patches(
                inputs,
                sizes=[1, *self.kernel_shape[:2], 1],
                strides=[1, *settings["strides"], 1],
                rates=[1, *settings["dilation_rate"], 1],
                padding=settings["padding"].upper(),
            )

    class SparseConv1D(SparseLayer):
        def rows(self, inputs: Any) -> Any:
            settings = self.settings
            if settings["padding"] == "causal":
                width = (self.kernel_shape[0] - 1) * settings["dilation_rate"][0]
                inputs = tensorflow.pad(inputs, [[0, 0], [width, 0], [0, 0]])
            patches = tensorflow.image.extract_patches(
                tensorflow.expand_dims(inputs, 1),
                sizes=[1, 1, self.kernel_shape[0], 1],
                strides=[1, 1, settings["strides"][0], 1],
                rates=[1, 1, settings["dilation_rate"][0], 1],
                padding="SAME" if settings["padding"] == "same" else "VALID",
            )
            return tensorflow.squeeze(patches, 1)

    classes = {"SparseDense": SparseLayer, "SparseConv1D": SparseConv1D}
    return classes | {"SparseConv2D": SparseConv2D}
