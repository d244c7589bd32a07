"""Signals that end a program, so that whatever it was making is whole or gone."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

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


_raised: list[KeyboardInterrupt] = []


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """A program that Ctrl-C, SIGTERM and SIGHUP unwind, and that ends by these if they came.

    Libraries make other errors of what a signal raises while they run (h5py a SystemError), which
    code that reads files takes for damage. At the end the handlers of before are back.
    """
    before = {number: signal.getsignal(number) for number in _ENDING}
    _raised.clear()
    unwind_when_terminated()
    try:
        yield
    except Exception:
        if _raised:
            raise _raised[-1] from None
        raise
    finally:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is _end:
                signal.signal(number, handler)


def unwind_when_terminated() -> None:
    """From now on SIGTERM and SIGHUP raise `Terminated`, except where they are ignored (nohup).

    Ctrl-C raises KeyboardInterrupt, as before.
    """
    for number in _ENDING:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        if signal.getsignal(number) == usual:
            signal.signal(number, _end)


def _end(number: int, _: FrameType | None) -> NoReturn:
    _raised.append(KeyboardInterrupt() if number == signal.SIGINT else Terminated(number))
    raise _raised[-1]


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
