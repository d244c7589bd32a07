"""The weights of a TFLite graph, each quantised and stored as suits it and its runtime.

For every weight `choice` says what the runtime executes right; here that is turned into bytes,
and the cheapest is written. Biases, weights of operators that are not in the table, and those
that several kinds of operators share, stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from compressor.exporters.request import EncodedTensor, Request
from compressor.exporters.tflite import graph as graphs, parts
from compressor.exporters.tflite.candidates import candidates, encode
from compressor.exporters.tflite.choice import ENCODINGS, VALUE_BITS, Candidate, best
from compressor.exporters.tflite.scales import SCALE_BYTES
from compressor.exporters.tflite.stored import add_decoding, store
from compressor.exporters.tflite.weight import EncodableWeight, encodable_weights

__all__ = ["ENCODINGS", "encode_weights"]

_BIASES = {"FULLY_CONNECTED": 2, "CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "TRANSPOSE_CONV": 3}
"""operator -> which of its inputs is the bias"""


def encode_weights(
    graph: Any, names: Mapping[int, str], request: Request
) -> tuple[tuple[EncodedTensor, ...], tuple[str, ...]]:
    """Quantise and encode the weights of a ModelT in place; what was done, and notes on it.

    `graph` is float32, or in integers already where request.quantize is `int8`; `names` are
    tensors of its main subgraph -> what they are called. Every constant that is a weight is in
    the result. A value that is zero stays exactly zero. Raises ModelError for weights that are
    not finite.
    """
    described = {
        index: _unchanged(graph, _name(graph, names, index), index, values)
        for index, values in _constants(graph, names).items()
    }
    refused = []
    for weight in encodable_weights(graph):
        options = candidates(weight, request.runtime, request.quantize)
        chosen = best(options, request.optimize, request.encoding)
        if chosen is None:
            refused.append(_name(graph, names, weight.index))
            chosen = best(options, request.optimize, "dense")
        if chosen is not None:
            name = _name(graph, names, weight.index)
            described[weight.index] = write(graph, name, weight, chosen)
    notes: tuple[str, ...] = ()
    if refused:
        notes = (f"Stored dense, since {request.encoding} does not fit: {', '.join(refused)}.",)
    return tuple(described.values()), notes


def write(graph: Any, name: str, weight: EncodableWeight, chosen: Candidate) -> EncodedTensor:
    """Store a weight of `encodable_weights` as chosen, and let its users have it; what was done."""
    way = chosen.way
    encoded = encode(weight, chosen)
    if way.as_convolution:
        parts.as_convolution(graph, weight.users[0], weight.index, encoded, chosen.rows)
    elif chosen.rows is not None:
        parts.in_parts(graph, weight.users[0], weight.index, encoded, chosen.rows)
    elif way.sparse or (way.values != "float32" and not weight.operand.integer):
        store(graph, weight.index, encoded)
        for operator in weight.users:
            if way.version is not None:
                hybrid = way.values != "float32" and not weight.operand.integer
                _set_version(graph, operator, way.version, hybrid=hybrid)
        if way.version is None:
            integers = weight.operand.integer
            decoded = add_decoding(graph, weight.index, encoded, integers=integers)
            for operator in weight.users:
                position = graphs.indices(operator.inputs).index(weight.index)
                graphs.replace_input(operator, position, decoded)
    return EncodedTensor(
        name=name,
        shape=weight.values.shape,
        zeros=int(np.count_nonzero(encoded.values == 0)),
        encoding=way.encoding,
        values=way.values,
        bytes=chosen.bytes,
    )


def _set_version(graph: Any, operator: Any, version: int, *, hybrid: bool) -> None:
    """Let an operator read weights as they are stored."""
    name = graphs.operator_name(graph, operator)
    operator.opcodeIndex = graphs.operator_code(graph, name, version)
    if name == "FULLY_CONNECTED":
        # Inputs of hybrid kernels are quantised with a zero point, which loses less after ReLU.
        operator.builtinOptions.asymmetricQuantizeInputs = hybrid


def _name(graph: Any, names: Mapping[int, str], index: int) -> str:
    return (
        names.get(index) or graphs.text(graphs.main(graph).tensors[index].name) or f"tensor {index}"
    )


def _constants(graph: Any, names: Mapping[int, str]) -> dict[int, np.ndarray]:
    """The constants of the main subgraph that hold numbers of the model, not shapes or axes."""
    found = {}
    for index, users in sorted(graphs.users(graph).items()):
        values = graphs.constant(graph, index)
        if values is None or values.size < 2:
            continue
        bias = values.dtype == np.int32 and any(
            position == _BIASES.get(graphs.operator_name(graph, operator))
            for operator, position in users
        )
        if index in names or bias or values.dtype.name in VALUE_BITS:
            found[index] = values
    return found


def _unchanged(graph: Any, name: str, index: int, values: np.ndarray) -> EncodedTensor:
    quantization = graphs.main(graph).tensors[index].quantization
    scale = None if quantization is None else quantization.scale
    return EncodedTensor(
        name=name,
        shape=values.shape,
        zeros=int(np.count_nonzero(values == 0)),
        encoding="dense",
        values=values.dtype.name,
        bytes=values.nbytes + (0 if scale is None else SCALE_BYTES * len(scale)),
    )
