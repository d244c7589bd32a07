"""Reading weights that a file decodes into variables at its first run, as `golomb` writes them.

The subgraph that CALL_ONCE runs is computed with numpy, if it has no other operators than such
decoding takes, all with options at their defaults: then its constants are no weights themselves.
Anything else is left alone, a subgraph of other origin or a damaged one; only a runtime knows what
it does. The work is bounded by the size of the file and of the tensors that the main subgraph has.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.exporters.tflite import graph as graphs
from compressor.exporters.tflite.file_contents import Decoded
from compressor.exporters.tflite.golomb import MOST_VALUES

_GROWTH = 16
"""values that may come of a byte of the file, but in what is scattered: bits, and their places"""

_ERRORS = (struct.error, ArithmeticError, LookupError, TypeError, ValueError, AttributeError)
"""what numpy and the flatbuffer's classes raise for a graph that does not fit together"""


class _OtherError(Exception):
    """The subgraph is none of ours."""


def decoded_variables(content: bytes) -> tuple[int, tuple[Decoded, ...]]:
    """The number of the subgraph that decodes, and what the main subgraph reads of it.

    (0, ()) where there is none. `content` is a file whose tensors and indices were checked.
    """
    try:
        graph = graphs.read_graph(content)
        operators = graphs.main(graph).operators
        calls = [one for one in operators if graphs.operator_name(graph, one) == "CALL_ONCE"]
        if len(calls) != 1:
            return 0, ()
        number = int(calls[0].builtinOptions.initSubgraphIndex)
        with np.errstate(all="raise"):
            found = _Decoder(graph, number, _GROWTH * len(content)).assigned()
        return number, tuple(_read(graph, found))
    except (_OtherError, *_ERRORS):
        return 0, ()


def _read(graph: Any, found: dict[str, tuple[np.ndarray, int]]) -> list[Decoded]:
    """The tensors that READ_VARIABLE gives; raises where one is no variable of those found."""
    main = graphs.main(graph)
    names = _handles(graph, 0)
    decoded = []
    for operator in main.operators:
        if graphs.operator_name(graph, operator) != "READ_VARIABLE":
            continue
        (handle,), (output,) = (
            graphs.indices(side) for side in (operator.inputs, operator.outputs)
        )
        values, size = found[names[handle]]
        tensor = main.tensors[output]
        if tuple(tensor.shape) != values.shape or graphs.type_name(tensor) != "INT8":
            raise _OtherError
        decoded.append(Decoded(output, "golomb", size, values))
    if len(decoded) != len(found):
        raise _OtherError
    return decoded


def _handles(graph: Any, subgraph: int) -> dict[int, str]:
    """The tensors that VAR_HANDLE gives -> the names of their variables."""
    return {
        graphs.indices(operator.outputs)[0]: graphs.text(operator.builtinOptions.sharedName)
        for operator in graph.subgraphs[subgraph].operators
        if graphs.operator_name(graph, operator) == "VAR_HANDLE"
    }


class _Decoder:
    """Computes what a subgraph assigns to variables."""

    def __init__(self, graph: Any, subgraph: int, most: int) -> None:
        """No value but what is scattered may have more than `most` elements."""
        self._graph, self._number, self._most = graph, subgraph, most
        self._subgraph = graph.subgraphs[subgraph]
        self._values: dict[int, np.ndarray] = {}
        self._sizes: dict[int, int] = {}
        """bytes of the constants that lead to a tensor"""

    def assigned(self) -> dict[str, tuple[np.ndarray, int]]:
        """Name of a variable -> what it is given, int8, and the bytes of the constants for that."""
        names = _handles(self._graph, self._number)
        found: dict[str, tuple[np.ndarray, int]] = {}
        for operator in self._subgraph.operators:
            name = graphs.operator_name(self._graph, operator)
            inputs = graphs.indices(operator.inputs)
            if name == "VAR_HANDLE":
                continue
            if operator.builtinOptions is not None:
                raise _OtherError
            if name == "ASSIGN_VARIABLE":
                handle, values = inputs
                array = self._value(values)
                if names[handle] in found or array.dtype != np.int8:
                    raise _OtherError
                found[names[handle]] = array, self._sizes[values]
                continue
            (output,) = graphs.indices(operator.outputs)
            wanted = np.dtype(graphs.type_name(self._subgraph.tensors[output]).lower())
            made = _OPERATORS[name](wanted, *map(self._value, inputs))
            if made.dtype != wanted or (made.size > self._most and name not in _SCATTERED):
                raise _OtherError
            self._values[output] = made
            self._sizes[output] = sum(self._sizes[index] for index in inputs)
        return found

    def _value(self, index: int) -> np.ndarray:
        if index not in self._values:
            array = graphs.constant(self._graph, index, self._number)
            if array is None:
                raise _OtherError
            self._values[index], self._sizes[index] = array, array.nbytes
        return self._values[index]


def _scatter(wanted: np.dtype, places: np.ndarray, values: np.ndarray, shape: np.ndarray) -> Any:
    (size,) = shape.tolist()
    flat = places[:, 0]
    ascends = bool((flat[1:] > flat[:-1]).all())  # else values would be added up
    if not 0 <= size <= MOST_VALUES or not ascends or not 0 <= flat[0] <= flat[-1] < size:
        raise _OtherError
    found = np.zeros(size, values.dtype)
    found[flat] = values
    return found


def _look_up(wanted: np.dtype, table: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if rows.size and int(rows.min()) < 0:
        raise _OtherError
    return table[rows]


def _reshape(wanted: np.dtype, array: np.ndarray, shape: np.ndarray) -> np.ndarray:
    sizes = shape.tolist()
    if math.prod(sizes) != array.size or min(sizes, default=0) < 0:
        raise _OtherError
    return array.reshape(sizes)


def _slice(wanted: np.dtype, array: np.ndarray, start: np.ndarray, size: np.ndarray) -> np.ndarray:
    ends = start + size
    if (start < 0).any() or (size < 0).any() or (ends > array.shape).any():
        raise _OtherError
    return array[tuple(slice(*pair) for pair in zip(start.tolist(), ends.tolist(), strict=True))]


def _sum_up(wanted: np.dtype, array: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return np.cumsum(array, axis=int(axis), dtype=array.dtype)


def _multiply_vectors(
    wanted: np.dtype, array: np.ndarray, weights: np.ndarray, bias: np.ndarray
) -> np.ndarray:
    return array.reshape(-1, weights.shape[1]) @ weights.T + bias


_OPERATORS: dict[str, Callable[..., np.ndarray]] = {
    "ADD": lambda wanted, one, other: one + other,
    "CAST": lambda wanted, array: array.astype(wanted),
    "CUMSUM": _sum_up,
    "FLOOR_DIV": lambda wanted, one, other: one // other,
    "FLOOR_MOD": lambda wanted, one, other: one % other,
    "FULLY_CONNECTED": _multiply_vectors,
    "GATHER": _look_up,
    "MUL": lambda wanted, one, other: one * other,
    "RESHAPE": _reshape,
    "SCATTER_ND": _scatter,
    "SLICE": _slice,
    "WHERE": lambda wanted, array: np.argwhere(array),
}
_SCATTERED = ("SCATTER_ND", "RESHAPE")
"""what a weight of any size comes of, which takes hardly more bytes than its values are many"""
