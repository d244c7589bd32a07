"""The C code of layers with weights: their arrays, and a function that computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compressor.exporters.c import mapped, packed, text, units
from compressor.exporters.c.direct import MOST_MARKED
from compressor.exporters.c.lanes import VECTORS, lanes_of
from compressor.exporters.c.network import Convolution, Dense, Layer, Transposed
from compressor.exporters.c.walking import Walk, walk_of
from compressor.exporters.c.written import Written, rescale_fields


def _convolution(layer: Convolution, written: Written, number: int) -> None:
    if number in written.plan.planes:
        mapped.write(layer, written, number)
        return
    laid, ring = written.plan.laid, written.plan.shapes[number]
    tensor, name = laid.tensors[layer.output], written.name(number)
    filters, rows, _, channels = layer.kernel.shape
    stored = written.plan.stored[number]
    walk = walk_of(stored, written, number)
    width = layer.pooled * tensor.shape[1]
    if layer.packed:
        kernel, fields = packed.kernel_and_fields(layer, written, number, walk, width)
    else:
        kernel = _kernel(written, walk, lanes_of(layer, width, written.target))
        fields = rescale_fields(written, number, layer.bias, layer.rescale)
    fields |= walk.fields
    fields |= {"filters": filters, "width": width, "rows": rows}
    if not layer.packed or packed.grouped(layer, written):
        fields |= {"share": filters // layer.groups, "group": channels * ring.pitch}
    written.data.append(text.structure(kernel, f"{name}_spec", fields))
    if layer.inputs[0] not in written.plan.direct:
        written.data.append(_import(layer, written, number))
    _row_function(layer, written, number, kernel, walk.space)
    positions = tensor.shape[0] * tensor.shape[1] * layer.pooled**2
    written.report(number, stored.encoding, stored.bytes, layer.kernel, stored.weights * positions)


def _kernel(written: Written, walk: Walk, lanes: int) -> str:
    """The name of the kernel of a convolution whose weights lie so; it is added."""
    name = f"convolve_{walk.suffix}_{lanes}"
    if name not in written.kernels:
        written.need_rescale()
        space = "uint8_t *space, " * bool(walk.space)
        written.kernels[name] = text.kernel(
            "convolve.c", lanes, name=name, space=space, **walk.values
        )
    return name


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
        "pitch": ring.pitch,
        "column": steps[0],
        "channel": steps[1],
        "zero": source.zero,
    }
    if layer.packed:
        del fields["zero"]
        if ring.copies > 1:
            fields["part"] = ring.part
        if ring.phases == 1:
            del fields["phases"], fields["length"]
    kind = f"import_{packed.import_kernel(written, ring)}" if layer.packed else "import"
    if not layer.packed:
        written.need("import.c")
    return text.structure(kind, f"{written.name(number)}_import", fields)


def _row_function(
    layer: Convolution, written: Written, number: int, kernel: str, space: str
) -> None:
    """The function that fills the ring, and computes a row of the output from it."""
    laid, ring = written.plan.laid, written.plan.shapes[number]
    name, block = written.name(number), written.plan.rings[number]
    source, rows = laid.tensors[layer.inputs[0]], layer.kernel.shape[1]
    height, span, counter = source.shape[0], ring.rows, written.plan.counters[number]
    top = f"(int)(y * {layer.stride[0] * layer.pooled}) - {layer.before[0]}"
    direct = layer.output in written.plan.direct
    out = _in_ring(written, layer.output) if direct else written.row(layer.output, "y")
    zeros = layer.before != (0, 0) or ring.phases * ring.length > source.shape[1]
    clear = f"    if (y == 0)\n        memset(ring, 0, {ring.bytes});\n" if zeros else ""
    kind = "uint16_t" if layer.packed else "int16_t"
    body = (
        f"    {kind} *const ring = ({kind} *)(void *)(r->workspace + {block.offset});\n"
        f"    const int top = {top};\n"
        f"    const {kind} *rows[{rows * layer.pooled}];\n"
    )
    if layer.packed and span <= MOST_MARKED:
        body += (
            "    struct filled *const filled = "
            f"(struct filled *)(void *)(r->workspace + {2 * counter});\n{clear}"
            f"    while (filled->next < {height} && filled->next < top + {span}) {{\n"
            f"{_filled(layer, written, number)}"
            f"    }}\n{_window(layer, written, number, kernel, out)}"
        )
    else:
        suffix = f"_{packed.import_kernel(written, ring)}" if layer.packed else ""
        step = f"k * {layer.dilation[0]}"
        if layer.pooled > 1:
            step = f"k % {rows} * {layer.dilation[0]} + k / {rows} * {layer.stride[0]}"
        body += (
            f"    uint16_t *const next = (uint16_t *)(void *)r->workspace + {counter};\n"
            f"    int k;\n{clear}"
            f"    for (; *next < {height} && *next < top + {span}; "
            "*next = (uint16_t)(*next + 1)) {\n"
            f"{written.pull(layer.inputs[0], '*next', ' ' * 8)}"
            f"        import_row{suffix}(&{name}_import, "
            f"{written.row(layer.inputs[0], '*next')},\n"
            f"            ring + *next % {span} * {ring.row});\n"
            f"    }}\n    for (k = 0; k < {rows * layer.pooled}; k++) {{\n"
            f"        const int at = top + {step};\n"
            f"        rows[k] = at < 0 || at >= {height} ? NULL : "
            f"ring + at % {span} * {ring.row};\n"
            "    }\n"
        )
    body += f"    {'return ' * direct}{kernel}(&{name}_spec, rows, {space}{out});\n"
    written.function(number, body, by_row=True, into_ring=direct)


def _in_ring(written: Written, output: int) -> str:
    """The arguments that say where a row goes in the ring of its reader."""
    reader = written.plan.direct[output]
    skip = written.plan.shapes[reader].pitch - written.plan.laid.tensors[output].shape[1]
    return f"into, {skip}"


def _filled(layer: Convolution, written: Written, number: int) -> str:
    """The statements that put the next row into the ring."""
    ring, source = written.plan.shapes[number], layer.inputs[0]
    place = f"ring + (size_t)filled->place * {ring.row}"
    if source in written.plan.direct:
        made = written.name(written.plan.makers[source])
        row = f"{made}(r, filled->next, {place} + {layer.before[1]})"
        return f"        fill(filled, {ring.rows}, {row});\n"
    return (
        f"{written.pull(source, 'filled->next', ' ' * 8)}"
        f"        fill(filled, {ring.rows}, import_row_{packed.import_kernel(written, ring)}(\n"
        f"            &{written.name(number)}_import, {written.row(source, 'filled->next')},\n"
        f"            {place}));\n"
    )


def _window(layer: Convolution, written: Written, number: int, kernel: str, out: str) -> str:
    """Finds the rows of a packed convolution's window, and leaves where all of them are zero."""
    ring, name = written.plan.shapes[number], written.name(number)
    written.need("not_inline.c", "window.c")
    fields = {
        "height": written.plan.laid.tensors[layer.inputs[0]].shape[0],
        "row": ring.row,
        "span": ring.rows,
        "rows": layer.kernel.shape[1],
        "dilation": layer.dilation[0],
        "stride": layer.stride[0],
        "parts": layer.pooled,
    }
    written.data.append(text.structure("window", f"{name}_window", fields))
    call = f"window_rows(&{name}_window, ring, filled, top, rows)"
    if written.target in VECTORS:
        return f"    (void){call};\n"
    function = f"{kernel}_of_nothing"
    written.kernels.setdefault(function, written.of_nothing[kernel])
    nothing = f"{function}(&{name}_spec, {out})"
    if layer.output in written.plan.direct:
        return f"    if (!{call})\n        return {nothing};\n"
    return f"    if (!{call}) {{\n        {nothing};\n        return;\n    }}\n"


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
    written.report(number, "dense", layer.kernel.size, layer.kernel, macs)


WRITERS: dict[type[Layer], Callable[[Any, Written, int], None]] = {
    Convolution: _convolution,
    Transposed: _transposed,
    Dense: units.write_dense,
}
"""Kind of layer -> what writes its code."""
