"""The C code of layers without weights: a function that computes the map, or one row of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.exporters.c import text
from compressor.exporters.c.network import (
    Constant,
    Joined,
    Layer,
    Lookup,
    Padded,
    Pooling,
    Product,
    Reordered,
    Softmax,
    Sum,
)
from compressor.exporters.c.written import Written, limits


def _pooling(layer: Pooling, written: Written, number: int) -> None:
    laid, name = written.plan.laid, written.name(number)
    source, tensor = (laid.tensors[one] for one in (layer.inputs[0], layer.output))
    written.need("clip.c", "pooling.c")
    fields = {
        "width": source.shape[1],
        "channels": source.shape[2],
        "out_width": tensor.shape[1],
        "columns": layer.window[1],
        "stride": layer.stride[1],
        "before": layer.before[1],
        "limits": limits(0, layer.low, layer.high),
    }
    written.data.append(text.structure("pooling", f"{name}_spec", fields))
    height, window, counter = source.shape[0], layer.window[0], written.plan.counters[number]
    pull = written.pull(layer.inputs[0], "*next", " " * 8)
    if pull:
        pull = (
            f"    uint16_t *const next = (uint16_t *)(void *)r->workspace + {counter};\n"
            f"    for (; *next < {height} && *next < top + {window}; "
            f"*next = (uint16_t)(*next + 1))\n{pull}"
        )
    declared, _, loop = pull.partition("\n")
    written.function(
        number,
        f"    const int top = (int)(y * {layer.stride[0]}) - {layer.before[0]};\n"
        f"    const int8_t *rows[{min(window, height)}];\n"
        f"{declared}{declared and chr(10)}"
        "    unsigned count = 0;\n"
        "    int at;\n"
        f"{loop}"
        f"    for (at = top < 0 ? 0 : top; at < top + {window} && at < {height}; at++)\n"
        f"        rows[count++] = {written.row(layer.inputs[0], 'at')};\n"
        f"    pool_row(&{name}_spec, {int(not layer.largest)}, rows, count, "
        f"{written.row(layer.output, 'y')});\n",
        by_row=True,
    )


def _lookup(layer: Lookup, written: Written, number: int) -> None:
    name, tensor = written.name(number), written.plan.laid.tensors[layer.output]
    written.need("lookup.c")
    written.array(f"{name}_values", layer.table)
    written.function(
        number,
        written.pull(layer.inputs[0], "y")
        + f"    look_up({name}_values, {written.row(layer.inputs[0], 'y')}, "
        f"{tensor.shape[1] * tensor.shape[2]},\n            {written.row(layer.output, 'y')});\n",
        by_row=True,
    )


def _pairs(
    layer: Sum | Product, written: Written, number: int, function: str, fields: dict[str, object]
) -> None:
    laid, name = written.plan.laid, written.name(number)
    tensor = laid.tensors[layer.output]
    found: dict[str, object] = {"width": tensor.shape[1], "channels": tensor.shape[2]}
    rows = []
    for place, source in zip(("first", "second"), layer.inputs, strict=True):
        shape = laid.tensors[source].shape
        whole = shape == tensor.shape
        found[f"{place}_column"] = int(shape[1] == tensor.shape[1] and whole)
        found[f"{place}_channel"] = tensor.shape[1] if whole else int(shape[2] > 1)
        found[f"{place}_zero"] = laid.tensors[source].zero
        rows.append(written.row(source, "y") if whole else written.at(source))
    written.data.append(text.structure("pairs", f"{name}_spec", found | fields))
    written.function(
        number,
        "".join(written.pull(source, "y") for source in dict.fromkeys(layer.inputs))
        + f"    {function}(&{name}_spec, {rows[0]}, {rows[1]},\n"
        f"            {written.row(layer.output, 'y')});\n",
        by_row=True,
    )


def _sum(layer: Sum, written: Written, number: int) -> None:
    written.need("clip.c", "pairs.c", "sum.c")
    fields: dict[str, object] = {
        "first": layer.multipliers[0],
        "second": layer.multipliers[1],
        "shift": layer.shift,
        "limits": limits(layer.zero, layer.low, layer.high),
    }
    _pairs(layer, written, number, "add_row", fields)


def _product(layer: Product, written: Written, number: int) -> None:
    written.need_rescale()
    written.need("pairs.c", "product.c")
    rescale = layer.rescale
    fields: dict[str, object] = {
        "first": int(rescale.multiplier[0]),
        "shift": int(rescale.shift[0]),
        "limits": limits(rescale.zero, rescale.low, rescale.high),
    }
    _pairs(layer, written, number, "multiply_row", fields)


def _joined(layer: Joined, written: Written, number: int) -> None:
    laid, body = written.plan.laid, []
    start = 0
    for source in layer.inputs:
        size = laid.tensors[source].shape[1] * laid.tensors[source].shape[2]
        body.append(
            written.pull(source, "y") + f"    memcpy({written.row(layer.output, 'y')} + {start},\n"
            f"           {written.row(source, 'y')}, {size});\n"
        )
        start += size
    written.function(number, "".join(body), by_row=True)


def _padded(layer: Padded, written: Written, number: int) -> None:
    laid, name = written.plan.laid, written.name(number)
    source, tensor = (laid.tensors[one] for one in (layer.inputs[0], layer.output))
    written.need("padding.c")
    fields = {
        "width": source.shape[1],
        "channels": source.shape[2],
        "out_width": tensor.shape[1],
        "out_channels": tensor.shape[2],
        "left": layer.before[1],
        "before": layer.before[2],
        "value": layer.value,
    }
    written.data.append(text.structure("padding", f"{name}_spec", fields))
    above = f"y >= {layer.before[0]} && " if layer.before[0] else ""
    at = f"y - {layer.before[0]}" if layer.before[0] else "y"
    written.function(
        number,
        f"    const int8_t *from = NULL;\n"
        f"    if ({above}y < {layer.before[0] + source.shape[0]}) {{\n"
        f"{written.pull(layer.inputs[0], at, ' ' * 8)}"
        f"        from = {written.row(layer.inputs[0], at)};\n"
        "    }\n"
        f"    pad_row(&{name}_spec, from, {written.row(layer.output, 'y')});\n",
        by_row=True,
    )


def _constant(layer: Constant, written: Written, number: int) -> None:
    values = np.ascontiguousarray(layer.values.transpose(0, 2, 1))
    written.array(f"{written.name(number)}_values", values)


def _softmax(layer: Softmax, written: Written, number: int) -> None:
    name, (height, width, channels) = (
        written.name(number),
        written.plan.laid.tensors[layer.output].shape,
    )
    written.need("softmax.c")
    written.array(f"{name}_table", layer.table)
    written.function(
        number,
        f"    softmax({name}_table, {height}, {width}, {channels}, "
        f"{written.at(layer.inputs[0])},\n            {written.at(layer.output)});\n",
    )


def _reordered(layer: Reordered, written: Written, number: int) -> None:
    height, width, channels = written.plan.laid.tensors[layer.output].shape
    # Of pixels, the columns come first afterwards; a row has the channels first.
    outer, inner = (width, channels) if layer.pixels else (channels, width)
    written.need("reorder.c")
    written.function(
        number,
        f"    reorder({written.at(layer.inputs[0])}, {height}, {outer}, {inner}, "
        f"{written.at(layer.output)});\n",
    )


WRITERS: dict[type[Layer], Callable[[Any, Written, int], None]] = {
    Pooling: _pooling,
    Lookup: _lookup,
    Sum: _sum,
    Product: _product,
    Joined: _joined,
    Padded: _padded,
    Constant: _constant,
    Softmax: _softmax,
    Reordered: _reordered,
}
"""Kind of layer -> what writes its code."""
