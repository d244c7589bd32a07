"""How fast an artefact was measured to be."""

from __future__ import annotations

import dataclasses
from typing import Any

from deploy.statistics import Interval


@dataclasses.dataclass(frozen=True)
class Speed:
    """The latency of an artefact, measured in turns with that of the model dense in float32."""

    runtime: str
    host: str | None
    """None: this machine"""
    ratio: Interval
    """to dense, on one thread at batch 1"""

    def describe(self) -> dict[str, Any]:
        """The speed as a JSON object."""
        return dataclasses.asdict(self) | {"threads": 1, "batch": 1}
