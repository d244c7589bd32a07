"""Ctrl-C, so that it is never lost."""

from __future__ import annotations

import signal
import threading
from typing import Any, NoReturn, Self


class Interrupts:
    """Within it Ctrl-C raises KeyboardInterrupt, also where the shell had it ignored.

    An interrupt that comes while an object is being deleted is lost in Python, and libraries make
    other errors of it: `check`, called now and then, raises it again, and so does the end.
    """

    def __init__(self) -> None:
        self._handler: Any = None
        self._interrupted = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
        if not isinstance(error, KeyboardInterrupt):
            self.check()

    def check(self) -> None:
        """Raise KeyboardInterrupt if one came before, and was lost."""
        if self._interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, *_: object) -> NoReturn:
        self._interrupted = True
        raise KeyboardInterrupt
