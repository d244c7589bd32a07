"""Weights that are decoded at load: chains of standard operators from packed constants to a tensor.

A chain depends on constants only, so ONNX Runtime computes it once, when it loads the file, and a
run costs what the dense weight costs; other runtimes are correct too, if slower. Rules:

1. The last node of a chain is named decode/ENCODING/TENSOR; its output is the tensor, by its name.
2. Only operators that ONNX Runtime folds: not NonZero, Compress or DequantizeLinear.
3. When sizes are compared, each chain is charged for what several share, so that a file with
   chains is never larger than the one without.

Encodings of n values, of which k are not zero; v is what a value takes:

dense               n v
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
import string
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper

from compressor.encodings import split_gaps
from compressor.errors import UsageError
from compressor.exporters.onnx.graphs import (
    constants,
    names_of,
    producers,
    rename,
    replace_all,
    tensor,
    unique,
)
from compressor.exporters.onnx.weights import Stored

MARK = "decode/"
SPARSE_INITIALIZER = "sparse-initializer"
ENCODINGS = ("dense", "gap8", "gap4", "bitmask", SPARSE_INITIALIZER)
CHOSEN_FROM = ENCODINGS[:-1]
"""The encodings to choose from where none is asked for."""

_DIGITS = string.digits + string.ascii_letters


@dataclasses.dataclass
class Chain:
    """A tensor as a file holds it; `nodes` are in topological order."""

    name: str
    encoding: str
    stored: Stored
    nodes: list[Any] = dataclasses.field(default_factory=list)
    initializers: list[Any] = dataclasses.field(default_factory=list)
    shared: dict[str, Any] = dataclasses.field(default_factory=dict)
    """initializers and nodes that are in the file once, by their names"""

    @property
    def file_bytes(self) -> int:
        """Bytes that it adds to the file, with its nodes and all that it shares."""
        parts = [*self.nodes, *self.initializers, *self.shared.values()]
        return sum(_framed(part.ByteSize()) for part in parts)

    @property
    def payload_bytes(self) -> int:
        """Bytes of its values, positions and scales."""
        sparse = [
            attribute.sparse_tensor
            for node in self.nodes
            for attribute in node.attribute
            if attribute.HasField("sparse_tensor")
        ]
        indices = sum(entry.indices.ByteSize() + len(entry.values.raw_data) for entry in sparse)
        return indices + sum(len(entry.raw_data) for entry in self.initializers)

    def constant(self, what: str, values: np.ndarray) -> str:
        """Add an initializer of this tensor, and return its name."""
        self.initializers.append(tensor(f"{self.name}/{what}", values))
        return str(self.initializers[-1].name)

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        output = unique(_short(len(self.nodes)), {self.name})
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def once(self, what: str, values: Any, dtype: Any) -> str:
        """Add an initializer that chains share, and return its name."""
        name = MARK + what
        self.shared[name] = tensor(name, np.asarray(values, dtype))
        return name

    def finish(self, value: str) -> Chain:
        """Give `value` the name of the tensor."""
        if self.nodes:
            self.nodes[-1].output[0] = self.name
            self.nodes[-1].name = f"{MARK}{self.encoding}/{self.name}"
        else:
            next(entry for entry in self.initializers if entry.name == value).name = self.name
        return self


def make_chain(name: str, stored: Stored, encoding: str) -> Chain | None:
    """The chain of one tensor, or None where the encoding cannot hold these values."""
    chain = Chain(name, encoding, stored)
    flat = _POSITIONS[encoding](chain, stored)
    if flat is None:
        return None
    if stored.scale is not None:
        flat = chain.node("Mul", flat, chain.constant("scale", stored.scale))
    return chain.finish(flat)


def choose(name: str, options: Iterable[Stored], encodings: Iterable[str]) -> Chain:
    """The chain that adds least to the file; UsageError if no encoding can hold an option."""
    encodings = tuple(encodings)
    chains = (make_chain(name, stored, encoding) for stored in options for encoding in encodings)
    best = min(filter(None, chains), key=lambda chain: chain.file_bytes, default=None)
    if best is None:
        raise UsageError(
            "the encoding cannot hold these values",
            value=f"{', '.join(encodings)} of {name}",
            hint="choose another encoding or quantisation",
        )
    return best


def insert(graph: Any, chains: Iterable[Chain]) -> None:
    """Replace initializers of `graph` by the chains that have their names.

    A constant of a chain whose name the graph has for another is numbered, and so are all values
    that a chain computes on its way.
    """
    by_name = {chain.name: chain for chain in chains}
    taken = names_of(graph)
    common: dict[str, Any] = {}
    for entry in graph.initializer:
        common |= by_name[entry.name].shared if entry.name in by_name else {}
    shared = GraphProto(
        node=[part for part in common.values() if isinstance(part, NodeProto)],
        initializer=[part for part in common.values() if isinstance(part, TensorProto)],
    )
    known = {name: unique(name, taken) for name in common}
    rename(shared, known)
    numbers = itertools.count()
    nodes, initializers = [], []
    for entry in graph.initializer:
        chain = by_name.get(entry.name)
        if chain is None:
            initializers.append(entry)
            continue
        part = GraphProto(node=chain.nodes, initializer=chain.initializers)
        own = {name: unique(name, taken) for name in constants(part) if name != chain.name}
        steps = [name for name in producers(part) if name != chain.name]
        own |= {name: unique(_short(next(numbers)), taken) for name in steps}
        rename(part, known | own)
        nodes += part.node
        initializers += part.initializer
    replace_all(graph.initializer, [*initializers, *shared.initializer])
    replace_all(graph.node, [*shared.node, *nodes, *graph.node])


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
    packed = chain.constant("gaps", gaps) if bits == 8 else _packed(chain, "gaps", gaps, 4)
    steps = chain.node("Cast", packed, to=TensorProto.INT32)
    positions = chain.node("CumSum", steps, chain.once("axis", 0, np.int32))
    values = _values(chain, codes)
    size = chain.constant("size", np.asarray([stored.codes.size], np.int64))
    options = {"value": tensor("", np.zeros(1, codes.dtype))} if stored.as_is else {}
    zeros = chain.node("ConstantOfShape", size, **options)
    flat = chain.node("ScatterElements", zeros, positions, values)
    return _shaped(chain, flat)


def _bitmask(chain: Chain, stored: Stored) -> str | None:
    mask = chain.constant("mask", np.packbits(stored.nonzero, bitorder="little"))
    rows = chain.node("Cast", mask, to=TensorProto.INT32)
    octets = chain.node("Gather", _bit_table(chain), rows)
    bits = chain.node("Reshape", octets, chain.once("flat", [-1], np.int64))
    ranks = chain.node("CumSum", bits, chain.once("axis", 0, np.int32))
    # Indices into the values: non-zeros from 1 on, 0 is zero.
    numbers = chain.node("Mul", ranks, bits)
    codes = stored.codes[stored.nonzero]
    if stored.zero is None:
        zero = chain.once("zero", [0], np.float32)
        values = chain.node("Concat", zero, _values(chain, codes), axis=0)
    else:
        values = _values(chain, np.insert(codes, 0, stored.zero))
    # Much faster than Gather, which copies value by value.
    flat = chain.node("GatherElements", values, numbers, axis=0)
    if stored.codes.size % 8:
        flat = _cut(chain, "mask", flat, stored.codes.size)
    return _shaped(chain, flat)


def _sparse_initializer(chain: Chain, stored: Stored) -> str | None:
    if stored.table is not None:
        return None  # the zeros would be zeros of the codes, not of the values
    found = np.flatnonzero(stored.nonzero)
    values = tensor("", stored.codes[found])
    # As int64_data the indices are varints, a few bytes each; as raw data they are always 8.
    indices = helper.make_tensor("", TensorProto.INT64, [found.size], found.tolist())
    sparse = helper.make_sparse_tensor(values, indices, list(stored.shape))
    # Not a sparse initializer of the graph: the checker accepts no operator that reads one.
    return _as_float(chain, chain.node("Constant", sparse_value=sparse), stored)


_POSITIONS: dict[str, Callable[[Chain, Stored], str | None]] = {
    "dense": _dense,
    "gap8": functools.partial(_gaps, bits=8),
    "gap4": functools.partial(_gaps, bits=4),
    "bitmask": _bitmask,
    SPARSE_INITIALIZER: _sparse_initializer,
}


def _values(chain: Chain, codes: np.ndarray) -> str:
    """The values of codes (of any shape, or (n,) with a table), before scaling."""
    stored = chain.stored
    if stored.table is None:
        return _as_float(chain, chain.constant("values", codes), stored)
    table = chain.constant("table", stored.table)
    bits = len(stored.table) - 1 if stored.kind == "ternary" else 4  # 2 with zero, else 1
    packed = _packed(chain, "values", codes, bits)
    numbers = chain.node("Cast", packed, to=TensorProto.INT32)
    return chain.node("GatherElements", table, numbers, axis=0)


def _as_float(chain: Chain, values: str, stored: Stored) -> str:
    if stored.kind == "float32" or stored.as_is:
        return values
    return chain.node("Cast", values, to=TensorProto.FLOAT)


def _packed(chain: Chain, what: str, codes: np.ndarray, bits: int) -> str:
    """Numbers of 1, 2 or 4 bits, several a byte: the first part of them in the lowest bits, the
    next in those above, so that nothing is interleaved."""
    parts = 8 // bits
    length = -(-codes.size // parts)
    filled = np.zeros((parts, length), np.uint8)
    filled.ravel()[: codes.size] = codes
    shifts = bits * np.arange(parts, dtype=np.uint8)[:, None]
    packed = chain.constant(what, np.bitwise_or.reduce(filled << shifts, axis=0))
    low = chain.once("low" if bits == 4 else f"low{bits}", 2**bits - 1, np.uint8)
    names = [chain.node("BitwiseAnd", packed, low)]
    for part in range(1, parts):
        count, last = bits * part, part == parts - 1
        shift = chain.once("four" if count == 4 else f"shift{count}", count, np.uint8)
        name = chain.node("BitShift", packed, shift, direction="RIGHT")
        names.append(name if last else chain.node("BitwiseAnd", name, low))
    both = chain.node("Concat", *names, axis=0)
    return _cut(chain, what, both, codes.size) if codes.size % parts else both


def _bit_table(chain: Chain) -> str:
    """int32 (256, 8): the bits of each byte, the lowest first."""
    every = chain.once("bytes", np.arange(256).reshape(-1, 1), np.uint8)
    shifts = chain.once("shifts", range(8), np.uint8)
    one = chain.once("one", 1, np.uint8)
    shifted, lowest, bits = names = [MARK + what for what in ("shifted", "lowest", "bits")]
    nodes = (
        helper.make_node("BitShift", (every, shifts), [shifted], direction="RIGHT"),
        helper.make_node("BitwiseAnd", (shifted, one), [lowest]),
        helper.make_node("Cast", (lowest,), [bits], to=TensorProto.INT32),
    )
    chain.shared |= dict(zip(names, nodes, strict=True))
    return bits


def _shaped(chain: Chain, flat: str) -> str:
    shape = chain.constant("shape", np.asarray(chain.stored.shape, np.int64))
    return chain.node("Reshape", flat, shape)


def _cut(chain: Chain, what: str, value: str, size: int) -> str:
    """The first `size` values of a vector."""
    start = chain.once("start", [0], np.int64)
    end = chain.constant(f"{what}_end", np.asarray([size], np.int64))
    return chain.node("Slice", value, start, end)


def _short(number: int) -> str:
    """A name for a value between two nodes: it is in the file twice, so that it counts.

    All have three characters, up to 3,844, so that a chain takes the same bytes wherever it is.
    """
    high, low = divmod(number, len(_DIGITS))
    return f"v{_DIGITS[high % len(_DIGITS)]}{_DIGITS[low]}{high // len(_DIGITS) or ''}"


def _framed(size: int) -> int:
    """Bytes of a protobuf field with a message of `size` bytes: tag, length, message."""
    return 1 + max(1, -(-size.bit_length() // 7)) + size
