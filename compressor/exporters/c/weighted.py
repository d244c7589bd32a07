"""The C code of layers with weights: their arrays, and a function that computes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.exporters.c import packed, text
from compressor.exporters.c.network import Convolution, Dense, Layer, Transposed
from compressor.exporters.c.plan import lanes_of
from compressor.exporters.c.weights import Taps, gaps_of, taps_of
from compressor.exporters.c.written import Row, Written, rescale_fields

_MOST_BITS = 16
"""of the rows of a ring that are marked as zero"""


def _convolution(layer: Convolution, written: Written, number: int) -> None:
    laid, ring = written.plan.laid, written.plan.shapes[number]
    tensor, name = laid.tensors[layer.output], written.name(number)
    taps = taps_of(layer, ring, written.optimize)
    assert taps is not None
    filters, rows, columns, channels = layer.kernel.shape
    written.array(f"{name}_offsets", taps.offsets)
    written.array(f"{name}_values", taps.values)
    width = layer.pooled * tensor.shape[1]
    if layer.packed:
        kernel, fields = packed.kernel_and_fields(layer, written, number, taps, width)
    else:
        kernel = _convolution_kernel(written, taps, lanes_of(layer, width, written.target))
        fields = rescale_fields(written, number, layer.bias, layer.rescale)
    fields |= {"offsets": f"{name}_offsets", "values": f"{name}_values"}
    if taps.dense:
        fields["taps"] = channels * columns
    else:
        written.array(f"{name}_counts", taps.counts)
        fields["counts"] = f"{name}_counts"
    share = filters // layer.groups
    fields |= {"filters": filters, "width": width, "rows": rows, "share": share}
    fields["group"] = channels * ring.plane
    written.data.append(text.structure(kernel, f"{name}_spec", fields))
    written.data.append(_import(layer, written, number))
    _row_function(layer, written, number, kernel)
    positions = tensor.shape[0] * tensor.shape[1] * layer.pooled**2
    _report(written, number, "dense" if taps.dense else _offsets(taps), taps.bytes, layer.kernel)
    written.rows[-1] = dataclasses.replace(written.rows[-1], macs=len(taps.values) * positions)


def _import(layer: Convolution, written: Written, number: int) -> str:
    """How a row of the input becomes a row of the ring."""
    laid, ring = written.plan.laid, written.plan.shapes[number]
    source = laid.tensors[layer.inputs[0]]
    pixels = laid.place(layer.inputs[0]) in laid.pixels
    width = source.shape[1]
    steps = (source.shape[2], 1) if pixels else (1, width)
    fields = {
        "width": min(width, ring.phases * ring.length - layer.before[1]),
        "channels": source.shape[2],
        "before": layer.before[1],
        "phases": ring.phases,
        "length": ring.length,
        "column": steps[0],
        "channel": steps[1],
        "zero": source.zero,
    }
    if layer.packed:
        fields["high"] = source.high
    kind = f"import_{packed.import_kernel(written, ring)}" if layer.packed else "import"
    if not layer.packed:
        written.need("import.c")
    return text.structure(kind, f"{written.name(number)}_import", fields)


def _row_function(layer: Convolution, written: Written, number: int, kernel: str) -> None:
    """The function that fills the ring, and computes a row of the output from it."""
    laid, ring = written.plan.laid, written.plan.shapes[number]
    name, block = written.name(number), written.plan.rings[number]
    source, rows = laid.tensors[layer.inputs[0]], layer.kernel.shape[1]
    height, span, counter = source.shape[0], ring.rows, written.plan.counters[number]
    kind, suffix = (
        ("uint16_t", f"_{packed.import_kernel(written, ring)}") if layer.packed else ("int16_t", "")
    )
    sifted = layer.packed and span <= _MOST_BITS
    empty = f" || !(next[1] >> at % {span} & 1)" if sifted else ""
    zeros = layer.before != (0, 0) or ring.phases * ring.length > source.shape[1]
    body = (
        f"    {kind} *const ring = ({kind} *)(void *)(r->workspace + {block.offset});\n"
        f"    uint16_t *const next = (uint16_t *)(void *)r->workspace + {counter};\n"
        f"    const int top = (int)(y * {layer.stride[0] * layer.pooled}) - {layer.before[0]};\n"
        f"    const {kind} *rows[{rows * layer.pooled}];\n"
        "    int k;\n"
    )
    body += f"    if (y == 0)\n        memset(ring, 0, {ring.bytes});\n" if zeros else ""
    body += (
        f"    for (; *next < {height} && *next < top + {span}; *next = (uint16_t)(*next + 1)) {{\n"
        f"{written.pull(layer.inputs[0], '*next', ' ' * 8)}"
        f"        {'const uint16_t any = ' if sifted else ''}import_row{suffix}(\n"
        f"            &{name}_import, {written.row(layer.inputs[0], '*next')},\n"
        f"            ring + *next % {span} * {ring.row});\n"
    )
    if sifted:
        slot = f"*next % {span}"
        body += f"        next[1] = (uint16_t)((next[1] & ~(1 << {slot})) | any << {slot});\n"
    body += f"    }}\n    for (k = 0; k < {rows * layer.pooled}; k++) {{\n"
    step = f"k * {layer.dilation[0]}"
    if layer.pooled > 1:
        step = f"k % {rows} * {layer.dilation[0]} + k / {rows} * {layer.stride[0]}"
    body += (
        f"        const int at = top + {step};\n"
        f"        rows[k] = at < 0 || at >= {height}{empty} ? NULL\n"
        f"                : ring + at % {span} * {ring.row};\n"
        "    }\n"
        f"    {kernel}(&{name}_spec, rows, {written.row(layer.output, 'y')});\n"
    )
    written.function(number, body, by_row=True)


def _offsets(taps: Taps) -> str:
    return f"{8 * taps.offsets.itemsize}-bit offsets"


def _report(
    written: Written, number: int, encoding: str, size: int, kernel: np.ndarray, macs: int = 0
) -> None:
    layer = written.plan.laid.layers[number]
    tensor = written.plan.laid.tensors[layer.output]
    written.rows.append(
        Row(
            written.name(number),
            text.commented(tensor.name),
            encoding,
            kernel.shape,
            int(kernel.size - np.count_nonzero(kernel)),
            size,
            macs,
        )
    )


def _convolution_kernel(written: Written, taps: Taps, lanes: int) -> str:
    """The name of the kernel that computes a convolution stored so; it is added."""
    offset = f"{taps.offsets.dtype.name}_t"
    count = f"{taps.counts.dtype.name}_t"
    bits, counted = 8 * taps.offsets.itemsize, 8 * taps.counts.itemsize
    name = f"convolve_dense_{bits}_{lanes}"
    values = {
        "story": "All filters share the offsets.",
        "counts_member": "uint16_t taps; /* weights of a row of a filter */",
        "start": "",
        "declare": f"const {offset} *offset;",
        "restart": "",
        "taps": "c->taps",
        "rewind": "offset = c->offsets;",
        "skip": "",
        "next": "",
    }
    if not taps.dense:
        name = f"convolve_sparse_{bits}_{counted}_{lanes}"
        values = {
            "story": "Each weight that is not zero has its offset.",
            "counts_member": f"const {count} *counts; /* weights of each row of each filter */",
            "start": f"const {offset} *offsets = c->offsets;\n"
            f"    const {count} *counts = c->counts;",
            "declare": f"const {offset} *offset = offsets;\n        const {count} *count = counts;",
            "restart": "offset = offsets;\n            count = counts;",
            "taps": "*count++",
            "rewind": "",
            "skip": "offset += taps;",
            "next": "offsets = offset;\n        counts = count;",
        }
    if name not in written.kernels:
        written.need("rescale.c")
        written.kernels[name] = text.kernel("convolve.c", lanes, name=name, offset=offset, **values)
    return name


def _transposed(layer: Transposed, written: Written, number: int) -> None:
    laid, name = written.plan.laid, written.name(number)
    source, tensor = (laid.tensors[one] for one in (layer.inputs[0], layer.output))
    filters, rows, columns, channels = layer.kernel.shape
    fields = rescale_fields(written, number, layer.bias, layer.rescale)
    written.need("transposed.c")
    written.array(f"{name}_values", layer.kernel)
    fields |= {
        "values": f"{name}_values",
        "filters": filters,
        "rows": rows,
        "columns": columns,
        "channels": channels,
        "height": source.shape[0],
        "width": source.shape[1],
        "out_width": tensor.shape[1],
        "down": layer.stride[0],
        "right": layer.stride[1],
        "above": layer.before[0],
        "left": layer.before[1],
        "from_zero": source.zero,
    }
    written.data.append(text.structure("transposed", f"{name}_spec", fields))
    written.function(
        number,
        f"    transposed_row(&{name}_spec, {written.at(layer.inputs[0])}, y, "
        f"{written.row(layer.output, 'y')});\n",
        by_row=True,
    )
    macs = layer.kernel.size * source.shape[0] * source.shape[1]
    _report(written, number, "dense", layer.kernel.size, layer.kernel, macs)


def _dense(layer: Dense, written: Written, number: int) -> None:
    laid, name = written.plan.laid, written.name(number)
    zero = laid.tensors[layer.inputs[0]].zero
    bias = layer.bias - zero * layer.kernel.astype(np.int64).sum(axis=1)
    fields = rescale_fields(written, number, bias, layer.rescale)
    gaps = gaps_of(layer, written.optimize)
    if gaps is None:
        written.array(f"{name}_values", layer.kernel)
        fields |= {"values": f"{name}_values", "inputs": layer.kernel.shape[1]}
        encoding, size, macs = "dense", layer.kernel.size, layer.kernel.size
    else:
        for key in ("counts", "gaps", "values"):
            written.array(f"{name}_{key}", getattr(gaps, key))
            fields[key] = f"{name}_{key}"
        encoding, size, macs = "8-bit gaps", gaps.bytes, len(gaps.values)
    kind = "dense" if gaps is None else "sparse"
    fields["units"] = len(layer.kernel)
    written.need(f"{kind}.c")
    written.data.append(text.structure(kind, f"{name}_spec", fields))
    written.function(
        number,
        f"    multiply_{kind}(&{name}_spec, {written.at(layer.inputs[0])}, "
        f"{written.at(layer.output)});\n",
    )
    _report(written, number, encoding, size, layer.kernel, macs)


WRITERS: dict[type[Layer], Callable[[Any, Written, int], None]] = {
    Convolution: _convolution,
    Transposed: _transposed,
    Dense: _dense,
}
"""Kind of layer -> what writes its code."""
