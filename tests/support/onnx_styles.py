"""Small ONNX classifiers in the styles of other exporters: what each does that ours does not.

PyTorch (its two exporters), tf2onnx, skl2onnx, Paddle, MXNet; sets of operators from 7 up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_layers as layers
from graph_files import onnx_model, weights
from onnx import TensorProto, helper, numpy_helper
from onnx_layers import FLAT, IMAGE, OUT, floats, head, node


def branches() -> Any:
    """An If whose branches have weights of their own, and take one from around them."""

    def branch(name: str, factor: float) -> Any:
        bias = numpy_helper.from_array(weights(5) * np.float32(factor), f"{name}_bias")
        nodes = [
            node("MatMul", ["h", "v"], [f"{name}_product"]),
            node("Add", [f"{name}_product", f"{name}_bias"], [f"{name}_out"]),
        ]
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, ["N", 5])
        return helper.make_graph(nodes, name, [], [out], [bias])

    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("ReduceSum", ["x"], ["total"], keepdims=0),
        node("Greater", ["total", "limit"], ["many"]),
        node("If", ["many"], ["y"], then_branch=branch("then", 1), else_branch=branch("else", -1)),
    ]
    arrays = {**floats(w=(32, 64), v=(64, 5)), "limit": np.float32(-1e9)}
    return onnx_model(nodes, arrays, FLAT, OUT, opset=13)


def loop() -> Any:
    body = helper.make_graph(
        [node("MatMul", ["s_in", "w"], ["s_out"]), node("Identity", ["go"], ["go_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s_in", TensorProto.FLOAT, ["N", 32]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s_out", TensorProto.FLOAT, ["N", 32]),
        ],
    )
    nodes = [
        node("Loop", ["times", "yes", "x"], ["s"], body=body),
        node("MatMul", ["s", "v"], ["y"]),
    ]
    arrays = {**floats(w=(32, 32), v=(32, 5)), "times": np.array(3), "yes": np.array(True)}
    return onnx_model(nodes, arrays, FLAT, OUT, opset=16)


def local_functions() -> Any:
    """Modules as functions, one calling the other, as PyTorch's newer exporter keeps them."""
    linear = helper.make_function(
        "pkg.model",
        "Linear",
        ["a", "weight", "bias"],
        ["b"],
        [node("Gemm", ["a", "weight", "bias"], ["b"], transB=1)],
        [helper.make_opsetid("", 18)],
    )
    block = helper.make_function(
        "pkg.model",
        "Block",
        ["a", "weight", "bias"],
        ["b"],
        [
            node("Linear", ["a", "weight", "bias"], ["h"], domain="pkg.model"),
            node("Relu", ["h"], ["b"]),
        ],
        [helper.make_opsetid("", 18), helper.make_opsetid("pkg.model", 1)],
    )
    nodes = [
        node("Block", ["x", "w", "b"], ["h"], domain="pkg.model"),
        node("Linear", ["h", "v", "c"], ["y"], domain="pkg.model"),
    ]
    return onnx_model(
        nodes,
        floats(w=(64, 32), b=(64,), v=(5, 64), c=(5,)),
        FLAT,
        OUT,
        functions=[linear, block],
        opsets=[helper.make_opsetid("pkg.model", 1)],
    )


def dynamic_axes() -> Any:
    """A Flatten by Shape, Slice and Concat, as PyTorch traces view(x.size(0), -1)."""
    nodes = [
        node("Conv", ["x", "conv.weight"], ["h"], pads=[1, 1, 1, 1]),
        node("Shape", ["h"], ["shape"]),
        node("Gather", ["shape", "zero"], ["rows"], axis=0),
        node("Unsqueeze", ["rows", "axes"], ["rows1"]),
        node("Concat", ["rows1", "rest"], ["target"], axis=0),
        node("Reshape", ["h", "target"], ["flat"]),
        node("Gemm", ["flat", "w", "b"], ["y"], transB=1),
    ]
    arrays: dict[str, Any] = floats(w=(5, 512), b=(5,))
    arrays |= {"conv.weight": weights(8, 3, 3, 3), "zero": np.array(0), "axes": np.array([0])}
    arrays["rest"] = np.array([-1])
    return onnx_model(nodes, arrays, IMAGE, OUT, opset=13)


def constants_in_nodes() -> Any:
    """Weights in Constant nodes, as Paddle and older tf2onnx write them."""
    made = {"w": weights(32, 64), "v": weights(64, 5), "b": weights(64)}
    nodes = [
        node("Constant", [], [name], value=numpy_helper.from_array(array, name))
        for name, array in made.items()
    ]
    nodes += [
        node("Constant", [], ["slope"], value_float=0.1),
        node("MatMul", ["x", "w"], ["h"]),
        node("Add", ["h", "b"], ["a"]),
        node("PRelu", ["a", "slope"], ["r"]),
        node("MatMul", ["r", "v"], ["y"]),
    ]
    return onnx_model(nodes, {}, FLAT, OUT, opset=13)


def float16_weights() -> Any:
    """Stored in half precision, cast before they are used."""
    arrays = {"w": weights(32, 64).astype(np.float16), "v": weights(64, 5)}
    nodes = [
        node("Cast", ["w"], ["wide"], to=TensorProto.FLOAT),
        node("MatMul", ["x", "wide"], ["h"]),
        node("MatMul", ["h", "v"], ["y"]),
    ]
    return onnx_model(nodes, arrays, FLAT, OUT, opset=15)


def float16_throughout() -> Any:
    arrays = {"w": weights(32, 64).astype(np.float16), "v": weights(64, 5).astype(np.float16)}
    nodes = [
        node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        node("MatMul", ["half", "w"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "v"], ["z"]),
        node("Cast", ["z"], ["y"], to=TensorProto.FLOAT),
    ]
    return onnx_model(nodes, arrays, FLAT, OUT, opset=15)


def bfloat16_weights() -> Any:
    array = weights(32, 64).astype(helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16))
    nodes = [
        node("Cast", ["w"], ["wide"], to=TensorProto.FLOAT),
        node("MatMul", ["x", "wide"], ["h"]),
        node("MatMul", ["h", "v"], ["y"]),
    ]
    return onnx_model(nodes, {"w": array, "v": weights(64, 5)}, FLAT, OUT, opset=15)


def several_inputs() -> Any:
    nodes = [
        node("Gather", ["table", "tokens"], ["rows"]),
        node("ReduceMean", ["rows", "axes"], ["mean"], keepdims=0),
        node("Concat", ["x", "mean"], ["both"], axis=1),
        node("MatMul", ["both", "w"], ["y"]),
    ]
    arrays = {**floats(table=(20, 16), w=(48, 5)), "axes": np.array([1])}
    inputs = {**FLAT, "tokens": ["N", 7]}
    return onnx_model(nodes, arrays, inputs, OUT, types={"tokens": TensorProto.INT64})


def several_outputs() -> Any:
    nodes = [
        node("MatMul", ["x", "w"], ["y"]),
        node("ArgMax", ["y"], ["label"], axis=1, keepdims=0),
    ]
    outputs = {"label": ["N"], **OUT}
    types = {"label": TensorProto.INT64}
    return onnx_model(nodes, floats(w=(32, 5)), FLAT, outputs, types=types)


def scaler_and_linear() -> Any:
    """As skl2onnx writes a pipeline, without its labels."""
    nodes = [
        node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=[0.5] * 32, scale=[2.0] * 32),
        node("MatMul", ["s", "w"], ["h"]),
        node("Add", ["h", "b"], ["z"]),
        node("Softmax", ["z"], ["y"], axis=1),
    ]
    opsets = [helper.make_opsetid("ai.onnx.ml", 1)]
    return onnx_model(nodes, floats(w=(32, 5), b=(5,)), FLAT, OUT, opset=13, opsets=opsets)


def attention() -> Any:
    nodes = [
        node("MatMul", ["x", "q"], ["qs"]),
        node("MatMul", ["x", "k"], ["ks"]),
        node("MatMul", ["x", "v"], ["vs"]),
        node("Transpose", ["ks"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["qs", "kt"], ["scores"]),
        node("Div", ["scores", "root"], ["scaled"]),
        node("Softmax", ["scaled"], ["p"], axis=-1),
        node("MatMul", ["p", "vs"], ["mixed"]),
        node("ReduceMean", ["mixed"], ["mean"], axes=[1], keepdims=0),
        node("MatMul", ["mean", "w"], ["y"]),
    ]
    arrays = {**floats(q=(16, 32), k=(16, 32), v=(16, 32), w=(32, 5)), "root": np.float32(5.66)}
    return onnx_model(nodes, arrays, {"x": ["N", 9, 16]}, OUT, opset=14)


def transposed_for_images() -> Any:
    """Images with channels last around convolutions with channels first, as tf2onnx does it."""
    nodes, arrays = head("r", 16)
    first = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w"], ["h"], auto_pad="SAME_UPPER", strides=[2, 2]),
        node("Relu", ["h"], ["r"]),
    ]
    arrays |= {"w": weights(16, 3, 3, 3)}
    return onnx_model([*first, *nodes], arrays, {"x": ["N", 8, 8, 3]}, OUT, opset=15)


def transposed_convolution() -> Any:
    nodes, arrays = head("r", 8)
    first = [node("ConvTranspose", ["x", "w", "b"], ["r"], strides=[2, 2])]
    arrays |= floats(w=(3, 8, 3, 3), b=(8,))
    return onnx_model([*first, *nodes], arrays, IMAGE, OUT, opset=11)


def fixed_batch() -> Any:
    nodes = [node("Reshape", ["x", "shape"], ["flat"]), node("MatMul", ["flat", "w"], ["y"])]
    arrays = {"shape": np.array([1, 192]), "w": weights(192, 5)}
    return onnx_model(nodes, arrays, {"x": [1, 3, 8, 8]}, {"y": [1, 5]}, opset=13)


def newest_opset() -> Any:
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["s"])]
    nodes.append(node("MatMul", ["s", "v"], ["y"]))
    return onnx_model(nodes, floats(w=(32, 64), v=(64, 5)), FLAT, OUT, opset=23, ir_version=11)


def integers() -> Any:
    """As ONNX Runtime's quantiser writes it: QuantizeLinear and DequantizeLinear."""
    kernel = np.clip(np.rint(weights(32, 64) * 200), -127, 127).astype(np.int8)
    kernel[np.abs(kernel) < 60] = 0
    nodes = [
        node("QuantizeLinear", ["x", "sx", "zx"], ["xq"]),
        node("DequantizeLinear", ["xq", "sx", "zx"], ["xd"]),
        node("DequantizeLinear", ["w", "sw", "zw"], ["wd"], axis=1),
        node("MatMul", ["xd", "wd"], ["h"]),
        node("MatMul", ["h", "v"], ["y"]),
    ]
    arrays = {"sx": np.float32(1 / 255), "zx": np.uint8(0), "w": kernel, "v": weights(64, 5)}
    arrays |= {"sw": np.full(64, 0.005, np.float32), "zw": np.zeros(64, np.int8)}
    return onnx_model(nodes, arrays, FLAT, OUT, opset=13)


def comments() -> Any:
    """Stack traces in the metadata of every node, as PyTorch's newer exporter leaves them."""
    model = layers.layer_normalization()
    for each in model.graph.node:
        entry = each.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.stack_trace", 'File "model.py", line 1\n' * 50
        each.doc_string = "a" * 500
    return model


STYLES: dict[str, Callable[[], Any]] = {
    "initializers as inputs": layers.initializers_as_inputs,
    "convolution with bias": layers.convolution_with_bias,
    "batch normalization 7": lambda: layers.batch_normalization(7),
    "batch normalization 9": layers.batch_normalization,
    "batch normalization 15": lambda: layers.batch_normalization(15),
    "depthwise": layers.depthwise,
    "resize": layers.resize,
    "upsample": layers.upsample,
    "einsum": layers.einsum,
    "layer normalization": layers.layer_normalization,
    "GRU": lambda: layers.recurrent("GRU", 3),
    "LSTM": lambda: layers.recurrent("LSTM", 4),
    "RNN": lambda: layers.recurrent("RNN", 1),
    "if": branches,
    "loop": loop,
    "local functions": local_functions,
    "dynamic axes": dynamic_axes,
    "constants in nodes": constants_in_nodes,
    "float16 weights": float16_weights,
    "float16 throughout": float16_throughout,
    "bfloat16 weights": bfloat16_weights,
    "several inputs": several_inputs,
    "several outputs": several_outputs,
    "scaler and linear": scaler_and_linear,
    "attention": attention,
    "channels last": transposed_for_images,
    "transposed convolution": transposed_convolution,
    "fixed batch": fixed_batch,
    "newest opset": newest_opset,
    "integers": integers,
    "comments": comments,
}
"""What is odd about each -> its model"""


def write_style(path: Any, name: str) -> Any:
    onnx.save(STYLES[name](), path)
    return path
