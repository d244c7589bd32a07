"""Which storage each layer's weights take: a cost model.

That with the fewest instructions, by the constants below, where a byte counts as much as so many of
them: for the size 1,000, so that a code which saves next to nothing does not make a layer several
times slower; for the latency 20, so that flash which buys next to nothing is not spent. The bytes
of the code that decodes are included. Hosts decode nothing: there bytes are cheap, and registers
hold many columns, or weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from compressor.exporters.c.coding import FIXED, HUFFMAN
from compressor.exporters.c.planes import Grouped
from compressor.exporters.c.weights import CodedWeights, DenseWeights, Gaps, Listed, Stored

BYTE = {"size": 1000, "latency": 20, "host": 0.5}
"""instructions that a byte counts as much as; for the latency on hosts next to nothing"""
TAP, SHARED_TAP = 5, 4
"""instructions of a weight of a convolution with an offset of its own, and without"""
UNIT_TAP, SHARED_BYTE, DENSE_TAP = 7, 10, 5
"""instructions of a weight of a fully connected layer: sparse, in a byte with its gap, and dense"""
LISTED_TAP, VECTOR_TAP = 5, 0.5
"""the same where lists number the inputs, and where registers hold many weights of a dense one"""
MAP_TAP, MAP_WEIGHT, MAP_GROUP, MAP_CALL = 2, 6, 9, 25
"""the same of a convolution of a whole map: of a weight for each vector of sums, and for all that
registers hold; and of a group of weights whose sums are widened, for each vector, and besides"""
DECODED, WORD_BIT = 20, 7
"""instructions to decode a weight, and for each bit of its Huffman code"""
DECODER = {(): 0, (FIXED,): 250, (HUFFMAN,): 300}
"""bytes of the code that decodes"""


def instructions(
    stored: Stored, passes: int, columns: float, decodings: int, *, vectors: bool = False
) -> float:
    """Of a run: each weight is multiplied `passes` times, with `columns` instructions each time for
    the columns, and decoded `decodings` times. `vectors`: registers hold many weights."""
    convolution = columns > 0
    if isinstance(stored, Listed):
        each: float = LISTED_TAP
    elif vectors and isinstance(stored, DenseWeights) and not convolution:
        each = VECTOR_TAP
    elif isinstance(stored, Gaps) and stored.bits < 8:
        each = SHARED_BYTE
    elif isinstance(stored, DenseWeights):
        each = (SHARED_TAP if convolution else DENSE_TAP) + columns
    else:
        each = (TAP if convolution else UNIT_TAP) + columns
    found = stored.weights * passes * each
    if isinstance(stored, CodedWeights):
        word = 0 if stored.code.width else WORD_BIT * stored.code.value_bits
        found += decodings * stored.weights * (DECODED + word)
    return found


def of_whole_map(stored: Grouped, vectors: int) -> float:
    """Instructions of a convolution of a whole map, in 32 bits, whose sums are so many vectors."""
    weight, group = MAP_TAP * vectors + MAP_WEIGHT, MAP_GROUP * vectors + MAP_CALL
    return stored.weights * weight + stored.start.size * group


def cost(stored: Stored, time: float, optimize: str) -> float:
    return time + BYTE[optimize] * stored.bytes


def choose(forms: Mapping[int, list[tuple[Stored, float]]], optimize: str) -> dict[int, Stored]:
    """The cheapest storage of each layer, from those it has with their instructions.

    Values are all in one kind of code, so that one decoder serves all layers.
    """
    best: dict[int, Stored] = {}
    least = float("inf")
    for codes, size in DECODER.items():
        chosen: dict[int, Stored] = {}
        total = float(size * BYTE[optimize])
        for number, found in forms.items():
            within = [one for one in found if _kind(one[0]) in (None, *codes)]
            stored, time = min(within, key=lambda one: cost(one[0], one[1], optimize))
            chosen[number] = stored
            total += cost(stored, time, optimize)
        if not any(isinstance(one, CodedWeights) for one in chosen.values()) and codes:
            continue
        if total < least:
            best, least = chosen, total
    return best


def _kind(stored: Stored) -> str | None:
    if not isinstance(stored, CodedWeights):
        return None
    return FIXED if stored.code.width else HUFFMAN
