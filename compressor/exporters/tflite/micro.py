"""TFLite files for TFLite Micro, as small as its operators read them.

Every weight is stored dense, or encoded and decoded again by TFLM_DECODE in front of each operator
that multiplies it, at every run, into the arena. What the runtime reads is all that a file holds.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compressor.errors import CheckFailedError, UsageError
from compressor.exporters.request import MICRO, EncodedTensor, ExportedFile, Request
from compressor.exporters.tflite import decode_codes, graph as graphs
from compressor.exporters.tflite.decode_codes import OPERATOR, Coded
from compressor.exporters.tflite.operators import check_runtime, needs
from compressor.exporters.tflite.reading import read_tflite
from compressor.exporters.tflite.weights import constants, unchanged

ENCODINGS = {
    "dense": "every value, one after another",
    "lut": "a table of the distinct values, and an index for each; decoded at every run",
    "huffman": "a prefix code of the values; decoded at every run",
    "prune": "non-zero values and a bit for each value; decoded at every run",
}
MOST_ARENA = 1.1
"""How many times the arena of dense weights `--optimize ram` may take."""

WEIGHTS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
"""operators whose weights may be decoded: they read them when they run, not before"""
WEIGHT, BIAS = 1, 2
"""which of their inputs"""
_WRITERS = {
    "lut": decode_codes.tabled,
    "huffman": decode_codes.huffman,
    "prune": decode_codes.pruned,
}


@dataclasses.dataclass(frozen=True)
class _Weight:
    index: int
    values: np.ndarray
    users: frozenset[int]
    """positions of the operators that multiply it"""
    coded: Coded

    @property
    def saved(self) -> int:
        return self.values.nbytes - self.coded.bytes


def check(request: Request) -> None:
    """Raise UsageError for what TFLite Micro does not have."""
    if request.quantize not in ("none", "int8"):
        raise UsageError(
            f"{MICRO} computes in int8 or float32",
            value=request.quantize,
            hint="choose --quantize int8",
        )
    if request.encoding is not None and request.encoding not in ENCODINGS:
        hint = f"choose one of {', '.join(ENCODINGS)}"
        raise UsageError(f"{MICRO} has no such encoding", value=request.encoding, hint=hint)


def finished(
    plain: Any,
    names: Mapping[int, str],
    request: Request,
    inputs: tuple[str, ...],
    notes: Sequence[str],
) -> ExportedFile:
    """The file of a ModelT, which is not changed; `names` are those of the model's weights.

    Ensures: it has the values of `plain`, which is its `origin`, and is no larger than with dense
    weights. For the latency all weights are dense; for the RAM those are encoded with which the
    arena, as `request.arena` measures it, stays below `MOST_ARENA` times that of dense weights.
    Raises ModelError for an operator that the runtime does not have.
    """
    dense = graphs.copied(plain)
    make_lean(dense)
    check_runtime(dense, MICRO)
    whole, measure = graphs.write_graph(dense), request.arena or (lambda _: None)
    chosen, content = _chosen(dense, whole, request)
    _check_values(chosen, content)
    described = _described(dense, names, chosen, request.value_bits)
    operators = needs(_encoded(dense, chosen))
    details = {
        "dense_file_bytes": len(whole),
        "arena_bytes": measure(content),
        "dense_arena_bytes": measure(whole),
    }
    origin = ExportedFile(graphs.write_graph(plain), inputs, (), {})
    return ExportedFile(
        content, inputs, described, operators, tuple(notes), origin=origin, details=details
    )


def make_lean(graph: Any) -> None:
    """Drop what TFLite Micro does not read; changes `graph`.

    Names but those of inputs and outputs, signatures, ranges, open sizes (it runs one example at a
    time), all zero points of a tensor but one where they are equal, and scales of biases where
    those of the weights say the same.
    """
    graph.signatureDefs = None
    main = graphs.main(graph)
    for subgraph in graph.subgraphs:
        public = subgraph.inputs, subgraph.outputs
        kept = {index for part in public for index in graphs.indices(part)}
        subgraph.name = None
        for index, tensor in enumerate(subgraph.tensors):
            if subgraph is not main or index not in kept:
                tensor.name = None
            tensor.shapeSignature, tensor.hasRank = None, False
            tensor.quantization = _lean_scales(tensor.quantization)
    for index, readers in graphs.users(graph).items():
        if index >= 0 and all(_idle_scales(graph, *reader) for reader in readers):
            main.tensors[index].quantization = None


def _lean_scales(quantization: Any) -> Any:
    if quantization is None or quantization.scale is None or not len(quantization.scale):
        return None
    zeros = quantization.zeroPoint
    if zeros is None or not len(zeros):
        zeros = np.zeros(1, np.int64)
    one = len(quantization.scale) == 1
    return graphs.schema().QuantizationParametersT(
        scale=np.asarray(quantization.scale, np.float32),
        zeroPoint=np.asarray(zeros[:1] if len(set(zeros)) == 1 else zeros, np.int64),
        quantizedDimension=0 if one else quantization.quantizedDimension,
    )


def _idle_scales(graph: Any, operator: Any, position: int) -> bool:
    """Whether an operator does not read the scales of this input: those of a bias, which must be
    the weights' times the input's."""
    kind = graphs.operator_name(graph, operator)
    if kind not in WEIGHTS or position != BIAS:
        return False
    weights = graphs.main(graph).tensors[graphs.indices(operator.inputs)[WEIGHT]].quantization
    return kind != "FULLY_CONNECTED" or (weights is not None and len(weights.scale) > 1)


def _chosen(dense: Any, whole: bytes, request: Request) -> tuple[list[_Weight], bytes]:
    """Which weights are encoded, the most saving first, and the file; `whole` is that of none."""
    best, chosen = whole, list[_Weight]()
    if request.encoding == "dense" or (request.encoding is None and request.optimize == "latency"):
        return chosen, best
    measure = request.arena if request.optimize == "ram" and request.encoding is None else None
    limit = MOST_ARENA * (measure(best) or 0) if measure else 0

    def fits(content: bytes) -> bool:
        return not measure or 0 < (measure(content) or 0) <= limit

    weights = _weights(dense, request.encoding)
    for weight in sorted(weights, key=lambda weight: -weight.saved):
        content = graphs.write_graph(_encoded(dense, [*chosen, weight]))
        if len(content) < len(best) and fits(content):
            chosen.append(weight)
            best = content
    return chosen, best


def _weights(graph: Any, encoding: str | None) -> list[_Weight]:
    """The weights that can be encoded, each in its smallest encoding, or in the one given."""
    main = graphs.main(graph)
    positions = {id(operator): place for place, operator in enumerate(main.operators)}
    fixed = {*graphs.indices(main.inputs), *graphs.indices(main.outputs)}
    found = []
    for index, readers in sorted(graphs.users(graph).items()):
        kinds = {(graphs.operator_name(graph, one) in WEIGHTS, place) for one, place in readers}
        values = None if index in fixed else graphs.constant(graph, index)
        if kinds != {(True, WEIGHT)} or values is None or not _decodable(graph, index, values):
            continue
        codes = [writer(values) for kind, writer in _WRITERS.items() if encoding in (None, kind)]
        coded = [code for code in codes if code is not None]
        if coded:
            users = frozenset(positions[id(operator)] for operator, _ in readers)
            smallest = min(coded, key=lambda code: code.bytes)
            found.append(_Weight(index, values, users, smallest))
    return found


def _decodable(graph: Any, index: int, values: np.ndarray) -> bool:
    """Whether TFLM_DECODE takes the type and the scales: in the first or the last dimension."""
    tensor = graphs.main(graph).tensors[index]
    given = tensor.quantization
    if graphs.type_name(tensor) not in ("INT8", "FLOAT32") or values.ndim < 2:
        return False
    if values.size > decode_codes.MOST_VALUES:
        return False
    if given is None:
        return values.dtype == np.float32
    return not given.zeroPoint.any() and given.quantizedDimension in (0, values.ndim - 1)


def _encoded(dense: Any, chosen: Sequence[_Weight]) -> Any:
    """A copy of the graph in which these weights are decoded in front of their operators."""
    graph = graphs.copied(dense)
    main = graphs.main(graph)
    if not chosen:
        return graph
    code = _operator_code(graph)
    ancillary = {}
    results = {weight.index: copy.copy(main.tensors[weight.index]) for weight in chosen}
    for weight in chosen:
        parts = [
            np.frombuffer(raw, np.uint8) for raw in (weight.coded.stream, weight.coded.ancillary)
        ]
        graphs.set_constant(graph, weight.index, parts[0])
        main.tensors[weight.index].quantization = None
        ancillary[weight.index] = graphs.add_tensor(
            graph, None, parts[1].shape, np.uint8, values=parts[1]
        )
        main.tensors[ancillary[weight.index]].hasRank = False
    operators = []
    for place, operator in enumerate(main.operators):
        for weight in chosen:
            if place in weight.users:
                result = copy.copy(results[weight.index])
                result.buffer = 0
                main.tensors.append(result)
                number = len(main.tensors) - 1
                graphs.replace_input(operator, WEIGHT, number)
                operators.append(
                    graphs.schema().OperatorT(
                        opcodeIndex=code,
                        inputs=np.asarray([weight.index, ancillary[weight.index]], np.int32),
                        outputs=np.asarray([number], np.int32),
                    )
                )
        operators.append(operator)
    main.operators = operators
    return graph


def _operator_code(graph: Any) -> int:
    number = graphs.schema().BuiltinOperator.CUSTOM
    code = graphs.schema().OperatorCodeT(
        deprecatedBuiltinCode=number, builtinCode=number, customCode=OPERATOR, version=1
    )
    graph.operatorCodes.append(code)
    return len(graph.operatorCodes) - 1


def _check_values(chosen: Sequence[_Weight], content: bytes) -> None:
    """Raise CheckFailedError where our reader does not find the values that were to be written."""
    found = read_tflite(content).subgraphs[0].decoded
    count = sum(len(weight.users) for weight in chosen)
    known = [any(np.array_equal(one.values, weight.values) for weight in chosen) for one in found]
    if len(found) != count or not all(known):
        raise CheckFailedError("the encoded weights are not those of the model", value=count)


def _described(
    dense: Any, names: Mapping[int, str], chosen: Sequence[_Weight], bits: int
) -> tuple[EncodedTensor, ...]:
    """How each constant is stored, the largest first."""
    coded = {weight.index: weight for weight in chosen}
    tensors = []
    for index, values in constants(dense, names).items():
        tensor = unchanged(dense, names.get(index) or f"tensor {index}", index, values)
        if index in coded:
            one = coded[index].coded
            scales = tensor.bytes - values.nbytes
            tensor = dataclasses.replace(tensor, encoding=one.kind, bytes=one.bytes + scales)
        few = bits < 8 and values.ndim > 1 and np.abs(values).max(initial=0) < 2 ** (bits - 1)
        if tensor.values == "int8" and few:
            tensor = dataclasses.replace(tensor, values=f"int{bits}")
        tensors.append(tensor)
    return tuple(sorted(tensors, key=lambda tensor: (-tensor.bytes, tensor.name)))
