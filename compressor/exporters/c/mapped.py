"""The C code of packed convolutions of whole maps."""

from __future__ import annotations

from typing import Any

from compressor.exporters.c import packed, text
from compressor.exporters.c.network import Convolution
from compressor.exporters.c.planes import WIDTHS, Grouped, Placed, Planes
from compressor.exporters.c.written import Written, rescale_fields

_SEVEN_BITS: dict[str, Any] = {
    "bits": ", and at most 7 bits",
    "member": "",
    "level": "seven_bits",
    "zero": "",
}
_WHOLE = {"bits": "", "member": "int16_t zero;", "level": "(uint16_t)", "zero": " - m->zero"}
"""what becomes of an integer in the planes: of maps in 7 bits, and of others"""


def write(layer: Convolution, written: Written, number: int) -> None:
    """The arrays of a convolution, and a function that computes its map."""
    plan, name = written.plan, written.name(number)
    planes, stored = plan.planes[number], plan.stored[number]
    assert isinstance(stored, Placed)
    tensor = plan.laid.tensors[layer.output]
    height, width, filters = tensor.shape
    arrays = {"weights": stored.filters, "offsets": stored.offsets, "values": stored.values}
    if isinstance(stored, Grouped):
        fields = rescale_fields(written, number, layer.bias - stored.starts, layer.rescale)
        fields["totals"] = planes.totals
        arrays |= {"groups": stored.groups, "start": stored.start}
    else:
        fields = packed.scale_fields(layer, written, number)
    seven = "zero" not in fields
    for key, values in arrays.items():
        written.array(f"{name}_{key}", values)
        fields[key] = f"{name}_{key}"
    fields["add"] = _adders(written, planes)
    fields |= {"filters": filters, "height": height, "width": width}
    fields |= {"pitch": planes.pitch, "places": planes.needed}
    if not planes.wide:
        fields |= {"row": filters * width, "plane": width}
    reader = plan.direct.get(layer.output)
    if reader is not None:
        fields |= {"row": plan.planes[reader].pitch, "plane": plan.planes[reader].plane}
    if planes.wide:
        kernel = _wide_kernel(written)
    else:
        kernel = _kernel(layer, written, seven, reader is not None)
    kind = "wide_planes" if planes.wide else "planes"
    written.data.append(text.structure(kind, f"{name}_spec", fields))
    _function(layer, written, number, kernel)
    positions = height * width * layer.pooled**2
    written.report(number, stored.encoding, stored.bytes, layer.kernel, stored.weights * positions)


def _kernel(layer: Convolution, written: Written, seven: bool, direct: bool) -> str:
    largest = f"largest_of_{layer.pooled**2}"
    name = f"convolve_map{'_pooled' * (layer.pooled > 1)}{'_bounded' * (not seven)}"
    name += "_into_planes" * direct
    if name in written.kernels:
        return name
    written.need(f"{largest}.c")
    values = packed.bound_values(seven)
    zero = values.pop("zero")
    store = text.kernel("store_planes.c" if direct else "store_map.c")
    kind = "uint16_t" if direct else "int8_t"
    written.kernels[name] = text.kernel(
        "planes.c",
        name=name,
        pooled=layer.pooled,
        largest=largest,
        type=kind,
        store=store.rstrip(),
        margin="for (k = c->width; k < x; k++) /* what was written behind the row */\n"
        "                to[k] = 0;"
        if direct
        else "",
        zeroed="" if direct else f"zero = {zero}, ",
        **values,
    ) + text.kernel("each_level.c", name=name, struct="planes", type=kind)
    return name


def _wide_kernel(written: Written) -> str:
    name = "convolve_wide_map"
    levels = text.kernel("each_level.c", name=name, struct="wide_planes", type="int8_t")
    written.kernels[name] = text.kernel("wide_planes.c") + levels
    return name


def _adders(written: Written, planes: Planes) -> str:
    """What adds up products at each level, as the field that names it."""
    written.need("not_inline.c", "vectors.c")
    names = [
        _add_products(written, level, wide, vectors)
        for (level, wide), vectors in zip(WIDTHS.items(), planes.vectors, strict=True)
    ]
    return f"ADD_PRODUCTS({', '.join(names)})"


def _add_products(written: Written, level: str, wide: int, vectors: int) -> str:
    name = f"add_products_{wide}_{vectors}"
    if name in written.kernels:
        return name
    values = {"wide": wide, "columns": wide * vectors, "level": f"{level} " * bool(level)}
    made = text.kernel("add_products.c", vectors, **values)
    if level:
        found = f"#if defined(LEVELS)\n{made}#endif\n"
    else:
        scalar = text.kernel("add_products_scalar.c", vectors, **values)
        found = f"#if defined(__GNUC__)\n{made}#else\n{scalar}#endif\n"
    written.kernels[name] = found
    return name


def _function(layer: Convolution, written: Written, number: int, kernel: str) -> None:
    """The function that fills the planes, and computes the output from them."""
    plan, name = written.plan, written.name(number)
    planes = plan.planes[number]
    body = f"    uint16_t *const map = {_map(written, number)};\n{_import(layer, written, number)}"
    reader = plan.direct.get(layer.output)
    if reader is None:
        out = written.at(layer.output)
    else:
        out = f"out + {plan.planes[reader].first}"
        body = (
            f"    uint16_t *const out = {_map(written, reader)};\n{body}"
            f"    memset(out, 0, {2 * plan.planes[reader].map});\n"
        )
    written.function(number, f"{body}    {kernel}(&{name}_spec, map, map + {planes.map}, {out});\n")


def _map(written: Written, number: int) -> str:
    return f"(uint16_t *)(void *)(r->workspace + {written.plan.rings[number].offset})"


def _import(layer: Convolution, written: Written, number: int) -> str:
    """What fills the planes; nothing where the layer before does."""
    plan, name = written.plan, written.name(number)
    planes, source = plan.planes[number], plan.laid.tensors[layer.inputs[0]]
    if layer.inputs[0] in plan.direct:
        return ""
    height, width, channels = source.shape
    pixels = plan.laid.place(layer.inputs[0]) in plan.laid.pixels
    column, channel = (channels, 1) if pixels else (1, width)
    kernel = "import_planes" + "_whole" * planes.wide
    values = dict(_WHOLE if planes.wide else _SEVEN_BITS)
    if not planes.wide:
        written.need("seven_bits.c")
    written.kernels[kernel] = text.kernel("import_planes.c", name=kernel, **values)
    (above, left), (down, step) = layer.before, planes.stride
    row = f"(y + {above}) / {down} * {planes.pitch}"
    row += f" + (y + {above}) % {down} * {step * planes.plane}" if down > 1 else ""
    calls = ""
    for phase in range(step):
        first = (phase - left) % step
        if first >= width:
            continue
        fields: dict[str, object] = {
            "width": -(-(width - first) // step),
            "channels": channels,
            "column": column * step,
            "channel": channel,
            "plane": planes.channel,
        }
        if planes.wide:
            fields["zero"] = source.zero
        moves = f"{name}_import{phase or ''}"
        written.data.append(text.structure(kernel, moves, fields))
        calls += (
            f"        {kernel}(&{moves}, {written.row(layer.inputs[0], 'y')} + {first * column},\n"
            f"                      map + {phase * planes.plane + (first + left) // step} + "
            f"(size_t)({row}));\n"
        )
    return (
        "    unsigned y;\n"
        f"    memset(map, 0, {2 * planes.map});\n"
        f"    for (y = 0; y < {height}; y++) {{\n"
        f"{written.pull(layer.inputs[0], 'y', ' ' * 8)}"
        f"{calls}"
        "    }\n"
    )
