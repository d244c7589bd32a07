"""Weights of FULLY_CONNECTED in Golomb codes, made dense once, at the first run.

CALL_ONCE runs a subgraph that decodes them into variables; READ_VARIABLE copies one at every run.
A distance between values that are not zero is a number of whole steps, bits 0 in front of a bit 1,
and a rest in as many bits as it needs. The first distance is from -step, so that in the end

    ones = WHERE(steps)                     places of the bits 1, int64 (n, 1)
    places = step * ones + CUMSUM(rests + 1 - step)
    flat[places] = values                   SCATTER_ND

Bits and values are looked up in tables by the bytes that hold them, with GATHER: no operator of
TFLite shifts bits in all of its runtimes, and division takes ten times as long. Source: S. W.
Golomb, Run-Length Encodings, IEEE Transactions on Information Theory 12, 1966.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.schema import schema
from compressor.exporters.tflite.stored import EncodedWeight

OVERHEAD = 3_800
"""bytes of the operators and small constants that decode one weight"""
MOST_VALUES = 2**27
"""of a weight; what decodes more is not written, and not read, as that takes much memory"""
_WIDTHS = range(13)
"""bits of a rest"""
_BYTE = 256
_BITS = 8
_VERSIONS = {"GATHER": 2, "SLICE": 2}
"""of operators that take int8"""


@dataclasses.dataclass(frozen=True)
class Code:
    """Where the values of a flat tensor lie."""

    width: int
    """bits of a rest: a step is 2**width long"""
    steps: np.ndarray
    """uint8 (bytes,), the lowest bit of each first"""
    rests: np.ndarray
    """uint8 (bytes,), `width` bits each, the lowest first; the last ones are not used"""
    count: int

    @property
    def bytes(self) -> int:
        return len(self.steps) + len(self.rests)


def code_places(places: np.ndarray) -> Code:
    """The shortest code of ascending places, int64 (n,), of which there is at least one."""
    width, _ = _shortest(places)
    # In front of the first one lie those from -step on.
    gaps = np.diff(places, prepend=-(2**width)) - 1
    steps = gaps >> width
    bits = np.zeros(int(steps.sum()) + len(gaps), bool)
    bits[np.cumsum(steps + 1) - 1] = True
    fields = (gaps[:, None] >> np.arange(width)) & 1
    # Rests are read `width` bytes at a time, so that bits make whole rests.
    rests = np.zeros(-(-len(gaps) // _BITS) * width, np.uint8)
    packed = np.packbits(fields.astype(bool).ravel(), bitorder="little")
    rests[: len(packed)] = packed
    return Code(width, np.packbits(bits, bitorder="little"), rests, len(gaps))


def _shortest(places: np.ndarray) -> tuple[int, int]:
    """The width of the shortest code, and its bytes; nothing is coded, as most weights are not."""
    first = int(places[0])
    counts = np.bincount(np.diff(places) - 1)
    gaps = np.flatnonzero(counts)
    found = []
    for width in _WIDTHS:
        steps = int(counts[gaps] @ (gaps >> width)) + (first + 2**width - 1 >> width)
        bits, rests = steps + len(places), -(-len(places) // _BITS) * width
        found.append((bits + len(places) * width, width, -(-bits // _BITS) + rests))
    _, width, size = min(found)
    return width, size


def stored_bytes(values: np.ndarray) -> int:
    """Bytes of the places and the values of an int8 tensor that are not zero."""
    found = _found(values)
    kept = values.reshape(-1)[found].view(np.uint8)
    levels = int(np.count_nonzero(np.bincount(kept)))
    in_byte, base = _in_byte(levels, len(kept))
    table = in_byte * base**in_byte if in_byte > 1 else 0
    return _shortest(found)[1] + -(-len(kept) // in_byte) + table


def _found(values: np.ndarray) -> np.ndarray:
    """Places of the values that are not zero, int64; the first one of a tensor of zeros."""
    found = np.flatnonzero(values)
    return found if found.size else np.zeros(1, np.int64)


def _packed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """int8 values as bytes, and what each byte stands for, int8 (rows, values of a byte).

    None where a byte holds one value, as it is.
    """
    levels, numbers = np.unique(values, return_inverse=True)
    in_byte, base = _in_byte(len(levels), len(values))
    if in_byte == 1:
        return values.view(np.uint8), None
    powers = base ** np.arange(in_byte)
    filled = np.zeros((-(-len(numbers) // in_byte), in_byte), np.int64)
    filled.reshape(-1)[: len(numbers)] = numbers
    digits = np.arange(base**in_byte)[:, None] // powers % base
    table = np.pad(levels, (0, base - len(levels)))[digits]
    return (filled * powers).sum(axis=1).astype(np.uint8), table


def _in_byte(levels: int, values: int) -> tuple[int, int]:
    """How many values a byte holds, so that they and the table of bytes are small, and its base."""
    base = max(levels, 2)
    counts = [count for count in range(2, _BITS + 1) if base**count <= _BYTE]
    return min(counts, key=lambda n: -(-values // n) + n * base**n, default=1), base


class Decoding:
    """What a file decodes at its first run: a subgraph that is added with the first weight."""

    @classmethod
    def of(cls, graph: Any) -> Decoding | None:
        """None for a graph that has variables of its own."""
        operators = graphs.main(graph).operators or []
        own = any(graphs.operator_name(graph, one) == "CALL_ONCE" for one in operators)
        return None if own else cls(graph)

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._call: Any = None
        self._subgraph = 0
        self._table = -1
        self._weights = 0

    def add(self, index: int, encoded: EncodedWeight) -> None:
        """Make the constant `index` of the main subgraph one that is decoded; `encoded` is int8."""
        if self._call is None:
            self._begin()
        tensor = graphs.main(self._graph).tensors[index]
        tensor.buffer, tensor.sparsity = 0, None
        tensor.type = schema().TensorType.INT8
        tensor.quantization = encoded.quantization()
        decoded = self._decoded(encoded.values)
        handle = self._variable(self._subgraph, None)
        self._operator("ASSIGN_VARIABLE", [handle, decoded], [])
        operators = graphs.main(self._graph).operators
        behind = 1 + next(at for at, other in enumerate(operators) if other is self._call)
        handle = self._variable(0, behind)
        graphs.add_operator(self._graph, "READ_VARIABLE", [handle], [index], before=behind + 1)
        self._weights += 1

    def _begin(self) -> None:
        self._subgraph = len(self._graph.subgraphs)
        none = np.zeros(0, np.int32)
        self._graph.subgraphs.append(
            schema().SubGraphT(tensors=[], inputs=none, outputs=none, operators=[])
        )
        options = schema().CallOnceOptionsT(initSubgraphIndex=self._subgraph)
        self._call = graphs.add_operator(self._graph, "CALL_ONCE", [], [], options=options)
        numbers = self._constant(np.arange(_BYTE, dtype=np.uint8).reshape(-1, 1))
        wide = self._computed("CAST", [numbers], (_BYTE, 1), np.float32)
        powers = self._constant(2.0 ** np.arange(_BITS, dtype=np.float32))
        shape = (_BYTE, _BITS)
        quotients = self._computed("FLOOR_DIV", [wide, powers], shape, np.float32)
        two = self._constant(np.float32(2))
        self._table = self._computed("FLOOR_MOD", [quotients, two], shape, np.float32)

    def _decoded(self, values: np.ndarray) -> int:
        found = _found(values)
        size = self._constant(np.asarray([values.size], np.int32))
        operands = [self._places(code_places(found)), self._values(values.reshape(-1)[found])]
        flat = self._computed("SCATTER_ND", [*operands, size], (values.size,), np.int8)
        return self._reshaped(flat, values.shape, np.int8)

    def _places(self, code: Code) -> int:
        """int32 (count, 1)"""
        bits = self._looked_up(self._table, code.steps, (_BITS,), np.float32)
        bits = self._reshaped(bits, (len(code.steps) * _BITS,), np.float32)
        # How many there are is known only when it runs.
        ones = self._computed("WHERE", [bits], (-1, 1), np.int64)
        ones = self._computed("CAST", [ones], (-1, 1), np.int32)
        if not code.width:
            return ones
        step, column = 2**code.width, (code.count, 1)
        bits = self._looked_up(self._table, code.rests, (_BITS,), np.float32)
        rows = (len(code.rests) * _BITS // code.width, 1)
        powers = self._constant(2.0 ** np.arange(code.width, dtype=np.float32).reshape(1, -1))
        bias = self._constant(np.asarray([1 - step], np.float32))
        rests = self._computed("FULLY_CONNECTED", [bits, powers, bias], rows, np.float32)
        # Sums may be larger than what float32 holds exactly.
        rests = self._computed("CAST", [rests], rows, np.int32)
        rests = self._first(rests, rows, column, np.int32)
        sums = self._computed("CUMSUM", [rests, self._constant(np.int32(0))], column, np.int32)
        whole = self._computed("MUL", [ones, self._constant(np.int32(step))], (-1, 1), np.int32)
        return self._computed("ADD", [whole, sums], column, np.int32)

    def _values(self, values: np.ndarray) -> int:
        """int8 (count,)"""
        stream, table = _packed(values)
        if table is None:
            return self._constant(values)
        found = self._looked_up(self._constant(table), stream, table.shape[1:], np.int8)
        flat = (stream.size * table.shape[1],)
        return self._first(self._reshaped(found, flat, np.int8), flat, values.shape, np.int8)

    def _looked_up(self, table: int, numbers: np.ndarray, row: tuple[int, ...], dtype: Any) -> int:
        """The rows of a table that bytes stand for, (bytes, *row)."""
        shape = (len(numbers),)
        wide = self._computed("CAST", [self._constant(numbers)], shape, np.int32)
        return self._computed("GATHER", [table, wide], (*shape, *row), dtype)

    def _first(
        self, index: int, shape: tuple[int, ...], wanted: tuple[int, ...], dtype: Any
    ) -> int:
        """The first values of a tensor."""
        if shape == wanted:
            return index
        start = self._constant(np.zeros(len(wanted), np.int32))
        size = self._constant(np.asarray(wanted, np.int32))
        return self._computed("SLICE", [index, start, size], wanted, dtype)

    def _reshaped(self, index: int, shape: tuple[int, ...], dtype: Any) -> int:
        return self._computed(
            "RESHAPE", [index, self._constant(np.asarray(shape, np.int32))], shape, dtype
        )

    def _constant(self, values: np.ndarray | np.generic) -> int:
        array = np.asarray(values)
        return graphs.add_tensor(
            self._graph, None, array.shape, array.dtype, values=array, subgraph=self._subgraph
        )

    def _computed(self, name: str, inputs: Sequence[int], shape: Sequence[int], dtype: Any) -> int:
        output = graphs.add_tensor(self._graph, None, shape, dtype, subgraph=self._subgraph)
        self._operator(name, inputs, [output])
        return output

    def _operator(self, name: str, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        subgraph, version = self._subgraph, _VERSIONS.get(name, 1)
        graphs.add_operator(
            self._graph, name, inputs, outputs, version=version, before=None, subgraph=subgraph
        )

    def _variable(self, subgraph: int, before: int | None) -> int:
        """A handle of the variable of the next weight."""
        handle = graphs.add_tensor(self._graph, None, (), np.int32, subgraph=subgraph)
        tensor = self._graph.subgraphs[subgraph].tensors[handle]
        tensor.type = schema().TensorType.RESOURCE
        options = schema().VarHandleOptionsT(container="", sharedName=str(self._weights))
        graphs.add_operator(
            self._graph,
            "VAR_HANDLE",
            [],
            [handle],
            options=options,
            before=before,
            subgraph=subgraph,
        )
        return handle
