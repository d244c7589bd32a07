"""Naming the weights of a file after the variables of the model."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from compressor.exporters.onnx.canonical import name_after_layers


def test_each_weight_is_looked_at_once_however_many_are_of_one_size(keras, monkeypatch):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(6, use_bias=False, name=f"part_{n}") for n in range(24)]
    model = keras.Sequential([keras.Input((6,)), *layers])
    kernels = [np.asarray(layer.kernel) for layer in layers]
    nodes = [
        helper.make_node("MatMul", [f"x{n}", f"w{n}"], [f"x{n + 1}"], name=f"m{n}")
        for n in range(24)
    ]
    ends = [helper.make_tensor_value_info(f"x{n}", TensorProto.FLOAT, [1, 6]) for n in (0, 24)]
    # Transposed, and in another order than the layers.
    weights = [numpy_helper.from_array(kernels[n].T.copy(), f"w{n}") for n in reversed(range(24))]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], weights)
    calls: list[int] = []
    sort = np.sort
    monkeypatch.setattr(np, "sort", lambda *a, **k: calls.append(1) or sort(*a, **k))
    named = name_after_layers(graph, model)
    assert named == {f"part_{n}/kernel" for n in range(24)}
    assert [entry.name for entry in graph.initializer] == [
        f"part_{n}/kernel" for n in reversed(range(24))
    ]
    assert len(calls) <= 2 * 24
