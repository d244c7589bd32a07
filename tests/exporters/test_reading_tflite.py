"""The reader of .tflite files: what it says of honest ones, and that it refuses the others."""

import sys
import tracemalloc

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from artifact_files import sparse_tensor, tflite_bytes, tflite_model
from hypothesis import given, settings, strategies as st

from compressor.errors import CheckpointError
from compressor.exporters.tflite import reading, schema as schema_module
from compressor.exporters.tflite.reading import read_tflite, stored_values
from compressor.foundation import quiet_tensorflow
from compressor.report.inspection import inspect


def dense_array(shape, density=0.3, seed=0, dtype="float32"):
    generator = np.random.default_rng(seed)
    values = generator.integers(1, 100, shape) * (generator.random(shape) < density)
    return values.astype(dtype)


def tensor_of(content, name):
    file = read_tflite(content)
    return file, next(t for t in file.subgraphs[0].tensors if t.name == name)


def test_what_a_file_holds():
    bias = np.zeros(4, np.float32)
    file = read_tflite(tflite_bytes(tflite_model(**{"fc/kernel": dense_array((4, 6)), "b": bias})))
    (graph,) = file.subgraphs
    assert [(t.name, t.shape, t.type.name, t.bytes) for t in graph.tensors] == [
        ("fc/kernel", (4, 6), "float32", 96),
        ("b", (4,), "float32", 16),
        ("x", (None, 4), "float32", 0),
        ("y", (None, 4), "float32", 0),
    ]
    assert [(o.name, o.version, o.inputs, o.outputs) for o in graph.operators] == [
        ("FULLY_CONNECTED", 8, (2, 0, 1), (3,))
    ]
    assert (graph.inputs, graph.outputs, file.signatures) == ((2,), (3,), ("serve",))


def test_a_file_is_read_without_litert(monkeypatch):
    """LiteRT does not exist for every platform; TensorFlow has the schema too."""
    content = tflite_bytes(tflite_model(w=dense_array((4, 6))))
    monkeypatch.setattr(schema_module, "schema", schema_module.schema.__wrapped__)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.schema_py_generated", None)
    assert "tensorflow" in schema_module.schema().__name__
    monkeypatch.setattr(reading, "schema", schema_module.schema)
    assert read_tflite(content).subgraphs[0].operators[0].name == "FULLY_CONNECTED"


@st.composite
def layouts(draw):
    """A shape with a way to store it: order, blocks, formats, index types."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    cut = draw(st.lists(st.sampled_from(range(len(shape))), unique=True, max_size=2))
    blocks = {d: draw(st.integers(1, 3)) for d in cut}
    shape = [size * blocks.get(d, 1) for d, size in enumerate(shape)]
    inner = draw(st.permutations(range(len(shape), len(shape) + len(blocks))))
    order = [*draw(st.permutations(range(len(shape)))), *inner]
    formats = "".join(
        draw(st.lists(st.sampled_from("dc"), min_size=len(order), max_size=len(order)))
    )
    kinds = [draw(st.sampled_from(["uint8", "uint16", "int32"])) for _ in range(2)]
    return tuple(shape), order, blocks, formats, kinds


@given(layouts(), st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from(["float32", "int8", "float16"]))
@settings(max_examples=150, deadline=None)
def test_sparse_tensors_of_any_layout_are_read(layout, density, dtype):
    shape, order, blocks, formats, kinds = layout
    dense = dense_array(shape, density, dtype=dtype)
    # No number of a segment is above that of the values.
    kinds = ["uint16" if kind == "uint8" and dense.size > 255 else kind for kind in kinds]
    stored = sparse_tensor(dense, order, blocks, formats, *kinds)
    file, tensor = tensor_of(tflite_bytes(tflite_model(w=stored)), "w")
    values = stored_values(file, tensor)
    assert values.dtype == dense.dtype
    np.testing.assert_array_equal(values, stored[0])
    positions = [
        np.asarray(vector.values, kind).nbytes
        for level in stored[1].sparsity.dimMetadata
        for vector, kind in zip((level.arraySegments, level.arrayIndices), kinds, strict=True)
        if vector is not None
    ]
    assert (tensor.shape, tensor.elements) == (shape, dense.size)
    assert tensor.bytes == values.nbytes + sum(positions)
    cut = "x".join(str(blocks.get(d, 1)) for d in range(len(shape))) if blocks else "csr"
    assert tensor.sparsity.encoding == (cut if "c" in formats else "dense")


def test_blocks_are_named_and_positions_counted():
    dense = np.kron(dense_array((4, 3), 0.5, seed=1) > 0, np.ones((1, 16))).astype("int8")
    stored = sparse_tensor(dense, blocks={1: 16}, formats="dcd", segments="uint8")
    _, tensor = tensor_of(tflite_bytes(tflite_model(w=stored)), "w")
    assert tensor.sparsity.encoding == "1x16"
    blocks = int((dense != 0).sum()) // 16
    assert tensor.bytes == 16 * blocks + 5 + blocks
    _, tensor = tensor_of(tflite_bytes(tflite_model(w=sparse_tensor(dense))), "w")
    assert tensor.sparsity.encoding == "csr"


def test_four_bits_are_unpacked():
    values = np.array([[-7, 3, 0], [7, -1, 2]], np.int8)
    nibbles = np.append(values.ravel(), 0).astype(np.uint8) & 15
    packed = nibbles[0:6:2] | nibbles[1:6:2] << 4
    tensor = schema.TensorT()
    tensor.shape, tensor.type = [2, 3], schema.TensorType.INT4
    file, read = tensor_of(tflite_bytes(tflite_model(w=(packed, tensor))), "w")
    np.testing.assert_array_equal(stored_values(file, read).reshape(2, 3), values)


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("optimize", ["", "EXPERIMENTAL_SPARSITY", "DEFAULT"])
def test_files_of_the_stock_converter(small_net, optimize):
    tensorflow, _ = quiet_tensorflow.load()
    model = small_net()
    kernel = np.where(np.arange(64 * 12).reshape(64, 12) % 11, 0, model.layers[1].kernel.numpy())
    model.layers[1].kernel.assign(kernel)
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [getattr(tensorflow.lite.Optimize, optimize)] if optimize else []
    file = read_tflite(converter.convert())
    graph = file.subgraphs[0]
    (tensor,) = (t for t in graph.tensors if t.shape == (12, 64) and t.is_constant)
    assert (tensor.sparsity is not None) == (optimize == "EXPERIMENTAL_SPARSITY")
    values = stored_values(file, tensor)
    if tensor.type.name == "int8":
        floats = values.reshape(12, 64) * tensor.quantization.scale.reshape(-1, 1)
        np.testing.assert_allclose(floats, kernel.T, atol=tensor.quantization.scale.max())
    elif tensor.sparsity is not None:
        assert len(values) < kernel.size // 4
        np.testing.assert_array_equal(np.sort(values[values != 0]), np.sort(kernel[kernel != 0]))
    else:
        np.testing.assert_array_equal(values.reshape(12, 64), kernel.T)
    assert sum(o.name == "FULLY_CONNECTED" for o in graph.operators) == 2
    assert graph.tensors[graph.inputs[0]].shape == (None, 8, 8, 1)


def changed(change):
    """A file with a 4 x 6 matrix, CSR, after `change(tensor, model)`."""
    stored = sparse_tensor(dense_array((4, 6), 0.5, seed=3), segments="uint8")
    model = tflite_model(**{"fc1/kernel": stored})
    change(stored[1], model)
    return tflite_bytes(model)


def csr(change):
    """A change of the compressed level."""
    return lambda tensor, model: change(tensor.sparsity.dimMetadata[1])


def put(vector, position, value):
    vector.values = vector.values.copy()
    vector.values[position] = value


def assign(target, **fields):
    for name, value in fields.items():
        setattr(target, name, value)


DAMAGES = {
    "segments do not ascend": csr(lambda level: put(level.arraySegments, 1, 9)),
    "segments do not cover": csr(lambda level: put(level.arraySegments, -1, 200)),
    "not cover": csr(lambda level: put(level.arraySegments, 0, 1)),
    "segments, not 5": csr(lambda level: assign(level.arraySegments, values=np.zeros(3, "uint8"))),
    "index is outside": csr(lambda level: put(level.arrayIndices, 0, 6)),
    "indices of a segment do not ascend": csr(lambda level: put(level.arrayIndices, 1, 0)),
    "without segments": csr(lambda level: assign(level, arraySegments=None, arraySegmentsType=0)),
    "without indices": csr(lambda level: assign(level, arrayIndices=None)),
    "unknown form": csr(lambda level: assign(level, format=7)),
    "a level of 2147483647, not 4": lambda t, m: assign(
        t.sparsity.dimMetadata[0], denseSize=2**31 - 1
    ),
    "traversal order": lambda t, m: assign(t.sparsity, traversalOrder=[0, 0]),
    "1 levels, not 2": lambda t, m: t.sparsity.dimMetadata.pop(),
    "block map": lambda t, m: assign(t.sparsity, traversalOrder=[0, 1, 2], blockMap=[7]),
    "blocks of 0": lambda t, m: assign(
        t.sparsity,
        traversalOrder=[0, 1, 2],
        blockMap=[0],
        dimMetadata=[*t.sparsity.dimMetadata, schema.DimensionMetadataT()],
    ),
    "bytes for": lambda t, m: assign(m.buffers[1], data=m.buffers[1].data[:-4]),
    "a constant of shape [-1, 6]": lambda t, m: assign(t, shape=[-1, 6]),
    "a constant of shape [2147483647, 6]": lambda t, m: assign(t, shape=[2**31 - 1, 6]),
    "unknown type 99": lambda t, m: assign(t, type=99),
    "17 dimensions": lambda t, m: assign(t, shape=[1] * 17),
    "buffer 9 of 2": lambda t, m: assign(t, buffer=9),
    "code 4294967295 of 1": lambda t, m: assign(m.subgraphs[0].operators[0], opcodeIndex=2**32 - 1),
    "tensor 3 of 3": lambda t, m: assign(m.subgraphs[0].operators[0], inputs=[3]),
    "tensor -2 of 3": lambda t, m: assign(m.subgraphs[0].operators[0], inputs=[-2]),
    "tensor -1 of 3": lambda t, m: assign(m.subgraphs[0], inputs=[-1]),
    "signature of subgraph 1": lambda t, m: assign(m.signatureDefs[0], subgraphIndex=1),
    "signature names tensor 77": lambda t, m: assign(m.signatureDefs[0].inputs[0], tensorIndex=77),
    "signature names tensor 3": lambda t, m: assign(m.signatureDefs[0].outputs[0], tensorIndex=3),
    "no subgraph": lambda t, m: assign(m, subgraphs=[]),
    "version 4": lambda t, m: assign(m, version=4),
    "scales in dimension 1": lambda t, m: assign(t, quantization=scales(4, 1)),
    "zero points": lambda t, m: assign(t, quantization=scales(4, 0, zeros=3)),
}


def scales(count, dimension, zeros=0):
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [1.0] * count, [0] * zeros
    quantization.quantizedDimension = dimension
    return quantization


@pytest.mark.parametrize("reason", DAMAGES)
def test_damages_are_named_in_one_line(rejected, reason):
    message = rejected(CheckpointError, read_tflite, changed(DAMAGES[reason]))
    assert reason in message, message


def test_the_honest_twin_is_read():
    file, tensor = tensor_of(changed(lambda tensor, model: None), "fc1/kernel")
    dense = dense_array((4, 6), 0.5, seed=3)
    np.testing.assert_array_equal(stored_values(file, tensor), dense[dense != 0])


def test_a_few_bytes_do_not_become_gigabytes(tmp_path):
    tensor = schema.TensorT()
    tensor.shape, tensor.type = [46340, 46340], schema.TensorType.FLOAT32
    tensor.sparsity = sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = [0, 1]
    levels = [schema.DimensionMetadataT() for _ in range(2)]
    for level in levels:
        level.format = schema.DimensionType.SPARSE_CSR
        level.arraySegmentsType = level.arrayIndicesType = schema.SparseIndexVector.Int32Vector
        level.arraySegments, level.arrayIndices = schema.Int32VectorT(), schema.Int32VectorT()
        level.arraySegments.values, level.arrayIndices.values = [0, 1], [46339]
    sparsity.dimMetadata = levels
    path = tmp_path / "w.tflite"
    path.write_bytes(tflite_bytes(tflite_model(w=(np.ones(1, np.float32), tensor))))
    tracemalloc.start()
    (row,) = inspect(path)["layers"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (row["parameters"], row["zeros"]) == (46340**2, 46340**2 - 1)
    assert peak < 2**24


def test_values_behind_the_flatbuffer(rejected):
    """As files beyond 2 GB have them: a buffer then says where in the file its bytes are."""
    dense = dense_array((4, 6))

    def content(offset):
        model = tflite_model(w=dense)
        buffer = model.buffers[1]
        buffer.data, buffer.offset, buffer.size = None, offset, dense.nbytes
        return tflite_bytes(model)

    end = len(content(1000))
    file, tensor = tensor_of(content(end) + dense.tobytes(), "w")
    np.testing.assert_array_equal(stored_values(file, tensor).reshape(4, 6), dense)
    for offset in (end, 2**64 - 8):
        assert "bytes at byte" in rejected(CheckpointError, read_tflite, content(offset))


def test_buffers_that_overlap_do_not_multiply_the_work(rejected):
    model = tflite_model(w=dense_array((1000,)), v=dense_array((1000,)), u=dense_array((1000,)))
    for number, buffer in enumerate(model.buffers[1:]):
        buffer.data, buffer.offset, buffer.size = None, 8 + number, 4000
    content = tflite_bytes(model) + bytes(4000)
    assert "its buffers hold 12000 bytes" in rejected(CheckpointError, read_tflite, content)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x00" * 100, b"PK\x03\x04" + b"\0" * 60])
def test_other_files_are_refused(rejected, content):
    assert "not a TFLite file" in rejected(CheckpointError, read_tflite, content)


def test_shared_parts_do_not_multiply(rejected):
    """A file of some kilobytes in which every vector holds the same tables, again and again."""
    count = 3000
    builder = flatbuffer_of_shared_tensors(count)
    assert len(builder) < 10 * count
    assert "again and again" in rejected(CheckpointError, read_tflite, builder)


def flatbuffer_of_shared_tensors(count):
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    shape = builder.CreateNumpyVector(np.ones(8, np.int32))
    schema.TensorStart(builder)
    schema.TensorAddShape(builder, shape)
    tensor = schema.TensorEnd(builder)
    builder.StartVector(4, count, 4)
    for _ in range(count):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graph = schema.SubGraphEnd(builder)
    builder.StartVector(4, count // 4, 4)
    for _ in range(count // 4):
        builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, 3)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())
