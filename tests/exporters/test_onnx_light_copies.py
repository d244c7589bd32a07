"""tf2onnx's optimiser: copies of the graph share its weights, and nothing else."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from compressor.exporters.onnx.light_copies import light_copies


def test_copies_share_constants_and_a_failing_pass_changes_nothing():
    from tf2onnx import optimizer
    from tf2onnx.graph import GraphUtil

    weights = np.arange(12, dtype=np.float32).reshape(3, 4)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size])
        for name, size in (("x", 3), ("y", 4))
    ]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")]),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    graph = GraphUtil.create_graph_from_onnx_model(model)
    (constant,) = (node for node in graph.get_nodes() if node.is_const())
    seen = []

    class Vandal:
        graph_been_opt = False

        def optimize(self, copied, iteration):
            (again,) = (node for node in copied.get_nodes() if node.is_const())
            seen.append((copied is graph, again.attr["value"] is constant.attr["value"]))
            again.set_tensor_value(0 * weights)
            copied.get_node_by_name("product").type = "Gemm"
            raise RuntimeError("this pass fails")

    with light_copies():
        kept = optimizer.optimize_graph(graph, optimizers={"vandal": Vandal})
        made = kept.make_model("")
    assert seen == [(False, True)]
    kinds = [node.op_type for node in made.graph.node]
    assert "MatMul" in kinds and "Gemm" not in kinds
    assert np.array_equal(numpy_helper.to_array(made.graph.initializer[0]), weights)
    assert optimizer.optimize_graph.__module__ == "tf2onnx.optimizer"
