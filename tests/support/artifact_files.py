"""Small .tflite and .onnx files written by the stock libraries, for tests of what reads them."""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from onnx import helper, numpy_helper

_TYPES = {np.dtype("float32"): 0, np.dtype("float16"): 1, np.dtype("int32"): 2, np.dtype("int8"): 9}
_VECTORS = {
    "int32": (schema.SparseIndexVector.Int32Vector, schema.Int32VectorT),
    "uint16": (schema.SparseIndexVector.Uint16Vector, schema.Uint16VectorT),
    "uint8": (schema.SparseIndexVector.Uint8Vector, schema.Uint8VectorT),
}


def tflite_bytes(model) -> bytes:
    """A ModelT as the bytes of a file."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tflite_model(**arrays):
    """A ModelT whose one subgraph has these constants, and an operator that takes them all.

    A value is an array, or a pair of the values to store and a TensorT that says how.
    """
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = []
    for name, given in arrays.items():
        values, tensor = given if isinstance(given, tuple) else (given, schema.TensorT())
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.name = name
        tensor.buffer = len(model.buffers) - 1
        if not isinstance(given, tuple):
            tensor.shape, tensor.type = list(values.shape), _TYPES[values.dtype]
        graph.tensors.append(tensor)
    for name in ("x", "y"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.shapeSignature = name, [1, 4], [-1, 4]
        graph.tensors.append(tensor)
    x, y = len(arrays), len(arrays) + 1
    graph.inputs, graph.outputs = [x], [y]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 8
    model.operatorCodes = [code]
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [x, *range(len(arrays))], [y]
    graph.operators = [operator]
    model.subgraphs = [graph]
    signature = schema.SignatureDefT()
    signature.signatureKey = "serve"
    for maps, number in (("inputs", x), ("outputs", y)):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = "in" if number == x else "out", number
        setattr(signature, maps, [entry])
    model.signatureDefs = [signature]
    return model


def sparse_tensor(dense, order=None, blocks=None, formats=None, segments="int32", indices="uint8"):
    """The stored values of `dense`, and the TensorT that says where they lie.

    `order` is the traversal order, `blocks` {dimension: size}, `formats` a letter a level: d dense,
    c compressed (by default the last one). Written by trying every position, level by level.
    """
    rank = dense.ndim
    blocks = blocks or {}
    block_map = sorted(blocks)
    order = list(order or range(rank + len(block_map)))
    formats = formats or "d" * (len(order) - 1) + "c"
    sizes = [size // blocks.get(d, 1) for d, size in enumerate(dense.shape)]
    sizes += [blocks[d] for d in block_map]
    levels = [([0], []) for _ in order]
    values = []

    def positions(chosen):
        """The part of `dense` that these positions of the first levels leave."""
        place = dict(zip(order, chosen, strict=False))
        part = dense
        for d in range(rank):
            size = blocks.get(d, 1)
            where = np.arange(dense.shape[d])
            keep = np.ones(dense.shape[d], bool)
            if d in place:
                keep &= where // size == place[d]
            if d in blocks and rank + block_map.index(d) in place:
                keep &= where % size == place[rank + block_map.index(d)]
            part = part.compress(keep, axis=d)
        return part

    def visit(chosen):
        level = len(chosen)
        if level == len(order):
            values.append(positions(chosen).item())
            return
        starts, found = levels[level]
        for position in range(sizes[order[level]]):
            if formats[level] == "d":
                visit((*chosen, position))
            elif positions((*chosen, position)).any():
                found.append(position)
                visit((*chosen, position))
        starts.append(len(found))

    visit(())
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.blockMap, sparsity.dimMetadata = order, block_map, []
    for level, (starts, found) in enumerate(levels):
        metadata = schema.DimensionMetadataT()
        metadata.denseSize = sizes[order[level]]
        if formats[level] == "c":
            metadata.format = schema.DimensionType.SPARSE_CSR
            metadata.arraySegmentsType, metadata.arraySegments = _vector(segments, starts)
            metadata.arrayIndicesType, metadata.arrayIndices = _vector(indices, found)
        sparsity.dimMetadata.append(metadata)
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.sparsity = list(dense.shape), _TYPES[dense.dtype], sparsity
    return np.array(values, dense.dtype), tensor


def _vector(kind, numbers):
    code, build = _VECTORS[kind]
    vector = build()
    vector.values = np.array(numbers, kind)
    return code, vector


def small_tflite() -> bytes:
    """A sound file with sparse weights, blocks of them, and a bias."""
    dense = np.zeros((6, 32), "float32")
    dense[[0, 2, 5], [1, 30, 7]] = 1, -2, 3
    block = np.kron(dense[:, :3] != 0, np.ones((1, 16))).astype("int8")
    return tflite_bytes(
        tflite_model(
            **{
                "fc1/kernel": sparse_tensor(dense, segments="uint8"),
                "fc2/kernel": sparse_tensor(block, blocks={1: 16}, formats="dcd"),
                "bias": np.arange(6, dtype="float32"),
            }
        )
    )


def small_onnx() -> bytes:
    """A sound file with a weight that a chain of operators decodes, and a sparse one."""
    dense = np.zeros((6, 4), "float32")
    dense.ravel()[[1, 5, 20]] = 1, -2, 3
    flat = np.flatnonzero(dense)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(dense.ravel()[flat], "fc2/kernel"),
        helper.make_tensor("i", 7, [3], flat.tolist()),
        dense.shape,
    )
    arrays = {
        "gaps": np.diff(flat, prepend=0).astype("uint8"),
        "values": dense.ravel()[flat].astype("int8"),
        "axis": np.array(0, "int32"),
        "size": np.array([24]),
        "shape": np.array([6, 4]),
    }
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Cast", ["gaps"], ["1"], to=6),
            node("CumSum", ["1", "axis"], ["2"]),
            node("Cast", ["values"], ["3"], to=1),
            node("ConstantOfShape", ["size"], ["4"]),
            node("ScatterElements", ["4", "2", "3"], ["5"], axis=0),
            node("Reshape", ["5", "shape"], ["w"], name="decode/gap8/fc1/kernel"),
            node("MatMul", ["x", "w"], ["z"]),
            node("Add", ["z", "fc2/kernel"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", 1, ["N", 6])],
        [helper.make_tensor_value_info("y", 1, ["N", 4])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        sparse_initializer=[sparse],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
