"""Progress on the terminal."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import click

from compressor.foundation import Interrupts
from deploy.text import clean

_SECONDS_BETWEEN_LINES = 10.0


class Display(Interrupts):
    """Something shown on the terminal while a command runs; within it no Ctrl-C is lost."""

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._close()
        super().__exit__(kind, error, traceback)

    def _close(self) -> None:
        raise NotImplementedError


class TerminalProgress(Display):
    """A listener that shows stage, step, loss, accuracy and time left on standard error.

    On a terminal it is a bar; elsewhere (a file, a pipe) a line every ten seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stream = sys.stderr
        self._bar: Any = None
        self._title = ""
        self._images = self._images_left = 0
        self._trained_images, self._trained_seconds = 0, 0.0
        self._stage_start = self._last_line = 0.0

    def stage(self, title: str, images: int = 0, images_left: int = 0) -> None:
        """A stage begins; it trains on `images`, and `images_left` are left, these included."""
        self.check()
        self._close()
        self._title, self._images, self._images_left = title, images, images_left
        self._stage_start = self._last_line = time.monotonic()
        click.echo(clean(title), file=self._stream)

    def progress(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        """A step of a training is done; `accuracy` is NaN unless the model is a classifier."""
        self.check()
        done = self._images * step // steps
        if step == 1:
            # The first step also builds the function, and would spoil the estimate.
            self._stage_start = time.monotonic()
        numbers = f"loss {loss:.4f}"
        if math.isfinite(accuracy):
            numbers += f", accuracy {100 * accuracy:.2f} %"
        if self._stream.isatty():
            self._show_bar(step, steps, f"{numbers}{self._left_in_all(done, step)}")
        elif step == steps or time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            elapsed = self._last_line - self._stage_start
            left = _clock(elapsed / max(step - 1, 1) * (steps - step))
            click.echo(
                f"  step {step}/{steps}, {numbers}, {left} left{self._left_in_all(done, step)}",
                file=self._stream,
            )
        if step == steps:
            self._trained_images += self._images
            self._trained_seconds += time.monotonic() - self._stage_start
            self._close()

    def _left_in_all(self, done: int, step: int) -> str:
        images = self._trained_images + done
        seconds = self._trained_seconds + time.monotonic() - self._stage_start
        if self._images_left <= self._images or step < 2 or not images:
            return ""
        return f", all trainings {_clock((self._images_left - done) * seconds / images)} left"

    def _show_bar(self, step: int, steps: int, numbers: str) -> None:
        if self._bar is None:
            self._bar = click.progressbar(
                length=steps,
                label="  step",
                show_pos=True,
                show_eta=True,
                item_show_func=lambda item: item,
                width=24,
                file=self._stream,
            )
            self._bar.__enter__()
        self._bar.update(1, numbers)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
