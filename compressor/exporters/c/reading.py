"""From a .tflite file in int8 to the integer network that C code is generated from."""

from __future__ import annotations

import dataclasses

from compressor.errors import ModelError
from compressor.exporters.c import activations
from compressor.exporters.c.network import Network
from compressor.exporters.c.operator import REFUSED, Building, Operator, refuse
from compressor.exporters.c.operators import READERS
from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.reading import read_tflite


def read_network(content: bytes) -> Network:
    """The network of an untrusted .tflite file.

    Its one input and its one output may be float32, with a QUANTIZE or DEQUANTIZE behind it.
    Raises CheckpointError for a damaged file; ModelError, which names the operator, for what the C
    code cannot compute.
    """
    read_tflite(content)
    graph = graphs.read_graph(content)
    try:
        return _read(Building(graph))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"[:120]
        raise ModelError("the graph does not fit its operators", value=reason) from error


def _read(building: Building) -> Network:
    if len(building.graph.subgraphs) != 1:
        raise refuse("WHILE or IF", "a graph with loops or branches")
    for what, ports in (("input", building.main.inputs), ("output", building.main.outputs)):
        if len(ports) != 1:
            raise ModelError(f"C code has one {what}", value=f"the model has {len(ports)}")
    start, end = int(building.main.inputs[0]), int(building.main.outputs[0])
    first: int | None = None
    if graphs.type_name(building.main.tensors[start]) == "INT8":
        first = building.added(start)
    for operator in building.main.operators:
        name = graphs.operator_name(building.graph, operator)
        inputs, outputs = graphs.indices(operator.inputs), graphs.indices(operator.outputs)
        if name == "QUANTIZE" and inputs == [start] and start not in building.numbers:
            number = building.added(outputs[0])
            first = number if first is None else first
            entered, again = building.tensors[first], building.tensors[number]
            if (entered.scale, entered.zero) != (again.scale, again.zero):
                raise refuse(name, "the input is quantized twice, and not alike")
            building.numbers[outputs[0]] = first
        elif name == "DEQUANTIZE" and outputs == [end] and inputs[0] in building.numbers:
            building.numbers[end] = building.numbers[inputs[0]]
        elif len(outputs) != 1:
            raise refuse(name, f"{len(outputs)} outputs")
        else:
            reader = READERS.get(name) or activations.reader(name)
            if reader is None:
                raise refuse(name)
            try:
                reader(Operator(building, name, operator, inputs, outputs[0]))
            except ModelError as error:
                if error.what == REFUSED:
                    raise
                raise refuse(name, f"{error.what}: {error.value}") from error
    if end not in building.numbers:
        raise ModelError(
            "C code is generated from integers", value="the output is not computed in int8"
        )
    last = building.numbers[end]
    if first is None or first == last:
        raise ModelError("the output of the model is its input", value=building.tensors[0].name)
    ranks = building.rank(start), building.rank(end)
    return _needed(Network(tuple(building.tensors), tuple(building.layers), first, last, ranks))


def _needed(network: Network) -> Network:
    """Without layers that the output does not depend on."""
    wanted, kept = {network.output}, []
    for layer in reversed(network.layers):
        if layer.output in wanted:
            wanted |= set(layer.inputs)
            kept.append(layer)
    return dataclasses.replace(network, layers=tuple(reversed(kept)))
