"""Where the time of a sweep goes."""

from __future__ import annotations

import time
from collections import defaultdict

from compressor.commands.progress import TerminalProgress


class Clock(TerminalProgress):
    """Shows progress, and notes how long the stages of each kind took."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self._kind, self._began = "start", time.monotonic()

    def stage(self, title: str, images: int = 0, images_left: int = 0) -> None:
        """Close the phase before, and begin the one of `title`."""
        self.close()
        self._kind = title.split(":")[-1].split(",")[-1].strip()
        super().stage(title, images, images_left)

    def close(self) -> None:
        """Count the time since the last stage began."""
        self.seconds[self._kind] += time.monotonic() - self._began
        self._began = time.monotonic()
