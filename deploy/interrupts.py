"""Signals that end a program, so that whatever it was making is whole or gone."""

from __future__ import annotations

import contextlib
import signal
from types import FrameType
from typing import Any

_ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, `number`, which unwinds a program as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def exit_code(self) -> int:
        """As a shell reports it."""
        return 128 + self.number


def unwind_when_terminated() -> None:
    """From now on SIGTERM and SIGHUP raise `Terminated`, except where they are ignored (nohup)."""
    for number in _ENDING:
        if number != signal.SIGINT and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _terminate)


def _terminate(number: int, _: FrameType | None) -> None:
    raise Terminated(number)


class Uninterrupted:
    """Ctrl-C, SIGTERM and SIGHUP wait until the end of this context, and act then.

    However many arrive. Python runs handlers in the main thread only: in another one there is
    nothing to hold back, and this does nothing.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._arrived: list[int] = []
        self._holds = True

    def __enter__(self) -> None:
        try:
            for number in _ENDING:
                before = signal.getsignal(number)
                if before not in (None, signal.SIG_IGN):  # None: not set by Python
                    self._before[number] = before
                    signal.signal(number, self._hear)
        except ValueError:  # not the main thread
            self._before.clear()
        except BaseException:  # a handler that was not replaced yet
            self._release()
            raise

    def __exit__(self, *_: object) -> None:
        self._release()

    def _release(self) -> None:
        # Whatever one of them raises, all are put back, and all that arrived act.
        try:
            with contextlib.ExitStack() as stack:
                for number, before in self._before.items():
                    stack.callback(signal.signal, number, before)
        finally:
            self._holds = False
            with contextlib.ExitStack() as stack:
                for number in sorted(set(self._arrived), reverse=True):
                    stack.callback(signal.raise_signal, number)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._holds:
            self._arrived.append(number)
        elif callable(before := self._before[number]):
            before(number, frame)
        else:
            signal.signal(number, before)
            signal.raise_signal(number)
