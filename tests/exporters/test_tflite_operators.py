"""What a runtime executes: operators and their versions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compressor.errors import ModelError
from compressor.exporters.tflite import convert, graph, operators, passes
from deploy.operator_table import find_table


@pytest.fixture
def small_graph(small_net) -> Any:
    found = convert.convert(small_net())
    passes.fix_reshapes(found)
    passes.drop_dead_operators(found)
    return found


def with_version(found: Any, name: str, version: int) -> Any:
    for item in graph.main(found).operators:
        if graph.operator_name(found, item) == name:
            item.opcodeIndex = graph.operator_code(found, name, version)
    return found


def test_what_a_graph_needs_is_the_largest_version_of_each_operator(small_graph):
    assert operators.needs(small_graph) == {"FULLY_CONNECTED": 1, "RESHAPE": 1}
    first = graph.main(small_graph).operators[-1]
    first.opcodeIndex = graph.operator_code(small_graph, "FULLY_CONNECTED", 8)
    assert operators.needs(small_graph) == {"FULLY_CONNECTED": 8, "RESHAPE": 1}
    content = graph.write_graph(small_graph)
    assert operators.needs(graph.read_graph(content)) == operators.needs(small_graph)


def test_a_version_that_tflite_runtime_does_not_have_is_refused_with_what_it_has(
    small_graph, rejected
):
    operators.check_runtime(with_version(small_graph, "FULLY_CONNECTED", 10), "tflite-runtime")
    newer = with_version(small_graph, "FULLY_CONNECTED", 12)
    message = rejected(ModelError, operators.check_runtime, newer, "tflite-runtime")
    assert "FULLY_CONNECTED 12, has 10" in message
    operators.check_runtime(newer, "litert")


def test_an_operator_that_tflite_runtime_does_not_have_at_all_is_refused(small_graph, rejected):
    main = graph.main(small_graph)
    source = int(main.outputs[0])
    output = graph.add_tensor(small_graph, "composed", (-1, 4), np.float32)
    graph.add_operator(small_graph, "STABLEHLO_ADD", [source, source], [output], before=None)
    message = rejected(ModelError, operators.check_runtime, small_graph, "tflite-runtime")
    assert "does not have this operator: STABLEHLO_ADD" in message


@pytest.mark.parametrize(
    ("name", "version"),
    [("CONV_2D", 7), ("DENSIFY", 1), ("DEQUANTIZE", 5), ("RESHAPE", 1), ("GELU", 2)],
)
def test_versions_up_to_the_largest_are_taken(small_graph, rejected, name, version):
    for item in graph.main(small_graph).operators:
        item.opcodeIndex = graph.operator_code(small_graph, name, version)
    operators.check_runtime(small_graph, "tflite-runtime")
    for item in graph.main(small_graph).operators:
        item.opcodeIndex = graph.operator_code(small_graph, name, version + 1)
    assert f"{name} {version + 1}, has {version}" in rejected(
        ModelError, operators.check_runtime, small_graph, "tflite-runtime"
    )


def test_an_operator_that_leads_nowhere_is_dropped_with_what_leads_to_it(small_graph):
    before = graph.write_graph(small_graph)
    source = int(graph.main(small_graph).inputs[0])
    first = graph.add_tensor(small_graph, None, (-1, 8, 8, 1), np.float32)
    second = graph.add_tensor(small_graph, None, (-1, 8, 8, 1), np.float32)
    graph.add_operator(small_graph, "RELU", [source], [first])
    graph.add_operator(small_graph, "TANH", [first], [second], before=1)
    assert len(graph.write_graph(small_graph)) > len(before)
    passes.drop_dead_operators(small_graph)
    assert graph.write_graph(small_graph) == before


def test_what_tflite_runtime_has_is_known_to_the_younger_litert(small_graph):
    import flatbuffers
    from ai_edge_litert.interpreter import Interpreter

    table = find_table("tflite-runtime", "2.14.0")
    assert table is not None
    for name, version in table.operators.items():
        graph.operator_code(small_graph, name, version)
    # Not write_graph, which drops codes that no operator has.
    builder = flatbuffers.Builder()
    builder.Finish(small_graph.Pack(builder), file_identifier=b"TFL3")
    Interpreter(model_content=bytes(builder.Output())).allocate_tensors()
    graph.operator_code(small_graph, "ADD", 99)
    builder = flatbuffers.Builder()
    builder.Finish(small_graph.Pack(builder), file_identifier=b"TFL3")
    with pytest.raises(ValueError, match="ADD"):
        Interpreter(model_content=bytes(builder.Output()))
