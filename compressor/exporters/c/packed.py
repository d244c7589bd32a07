"""The C code of packed convolutions, which compute two columns in 32 bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from compressor.exporters.c import text
from compressor.exporters.c.lanes import VECTORS, lanes_of
from compressor.exporters.c.narrowing import least_sum
from compressor.exporters.c.network import Convolution
from compressor.exporters.c.ring import Ring
from compressor.exporters.c.walking import Walk
from compressor.exporters.c.ways import ALIGNED
from compressor.exporters.c.weights import Taps
from compressor.exporters.c.written import Written

WIDE = 8
"""Lanes of a vector, which registers of every processor hold: compilers split wider ones badly."""
_BOUNDS = ("zero", "least", "most")
_SEVEN_BITS = (-128, 0, 127)
"""of an output that another packed convolution reads: literals, which compilers know to clip by"""
_GROUPED = {
    "share": "uint16_t share; /* filters that see the same channels */\n"
    "    uint32_t group; /* from the channels of one share to the next */",
    "groups": "size_t group = 0;\n    unsigned shared = 0;",
    "group": "group + ",
    "next_group": "if (++shared == c->share) {\n"
    "            shared = 0;\n"
    "            group += c->group;\n"
    "        }",
}
_TO_MAP = {"result": "void", "out": "int8_t *out", "put": "*out++ ="}
_TO_RING = {
    "result": "uint16_t",
    "out": "uint16_t *out, size_t skip",
    "put": "any |= *out++ = (uint16_t)",
    "any": "unsigned any = 0;",
    "skip": "out += skip; /* margins */",
    "returned": "return (uint16_t)(any != 0);",
    "zero": 0,
}
"""what differs where a row goes straight into the ring of its reader: see import_packed.c"""


def kernel_and_fields(
    layer: Convolution, written: Written, number: int, walk: Walk, width: int
) -> tuple[str, dict[str, object]]:
    """The name of the kernel, which is added, and the fields of its structure for this layer."""
    fields = scale_fields(layer, written, number)
    return _kernel(layer, written, walk, fields, lanes_of(layer, width, written.target)), fields


def grouped(layer: Convolution, written: Written) -> bool:
    """Whether a kernel is for filters that see different channels; for Cortex-M0 any is, since gcc
    makes slower code without."""
    return layer.groups > 1 or written.target in ALIGNED


def scale_fields(layer: Convolution, written: Written, number: int) -> dict[str, object]:
    """The arrays of the scales of a packed convolution, which are added, and the fields that name
    them; bounds only where they are not 7 bits from zero on."""
    name, rescale = written.name(number), layer.rescale
    least = np.array([least_sum(weights) for weights in layer.kernel])
    half = np.int64(1) << (rescale.shift - 1)
    written.array(f"{name}_start", (-least).astype(np.uint16))
    constant = (layer.bias + least) * rescale.multiplier + half
    written.array(f"{name}_constant", constant.astype(np.int32))
    written.array(f"{name}_multiplier", rescale.multiplier.astype(np.int16))
    written.array(f"{name}_shift", rescale.shift.astype(np.uint8))
    fields: dict[str, object] = {
        key: f"{name}_{key}" for key in ("start", "constant", "multiplier", "shift")
    }
    bounds = rescale.zero, rescale.low - rescale.zero, rescale.high - rescale.zero
    if bounds != _SEVEN_BITS:
        fields |= dict(zip(_BOUNDS, bounds, strict=True))
    return fields


def bound_values(seven: bool) -> dict[str, Any]:
    """Of kernels, where outputs may have 7 bits only: literals then, else fields."""
    return {
        key: bound if seven else f"c->{key}"
        for key, bound in zip(_BOUNDS, _SEVEN_BITS, strict=True)
    }


def _kernel(
    layer: Convolution, written: Written, walk: Walk, fields: dict[str, object], lanes: int
) -> str:
    pooled, pooling = layer.pooled > 1, "_pooled" * (layer.pooled > 1)
    seven, direct = "zero" not in fields, layer.output in written.plan.direct
    name = f"convolve_packed_{walk.suffix}_{lanes}{pooling}{'' if seven else '_bounded'}"
    name += "_into_ring" * direct + "_grouped" * grouped(layer, written)
    if name in written.kernels:
        return name
    values = walk.values | {"space": "uint8_t *space, " * bool(walk.space)}
    values |= bound_values(seven)
    values |= _GROUPED if grouped(layer, written) else dict.fromkeys(_GROUPED, "")
    bounds = "" if seven else "    int16_t zero, least, most; /* the bounds without the zero */\n"
    values["spec"] = text.kernel(
        "packed_spec.c", name=name, members=values["members"], share=values["share"], bounds=bounds
    )
    if written.target in VECTORS:
        written.need("lanes.c")
        store = text.kernel("store_pooled_lanes.c" if pooled else "store_lanes.c")
        wide = min(lanes, WIDE)
        written.kernels[name] = text.kernel(
            "vector.c",
            lanes // wide,
            name=name,
            wide=wide,
            columns=lanes,
            pooled=layer.pooled,
            store=store.rstrip(),
            **values,
        )
        return name
    # There words at odd columns lie in a second copy, and offsets count words.
    aligned = written.target in ALIGNED
    written.need("not_inline.c")
    if "pair.c" not in written.kernels:
        story, at = (
            (", the first at a multiple of 4 bytes", "ALIGNED(at)") if aligned else ("", "at")
        )
        written.kernels["pair.c"] = text.kernel("pair.c", story=story, at=at)
    if pooled:
        written.need("pooled.c")
    values |= {"any": "", "skip": "", "returned": ""} | (_TO_RING if direct else _TO_MAP)
    store = "store_pooled.c" if pooled else "store_pairs.c"
    nothing = "packed_nothing_into_ring.c" if direct else "packed_nothing.c"
    values |= {"name": name, "pooled": layer.pooled, "passed_over": _passed_over(written)}
    values["store"] = text.kernel(store, lanes // 2, **values).rstrip()
    written.of_nothing[name] = text.kernel(nothing, **values)
    written.kernels[name] = text.kernel(
        "packed.c",
        lanes // 2,
        columns=lanes,
        word="2 * " if aligned else "",
        weight=_read_weight(values, aligned),
        **values,
    )
    return name


def _read_weight(values: dict[str, Any], thumb: bool) -> str:
    if thumb:
        return (
            f"const uint32_t weight = (uint32_t){values['value']};\n            {values['step']};"
        )
    return (
        "uint32_t weight;\n"
        f"            next += {values['size'] - 1};\n"
        "            KEEP(next); /* so that the loads move it */\n"
        "            weight = (uint32_t)(int8_t)*next++;"
    )


def _passed_over(written: Written) -> str:
    """The rows of filters that need no loop: with weights in all of them only rows of zeros."""
    stored = [
        written.plan.stored[number]
        for number, layer in enumerate(written.plan.laid.layers)
        if isinstance(layer, Convolution) and layer.packed
    ]
    full = all(isinstance(one, Taps) and one.full for one in stored)
    return "row == NULL" if full else "row == NULL || next == end"


def _packed(written: Written) -> list[Convolution]:
    layers = written.plan.laid.layers
    return [one for one in layers if isinstance(one, Convolution) and one.packed]


def import_kernel(written: Written, ring: Ring) -> str:
    """What turns a row of int8 into a row of the ring; it is added."""
    name = "packed" if ring.phases == 1 else "phases"
    written.need("seven_bits.c")
    if name not in written.kernels:
        second, declared, whole, story, part = "", "", "", "", ""
        # Of one copy, in which words may lie anywhere.
        fours = ring.phases == ring.copies == 1 and written.target not in VECTORS
        if fours:
            written.need("four_at_once.c")
        if ring.copies > 1:
            story = "\n * A second copy lies one column to the left."
            part = ";\n    uint32_t part"
            # The margins of both copies are zero from the start; a value at the very start has no
            # place in the second one. Phases are copied once they are complete.
            if ring.phases == 1 and all(one.before[1] for one in _packed(written)):
                second = "again[k] = row[k];"
                declared = "uint16_t *const again = row + m->part - 1;"
            else:
                whole = "memcpy(to + m->part, to + 1, 2 * (size_t)m->part - 2);"
        file = "import_packed.c" if ring.phases == 1 else "import_packed_phases.c"
        written.kernels[name] = text.kernel(
            file,
            second=second,
            declared=declared,
            whole=whole,
            story=story,
            part=part,
            fours=text.kernel("import_fours.c").rstrip() if fours else "",
        )
    return name
