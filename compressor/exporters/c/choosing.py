"""Which storage each layer's weights take: a cost model.

That with the fewest instructions, by the costs of the processor, where a byte counts as much as so
many of them: for the size 2,000, so that a code which saves next to nothing does not make a layer
several times slower; for the latency 10, so that flash which buys next to nothing is not spent. The
bytes of the code that decodes are included. Hosts decode nothing: there bytes are cheap, and
registers hold many columns, or weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from compressor.exporters.c.coding import FIXED, HUFFMAN
from compressor.exporters.c.costs import COSTS
from compressor.exporters.c.planes import Grouped
from compressor.exporters.c.weights import CodedWeights, DenseWeights, Gaps, Listed, Stored

BYTE = {"size": 2000, "latency": 10, "host": 0.5}
"""instructions that a byte counts as much as, or cycles of hosts"""
DECODER = {(): 0, (FIXED,): 250, (HUFFMAN,): 300}
"""bytes of the code that decodes"""

Work = dict[str, float]
"""Kind of work, as in `KINDS` -> how often a run does it."""


def of_convolution(
    stored: Stored, passes: int, columns: float, decodings: int, *, packed: bool
) -> Work:
    """Each weight is multiplied `passes` times, with so many columns, or pairs of them if `packed`,
    each time, and decoded `decodings` times."""
    products, prefix = float(stored.weights * passes), "packed_" * packed
    kind = "shared_tap" if isinstance(stored, DenseWeights) else f"{prefix}tap"
    found = {kind: products, f"{prefix}column": products * columns}
    return found | _decoded(stored, "decoded_tap", decodings)


def of_dense(stored: Stored, *, vectors: bool) -> Work:
    """`vectors`: registers hold many weights."""
    kind = "gap"
    if isinstance(stored, Listed):
        kind = "listed"
    elif isinstance(stored, DenseWeights):
        kind = "vector" if vectors else "dense"
    elif isinstance(stored, Gaps) and stored.bits < 8:
        kind = "shared_gap"
    return {kind: float(stored.weights)} | _decoded(stored, "decoded", 1)


def _decoded(stored: Stored, kind: str, decodings: int) -> Work:
    if not isinstance(stored, CodedWeights):
        return {}
    weights = float(decodings * stored.weights)
    if stored.code.width:
        return {kind: weights}
    return {kind: weights, "word": weights, "word_bit": weights * stored.code.value_bits}


def of_whole_map(stored: Grouped, vectors: int) -> Work:
    """The same of a convolution of a whole map, in 32 bits, whose sums are so many vectors."""
    weights, groups = float(stored.weights), float(stored.start.size)
    return {
        **{"map_product": weights * vectors, "map_weight": weights},
        **{"map_widened": groups * vectors, "map_group": groups},
    }


def time_of(work: Work, target: str) -> float:
    """In the unit of `COSTS`."""
    return sum(count * COSTS[target][kind] for kind, count in work.items())


def cost(stored: Stored, work: Work, target: str, optimize: str) -> float:
    return time_of(work, target) + BYTE[optimize] * stored.bytes


def choose(
    forms: Mapping[int, list[tuple[Stored, Work]]], target: str, optimize: str
) -> dict[int, Stored]:
    """The cheapest storage of each layer, from those it has with the work of each.

    Values are all in one kind of code, so that one decoder serves all layers.
    """
    best: dict[int, Stored] = {}
    least = float("inf")
    for codes, size in DECODER.items():
        chosen: dict[int, Stored] = {}
        total = float(size * BYTE[optimize])
        for number, found in forms.items():
            within = [one for one in found if _kind(one[0]) in (None, *codes)]
            prices = [cost(*one, target, optimize) for one in within]
            chosen[number] = within[prices.index(min(prices))][0]
            total += min(prices)
        if not any(isinstance(one, CodedWeights) for one in chosen.values()) and codes:
            continue
        if total < least:
            best, least = chosen, total
    return best


def _kind(stored: Stored) -> str | None:
    if not isinstance(stored, CodedWeights):
        return None
    return FIXED if stored.code.width else HUFFMAN
