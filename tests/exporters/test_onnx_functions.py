"""One decoder for several weights: a function of the model, read back and folded at load."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import CheckpointError
from compressor.exporters.onnx.compact import compact
from compressor.exporters.onnx.decoding import CHOSEN_FROM, choose_all, insert
from compressor.exporters.onnx.functions import total_bytes
from compressor.exporters.onnx.reading import read_onnx, weight_values
from compressor.exporters.onnx.weights import store_codebook
from deploy import quiet_onnxruntime

onnxruntime = quiet_onnxruntime.load()
SIZES = {"first/kernel": (40, 60), "second/kernel": (40, 60), "third/kernel": (40, 60)}


def sparse(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(40, 60)).astype(np.float32)
    values[generator.random(values.shape) < 0.85] = 0
    return values


@pytest.fixture
def kernels() -> dict[str, np.ndarray]:
    """Three sparse matrices of 16 values each, so that a codebook holds them as they are."""
    found = {}
    for number, name in enumerate(SIZES):
        stored = store_codebook(sparse(number), zero=True)
        found[name] = stored.table[stored.codes].reshape(stored.shape)
    return found


def shared_model(kernels: dict[str, np.ndarray]) -> onnx.ModelProto:
    """y = x + the sum of the kernels, each decoded by a call."""
    values = ["x", *(f"sum_{number}" for number in range(len(kernels) - 1)), "y"]
    nodes = [
        helper.make_node("Add", [values[number], name], [values[number + 1]], name=f"add/{number}")
        for number, name in enumerate(kernels)
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (40, 60)) for n in ("x", "y")]
    tensors = [numpy_helper.from_array(values, name) for name, values in kernels.items()]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("c", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    chains, functions = choose_all(
        (name, [store_codebook(values, zero=True)], CHOSEN_FROM) for name, values in kernels.items()
    )
    insert(model.graph, chains)
    compact(model, set())
    model.functions.extend(functions)
    return model


def test_several_weights_share_one_decoder_of_which_nothing_is_left_after_loading(
    kernels, tmp_path
):
    model = shared_model(kernels)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    (found,) = session.run(None, {"x": np.zeros((40, 60), np.float32)})

    np.testing.assert_allclose(found, sum(kernels.values()), atol=1e-6)
    left = onnx.load(tmp_path / "optimized.onnx")
    assert {node.op_type for node in left.graph.node} <= {"Add", "Sum"}
    assert len(model.functions) == 1
    assert sum(node.domain == "c" for node in model.graph.node) == len(kernels)


def test_the_shared_decoder_is_smaller_than_one_for_each(kernels):
    options = [(n, [store_codebook(v, zero=True)], CHOSEN_FROM) for n, v in kernels.items()]
    alone = sum(total_bytes(*choose_all([one])) for one in options)
    assert total_bytes(*choose_all(options)) < alone - 300
    assert not choose_all(options[:1])[1]


def test_weights_behind_calls_are_read_with_their_names(kernels):
    file = read_onnx(shared_model(kernels).SerializeToString())
    assert [(w.name, w.encoding, w.values) for w in file.weights] == [
        (name, "golomb", "codebook4") for name in kernels
    ]
    for weight in file.weights:
        np.testing.assert_allclose(weight_values(file, weight), kernels[weight.name])
    assert ("c", "F") not in file.operators and not file.functions


def test_calls_that_would_fill_the_memory_are_refused(kernels):
    model = shared_model(kernels)
    call = next(node for node in model.graph.node if node.domain == "c")
    for number in range(5000):
        more = model.graph.node.add()
        more.CopyFrom(call)
        more.output[0] = f"more_{number}"
    with pytest.raises(CheckpointError, match="functions come to more than"):
        read_onnx(model.SerializeToString())


@pytest.mark.parametrize("spoil", ["inputs", "outputs", "attribute"])
def test_a_call_that_does_not_fit_its_function_is_no_weight(kernels, spoil):
    model = shared_model(kernels)
    call = next(node for node in model.graph.node if node.domain == "c")
    if spoil == "attribute":
        call.attribute.append(helper.make_attribute("alpha", 1))
    else:
        del getattr(call, "input" if spoil == "inputs" else "output")[-1:]
    file = read_onnx(model.SerializeToString())
    assert "first/kernel" not in [weight.name for weight in file.weights]
