"""Biases of channels that have no weights, in 8-bit integers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.exporters.onnx.integer import quantize_static
from deploy import quiet_onnxruntime

BIAS = np.float32([0.013, -0.0021, 0.0, 0.2])


def _model(operator, kernel, *, relu=False):
    """A product of x, (n, ...), and at the end a Relu."""
    shape = ["n", 4] if operator == "Gemm" else ["n", 2, 5, 5]
    named = {"kernel": kernel, "bias": BIAS}
    product = "product" if relu else "y"
    last = [helper.make_node("Relu", [product], ["y"], name="relu")] if relu else []
    made = [numpy_helper.from_array(values, name) for name, values in named.items()]
    graph = helper.make_graph(
        [
            helper.make_node(operator, ["x", "kernel", "bias"], [product], name="product"),
            *last,
        ],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        made,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _run(model, x):
    runtime = quiet_onnxruntime.load("onnxruntime")
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("operator", "kernel"),
    [("Conv", np.zeros((4, 2, 3, 3), np.float32)), ("Gemm", np.zeros((4, 4), np.float32))],
)
@pytest.mark.parametrize("kept", [0, 1])
def test_a_bias_without_weights_keeps_its_precision(operator, kernel, kept):
    generator = np.random.default_rng(0)
    shape = (32, 4) if operator == "Gemm" else (32, 2, 5, 5)
    x = (9 * generator.random(shape)).astype(np.float32)
    kernel = kernel.copy()
    # The other channels, where there are any, are as the quantiser made them.
    channel = (slice(None), 0) if operator == "Gemm" else (0,)
    kernel[channel] = kept * generator.normal(size=kernel[channel].shape)
    model = _model(operator, kernel)

    found = _run(quantize_static(model, [x]), x)

    difference = np.abs(found - _run(model, x)).max(axis=tuple({0, *range(2, x.ndim)}))
    assert (difference[kept:] <= 1e-5 * np.abs(BIAS[kept:])).all()
    assert difference.max() < 1.0


def test_a_relu_at_the_end_stays_in_force():
    """The quantiser removes it, as rounding clips at 0: then the output has to stay rounded."""
    kernel = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
    x = np.random.default_rng(2).random((32, 4)).astype(np.float32)

    model = _model("Gemm", kernel, relu=True)

    made = quantize_static(model, [x])

    found = _run(made, x)
    assert found.min() == 0 and np.abs(found - _run(model, x)).max() < 0.05
    onnx.checker.check_model(made)
