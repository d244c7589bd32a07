"""Graphs that compute in 8-bit integers.

Static: ONNX Runtime's own quantiser writes QuantizeLinear and DequantizeLinear around operators
(QDQ), which runtimes fuse to integer kernels. Dynamic: for products with large matrices only,
ranges of activations are found in every run.

Weights have 7 bits. x86 processors without VNNI add two products of 8-bit integers in 16 bits, and
clip what is more: with 8 bits a file would compute something else there than where it was proven.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from compressor.errors import ModelError
from compressor.exporters.onnx import apart, graphs
from compressor.exporters.onnx.quiet import quiet
from compressor.exporters.quantization import quantize_symmetric
from compressor.exporters.request import EncodedTensor
from compressor.foundation import temporary_folder
from deploy import quiet_onnxruntime

MIN_INTEGER_SIZE = 65_536
"""Weights of the smallest matrix whose integer product is faster, input quantisation included."""

_WEIGHT_BITS = 7

_QUANTIZED = "_quantized"
"""the suffix of a quantised weight in onnxruntime.quantization"""
_ENDINGS = {"QuantizeLinear": "/q", "DequantizeLinear": "/dq"}
_BATCH = 32
_BIAS_STEPS = 2**20
"""in which the bias of a channel without weights is stored"""
_OPERATORS = (
    # Products, and operators that pass integers on; the rest stays float32.
    *("Conv", "ConvTranspose", "Gemm", "MatMul"),
    *("Add", "Mul", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("Concat", "Flatten", "Pad", "Reshape", "Squeeze", "Transpose", "Unsqueeze"),
)


def quantize_static(model: Any, calibration: Sequence[np.ndarray]) -> Any:
    """An onnx.ModelProto that computes in integers, with float32 inputs and outputs.

    Requires: names of nodes are unique; `calibration` is one array an input. Weights are int8, of 7
    bits, symmetric, per channel, with their names; biases of Conv and Gemm are int32, and keep
    their precision where a channel has no weight but 0. Activations are uint8, with their range on
    `calibration`, and so are biases in an Add of their own (of a Dense layer on more than two axes,
    or a Conv1D), with one scale. The output is not rounded. Raises ModelError for a model that ONNX
    Runtime's quantiser cannot handle.
    """
    quantization = quiet_onnxruntime.load("onnxruntime.quantization")
    with temporary_folder("compressor-int8-") as folder, quiet():
        source, path = folder / "float.onnx", folder / "int8.onnx"
        # Of a model in memory it writes copies with names made of this machine's MAC address.
        source.write_bytes(apart.serialized(model))
        try:
            quantization.quantize_static(
                source,
                path,
                _reader(model.graph.input, calibration),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(_OPERATORS),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                reduce_range=True,
                extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
            )
        except Exception as error:  # the quantiser raises whatever an operator makes it raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ModelError("the model cannot be quantised to int8", value=reason) from error
        quantized = onnx.load(path)
    graph = quantized.graph
    _keep_biases(graph, graphs.constants(model.graph))
    _keep_output_exact(graph, graphs.producers(model.graph))
    _name_integers(graph)
    _shorten(graph)
    return quantized


def multiply_integers(model: Any) -> None:
    """Compute products with large constant matrices in integers.

    x W + b -> (DynamicQuantizeLinear(x) MatMulInteger V) * scales + b; V is int8 under W's name.
    Raises ModelError for weights that are not finite.
    """
    graph = model.graph
    known, taken = graphs.constants(graph), graphs.uses(graph)
    nodes = []
    for node in graph.node:
        kernel = known.get(node.input[1]) if _is_product(node) else None
        if kernel is None or taken[kernel.name] != 1 or not _is_large_matrix(kernel):
            nodes.append(node)
            continue
        nodes += _integer_product(graph, node, kernel)
    graphs.replace_all(graph.node, nodes)


def described(tensor: EncodedTensor) -> EncodedTensor:
    """What is said of a tensor of a graph that `quantize_static` made: int8 of 7 bits is `int7`."""
    return dataclasses.replace(tensor, values="int7") if tensor.values == "int8" else tensor


def _is_product(node: Any) -> bool:
    if node.op_type == "MatMul":
        return True
    plain = {"transA": 0, "transB": 0, "alpha": 1.0, "beta": 1.0}
    return node.op_type == "Gemm" and all(
        graphs.attribute(node, name, value) == value for name, value in plain.items()
    )


def _is_large_matrix(kernel: Any) -> bool:
    values = graphs.array_of(kernel)
    return values.ndim == 2 and values.dtype == np.float32 and values.size >= MIN_INTEGER_SIZE


def _integer_product(graph: Any, node: Any, kernel: Any) -> list[Any]:
    """The nodes that replace `node`; ONNX Runtime fuses them into one kernel."""
    name = kernel.name
    quantized = quantize_symmetric(graphs.array_of(kernel), bits=_WEIGHT_BITS, axis=1)
    kernel.CopyFrom(graphs.tensor(name, quantized.values))
    graph.initializer.append(graphs.tensor(f"{name}/scale", quantized.scale))
    x, output = node.input[0], node.output[0]
    parts = [f"{output}/{part}" for part in ("integers", "step", "zero", "sums", "float", "scales")]
    integers, step, zero, sums, as_float, scales = parts
    bias = node.input[2] if len(node.input) > 2 else ""
    product = f"{output}/product" if bias else output
    made = [
        helper.make_node("DynamicQuantizeLinear", [x], [integers, step, zero]),
        helper.make_node("MatMulInteger", [integers, name, zero], [sums]),
        helper.make_node("Cast", [sums], [as_float], to=TensorProto.FLOAT),
        helper.make_node("Mul", [step, f"{name}/scale"], [scales]),
        helper.make_node("Mul", [as_float, scales], [product]),
    ]
    if bias:
        made.append(helper.make_node("Add", [product, bias], [output]))
    made[1].name = node.name
    return made


def _name_integers(graph: Any) -> None:
    """Give the integers the names of the weights, and the dequantised values another."""
    mapping: dict[str, str] = {}
    for name in graphs.constants(graph):
        if name.endswith(_QUANTIZED):
            plain = name.removesuffix(_QUANTIZED)
            mapping |= {name: plain, plain: f"{plain}/float"}
    graphs.rename(graph, mapping)


def _shorten(graph: Any) -> None:
    """Remove what nothing needs: names of names, repeated zero points, inferred sizes.

    The quantiser adds two nodes and five names to every value, together a third of a small file.
    """
    mapping = {}
    for node in graph.node:
        ending = _ENDINGS.get(node.op_type)
        if ending is not None:
            node.ClearField("name")
            output, long = node.output[0], f"_{node.op_type}_Output"
            if output.endswith(long):
                mapping[output] = graphs.fresh(graph, output.removesuffix(long) + ending)
    points: dict[tuple[Any, ...], str] = {}
    for entry in graph.initializer:
        if entry.name.endswith("_zero_point"):
            values = graphs.array_of(entry)
            key = (values.dtype.str, values.shape, values.tobytes())
            mapping[entry.name] = points.setdefault(key, f"zero_point_{len(points)}")
    graphs.rename(graph, mapping)
    kept = {entry.name: entry for entry in graph.initializer}
    graphs.replace_all(graph.initializer, kept.values())
    del graph.value_info[:]


def _keep_biases(graph: Any, known_before: Mapping[str, Any]) -> None:
    """Give channels without any weight a scale that keeps their bias.

    The quantiser gives them 1, and the bias, as runtimes want it, that times the scale of the
    input: of a small bias no digit is left. `known_before` are the constants of the float model.
    """
    made_by, known, taken = graphs.producers(graph), graphs.constants(graph), graphs.uses(graph)
    for node in graph.node:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or len(node.input) < 3:
            continue
        pair: list[Any] = [made_by.get(name) for name in node.input[1:3]]
        if any(one is None or one.op_type != "DequantizeLinear" for one in pair):
            continue
        kernel, bias = pair
        source = known_before.get(bias.input[0].removesuffix(_QUANTIZED))
        parts: list[Any] = [known.get(name) for one in (kernel, bias) for name in one.input[:2]]
        if source is None or None in parts or taken[node.input[1]] > 1 or taken[node.input[2]] > 1:
            continue
        integers, scales, numbers, bias_scales = (graphs.array_of(part) for part in parts)
        wanted = graphs.array_of(source).astype(np.float64).ravel()
        axis = graphs.attribute(kernel, "axis", 1) % integers.ndim
        if not scales.shape == bias_scales.shape == wanted.shape == (integers.shape[axis],):
            continue
        others = tuple(place for place in range(integers.ndim) if place != axis)
        empty = np.flatnonzero(~integers.any(axis=others) & (wanted != 0))
        steps = bias_scales[empty].astype(np.float64) / scales[empty]
        finer = (np.abs(wanted[empty]) / (_BIAS_STEPS * steps)).astype(np.float32)
        better = (finer > np.finfo(np.float32).tiny) & (finer < scales[empty])
        empty, finer, steps = empty[better], finer[better], steps[better]
        if not empty.size:
            continue
        scales, numbers, bias_scales = scales.copy(), numbers.copy(), bias_scales.copy()
        scales[empty], bias_scales[empty] = finer, finer * steps
        numbers[empty] = np.rint(wanted[empty] / bias_scales[empty])
        for part, values in zip(parts[1:], (scales, numbers, bias_scales), strict=True):
            part.CopyFrom(graphs.tensor(part.name, values))


def _keep_output_exact(graph: Any, made_before: Mapping[str, Any]) -> None:
    """Remove the quantisation of the output, which nothing else reads.

    But where it does the work of a Relu or Clip that the quantiser removed: `made_before` are the
    producers of the float model.
    """
    made_by, taken = graphs.producers(graph), graphs.uses(graph)
    for entry in graph.output:
        back = made_by.get(entry.name)
        if back is None or back.op_type != "DequantizeLinear":
            continue
        there = made_by.get(back.input[0])
        if there is None or there.op_type != "QuantizeLinear" or taken[there.output[0]] != 1:
            continue
        source = made_by.get(there.input[0])
        if source is None or taken[there.input[0]] != 1:
            continue
        before = made_before.get(entry.name)
        if before is not None and before.op_type != source.op_type:
            continue
        position = list(source.output).index(there.input[0])
        source.output[position] = entry.name
        graphs.replace_all(graph.node, [n for n in graph.node if n is not back and n is not there])
        made_by = graphs.producers(graph)
    used = graphs.uses(graph)
    graphs.replace_all(graph.initializer, [one for one in graph.initializer if one.name in used])


def _reader(entries: Sequence[Any], calibration: Sequence[np.ndarray]) -> Any:
    """A CalibrationDataReader of ONNX Runtime: the data in batches, by input.

    Where the inputs have a batch size of their own, in such, the last filled up from the beginning.
    """
    kinds = [entry.type.tensor_type for entry in entries]
    fixed = max((kind.shape.dim[0].dim_value for kind in kinds if kind.shape.dim), default=0)
    count, size = len(calibration[0]), fixed or _BATCH

    def batch(start: int) -> dict[str, np.ndarray]:
        rows = np.arange(start, start + size if fixed else min(start + size, count)) % count
        return {
            entry.name: array[rows].astype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
            for entry, kind, array in zip(entries, kinds, calibration, strict=True)
        }

    batches = (batch(start) for start in range(0, count, size))
    return types.SimpleNamespace(get_next=lambda: next(batches, None))
