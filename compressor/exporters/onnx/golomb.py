"""Golomb codes of the distances between weights that are not zero.

A distance is a number of whole steps and a rest. The steps are bits 0 in front of a bit 1; the
rests, in as many bits as they need, are in one number with the value's own where it has a table.
In ONNX each bit becomes an entry of its own: of a bit 1 the value at its place, of a bit 0 a zero,
a step further on, which is where a zero is. So decoding is sums and look-ups, which fold at load:

    rank = CumSum(bits) * bits              0: a step; i: the i-th value
    entry = entries[rank]                   entries[0] is that of a step
    place = CumSum(entry % base)
    flat[place] = table[entry // base]

Source: S. W. Golomb, Run-Length Encodings, IEEE Transactions on Information Theory 12, 1966; Rice
codes are those with steps of a power of 2.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from onnx import TensorProto

from compressor.exporters.onnx.chain import Chain
from compressor.exporters.onnx.unpacking import add_bits, add_fields, first, flattened
from compressor.exporters.onnx.weights import Stored

_WIDTHS = range(1, 13)
"""Bits of an entry."""
_SHIFT_BYTES = 36
"""Of the nodes that add one to each rest."""
_FIELD_BYTES = 100
"""Of the nodes that read entries of other widths than a byte."""


@dataclasses.dataclass(frozen=True)
class _Code:
    """How far each value lies behind the one before it: `steps` times `longest`, and a rest.

    Rests are `least` to `longest`; the first distance is from -1 where `least` is 1, else from 0.
    """

    width: int
    """bits of an entry"""
    base: int
    """what an entry holds below its value's number: rests less `least`"""
    least: int
    steps: np.ndarray
    """int64 (k,)"""
    rests: np.ndarray
    """int64 (k,)"""

    @property
    def longest(self) -> int:
        return self.base - 1 + self.least

    @property
    def length(self) -> int:
        """Bits of the steps, with the one that ends each."""
        return int(self.steps.sum()) + len(self.steps)

    def bits(self) -> np.ndarray:
        """bool (length,)"""
        bits = np.zeros(self.length, bool)
        bits[np.cumsum(self.steps + 1) - 1] = True
        return bits


def add_golomb(chain: Chain, stored: Stored) -> tuple[str, str] | None:
    """Places, int32, and values, float32 or as stored, (bits,) each; None for a tensor of
    zeros where these have no code.

    If the chain is `uniform` and zero has a code, the nodes depend on the type of the values alone,
    unless bits have to be cut off.
    """
    found = np.flatnonzero(stored.nonzero)
    if not found.size:
        if stored.zero is None:
            return None
        found = np.zeros(1, np.int64)
    code = _shortest(found, 1 if stored.table is None else len(stored.table), chain.uniform)
    numbers = stored.codes[found]
    # The bits behind the last value are steps, too, and may lead out of the tensor.
    more = -code.length % 8
    fits = found[-1] + more * code.longest < stored.codes.size
    if not fits and stored.zero is not None:
        code, numbers = _split(code, numbers, stored.zero, more)
        fits = code.length % 8 == 0
    bits = flattened(chain, add_bits(chain, code.bits()))
    if not fits:
        bits = first(chain, bits, code.length)
    axis = chain.once("0a", 0, np.int32)
    rank = chain.node("Mul", chain.node("CumSum", bits, axis), bits)
    if stored.table is None:
        rest = chain.node("GatherElements", _entries(chain, code), rank)
        values = chain.constant(np.insert(numbers, 0, 0))
        value = chain.node("GatherElements", values, rank)
        if not stored.as_is and stored.kind != "float32":
            value = chain.node("Cast", value, to=TensorProto.FLOAT)
    else:
        entry = chain.node("GatherElements", _entries(chain, code, stored, numbers), rank)
        base = chain.constant(np.asarray(code.base, np.int32))
        rest = chain.node("Mod", entry, base)
        table = stored.table if stored.zero is not None else np.append(stored.table, np.float32(0))
        value = chain.node("Div", entry, base)
        value = chain.node("GatherElements", chain.constant(table), value)
    if code.least:
        one = chain.once("01", 1, np.int32)
        place = chain.node("CumSum", chain.node("Add", rest, one), axis)
        return chain.node("Sub", place, one), value
    return chain.node("CumSum", rest, axis), value


def _entries(
    chain: Chain,
    code: _Code,
    stored: Stored | None = None,
    numbers: np.ndarray | None = None,
) -> str:
    """The entry of a step, then those of the values."""
    step, entries = code.base - 1, code.rests - code.least
    if stored is None or stored.table is None or numbers is None:
        return add_fields(chain, np.insert(entries, 0, step), code.width)
    entries = entries + code.base * numbers.astype(np.int64)
    if stored.zero is not None:
        entries = np.insert(entries, 0, step + code.base * stored.zero)
        return add_fields(chain, entries, code.width)
    # The zero behind the table has a number that no value has.
    last = chain.constant(np.asarray([step + code.base * len(stored.table)], np.int32))
    return chain.node("Concat", last, add_fields(chain, entries, code.width), axis=0)


def _shortest(found: np.ndarray, levels: int, uniform: bool) -> _Code:
    """The code with the fewest bytes, of the nodes that it needs as well unless `uniform`."""
    distances, counts = np.unique(np.diff(found, prepend=-1), return_counts=True)

    def size(kind: tuple[int, int]) -> float:
        width, least = kind
        steps = (distances - 1) // (2**width // levels - 1 + least)
        nodes = least * _SHIFT_BYTES + (width != 8) * _FIELD_BYTES
        return (int(steps @ counts) + len(found) * (width + 1)) / 8 + nodes * (not uniform)

    kinds = itertools.product(_WIDTHS, (0,) if uniform else (0, 1))
    width, least = min((kind for kind in kinds if 2 ** kind[0] >= 2 * levels), key=size)
    base = 2**width // levels
    gaps = np.diff(found, prepend=-least)
    whole = np.maximum(gaps - 1, 0) // (base - 1 + least)
    return _Code(width, base, least, whole, gaps - whole * (base - 1 + least))


def _split(code: _Code, numbers: np.ndarray, zero: int, more: int) -> tuple[_Code, np.ndarray]:
    """The same with so many entries more, zeros in front of others; or as it is."""
    where = np.flatnonzero(code.rests > 1)[:more]
    if len(where) < more:
        return code, numbers
    behind = where + np.arange(1, more + 1)
    steps = np.insert(code.steps, where, code.steps[where])
    rests = np.insert(code.rests, where, 1)
    steps[behind] = 0
    rests[behind] -= 1
    code = dataclasses.replace(code, steps=steps, rests=rests)
    return code, np.insert(numbers, where, zero)
