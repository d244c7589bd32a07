"""The C code of packed convolutions, which compute two columns in 32 bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from compressor.exporters.c import text
from compressor.exporters.c.narrowing import least_sum
from compressor.exporters.c.network import Convolution
from compressor.exporters.c.plan import ALIGNED, VECTORS, Ring, lanes_of
from compressor.exporters.c.weights import Taps
from compressor.exporters.c.written import Written


def kernel_and_fields(
    layer: Convolution, written: Written, number: int, taps: Taps, width: int
) -> tuple[str, dict[str, object]]:
    """The name of the kernel, which is added, and the fields of its structure for this layer."""
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
    fields["zero"] = rescale.zero
    fields["least"] = rescale.low - rescale.zero
    fields["most"] = rescale.high - rescale.zero
    return _kernel(layer, written, taps, lanes_of(layer, width, written.target)), fields


def _kernel(layer: Convolution, written: Written, taps: Taps, lanes: int) -> str:
    bits, counted = 8 * taps.offsets.itemsize, 8 * taps.counts.itemsize
    pooled, pooling = layer.pooled > 1, "_pooled" * (layer.pooled > 1)
    name = f"convolve_packed_{bits}_{counted}_{lanes}{pooling}"
    if name in written.kernels:
        return name
    types: dict[str, Any] = {
        "offset": f"{taps.offsets.dtype.name}_t",
        "count": f"{taps.counts.dtype.name}_t",
    }
    types["spec"] = text.kernel("packed_spec.c", name=name, **types)
    if written.target in VECTORS:
        written.need("lanes.c")
        store = text.kernel("store_pooled_lanes.c" if pooled else "store_lanes.c")
        written.kernels[name] = text.kernel(
            "vector.c",
            name=name,
            columns=lanes,
            pooled=layer.pooled,
            store=store.rstrip(),
            **types,
        )
        return name
    # There words at odd columns lie in a second copy, and offsets count words.
    aligned = written.target in ALIGNED
    if "pair.c" not in written.kernels:
        story, at = (
            (", the first at a multiple of 4 bytes", "ALIGNED(at)") if aligned else ("", "at")
        )
        written.kernels["pair.c"] = text.kernel("pair.c", story=story, at=at)
    store = text.kernel("store_pooled.c" if pooled else "store_pairs.c", lanes // 2, name=name)
    written.kernels[name] = text.kernel(
        "packed.c",
        lanes // 2,
        name=name,
        columns=lanes,
        store=store.rstrip(),
        word="2 * " if aligned else "",
        **types,
    )
    return name


def import_kernel(written: Written, ring: Ring) -> str:
    """What turns a row of int8 into a row of the ring; it is added."""
    name = "packed" if ring.phases == 1 else "phases"
    if name not in written.kernels:
        second, story = "", ""
        if ring.copies > 1:
            story = "\n * A second copy lies one column to the left."
            second = (
                "memcpy(to, to - (size_t)m->phases * m->length + 1,\n"
                "               2 * (size_t)m->phases * m->length - 2);\n"
                "        to += (size_t)m->phases * m->length;"
            )
        file = "import_packed.c" if ring.phases == 1 else "import_packed_phases.c"
        written.kernels[name] = text.kernel(file, second=second, story=story)
    return name
