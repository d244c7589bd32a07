"""What encodings cost beside the fastest and the smallest ones, by the constants of `choice`."""

from __future__ import annotations

import dataclasses

from compressor.exporters.request import BALANCED, Optimize
from compressor.exporters.tflite.choice import Candidate, Operand

_FULLY_CONNECTED = 10
"""products of a convolution that take as long as one of FULLY_CONNECTED, which reads a weight for
each: of the paper's CNN in float32 at batch 1, it has 23 % of the products and 78 % of the time"""

_MENTIONED = 0.1
"""of a file's bytes: what is worth a sentence"""


@dataclasses.dataclass
class Price:
    """The time of a file's products, in products of a convolution, and the bytes of the fastest."""

    time: float = 0.0
    """of the encodings that were chosen"""
    fastest: float = 0.0
    more_bytes: int = 0
    """that the fastest encodings take"""
    fewer_bytes: int = 0
    """that the smallest encodings take"""

    def add(
        self, operand: Operand, chosen: Candidate, fastest: Candidate, smallest: Candidate
    ) -> None:
        """Count a weight that is stored as `chosen`."""
        if operand.kind != "GATHER":  # which copies rows, and multiplies nothing
            each = _FULLY_CONNECTED if operand.kind == "FULLY_CONNECTED" else operand.positions
            dense = operand.values * max(each, 1)
            self.time += dense * chosen.time
            self.fastest += dense * fastest.time
        self.more_bytes += fastest.added - chosen.added
        self.fewer_bytes += chosen.added - smallest.added

    def told(self, size: int, optimize: Optimize) -> str:
        """The price of a file of `size` bytes in a sentence, empty where it is hardly any.

        Of one for the size, its time; of a balanced one, the bytes that another aim would save.
        """
        if optimize != "size":
            if optimize != "balanced" or self.fewer_bytes < _MENTIONED * size:
                return ""
            fewer = size - self.fewer_bytes
            return f"It would have about {fewer:,} bytes, and be slower, with --optimize size."
        # Weights that are all zero take no time at all.
        if self.fastest <= 0 or self.time <= BALANCED * self.fastest:
            return ""
        return (
            f"Encoded for the size it takes about {self.time / self.fastest:.1f} times as long, by "
            "the cost model, as the fastest file of this quantisation, which has about "
            f"{size + self.more_bytes:,} bytes: --optimize latency."
        )
