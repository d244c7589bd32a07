"""The C code of fully connected layers: sums of all units, to which the inputs add row by row."""

from __future__ import annotations

import numpy as np

from compressor.exporters.c import text
from compressor.exporters.c.network import Dense
from compressor.exporters.c.plan import Plan
from compressor.exporters.c.walking import code_fields, first_weight
from compressor.exporters.c.weights import CodedWeights, DenseWeights, Gaps, Listed, Stored
from compressor.exporters.c.written import Written, limits

_AT_ONCE = 16
"""units whose sums are held where the input is there as a whole"""
_MOST_32 = 2**31 - 1


def write_dense(layer: Dense, written: Written, number: int) -> None:
    plan, name = written.plan, written.name(number)
    rows, units = plan.rows_of(layer), len(layer.kernel)
    source = plan.laid.place(layer.inputs[0])
    width = layer.kernel.shape[1] // rows
    stored = plan.stored[number]
    _scales(layer, written, number)
    declared, multiply = _multiplied(stored, written, name)

    def call(source: str, count: str) -> str:
        # Lists hold inputs themselves, and need no width.
        inputs = source if isinstance(stored, Listed) else f"{source}, {width}"
        return f"multiply_{multiply}{inputs}, {count}, sums);\n"

    scales = f"&{name}_units"
    if rows > 1:
        body = (
            f"    int32_t *const sums = (int32_t *)(void *)(r->workspace + "
            f"{plan.sums[number].offset});\n"
            f"    unsigned y;\n{declared}"
            f"    memset(sums, 0, {4 * units});\n"
            f"    for (y = 0; y < {rows}; y++) {{\n"
            f"{written.pull(source, 'y', ' ' * 8)}"
            f"        {call(written.row(source, 'y'), str(units))}"
            "    }\n"
            f"    finish_sums({scales}, 0, {units}, sums, {written.at(layer.output)});\n"
        )
    else:
        body = (
            f"    int32_t sums[{min(units, _AT_ONCE)}];\n"
            f"    unsigned first;\n{declared}"
            f"    for (first = 0; first < {units}; first += {_AT_ONCE}) {{\n"
            f"        const unsigned count = {units} - first < {_AT_ONCE} "
            f"? {units} - first : {_AT_ONCE};\n"
            "        memset(sums, 0, sizeof sums);\n"
            f"        {call(written.at(source), 'count')}"
            f"        finish_sums({scales}, first, count, sums, {written.at(layer.output)});\n"
            "    }\n"
        )
    written.function(number, body)
    written.report(number, stored.encoding, stored.bytes, layer.kernel, stored.weights)


def _multiplied(stored: Stored, written: Written, name: str) -> tuple[str, str]:
    """The declaration of where the weights are, and the start of the call that multiplies them."""
    if isinstance(stored, DenseWeights):
        written.need("dense.c")
        written.array(f"{name}_values", stored.values)
        return f"    const int8_t *values = {name}_values;\n", "dense(&values, "
    if isinstance(stored, Listed):
        arrays = {"fours": stored.fours, "inputs": stored.inputs, "values": stored.values}
        for key, values in arrays.items():
            written.array(f"{name}_{key}", values)
        written.need("listed.c")
        named = ", ".join(f"{name}_{key}" for key in arrays)
        return f"    struct listed lists = {{{named}}};\n", "listed(&lists, "
    if isinstance(stored, Gaps):
        written.array(f"{name}_gaps", stored.gaps)
        shared = stored.bits < 8
        written.need("sparse_at.c", "sparse_bytes.c" if shared else "sparse.c")
        first = int(stored.gaps[0]) & (2 ** (8 - stored.bits) - 1 if shared else 255)
        declared = f"    struct sparse_at at = {{{name}_gaps, {first}}};\n"
        return declared, f"sparse_bytes(&at, {stored.bits}, " if shared else "sparse(&at, "
    assert isinstance(stored, CodedWeights)
    code = code_fields(stored.code, written, name)
    written.need("coded.c")
    written.data.append(f"static const struct code {name}_code = {code};\n")
    declared = f"    struct decoder decoder = {first_weight(stored.code)};\n"
    return declared, f"coded(&decoder, &{name}_code, "


def _scales(layer: Dense, written: Written, number: int) -> None:
    """What the sums of units become."""
    name, types = written.name(number), _types(written.plan)
    for key, values in _columns(layer, written.plan).items():
        if types[key] is not None:
            written.array(f"{name}_{key}", values.astype(types[key]))
    written.need("not_inline.c")
    if "units.c" not in written.kernels:
        narrow = types["multiplier"] == "int16"
        shift = "u->shift[first]" if types["shift"] else "u->shift"
        level = "rescale(*sums++ + u->bias[first], u->multiplier[first], $shift, &u->limits)"
        if narrow:
            product = "(*sums++ + u->bias[first]) * u->multiplier[first]"
            level = f"clip32(({product} + ((int32_t)1 << ({shift} - 1))) >> {shift}, &u->limits)"
            written.need("clip32.c")
        else:
            written.need_rescale()
        written.kernels["units.c"] = text.kernel(
            "units.c",
            bias=f"{types['bias']}_t",
            multiplier=f"{types['multiplier']}_t",
            shift_member="const uint8_t *shift;" if types["shift"] else "uint8_t shift;",
            rescale=level.replace("$shift", shift),
        )
    rescale = layer.rescale
    fields: dict[str, object] = {
        "bias": f"{name}_bias",
        "multiplier": f"{name}_multiplier",
        "shift": f"{name}_shift" if types["shift"] else int(rescale.shift[0]),
        "limits": limits(rescale.zero, rescale.low, rescale.high),
    }
    written.data.append(text.structure("units", f"{name}_units", fields))


def _columns(layer: Dense, plan: Plan) -> dict[str, np.ndarray]:
    zero = plan.laid.tensors[layer.inputs[0]].zero
    bias = layer.bias - zero * layer.kernel.astype(np.int64).sum(axis=1)
    return {"bias": bias, "multiplier": layer.rescale.multiplier, "shift": layer.rescale.shift}


def _types(plan: Plan) -> dict[str, str | None]:
    """Of the arrays of all fully connected layers, which share their code. No shift: all units of a
    layer have one; multipliers of int16: all stays within 32 bits."""
    layers = [layer for layer in plan.laid.layers if isinstance(layer, Dense)]
    biases = [_columns(layer, plan)["bias"] for layer in layers]
    fits = all(int(np.abs(one).max()) < 2**15 for one in biases)
    return {
        "bias": "int16" if fits else "int32",
        "multiplier": "int16" if all(_within_32(layer, plan) for layer in layers) else "int32",
        "shift": None if all(len(set(one.rescale.shift)) == 1 for one in layers) else "uint8",
    }


def _within_32(layer: Dense, plan: Plan) -> bool:
    tensor = plan.laid.tensors[layer.inputs[0]]
    reach = max(tensor.high - tensor.zero, tensor.zero - tensor.low)
    sums = np.abs(layer.bias) + reach * np.abs(layer.kernel.astype(np.int64)).sum(axis=1)
    rescale = layer.rescale
    if int(rescale.multiplier.max()) >= 2**15 or int(rescale.shift.max()) > 30:
        return False
    half = np.int64(1) << (rescale.shift - 1)
    return bool((sums * rescale.multiplier + half <= _MOST_32).all())
