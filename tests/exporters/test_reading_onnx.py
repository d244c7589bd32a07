"""The reader of .onnx files: what it says of honest ones, and that it refuses the others."""

import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import CheckpointError
from compressor.exporters.onnx.evaluation import NotDecodedError
from compressor.exporters.onnx.reading import read_onnx, weight_values
from deploy import quiet_onnxruntime

onnxruntime = quiet_onnxruntime.load()

FLOAT, INT8, UINT8, INT32, INT64 = 1, 3, 2, 6, 7


def model_bytes(nodes, initializers=(), sparse=(), output="y", shape=(None, 4), **options):
    """A model of one input, x (N, 6)."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 6])],
        [helper.make_tensor_value_info(output, FLOAT, shape)],
        [
            of if isinstance(of, TensorProto) else numpy_helper.from_array(*of)
            for of in initializers
        ],
        sparse_initializer=sparse,
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **options)


def kernel(seed=0, shape=(6, 4), density=0.5):
    generator = np.random.default_rng(seed)
    return (generator.normal(size=shape) * (generator.random(shape) < density)).astype("float32")


def matmul(weight="fc/kernel", output="y"):
    return helper.make_node("MatMul", ["x", weight], [output])


def read(model):
    return read_onnx(model.SerializeToString())


def test_what_a_file_holds():
    model = model_bytes(
        [matmul(output="z"), helper.make_node("Add", ["z", "fc/bias"], ["y"])],
        [(kernel(), "fc/kernel"), (np.zeros(4, "float32"), "fc/bias"), (np.array([1, 2]), "axes")],
        producer_name="me",
    )
    file = read(model)
    assert [(w.name, w.encoding, w.values, w.bytes, w.shape) for w in file.weights] == [
        ("fc/kernel", "dense", "float32", 96, (6, 4)),
        ("fc/bias", "dense", "float32", 16, (4,)),
    ]
    np.testing.assert_array_equal(weight_values(file, file.weights[0]), kernel())
    assert [tensor.name for tensor in file.initializers] == ["fc/kernel", "fc/bias", "axes"]
    assert (file.ir_version, file.opsets, file.producer) == (8, {"ai.onnx": 18}, "me")
    assert [(v.name, v.shape, v.type) for v in file.inputs] == [("x", ("N", 6), "float32")]
    assert [(v.name, v.shape) for v in file.outputs] == [("y", (None, 4))]
    assert file.operators == {("ai.onnx", "Add"): 1, ("ai.onnx", "MatMul"): 1}


@pytest.mark.parametrize(
    "kind", ["float32", "float16", "float64", "int8", "uint8", "int64", "bool"]
)
@pytest.mark.parametrize("raw", [True, False])
def test_values_in_every_field(kind, raw):
    values = (np.arange(-3, 9).reshape(3, 4) * (kind[0] != "u")).astype(kind)
    number = helper.np_dtype_to_tensor_dtype(values.dtype)
    given = values.tobytes() if raw else values.ravel().tolist()
    tensor = helper.make_tensor("w", number, values.shape, given, raw=raw)
    kept = helper.make_node("Identity", ["w"], ["u"], name="decode/kept/fc/kernel")
    cast = helper.make_node("Cast", ["u"], ["v"], to=FLOAT)
    (weight,) = (file := read(model_bytes([kept, cast, matmul("v")], [tensor]))).weights
    decoded = weight_values(file, weight)
    assert (weight.name, weight.encoding, decoded.dtype) == ("fc/kernel", "kept", values.dtype)
    np.testing.assert_array_equal(decoded, values)
    assert not raw or weight.bytes == values.nbytes


def test_four_bits():
    values = np.array([-8, 7, 0, -1, 3])
    tensor = helper.make_tensor("w", TensorProto.INT4, [5], values)
    scale = numpy_helper.from_array(np.array(0.5, "float32"), "s")
    dequantize = helper.make_node("DequantizeLinear", ["w", "s"], ["v"])
    (weight,) = (file := read(model_bytes([dequantize, matmul("v")], [tensor, scale]))).weights
    # Three bytes of two values each, of which the varint of one beyond 127 takes two.
    assert (weight.name, weight.encoding, weight.values, weight.bytes) == ("w", "dense", "int4", 8)
    np.testing.assert_array_equal(weight_values(file, weight), values / 2)


def sparse_kernel(indices="linear", dense=None):
    dense = kernel() if dense is None else dense
    flat = np.flatnonzero(dense)
    values = numpy_helper.from_array(dense.ravel()[flat], "fc/kernel")
    if indices == "pairs":
        flat = np.argwhere(dense)
    return helper.make_sparse_tensor(values, numpy_helper.from_array(flat, "i"), dense.shape)


@pytest.mark.parametrize("indices", ["linear", "pairs"])
def test_sparse_initializers(indices):
    file = read(model_bytes([matmul()], sparse=[sparse_kernel(indices)]))
    (weight,) = file.weights
    assert (weight.name, weight.shape) == ("fc/kernel", (6, 4))
    assert weight.encoding == "sparse-initializer"
    stored = np.count_nonzero(kernel())
    assert weight.bytes == stored * (4 + 8 * (2 if indices == "pairs" else 1))
    np.testing.assert_array_equal(weight_values(file, weight), kernel())


def test_indices_as_varints_take_fewer_bytes():
    sparse = sparse_kernel()
    flat = numpy_helper.to_array(sparse.indices)
    sparse.indices.CopyFrom(helper.make_tensor("i", INT64, flat.shape, flat.tolist()))
    (weight,) = read(model_bytes([matmul()], sparse=[sparse])).weights
    assert weight.bytes == 5 * len(flat)


def gap_chain(dense, name="fc/kernel", output="w", scale=0.5):
    """A weight as distances and int8 values, decoded by nodes; and its initializers."""
    flat = np.flatnonzero(dense)
    gaps, values = np.diff(flat, prepend=0).astype("uint8"), dense.ravel()[flat] / scale
    initializers = [
        (gaps, f"{name}/gaps"),
        (values.astype("int8"), f"{name}/values"),
        (np.array(0, "int32"), "axis"),
        (np.array([dense.size]), f"{name}/size"),
        (np.array(dense.shape), f"{name}/shape"),
        (np.full(dense.shape[-1], scale, "float32"), f"{name}/scale"),
    ]
    node = helper.make_node
    nodes = [
        node("Cast", [f"{name}/gaps"], [f"{name}/1"], to=INT32),
        node("CumSum", [f"{name}/1", "axis"], [f"{name}/2"]),
        node("Cast", [f"{name}/values"], [f"{name}/3"], to=FLOAT),
        node("ConstantOfShape", [f"{name}/size"], [f"{name}/4"]),
        node("ScatterElements", [f"{name}/{i}" for i in (4, 2, 3)], [f"{name}/5"], axis=0),
        node("Reshape", [f"{name}/5", f"{name}/shape"], [f"{name}/6"]),
        node("Mul", [f"{name}/6", f"{name}/scale"], [output], name=f"decode/gap8/{name}"),
    ]
    return nodes, initializers


def whole_numbers(shape=(6, 4)):
    generator = np.random.default_rng(5)
    return generator.integers(-9, 9, shape) * 0.5 * (generator.random(shape) < 0.4)


def test_weights_that_decode_themselves():
    dense = whole_numbers()
    nodes, initializers = gap_chain(dense)
    file = read(model_bytes([*nodes, matmul("w")], initializers))
    (weight,) = file.weights
    stored = np.count_nonzero(dense)
    assert (weight.name, weight.encoding, weight.values) == ("fc/kernel", "gap8", "int8")
    assert weight.bytes == 2 * stored + 4 + 8 + 16 + 16
    np.testing.assert_array_equal(weight_values(file, weight), dense)


def test_a_name_alone_makes_no_weight():
    """A node that depends on the input is no stored weight, whatever it is called."""
    fake = helper.make_node("Relu", ["x"], ["w"], name="decode/gap8/fc/kernel")
    file = read(
        model_bytes([fake, helper.make_node("MatMul", ["w", "k"], ["y"])], [(kernel(), "k")])
    )
    assert [weight.name for weight in file.weights] == ["k"]


def test_an_initializer_that_can_be_replaced_is_no_constant():
    nodes, initializers = gap_chain(whole_numbers())
    model = model_bytes([*nodes, matmul("w")], initializers)
    model.graph.input.append(helper.make_tensor_value_info("fc/kernel/values", INT8, [None]))
    assert "gap8" not in [weight.encoding for weight in read(model).weights]


def test_quantized_weights():
    quantized = np.arange(-12, 12, dtype="int8").reshape(6, 4)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"], axis=1),
        matmul("w", "z"),
        helper.make_node("QuantizeLinear", ["z", "out", "at"], ["i"]),
        helper.make_node("DequantizeLinear", ["i", "out", "at"], ["y"]),
    ]
    scale, zero = np.arange(1, 5, dtype="float32"), np.zeros(4, "int8")
    initializers = [(quantized, "q"), (scale, "scale"), (zero, "zero")]
    initializers += [(np.array(0.1, "float32"), "out"), (np.array(0, "int8"), "at")]
    (weight,) = (file := read(model_bytes(nodes, initializers))).weights
    assert (weight.name, weight.encoding, weight.values, weight.bytes) == ("q", "dense", "int8", 44)
    np.testing.assert_array_equal(weight_values(file, weight), quantized * scale)


VECTOR = np.array([3, 1, 2, 0, 5, 4, 7, 6], "float32")
BYTES = np.array([1, 130, 255, 16, 7, 0], "uint8")
STEPS = {
    "Add": ([VECTOR, VECTOR[:1]], {}),
    "Sub": ([VECTOR, VECTOR[:1]], {}),
    "Mul": ([VECTOR.reshape(2, 4), VECTOR[:4]], {}),
    "BitShift": ([BYTES.reshape(-1, 1), np.array([4, 1], "uint8")], {"direction": "RIGHT"}),
    "BitwiseAnd": ([BYTES, np.array(15, "uint8")], {}),
    "BitwiseOr": ([BYTES, np.array(15, "uint8")], {}),
    "Cast": ([np.array([1.7, -1.7, 0], "float32")], {"to": INT32}),
    "Concat": ([VECTOR.reshape(2, 4), VECTOR[:2].reshape(2, 1)], {"axis": -1}),
    "ConstantOfShape": ([np.array([2, 3])], {"value": helper.make_tensor("", INT8, [1], [5])}),
    "CumSum": ([VECTOR, np.array(0, "int32")], {}),
    "DequantizeLinear": (
        [BYTES.reshape(2, 3), VECTOR[:3], np.array([1, 2, 3], "uint8")],
        {"axis": -1},
    ),
    "Expand": ([VECTOR[:3].reshape(3, 1), np.array([2, 1, 4])], {}),
    "Flatten": ([VECTOR.reshape(2, 2, 2)], {"axis": 2}),
    "Gather": ([VECTOR.reshape(4, 2), np.array([[3, -1], [0, 1]])], {"axis": 0}),
    "GatherElements": ([VECTOR.reshape(2, 4), np.array([[3, -1], [0, 1]])], {"axis": 1}),
    "Identity": ([VECTOR], {}),
    "Reshape": ([VECTOR.reshape(2, 4), np.array([0, 2, -1])], {}),
    "ScatterElements": ([VECTOR, np.array([6, 1]), np.array([9, 8], "float32")], {"axis": 0}),
    "Slice": ([VECTOR.reshape(2, 4), *map(np.array, ([3], [-(2**40)], [1], [-2]))], {}),
    "Squeeze": ([VECTOR.reshape(1, 8, 1), np.array([0])], {}),
    "Transpose": ([VECTOR.reshape(2, 2, 2)], {"perm": [2, 0, 1]}),
    "Unsqueeze": ([VECTOR, np.array([-1])], {}),
}


@pytest.mark.parametrize("operator", STEPS)
def test_operators_come_to_what_the_runtime_computes(operator):
    arrays, attributes = STEPS[operator]
    names = [f"i{number}" for number in range(len(arrays))]
    nodes = [helper.make_node(operator, names, ["w"], **attributes)]
    nodes.append(helper.make_node("Cast", ["w"], ["v"], to=FLOAT, name="decode/some/w"))
    nodes.append(helper.make_node("Identity", ["v"], ["y"]))
    model = model_bytes(nodes, list(zip(arrays, names, strict=True)), shape=None)
    file = read(model)
    (weight,) = (one for one in file.weights if one.encoding == "some")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (expected,) = session.run(None, {"x": np.zeros((1, 6), "float32")})
    decoded = weight_values(file, weight)
    assert (decoded.shape, decoded.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(decoded, expected)


def test_chains_and_operators_that_are_not_known_here(rejected):
    nodes = [helper.make_node("Sin", ["k"], ["w"]), matmul("w")]
    file = read(model_bytes(nodes, [(kernel(), "k")]))
    assert [weight.encoding for weight in file.weights] == ["computed"]
    assert "operator Sin" in rejected(NotDecodedError, weight_values, file, file.weights[0])


def test_a_few_bytes_do_not_become_gigabytes(rejected):
    nodes = [helper.make_node("Expand", ["one", "shape"], ["w"], name="decode/gap8/w"), matmul("w")]
    initializers = [(np.ones((1, 1), "float32"), "one"), (np.array([2**20, 2**20]), "shape")]
    file = read(model_bytes(nodes, initializers))
    assert "too large" in rejected(NotDecodedError, weight_values, file, file.weights[0])


LONG = 30_000
GROWTHS = {
    "ConstantOfShape": [(np.array([2**20, 2**20]), "shape")],
    "Add": [(np.ones((LONG, 1), "float32"), "rows"), (np.ones((1, LONG), "float32"), "columns")],
    "Gather": [(np.ones((1, LONG), "float32"), "data"), (np.zeros(LONG, "int64"), "indices")],
}


@pytest.mark.parametrize("operator", GROWTHS)
def test_a_result_is_refused_by_its_size_before_it_is_computed(operator, rejected):
    node = helper.make_node(operator, [name for _, name in GROWTHS[operator]], ["w"])
    node.name = "decode/gap8/w"
    file = read(model_bytes([node, matmul("w")], GROWTHS[operator]))
    tracemalloc.start()
    try:
        message = rejected(NotDecodedError, weight_values, file, file.weights[0])
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()

    assert "too large" in message


def test_many_small_chains_are_bounded_together(rejected):
    shape = (np.array([2**11, 2**11]), "shape")
    names = [f"w{i}" for i in range(400)]
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], [name], name=f"decode/gap8/{name}")
        for name in names
    ]
    nodes.append(helper.make_node("Concat", ["x", *names], ["y"], axis=0))
    file = read(model_bytes(nodes, [shape]))
    with pytest.raises(NotDecodedError):
        for weight in file.weights:
            weight_values(file, weight)


def broken(change, **options):
    model = model_bytes([matmul()], [(kernel(), "fc/kernel")], **options)
    change(model.graph, model.graph.initializer[0])
    return model.SerializeToString()


def external(location, **more):
    def change(graph, tensor):
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **more}.items():
            tensor.external_data.add(key=key, value=value)

    return change


def set_dims(*dims):
    return lambda graph, tensor: tensor.dims.__setitem__(slice(None), dims)


def nest(graph, tensor):
    inner = graph
    for _ in range(20):
        node = inner.node.add(op_type="If", input=["x"])
        inner = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g


DAMAGES = {
    "96 bytes for 28 values": set_dims(7, 4),
    "a constant of shape [-1, 4]": set_dims(-1, 4),
    "a constant of shape [4611686018427387904, 4]": set_dims(2**62, 4),
    "65 dimensions": set_dims(*[1] * 65),
    "unknown type 99": lambda graph, tensor: setattr(tensor, "data_type", 99),
    "unknown type 0": lambda graph, tensor: tensor.ClearField("data_type"),
    "0 values in float_data": lambda graph, tensor: tensor.ClearField("raw_data"),
    "96 bytes for 24": lambda graph, tensor: tensor.float_data.append(1),
    "only a part": lambda graph, tensor: setattr(tensor.segment, "begin", 0),
    "given twice": lambda graph, tensor: graph.initializer.add().CopyFrom(tensor),
    "'fc/kernel' is given twice": lambda graph, tensor: graph.node[0].output.append("fc/kernel"),
    "more than 16 deep": nest,
    "external data outside the folder, at '../weights'": external("../weights"),
    "at 'a/../../b'": external("a/../../b"),
    "at '/etc/passwd'": external("/etc/passwd"),
    r"at 'C:\\weights'": external("C:\\weights"),
    "at 'C:weights'": external("C:weights"),
    r"at '..\\weights'": external("..\\weights"),
    "at ''": external(""),
    "offset '-1'": external("weights", offset="-1"),
    "95 bytes of external data, not 96": external("weights", length="95"),
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_damages_are_named_in_one_line(rejected, reason):
    message = rejected(CheckpointError, read_onnx, broken(DAMAGES[reason]))
    assert reason in message, message


SPARSE_DAMAGES = {
    "the indices do not ascend": lambda flat: flat[::-1].copy(),
    "do not ascend": lambda flat: np.repeat(flat[:1], len(flat)),
    "an index is outside": lambda flat: flat + 2**40,
    "outside its shape [6, 4]": lambda flat: flat - 24,
    "indices of int32": lambda flat: flat.astype("int32"),
    "indices of int64, shape": lambda flat: flat[:-1],
    "shape [1, ": lambda flat: flat.reshape(1, -1),
}


@pytest.mark.parametrize("reason", SPARSE_DAMAGES)
def test_damaged_indices(rejected, reason):
    sparse = sparse_kernel()
    changed = SPARSE_DAMAGES[reason](numpy_helper.to_array(sparse.indices))
    sparse.indices.CopyFrom(numpy_helper.from_array(changed, "i"))
    content = model_bytes([matmul()], sparse=[sparse]).SerializeToString()
    assert reason in rejected(CheckpointError, read_onnx, content)


def test_external_data_inside_the_folder_are_reported_and_not_opened(tmp_path, rejected):
    path = tmp_path / "m.onnx"
    path.write_bytes(broken(external("weights.bin", offset="0", length="96")))
    (weight,) = (file := read_onnx(path.read_bytes(), path.parent)).weights
    assert (weight.encoding, weight.shape, weight.bytes) == ("external", (6, 4), 0)
    assert "no values in the file" in rejected(NotDecodedError, weight_values, file, weight)
    (tmp_path / "weights.bin").symlink_to("/etc/passwd")
    assert "outside the folder" in rejected(CheckpointError, read_onnx, path.read_bytes(), tmp_path)


def test_external_data_are_checked_in_nested_graphs_too(rejected):
    inner = numpy_helper.from_array(kernel(), "k")
    external("/etc/passwd")(None, inner)
    branch = helper.make_graph([helper.make_node("Identity", ["k"], ["z"])], "b", [], [], [inner])
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    content = model_bytes([node]).SerializeToString()
    assert "/etc/passwd" in rejected(CheckpointError, read_onnx, content)


def test_chains_that_share_everything_do_not_take_for_ever(rejected):
    count = 3000
    nodes = [helper.make_node("Add", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    nodes.append(helper.make_node("Sum", ["x", *(f"v{i}" for i in range(1, count))], ["y"]))
    content = model_bytes(nodes, [(np.ones(4, "float32"), "v0")]).SerializeToString()
    assert "share too many" in rejected(CheckpointError, read_onnx, content)


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"TFL3" * 10, b"\x08\x08"])
def test_other_files_are_refused(rejected, content):
    assert "not an ONNX file" in rejected(CheckpointError, read_onnx, content)


@pytest.mark.parametrize("name", [b"fc/kernel", b"MatMul", b"rows", b"ai.other", b"producer"])
def test_names_that_are_no_text(rejected, name):
    model = model_bytes([matmul()], [(kernel(), "fc/kernel")], producer_name="producer")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "rows"
    model.opset_import.add(domain="ai.other", version=1)
    content = model.SerializeToString()
    assert name in content
    damaged = content.replace(name, b"\xff\xfe" + name[2:])
    assert "no UTF-8" in rejected(CheckpointError, read_onnx, damaged)


def test_places_of_external_data_that_are_no_text(rejected):
    content = broken(external("weights.bin")).replace(b"weights.bin", b"\xff\xfeights.bin")
    assert "no UTF-8" in rejected(CheckpointError, read_onnx, content)


WIDE = 30_000
BROADCASTS = {
    "DequantizeLinear": (
        helper.make_node("DequantizeLinear", ["data", "scale"], ["w"], axis=0),
        [(np.ones((1, WIDE), "int8"), "data"), (np.ones(WIDE, "float32"), "scale")],
    ),
    "GatherElements": (
        helper.make_node("GatherElements", ["data", "indices"], ["w"], axis=0),
        [(np.ones((WIDE, 1), "float32"), "data"), (np.zeros((1, WIDE), "int64"), "indices")],
    ),
    "ScatterElements": (
        helper.make_node("ScatterElements", ["data", "indices", "updates"], ["w"], axis=0),
        [
            (np.ones((WIDE, 1), "float32"), "data"),
            (np.zeros((1, WIDE), "int64"), "indices"),
            (np.ones((1, WIDE), "float32"), "updates"),
        ],
    ),
}


@pytest.mark.parametrize("operator", BROADCASTS)
def test_what_numpy_would_broadcast_is_refused(operator, rejected):
    node, constants = BROADCASTS[operator]
    file = read(model_bytes([node, matmul("w")], constants))

    rejected(CheckpointError, weight_values, file, file.weights[0])


def test_scales_of_blocks():
    data = np.arange(24, dtype="int8").reshape(6, 4)
    scale = np.arange(1, 13, dtype="float32").reshape(3, 4)
    node = helper.make_node("DequantizeLinear", ["data", "scale"], ["w"], axis=0, block_size=2)
    model = model_bytes([node, matmul("w")], [(data, "data"), (scale, "scale")])
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 21))
    onnx.checker.check_model(model, full_check=True)
    file = read(model)

    found = weight_values(file, file.weights[0])

    assert found.tolist() in (data.tolist(), (data * np.repeat(scale, 2, 0)).tolist())


def test_blocks_of_any_size_are_not_made_at_once(rejected):
    node = helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0, block_size=2**40)
    constants = [(np.ones((1, 4), "int8"), "q"), (np.ones((1, 4), "float32"), "s")]
    file = read(model_bytes([node, matmul("w")], constants))

    assert "too large" in rejected(NotDecodedError, weight_values, file, file.weights[0])


def test_external_data_in_an_attribute_are_not_opened(tmp_path, monkeypatch, rejected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").write_bytes(b"\0\0\0\0")
    value = TensorProto(data_type=FLOAT, dims=[1])
    external("here")(None, value)
    node = helper.make_node("ConstantOfShape", ["s"], ["w"], value=value, name="decode/gap8/w")
    file = read(model_bytes([node, matmul("w")], [(np.array([6, 4]), "s")]))

    rejected(NotDecodedError, weight_values, file, file.weights[0])


def test_axes_and_ends_may_be_attributes_as_older_operators_have_them():
    nodes = [
        helper.make_node("Slice", ["k"], ["part"], starts=[0], ends=[1], axes=[0]),
        helper.make_node("Squeeze", ["part"], ["w"], axes=[0], name="decode/part/w"),
        matmul("w"),
    ]
    model = model_bytes(nodes, [(kernel(shape=(2, 6, 1)), "k")])
    model.opset_import[0].version = 9
    (weight,) = (file := read(model)).weights

    np.testing.assert_array_equal(weight_values(file, weight), kernel(shape=(2, 6, 1))[0])


@pytest.mark.slow
def test_many_small_nodes_are_work_too(rejected):
    count = 2**15 + 1
    nodes = [helper.make_node("Identity", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)]
    model = model_bytes([*nodes, matmul(f"v{count}")], [(np.ones((6, 4), "float32"), "v0")])
    file = read(model)

    assert "32768 nodes" in rejected(NotDecodedError, weight_values, file, file.weights[0])


def test_a_size_of_zero_hides_no_other(rejected):
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[0, 2**62])

    message = rejected(CheckpointError, read, model_bytes([matmul("w")], [tensor]))

    assert "a constant of shape" in message


@pytest.mark.slow
def test_values_that_double_stop_in_time(rejected):
    nodes = [
        helper.make_node("Concat", [f"c{n}", f"c{n}"], [f"c{n + 1}"], axis=0) for n in range(40)
    ]
    model = model_bytes([*nodes, matmul("c40")], [(np.ones((2**18, 4), "float32"), "c0")])
    file = read(model)

    rejected(NotDecodedError, weight_values, file, file.weights[0])
