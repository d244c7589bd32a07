"""Passes over the graph that tf2onnx wrote, before its weights are encoded.

Each changes a model in place, not what it computes (up to rounding), and says what it requires and
ensures; `tidy` runs them in an order that meets the requirements.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from compressor.exporters.onnx import graphs
from compressor.exporters.onnx.hard_swish import fuse_hard_swish


def tidy(model: Any, *, channels_last: bool = False) -> None:
    """All passes, in order, over an opset-18 model.

    `channels_last` is for runtimes that compute convolutions in NHWC, as ONNX Runtime does in
    integers: transpositions are then left for it to cancel against its own. Nor is hard-swish then
    one operator, since it would compute that in float32.
    """
    make_reshapes_static(model)
    for operator in ("Mul", "Add"):
        fold_into_convolutions(model.graph, operator)
    fuse_gemm(model.graph)
    if not channels_last:
        fuse_hard_swish(model.graph)
        move_transposes(model.graph)
        reshape_transposes(model.graph)
    keep_padding(model.graph)
    remove_unused(model.graph)
    # The passes needed the sizes; a runtime infers them anew.
    del model.graph.value_info[:]


def make_reshapes_static(model: Any) -> None:
    """Reshapes to a computed shape -> to a constant one, if only one size is unknown.

    Requires: the inputs have sizes. Ensures: Keras's Flatten needs no Shape, Slice and Concat at
    run time, which are slow in some runtimes; value_info holds the sizes that are inferred.
    """
    graph = model.graph
    graphs.replace_all(graph.value_info, graphs.inferred(model).value_info)
    shapes, known = _sizes(graph), graphs.constants(graph)
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] in known:
            continue
        sizes = shapes.get(node.output[0])
        if sizes is None or sizes.count(None) > 1 or 0 in sizes:
            continue
        name = graphs.fresh(graph, f"{node.output[0]}/shape")
        target = [-1 if size is None else size for size in sizes]
        graph.initializer.append(graphs.tensor(name, np.asarray(target, np.int64)))
        node.input[1] = name
    remove_unused(graph)


def fold_into_convolutions(graph: Any, operator: str) -> None:
    """Mul: Conv(x, W, b) * c -> Conv(x, W * c, b * c); Add: Conv(x, W, b) + c -> Conv(x, W, b + c).

    For BatchNorm. Requires: c holds one value a channel; nothing else takes the Conv's output.
    """
    known, made_by, taken = graphs.constants(graph), graphs.producers(graph), graphs.uses(graph)
    for node in graph.node:
        pair = _constant_and_value(node, operator, known)
        convolution = made_by.get(pair[1]) if pair else None
        if pair is None or convolution is None or convolution.op_type != "Conv":
            continue
        parts = convolution.input[1:]
        if taken[convolution.output[0]] != 1 or any(
            name not in known or taken[name] != 1 for name in parts
        ):
            continue
        kernel = known[convolution.input[1]]
        numbers = _per_channel(graphs.array_of(pair[0]), kernel.dims[0], len(kernel.dims))
        if numbers is None:
            continue
        if operator == "Mul":
            for name in parts:
                values = graphs.array_of(known[name])
                factors = numbers.reshape(-1, *[1] * (values.ndim - 1))
                known[name].CopyFrom(graphs.tensor(name, values * factors))
        elif len(parts) > 1:
            known[parts[1]].CopyFrom(
                graphs.tensor(parts[1], graphs.array_of(known[parts[1]]) + numbers)
            )
        else:
            name = graphs.fresh(graph, f"{convolution.output[0]}/bias")
            graph.initializer.append(graphs.tensor(name, numbers))
            known[name] = graph.initializer[-1]
            convolution.input.append(name)
        convolution.output[0] = node.output[0]
        made_by[node.output[0]] = convolution
        # Marks the folded node, whose output is now the convolution's, for removal.
        node.op_type = ""
    graphs.replace_all(graph.node, [node for node in graph.node if node.op_type])


def fuse_gemm(graph: Any) -> None:
    """MatMul(x, W) + b -> Gemm(x, W, b), for matrices.

    Requires: W is a constant matrix, b a constant vector, and x a matrix by value_info. Ensures: a
    Dense layer's bias is in one node with its kernel, so that quantisation keeps it in 32 bits.
    """
    known, made_by, taken = graphs.constants(graph), graphs.producers(graph), graphs.uses(graph)
    shapes = _sizes(graph)
    removed = set()
    for node in graph.node:
        pair = _constant_and_value(node, "Add", known)
        if pair is None:
            continue
        bias, product = pair[0], made_by.get(pair[1])
        if product is None or product.op_type != "MatMul" or taken[product.output[0]] != 1:
            continue
        kernel = known.get(product.input[1])
        if kernel is None or len(kernel.dims) != 2 or list(bias.dims) != [kernel.dims[1]]:
            continue
        if len(shapes.get(product.input[0], ())) != 2:
            continue
        removed.add(product.output[0])
        node.op_type = "Gemm"
        graphs.replace_all(node.input, [*product.input, bias.name])
    graphs.replace_all(graph.node, [n for n in graph.node if n.output[0] not in removed])


def move_transposes(graph: Any) -> None:
    """Flatten(NHWC of x) W -> Flatten(x) W', the rows of W in the order of NCHW.

    Requires: value_info has the sizes of x; the Reshape is to (-1, rows of W); W is used nowhere
    else. Ensures: no transposition of an activation between a convolution and a Dense layer.
    """
    known, made_by, taken = graphs.constants(graph), graphs.producers(graph), graphs.uses(graph)
    shapes = _sizes(graph)
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm") or known.keys().isdisjoint(node.input[1:2]):
            continue
        if taken[node.input[1]] != 1 or graphs.attribute(node, "transB", 0):
            continue
        flat = made_by.get(node.input[0])
        if flat is None or flat.op_type != "Reshape" or taken[flat.output[0]] != 1:
            continue
        turned = made_by.get(flat.input[0])
        if turned is None or turned.op_type != "Transpose":
            continue
        order = list(graphs.attribute(turned, "perm", []))
        sizes, kernel = shapes.get(turned.output[0]), known[node.input[1]]
        shape = known.get(flat.input[1])
        axes = [size for size in (sizes or ())[1:] if size is not None]
        if shape is None or order[:1] != [0] or len(axes) != len(order) - 1:
            continue
        rows = int(np.prod(axes))
        if list(graphs.array_of(shape)) != [-1, rows] or rows != kernel.dims[0]:
            continue
        values = graphs.array_of(kernel).reshape(*axes, -1)
        back = np.argsort(np.asarray(order[1:]) - 1)
        turned_back = values.transpose(*back, values.ndim - 1).reshape(rows, -1)
        kernel.CopyFrom(graphs.tensor(kernel.name, np.ascontiguousarray(turned_back)))
        flat.input[0] = turned.input[0]


def reshape_transposes(graph: Any) -> None:
    """Transpose that moves only axes of size 1 -> Reshape, which copies nothing.

    Requires: value_info has the sizes, of which one may be open.
    """
    shapes = _sizes(graph)
    for node in graph.node:
        if node.op_type != "Transpose":
            continue
        sizes, order = shapes.get(node.input[0]), graphs.attribute(node, "perm", None)
        if sizes is None or order is None:
            continue
        moved = [axis for axis in order if sizes[axis] != 1]
        if moved != sorted(moved) or sizes.count(None) > 1 or 0 in sizes:
            continue
        name = graphs.fresh(graph, f"{node.output[0]}/shape")
        target = [-1 if sizes[axis] is None else sizes[axis] for axis in order]
        graph.initializer.append(graphs.tensor(name, np.asarray(target, np.int64)))
        node.op_type = "Reshape"
        node.input.append(name)
        del node.attribute[:]


def keep_padding(graph: Any) -> None:
    """Pad with 0 -> with -0, which is the same number, unless a convolution takes it.

    ONNX Runtime takes padding by zero bytes for a pool's own (PadFusion, 1.17 to 1.31), which no
    maximum counts: it is wrong where all of a window is negative, as in ResNet50V2.
    """
    known, takers = graphs.constants(graph), graphs.consumers(graph)
    types = {
        entry.name: entry.type.tensor_type.elem_type for entry in (*graph.input, *graph.value_info)
    }
    for node in graphs.all_nodes(graph):
        if node.op_type != "Pad" or graphs.attribute(node, "mode", b"constant") != b"constant":
            continue
        if {taker.op_type for taker, _ in takers.get(node.output[0], ())} <= {"Conv"}:
            continue
        given = node.input[2] if len(node.input) > 2 else ""
        if given and (given not in known or np.any(graphs.array_of(known[given]))):
            continue
        # A Pad without a value has one of the type of its data: float32, unless that says another.
        plain = types.get(node.input[0], TensorProto.FLOAT) == TensorProto.FLOAT
        if not given and not plain:
            continue
        zero = graphs.array_of(known[given]) if given else np.zeros((), np.float32)
        if zero.dtype.kind != "f":
            continue
        name = graphs.fresh(graph, f"{node.output[0]}/value")
        graph.initializer.append(graphs.tensor(name, -zero))
        node.input[:] = [*node.input[:2], name, *node.input[3:]]


def remove_unused(graph: Any) -> None:
    """Ensures: no node or initializer is left that no output needs."""
    while True:
        taken = graphs.uses(graph)
        kept = [node for node in graph.node if any(taken.get(name) for name in node.output)]
        if len(kept) == len(graph.node):
            break
        graphs.replace_all(graph.node, kept)
    graphs.replace_all(
        graph.initializer, [entry for entry in graph.initializer if entry.name in taken]
    )


def _per_channel(values: np.ndarray, channels: int, rank: int) -> np.ndarray | None:
    """float32 (channels,), where `values` broadcast to (n, channels, ...) as one a channel."""
    if values.dtype != np.float32 or values.ndim > rank:
        return None
    shape = (1,) * (rank - values.ndim) + values.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    if shape[1] not in (1, channels):
        return None
    return np.array(np.broadcast_to(values.reshape(-1), (channels,)), np.float32)


def _constant_and_value(node: Any, operator: str, known: dict[str, Any]) -> Any:
    """(initializer, name of the other input) of a node with one constant input, else None."""
    if node.op_type != operator or len(node.input) != 2:
        return None
    for constant, value in (node.input, tuple(node.input)[::-1]):
        if constant in known and value not in known:
            return known[constant], value
    return None


def _sizes(graph: Any) -> dict[str, list[int | None]]:
    """Value -> its sizes, None for an unknown one, as far as shape inference goes."""
    entries = (*graph.value_info, *graph.input, *graph.output)
    found = {entry.name: graphs.sizes_of(entry) for entry in entries}
    return {name: sizes for name, sizes in found.items() if sizes is not None}
