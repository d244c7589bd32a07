"""The standard streams of a program, whatever it was started with."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_standard_streams() -> None:
    """See to it that all three are there, and that any text can be written to them.

    A stream that the program was started without leads to nowhere: its descriptor would be the
    next file's, and what is printed would go into that. What a terminal's encoding does not have is
    written as escapes.
    """
    for descriptor, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:  # the lowest that is free, which is this one
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # not one of Python's own
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def settle_standard_streams() -> None:
    """Drop what cannot be written: the interpreter would complain, and end with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _discard(stream)


def _discard(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
