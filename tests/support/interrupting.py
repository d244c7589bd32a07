"""Interrupts at every moment: a signal at the Nth step of some work, for every N."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import deploy

_ROOT = Path(deploy.__file__).parents[1]
_FOLLOWED = ("contextlib.py", "tempfile.py", "shutil.py", "weakref.py")


class _Aim:
    """Traces work line by line, call by call, and sends a signal at step `at`.

    `again` is how many calls later another one comes, which may be while it cleans up.
    """

    def __init__(self, number: int, at: int, again: int | None = None) -> None:
        self._number, self._left, self._again = number, at, again
        self.hit = False

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        path = frame.f_code.co_filename
        if not path.startswith(str(_ROOT)) and not path.endswith(_FOLLOWED):
            return None
        if event != "exception":
            self._left -= 1
            if self._left == 0:
                self.hit = True
                if self._again is not None:
                    sys.setprofile(self._profile)
                signal.raise_signal(self._number)
        return self.trace

    def _profile(self, *_: Any) -> None:
        assert self._again is not None
        self._again -= 1
        if self._again == 0:
            sys.setprofile(None)
            signal.raise_signal(self._number)


def interrupted_everywhere(
    work: Callable[[], object],
    number: int = signal.SIGINT,
    *,
    step: int = 1,
    again: int | None = None,
) -> Iterator[bool]:
    """Do `work` with an interrupt at its 1st, 1 + `step`th, ... line, until it is done before.

    Yields, after each, whether it was done nevertheless. `again` sends a second one, so many calls
    after the first.
    """
    gc.freeze()  # what was there before: a whole collection is quick without it
    try:
        yield from _interrupted_everywhere(work, number, step, again)
    finally:
        gc.unfreeze()


def _interrupted_everywhere(
    work: Callable[[], object], number: int, step: int, again: int | None
) -> Iterator[bool]:
    at = 1
    while True:
        aim = _Aim(number, at, again)
        done = False
        # One that comes while an object is deleted is lost, and Python says so.
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            try:
                sys.settrace(aim.trace)
                work()
                done = True
            finally:
                sys.settrace(None)
                sys.setprofile(None)
        except KeyboardInterrupt:
            pass
        sys.setprofile(None)
        gc.collect()  # also what was kept through a collection while it worked
        sys.unraisablehook = hook
        yield done
        if not aim.hit:
            assert done
            return
        at += step
