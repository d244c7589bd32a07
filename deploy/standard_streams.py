"""Standard streams that work however a program was started."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_standard_streams() -> None:
    """Make sure that all three exist, and that any text can be written to them.

    A missing stream leads to the null device: otherwise the next opened file would get its
    descriptor, and what is printed. Characters that a terminal's encoding lacks become escapes.
    """
    for descriptor, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:  # takes the lowest free descriptor: this one
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # not one of Python's own streams
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def settle_standard_streams() -> None:
    """Drop what cannot be written, or the interpreter would complain and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _discard(stream)


def _discard(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
