"""What runs in a worker: it prepares once for each pool, and then does one call at a time.

Everything that goes there or comes back is pickled, so that no disk has to be shared.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

from compressor.data import Dataset, TrainingData
from compressor.foundation import confine_libraries, quiet_tensorflow

_PR_SET_PDEATHSIG = 1

_prepared: dict[str, Any] = {}
# A worker of Dask may have several threads, and several searches may share it.
_one_at_a_time = threading.Lock()


class WorkLostError(Exception):
    """Work that its worker did not bring to an end: killed too often, or out of time."""


class NotPreparedError(Exception):
    """The worker was started anew, and has forgotten what it prepared."""


def prepare(token: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Keep what `function` makes for the calls of the pool of this token."""
    with _one_at_a_time:
        _prepared[token] = function(*arguments)


def call(token: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """`function` of what was prepared, and of the arguments."""
    with _one_at_a_time:
        if token not in _prepared:
            raise NotPreparedError
        return function(_prepared[token], *arguments)


def forget(token: str) -> None:
    """Let go of what was prepared for a pool."""
    _prepared.pop(token, None)


def belong_to_parent() -> None:
    """Leave Ctrl-C to the parent process and, on Linux, end with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    confine_libraries()


def data_to_send(data: TrainingData) -> tuple[dict[str, Any], int]:
    """A data set as what `training_data` takes."""
    parts = {f.name: getattr(data.data, f.name) for f in dataclasses.fields(Dataset)}
    plain = {n: dict(v) if isinstance(v, Mapping) else v for n, v in parts.items()}
    return plain, len(data.validation)


def training_data(parts: dict[str, Any], validation: int, threads: int) -> TrainingData:
    """The data set that was sent, with TensorFlow loaded to use so many threads."""
    quiet_tensorflow.load(threads)
    return TrainingData.of(Dataset(**parts), validation)
