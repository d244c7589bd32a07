"""Who hears how far long work is."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """Hears how far the work is."""

    def stage(self, title: str, images: int = 0, images_left: int = 0) -> None:
        """A stage begins; it trains on `images`, and `images_left` are left, these included."""

    def progress(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        """A training step of the stage is done; `accuracy` is NaN unless it is a classifier's."""


class SilentListener:
    """Hears nothing."""

    def stage(self, title: str, images: int = 0, images_left: int = 0) -> None:
        """Do nothing."""

    def progress(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        """Do nothing."""
