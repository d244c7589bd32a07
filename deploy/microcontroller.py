"""Chips that run generated C code without an operating system: a part of a device's profile."""

from __future__ import annotations

import dataclasses

from deploy.errors import ArtifactError
from deploy.fields import Fields, Reader

PROCESSORS = ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7")
BOOTS = ("none", "rp2040")

_MOST_HERTZ = 10**10
_MOST_ADDRESS = 2**32 - 1
_VECTORS = 256
"""bytes to a multiple of which the vector table is aligned"""


@dataclasses.dataclass(frozen=True)
class Microcontroller:
    """A chip: its processor, as gcc names it, its fastest clock, and where its memories begin."""

    processor: str
    clock_hz: int
    flash_start: int
    ram_start: int
    boot: str
    """what lies in front of the program"""

    @classmethod
    def read(cls, fields: Fields) -> Microcontroller:
        return fields.make(cls, _READERS)

    def check(self, flash_bytes: int, ram_bytes: int) -> None:
        """Raise ArtifactError where memories of these sizes cannot lie there."""
        for what, start, size in (
            ("flash", self.flash_start, flash_bytes),
            ("RAM", self.ram_start, ram_bytes),
        ):
            if start % _VECTORS or size % 4 or start + size > _MOST_ADDRESS:
                raise ArtifactError(
                    f"the {what} of a microcontroller begins at a multiple of {_VECTORS}, has "
                    "whole words and ends within 32 bits",
                    value=f"{size:,} bytes at {start:#x}",
                )


_READERS: dict[str, Reader] = {
    "processor": lambda fields, key: fields.choice(key, PROCESSORS),
    "clock_hz": lambda fields, key: fields.integer(key, 1, _MOST_HERTZ),
    "flash_start": lambda fields, key: fields.integer(key, 0, _MOST_ADDRESS),
    "ram_start": lambda fields, key: fields.integer(key, 0, _MOST_ADDRESS),
    "boot": lambda fields, key: fields.choice(key, BOOTS),
}
