"""Checks of streams that may come from a damaged or hostile file.

Each raises CheckpointError in one line. None trusts a value before it has checked it, and
none allocates more than a small multiple of the streams themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from compressor.encodings._tensors import Float32Array, Int64Array, nonzero_mask
from compressor.errors import CheckpointError

_HINT = "the file is damaged or was not written by this program; export it again"


def damaged(encoding: str, what: str, value: object) -> CheckpointError:
    """The error to raise about a tensor in `encoding`; a long value is cut."""
    return CheckpointError(
        f"a damaged {encoding} tensor, {what}", value=str(value)[:80], hint=_HINT
    )


def check_types(
    encoding: str,
    streams: Mapping[str, np.ndarray],
    expected: Mapping[str, tuple[np.dtype, int]],
) -> None:
    """Check that `streams` are those `expected`: name -> (dtype, number of axes)."""
    if set(streams) != set(expected):
        raise damaged(
            encoding,
            f"its streams must be {', '.join(expected)}",
            ", ".join(map(str, streams)) or "none",
        )
    for name, (dtype, rank) in expected.items():
        stream = streams[name]
        if not isinstance(stream, np.ndarray):
            raise damaged(encoding, f"{name} is no array", type(stream).__name__)
        if stream.dtype != dtype:
            raise damaged(encoding, f"{name} must be {dtype}", stream.dtype)
        if stream.ndim != rank:
            raise damaged(encoding, f"{name} must have {rank} axes", stream.ndim)


def check_length(encoding: str, name: str, stream: np.ndarray, length: int) -> None:
    """Check that `stream` has `length` entries along its first axis."""
    if len(stream) != length:
        raise damaged(encoding, f"{name} must have {length} entries", len(stream))


def check_range(encoding: str, name: str, stream: np.ndarray, limit: int) -> None:
    """Check that every entry of an integer `stream` lies in [0, limit)."""
    if stream.size:
        for extreme in (int(stream.min()), int(stream.max())):
            if not 0 <= extreme < limit:
                raise damaged(encoding, f"{name} must lie from 0 to {limit - 1}", extreme)


def check_ascending(encoding: str, name: str, positions: Int64Array) -> None:
    """Check that `positions` ascend strictly, which also means that none comes twice."""
    falls = positions[1:] <= positions[:-1]
    if falls.any():
        raise damaged(encoding, f"{name} must ascend, and do not at entry", int(falls.argmax()) + 1)


def check_nonzero(encoding: str, values: Float32Array) -> None:
    """Check that no zero is stored where only non-zeros are.

    A stored zero would make the count of values differ from the count of non-zeros.
    """
    kept = nonzero_mask(values)
    if not kept.all():
        raise damaged(encoding, "a zero is stored as a value at entry", int(kept.argmin()))
