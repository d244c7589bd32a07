"""The weights of a TFLite graph, each quantised and stored in the best encoding for its runtime.

Biases, weights of operators that `choice` does not list, and those that several kinds of
operators share, stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from compressor.exporters.request import EncodedTensor, Request
from compressor.exporters.tflite import graph as graphs, parts
from compressor.exporters.tflite.candidates import candidates, encode
from compressor.exporters.tflite.choice import ENCODINGS, VALUE_BITS, Candidate, best
from compressor.exporters.tflite.file_contents import Decoded
from compressor.exporters.tflite.golomb import Decoding
from compressor.exporters.tflite.price import Price
from compressor.exporters.tflite.stored import SCALE_BYTES, add_decoding, store
from compressor.exporters.tflite.weight import EncodableWeight, encodable_weights

__all__ = ["ENCODINGS", "constants", "encode_weights", "unchanged"]

_BIASES = {"FULLY_CONNECTED": 2, "CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "TRANSPOSE_CONV": 3}
"""operator -> which of its inputs is the bias"""


def encode_weights(
    graph: Any,
    names: Mapping[int, str],
    request: Request,
    *,
    looped: bool = False,
    whole: Any = None,
    price: Price | None = None,
) -> tuple[tuple[EncodedTensor, ...], tuple[str, ...]]:
    """Quantise and encode the weights of a ModelT in place; describes them all, with notes.

    `graph` is float32, or in integers already where request.quantize is `int8`; `names` maps
    tensors of its main subgraph to names; `looped` says that this is the body of a loop; `whole`
    is the graph of which `graph` is a view; what the encodings cost is added to `price`. A value
    that is zero stays exactly zero. Raises ModelError for weights that are not finite.
    """
    described = {
        index: unchanged(graph, _name(graph, names, index), index, values)
        for index, values in constants(graph, names).items()
    }
    whole = whole or graph
    decoding = None if looped else Decoding.of(whole)
    others = {tensor.buffer for subgraph in whole.subgraphs[1:] for tensor in subgraph.tensors}
    refused = []
    for weight in encodable_weights(graph, looped=looped):
        options = candidates(weight, request.runtime, request.quantize, exact=request.exact)
        if decoding is None or graphs.main(graph).tensors[weight.index].buffer in others:
            options = [option for option in options if option.encoding.name != "golomb"]
        chosen = best(options, request.optimize, request.encoding)
        if chosen is None:
            refused.append(_name(graph, names, weight.index))
            chosen = best(options, request.optimize, "dense")
        if chosen is not None:
            name = _name(graph, names, weight.index)
            described[weight.index] = write(graph, name, weight, chosen, decoding)
            if price is not None:
                fastest = best(options, "latency") or chosen
                price.add(weight.operand, chosen, fastest, best(options, "size") or chosen)
    notes: tuple[str, ...] = ()
    if refused:
        notes = (f"Stored dense, since {request.encoding} does not fit: {', '.join(refused)}.",)
    return tuple(described.values()), notes


def write(
    graph: Any,
    name: str,
    weight: EncodableWeight,
    chosen: Candidate,
    decoding: Decoding | None = None,
) -> EncodedTensor:
    """Store a weight of `encodable_weights` as chosen, connect its users, and describe it.

    The `decoding` is that of the other weights of a file, if there are any.
    """
    encoding, encoded = chosen.encoding, encode(weight, chosen)
    integers = weight.operand.integer
    reduced = encoding.values != "float32" and not integers
    if encoding.as_convolution or chosen.window is not None:
        window = chosen.window or 1
        parts.as_convolution(graph, weight.users[0], weight.index, encoded, chosen.rows, window)
    elif chosen.rows is not None:
        parts.in_parts(graph, weight.users[0], weight.index, encoded, chosen.rows)
    elif encoding.sparse or reduced:
        if encoding.name == "golomb":
            (decoding or Decoding(graph)).add(weight.index, encoded)
        else:
            store(graph, weight.index, encoded)
        if encoding.version is not None:
            for operator in weight.users:
                _set_version(graph, operator, encoding.version, hybrid=reduced)
        else:
            decoded = add_decoding(graph, weight.index, encoded, integers=integers)
            for operator in weight.users:
                position = graphs.indices(operator.inputs).index(weight.index)
                graphs.replace_input(operator, position, decoded)
    zeros = int(np.count_nonzero(encoded.values == 0))
    shape = weight.values.shape
    return EncodedTensor(name, shape, zeros, encoding.name, encoding.values, chosen.bytes)


def _set_version(graph: Any, operator: Any, version: int, *, hybrid: bool) -> None:
    name = graphs.operator_name(graph, operator)
    operator.opcodeIndex = graphs.operator_code(graph, name, version)
    if name == "FULLY_CONNECTED":
        # Inputs of hybrid kernels are quantised with a zero point, which loses less after ReLU.
        operator.builtinOptions.asymmetricQuantizeInputs = hybrid


def _name(graph: Any, names: Mapping[int, str], index: int) -> str:
    return names.get(index) or graphs.name_of(graph, index) or f"tensor {index}"


def constants(graph: Any, names: Mapping[int, str]) -> dict[int, np.ndarray]:
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


def decoded_weight(graph: Any, names: Mapping[int, str], found: Decoded) -> EncodedTensor:
    """The description of a weight of the main subgraph that is decoded already."""
    quantization = graphs.main(graph).tensors[found.tensor].quantization
    zeros = int(np.count_nonzero(found.values == 0))
    size = found.bytes + SCALE_BYTES * len(quantization.scale)
    name = _name(graph, names, found.tensor)
    return EncodedTensor(name, found.values.shape, zeros, found.encoding, "int8", size)


def unchanged(graph: Any, name: str, index: int, values: np.ndarray) -> EncodedTensor:
    """The description of a constant that is stored as it is in the graph."""
    quantization = graphs.main(graph).tensors[index].quantization
    four_bits = graphs.type_name(graphs.main(graph).tensors[index]) == "INT4"
    size = -(-values.nbytes // 2) if four_bits else values.nbytes
    if quantization is not None and quantization.scale is not None:
        size += 4 * len(quantization.scale) + 8 * len(graphs.indices(quantization.zeroPoint))
    zeros = int(np.count_nonzero(values == 0))
    kind = "int4" if four_bits else values.dtype.name
    return EncodedTensor(name, values.shape, zeros, "dense", kind, size)
