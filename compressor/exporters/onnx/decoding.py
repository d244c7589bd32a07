"""Weights that are decoded at load: chains of standard operators from packed constants to a tensor.

A chain depends on constants only, so ONNX Runtime computes it once, when it loads the file, and a
run costs what the dense weight costs; other runtimes are correct too, if slower. Rules:

1. The last node of a chain is named decode/ENCODING/TENSOR; its output is the tensor, by its name.
2. Only operators that ONNX Runtime folds: not NonZero, Compress or DequantizeLinear.
3. When sizes are compared, what chains share counts for the first of them, so that a file with
   chains is never larger than the one without.
4. All weights are encoded twice: each as it is smallest, and with the same nodes where a function
   can hold them. The file is the smaller of the two.

Encodings of n values, of which k are not zero; v is what a value takes:

dense               n v
golomb              k (0.1 bits above the entropy + v): see `golomb`
gap8                k (8 bits + v): distances from one to the next; 255 at most, else a zero between
gap4                k (4 bits + v): the same with distances of 15 at most
bitmask             n bits + k v
sparse-initializer  k (1 to 5 bytes + v): ONNX's own encoding, in a Constant, for tools

Source: ONNX operator set 18, and its SparseTensorProto.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper

from compressor.encodings import split_gaps
from compressor.errors import UsageError
from compressor.exporters.onnx.apart import forget
from compressor.exporters.onnx.chain import Chain, short_name
from compressor.exporters.onnx.functions import Selection, call_functions, total_bytes
from compressor.exporters.onnx.golomb import add_golomb
from compressor.exporters.onnx.graphs import (
    constants,
    names_of,
    producers,
    rename,
    replace_all,
    tensor,
    unique,
)
from compressor.exporters.onnx.unpacking import add_bits, add_numbers, first, flattened
from compressor.exporters.onnx.weights import Stored

SPARSE_INITIALIZER = "sparse-initializer"
ENCODINGS = ("dense", "golomb", "gap8", "gap4", "bitmask", SPARSE_INITIALIZER)
CHOSEN_FROM = ENCODINGS[:-1]
"""The encodings to choose from where none is asked for."""
_BYTE = 256


def make_chain(name: str, stored: Stored, encoding: str, *, uniform: bool = False) -> Chain | None:
    """The chain of one tensor, or None where the encoding cannot hold these values."""
    chain = Chain(name, encoding, stored, uniform)
    flat = _POSITIONS[encoding](chain, stored)
    if flat is None:
        return None
    if stored.scale is not None:
        flat = chain.node("Mul", flat, chain.constant(stored.scale))
    return chain.finish(flat)


def choose(name: str, options: Iterable[Stored], encodings: Iterable[str]) -> Chain:
    """The chain that adds least to a file; UsageError if no encoding can hold an option."""
    (chain,), _ = choose_all([(name, options, encodings)])
    return chain


def choose_all(
    weights: Iterable[tuple[str, Iterable[Stored], Iterable[str]]],
    domain: str = "c",
    version: int = 18,
) -> tuple[list[Chain], list[Any]]:
    """The chains of (name, options, encodings) that are the smallest file, and their functions.

    `domain` is that of the functions, `version` that of the standard operators. Raises UsageError
    if no encoding can hold an option.
    """
    selections = [Selection(calls=False), Selection(calls=True)]
    for name, options, encodings in weights:
        encodings = tuple(encodings)
        best: list[Chain] = []
        for stored, encoding in itertools.product(options, encodings):
            if best and _least(stored, encoding) >= max(
                selection.cost(chain) for selection, chain in zip(selections, best, strict=True)
            ):
                continue
            for chain in _candidates(name, stored, encoding, alone=len(encodings) == 1):
                found = best or [chain, chain]
                best = [
                    min(pair, key=selection.cost)
                    for selection, *pair in zip(selections, found, (chain, chain), strict=True)
                ]
                for other in (*found, chain):
                    if not any(other is one for one in best):
                        forget(other.initializers)
        if not best:
            raise UsageError(
                "the encoding cannot hold these values",
                value=f"{', '.join(encodings)} of {name}",
                hint="choose another encoding or quantisation",
            )
        for selection, chain in zip(selections, best, strict=True):
            selection.add(dataclasses.replace(chain, nodes=list(chain.nodes)))
    results = [(one.chains, call_functions(one.chains, domain, version)) for one in selections]
    return min(results, key=lambda result: total_bytes(*result))


def _candidates(name: str, stored: Stored, encoding: str, *, alone: bool) -> Iterator[Chain]:
    if encoding == "golomb" and not alone and 2 * stored.nonzero.mean() > 1:
        return  # a bit for each weight is shorter
    several = encoding == "golomb" and stored.zero is not None
    for uniform in (False, True) if several else (False,):
        chain = make_chain(name, stored, encoding, uniform=uniform)
        if chain is not None:
            yield chain


def _least(stored: Stored, encoding: str) -> float:
    """Bytes that a chain has at least, of its values and their positions."""
    size, kept = stored.codes.size, int(np.count_nonzero(stored.nonzero))
    if stored.table is None:
        value = 8.0 * stored.codes.itemsize
    else:  # as many codes as fit in a byte
        value = 8 / max(one for one in range(1, 9) if len(stored.table) ** one <= _BYTE)
    bits = {
        "dense": size * value,
        "gap8": kept * (8 + value),
        "gap4": kept * (4 + value),
        "bitmask": size + kept * value,
    }
    return bits.get(encoding, 0) / 8


def insert(graph: Any, chains: Iterable[Chain]) -> None:
    """Replace initializers of `graph` by the chains that have their names.

    What a chain adds gets short names that the graph has for nothing else.
    """
    by_name = {chain.name: chain for chain in chains}
    taken, numbers = names_of(graph), itertools.count()

    def renamed(names: Iterable[str]) -> dict[str, str]:
        return {name: unique(short_name(next(numbers)), taken) for name in names}

    common: dict[str, Any] = {}
    for entry in graph.initializer:
        common |= by_name[entry.name].shared if entry.name in by_name else {}
    shared = GraphProto(initializer=common.values())
    known = renamed(common)
    rename(shared, known)
    nodes, initializers = [], []
    for entry in graph.initializer:
        chain = by_name.get(entry.name)
        if chain is None:
            initializers.append(entry)
            continue
        part = GraphProto(node=chain.nodes, initializer=chain.initializers)
        own = [name for name in (*constants(part), *producers(part)) if name != chain.name]
        rename(part, known | renamed(own))
        nodes += part.node
        initializers += part.initializer
    replace_all(graph.initializer, [*initializers, *shared.initializer])
    replace_all(graph.node, [*nodes, *graph.node])


def _dense(chain: Chain, stored: Stored) -> str | None:
    if stored.zero is None:
        return None
    if stored.table is None:
        return _values(chain, stored.codes.reshape(stored.shape))
    return _shaped(chain, _values(chain, stored.codes))


def _gaps(chain: Chain, stored: Stored, bits: int) -> str | None:
    found = np.flatnonzero(stored.nonzero)
    if not found.size:
        found = np.zeros(1, np.int64)
    gaps, kept = split_gaps(np.diff(found, prepend=0), 2**bits - 1)
    if stored.zero is None and (len(gaps) > len(found) or not stored.nonzero.any()):
        return None  # there is no code for the zeros between
    codes = np.full(len(gaps), stored.zero or 0, stored.codes.dtype)
    codes[kept] = stored.codes[found]
    steps = add_numbers(chain, gaps, 2**bits)
    places = chain.node("CumSum", steps, chain.once("0a", 0, np.int32))
    return _scattered(chain, places, _values(chain, codes))


def _golomb(chain: Chain, stored: Stored) -> str | None:
    found = add_golomb(chain, stored)
    return found and _scattered(chain, *found)


def _scattered(chain: Chain, places: str, values: str) -> str:
    """The tensor with these values at these places, and zeros elsewhere."""
    stored = chain.stored
    size = chain.constant(np.asarray([stored.codes.size], np.int64))
    options = {"value": tensor("", np.zeros(1, stored.codes.dtype))} if stored.as_is else {}
    zeros = chain.node("ConstantOfShape", size, **options)
    return _shaped(chain, chain.node("ScatterElements", zeros, places, values))


def _bitmask(chain: Chain, stored: Stored) -> str | None:
    bits = flattened(chain, add_bits(chain, stored.nonzero))
    ranks = chain.node("CumSum", bits, chain.once("0a", 0, np.int32))
    # Indices into the values: non-zeros from 1 on, 0 is zero.
    numbers = chain.node("Mul", ranks, bits)
    codes = stored.codes[stored.nonzero]
    if stored.zero is None:
        zero = chain.once("00", [0], np.float32)
        values = chain.node("Concat", zero, _values(chain, codes), axis=0)
    else:
        values = _values(chain, np.insert(codes, 0, stored.zero))
    # Much faster than Gather, which copies value by value.
    flat = chain.node("GatherElements", values, numbers)
    if stored.codes.size % 8:
        flat = first(chain, flat, stored.codes.size)
    return _shaped(chain, flat)


def _sparse_initializer(chain: Chain, stored: Stored) -> str | None:
    if stored.table is not None:
        return None  # the zeros would be zeros of the codes, not of the values
    found = np.flatnonzero(stored.nonzero)
    values = numpy_helper.from_array(stored.codes[found], "")  # in a node nothing is apart
    # As int64_data the indices are varints, a few bytes each; as raw data they are always 8.
    indices = helper.make_tensor("", TensorProto.INT64, [found.size], found.tolist())
    sparse = helper.make_sparse_tensor(values, indices, list(stored.shape))
    # Not a sparse initializer of the graph: the checker accepts no operator that reads one.
    return _as_float(chain, chain.node("Constant", sparse_value=sparse), stored)


_POSITIONS: dict[str, Callable[[Chain, Stored], str | None]] = {
    "dense": _dense,
    "golomb": _golomb,
    "gap8": functools.partial(_gaps, bits=8),
    "gap4": functools.partial(_gaps, bits=4),
    "bitmask": _bitmask,
    SPARSE_INITIALIZER: _sparse_initializer,
}


def _values(chain: Chain, codes: np.ndarray) -> str:
    """The values of codes (of any shape, or (n,) with a table), before scaling."""
    stored = chain.stored
    if stored.table is None:
        return _as_float(chain, chain.constant(codes), stored)
    numbers = add_numbers(chain, codes, len(stored.table))
    return chain.node("GatherElements", chain.constant(stored.table), numbers)


def _as_float(chain: Chain, values: str, stored: Stored) -> str:
    if stored.kind == "float32" or stored.as_is:
        return values
    return chain.node("Cast", values, to=TensorProto.FLOAT)


def _shaped(chain: Chain, flat: str) -> str:
    return chain.node("Reshape", flat, chain.constant(np.asarray(chain.stored.shape, np.int64)))
