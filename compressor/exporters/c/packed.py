"""The C code of packed convolutions, which compute two columns in 32 bits."""

from __future__ import annotations

import numpy as np

from compressor.exporters.c import text
from compressor.exporters.c.narrowing import least_sum
from compressor.exporters.c.network import Convolution
from compressor.exporters.c.plan import ALIGNED, lanes_of
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
    pairs = lanes_of(layer, width, written.target) // 2
    return _kernel(layer, written, taps, pairs), fields


def _kernel(layer: Convolution, written: Written, taps: Taps, pairs: int) -> str:
    bits, counted = 8 * taps.offsets.itemsize, 8 * taps.counts.itemsize
    pooled = layer.pooled > 1
    name = f"convolve_packed_{bits}_{counted}_{pairs}{'_pooled' * pooled}"
    # There words at odd columns lie in a second copy, and offsets count words.
    aligned = written.target in ALIGNED
    if name not in written.kernels:
        pair = text.kernel("aligned_pair.c" if aligned else "pair.c")
        written.kernels.setdefault("pair.c", pair)
        store = text.kernel("store_pooled.c" if pooled else "store_pairs.c", pairs, name=name)
        written.kernels[name] = text.kernel(
            "packed.c",
            pairs,
            name=name,
            offset=f"{taps.offsets.dtype.name}_t",
            count=f"{taps.counts.dtype.name}_t",
            columns=2 * pairs,
            store=store.rstrip(),
            word="2 * " if aligned else "",
        )
    return name
