"""Which operators, in which versions, a runtime executes.

The version of an operator rises with new types and options; a runtime refuses to load a file with
a version that it does not know.
"""

from __future__ import annotations

from typing import Any

from compressor.errors import ModelError
from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.decode_codes import OPERATOR
from deploy.operator_table import find_table

_CHECKED = {"tflite-runtime": "2.14.0", "tflite-micro": "0.dev20261023182759"}
"""runtime -> the version whose measured operators an export is checked against; not LiteRT,
which is as new as the converter"""

_FLOAT_ONLY = {"tflite-runtime": ("DIV",)}
"""runtime -> operators that it accepts in int8, and then cannot run"""


def needs(graph: Any) -> dict[str, int]:
    """Operator -> the largest version of it in the graph, in alphabetical order."""
    found: dict[str, int] = {}
    for subgraph in graph.subgraphs:
        for operator in subgraph.operators or []:
            name = graphs.operator_name(graph, operator)
            code = graphs.text(graph.operatorCodes[operator.opcodeIndex].customCode)
            name = code if code == OPERATOR else name
            version = int(graph.operatorCodes[operator.opcodeIndex].version)
            found[name] = max(version, found.get(name, 1))
    return dict(sorted(found.items()))


def check_runtime(graph: Any, runtime: str) -> None:
    """Raise ModelError where `runtime` is known not to have an operator, or its version."""
    if runtime not in _CHECKED:
        return
    table = find_table(runtime, _CHECKED[runtime])
    assert table is not None
    release, largest = f"{runtime} {table.version}", table.operators
    for name, version in needs(graph).items():
        if name not in largest:
            raise ModelError(
                f"{release} does not have this operator",
                value=name,
                hint="export for litert, or replace the layer that needs it",
            )
        if version > largest[name]:
            raise ModelError(
                f"{release} does not have this operator version",
                value=f"{name} {version}, has {largest[name]}",
                hint="export for litert, or with another --quantize",
            )
    for subgraph in graph.subgraphs:
        for operator in subgraph.operators or []:
            name = graphs.operator_name(graph, operator)
            types = {graphs.type_name(subgraph.tensors[i]) for i in graphs.indices(operator.inputs)}
            if name in _FLOAT_ONLY.get(runtime, ()) and "INT8" in types:
                raise ModelError(
                    f"{release} does not have this operator in int8",
                    value=name,
                    hint="export for litert, or with --quantize dynamic",
                )
