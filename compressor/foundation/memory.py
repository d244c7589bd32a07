"""Giving memory back to the system between steps that each need much of it."""

from __future__ import annotations

import contextlib
import ctypes
import gc

_NOTEWORTHY = 2**26


def release_memory(weights: int) -> None:
    """Free what only cycles hold, and return to the system what the C library keeps.

    `weights` is how many bytes those of the model at hand take; for less than 64 MB nothing is
    done. Models, and functions traced from them, are cycles. Converters free thousands of copies of
    weights in pieces, of which glibc returns none by itself: 2 of 4 GB after the conversion of
    InceptionResNetV2 (54 million weights) to TFLite. Another C library is left alone.
    """
    if weights >= _NOTEWORTHY:
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
