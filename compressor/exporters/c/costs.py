"""What the cost model counts, for each processor: `make calibrate` measures it."""

from __future__ import annotations

import json
from pathlib import Path

HOST = "host"
KINDS = {
    "tap": "of a convolution, behind an offset of its own",
    "shared_tap": "of a convolution whose filters share the offsets",
    "column": "of either, for each column",
    "packed_tap": "of a convolution of which pairs of columns share a register",
    "packed_column": "of such a one, for each pair",
    "dense": "of a fully connected layer that has all",
    "vector": "the same where registers hold many",
    "gap": "of a fully connected layer, behind a gap",
    "shared_gap": "the same in a byte with its gap",
    "listed": "of a fully connected layer, behind the number of its input",
    "decoded": "of a fully connected layer, in Rice code: more",
    "decoded_tap": "of a convolution, in Rice code: more, each time that it is decoded",
    "word": "the same where its value is in Huffman code: more",
    "word_bit": "for each bit of that",
    "map_product": "of a convolution of a whole map, for each vector of sums",
    "map_weight": "of the same, for all that registers hold",
    "map_widened": "of a group of those, whose sums are widened, for each vector",
    "map_group": "of such a group, besides",
}
"""Kind of work -> the weight that takes it."""
FILE = Path(__file__).with_name("costs.json")
COSTS: dict[str, dict[str, float]] = json.loads(FILE.read_text())
"""Processor -> kind of work -> instructions, or cycles of `host`."""
