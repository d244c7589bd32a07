"""How the C code of a layer walks over its weights, for each way to store them."""

from __future__ import annotations

import dataclasses
from typing import Any

from compressor.exporters.c import text
from compressor.exporters.c.coding import Coded
from compressor.exporters.c.weights import CodedWeights, DenseWeights, Stored, Taps
from compressor.exporters.c.written import Written


@dataclasses.dataclass(frozen=True)
class Walk:
    """Of a kernel of a convolution: what is put into its text, and the fields of its structure."""

    suffix: str
    """of the kernel's name"""
    values: dict[str, Any]
    fields: dict[str, object]
    space: str = ""
    """an argument more: where a filter is decoded"""


def walk_of(stored: Stored, written: Written, number: int) -> Walk:
    """The arrays of a convolution, which are added, and how to walk over them."""
    name = written.name(number)
    if isinstance(stored, DenseWeights):
        return _dense(stored, written, name)
    if isinstance(stored, CodedWeights):
        return _coded(stored, written, number)
    assert isinstance(stored, Taps)
    written.array(f"{name}_taps", stored.taps)
    values = _tapped(stored.head, stored.size) | {
        "story": "Each weight that is not zero lies behind its offset.",
        "members": "const uint8_t *taps;",
        "start": "const uint8_t *tap = c->taps;",
        "next": "tap = next;",
    }
    return Walk(f"{8 * (stored.size - 1)}_{8 * stored.head}", values, {"taps": f"{name}_taps"})


def _dense(stored: DenseWeights, written: Written, name: str) -> Walk:
    assert stored.offsets is not None
    written.array(f"{name}_offsets", stored.offsets)
    written.array(f"{name}_values", stored.values)
    offset = f"{stored.offsets.dtype.name}_t"
    values = {
        "story": "All filters share the offsets.",
        "members": f"const int8_t *values;\n    const {offset} *offsets;\n"
        "    uint16_t taps; /* weights of a row of a filter */",
        "start": "const int8_t *values = c->values;",
        "declare": f"const int8_t *value = values;\n        const {offset} *offset;",
        "restart": "value = values;",
        "row": "unsigned left = c->taps;\n                offset = c->offsets;",
        "skip": "value += left;",
        "more": "left > 0",
        "step": "left--",
        "offset": "*offset++",
        "value": "*value++",
        "next": "values = value;",
    }
    fields: dict[str, object] = {
        "values": f"{name}_values",
        "offsets": f"{name}_offsets",
        "taps": len(stored.offsets),
    }
    return Walk(f"dense_{offset[4:-2]}", values, fields)


def _tapped(head: int, size: int) -> dict[str, Any]:
    """What kernels with an offset beside each weight share; `next` is the next weight."""
    return {
        "size": size,
        "head": head,
        "declare": "const uint8_t *next = tap;",
        "restart": "next = tap;",
        "row": f"const unsigned left_in_row = {_word('next', head)};\n"
        f"        const uint8_t *const end = (next += {head}) + {size} * left_in_row;",
        "skip": "next = end;",
        "more": "next != end",
        "step": f"next += {size}",
        "offset": _word("next", size - 1),
        "value": f"(int8_t)next[{size - 1}]",
    }


def _word(at: str, bytes_: int) -> str:
    return f"{at}[0]" if bytes_ == 1 else f"(unsigned)({at}[0] | {at}[1] << 8)"


def _stored(at: str, bytes_: int, value: str) -> str:
    if bytes_ == 1:
        return f"{at}[0] = (uint8_t){value};"
    return f"{at}[0] = (uint8_t)({value} & 255);\n            {at}[1] = (uint8_t)({value} >> 8);"


def _coded(stored: CodedWeights, written: Written, number: int) -> Walk:
    assert stored.offsets is not None
    name, code = written.name(number), stored.code
    fields: dict[str, object] = {"code": code_fields(code, written, name)}
    fields["first"] = first_weight(code)
    written.array(f"{name}_offsets", stored.offsets)
    offset, size = f"{stored.offsets.dtype.name}_t", 1 + stored.offsets.itemsize
    suffix = f"{8 * (size - 1)}_{8 * stored.head}"
    decode = f"decode_filter_{suffix}"
    if decode not in written.kernels:
        store = _stored("next", size - 1, "offsets[d.index]")
        written.kernels[decode] = text.kernel(
            "decode_filter.c",
            name=decode,
            offset=offset,
            head=stored.head,
            size=size,
            store=f"{store}\n            next[{size - 1}] = (uint8_t)d.value;",
            store_count=_stored("head", stored.head, "found"),
        )
    values = _tapped(stored.head, size) | {
        "story": "Each filter is decoded before it is computed.",
        "members": f"struct code code;\n    struct decoder first;\n    const {offset} *offsets;\n"
        "    uint16_t taps; /* places in a row of a filter */",
        "start": "const uint8_t *const tap = space;\n    struct decoder decoder = c->first;",
        "next": "(void)next;",
    }
    values["declare"] = (
        f"{values['declare']}\n"
        f"        {decode}(&decoder, &c->code, c->offsets, c->taps, c->rows, space);"
    )
    fields |= {"offsets": f"{name}_offsets", "taps": len(stored.offsets)}
    space = f"r->workspace + {written.plan.spaces[number].offset}, "
    return Walk(f"coded_{suffix}", values, fields, space)


def first_weight(code: Coded) -> str:
    """A decoder at the first weight."""
    return "{{{}, {}, {}}}".format(*code.first)


def code_fields(code: Coded, written: Written, name: str) -> str:
    """The arrays of a code, which are added, and its structure."""
    if "decoder.c" not in written.kernels:
        written.need("not_inline.c")
        fixed = code.width > 0
        written.kernels["decoder.c"] = text.kernel(
            "decoder.c",
            inline="static" if fixed else "NOT_INLINE static",
            values="in so many bits" if fixed else "a word of a canonical Huffman code",
            members="uint8_t width; /* bits of a value */"
            if fixed
            else "const uint8_t *words; /* how many have 1, 2, ... bits */\n"
            "    const int8_t *symbols; /* values, in the order of their words */",
            value=text.kernel("decoder_fixed.c" if fixed else "decoder_huffman.c").rstrip(),
        )
    written.array(f"{name}_bits", code.bits)
    if code.width:
        return f"{{.bits = {name}_bits, .width = {code.width}, .rice = {code.rice}}}"
    written.array(f"{name}_words", code.words)
    written.array(f"{name}_symbols", code.symbols)
    return (
        f"{{.bits = {name}_bits, .words = {name}_words, .symbols = {name}_symbols, "
        f".rice = {code.rice}}}"
    )
