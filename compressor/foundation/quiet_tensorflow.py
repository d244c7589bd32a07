"""TensorFlow, loaded late and quietly.

Importing TensorFlow takes seconds, and it writes to the terminal from C++ whatever Python
says, so only this module imports it, and only when something needs it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import IO, Any

from compressor.errors import MissingRuntimeError, UsageError
from deploy.interrupts import Uninterrupted

_LEAST = 2
"""Threads: with one, a training step of some narrow residual networks ends the process in oneDNN
(TensorFlow 2.21, heap corruption), on a single core or not."""
_loaded: tuple[Any, Any] | None = None


def load(
    threads: int | None = None, *, frugal: bool = False, timed: bool = False
) -> tuple[Any, Any]:
    """Import TensorFlow and Keras, and return the modules `(tensorflow, keras)`.

    `threads` bounds the threads inside an operation; TensorFlow takes it only before its
    first operation, so a later, other wish raises UsageError. A `frugal` process, in which it was
    not imported before, gives the memory of tensors back to the system once they are gone; else
    oneDNN's allocator keeps it for the next step of a training. It has two threads at least, see
    `_LEAST`, unless its operations are `timed`. Environment variables that the user has set win
    over ours. Raises MissingRuntimeError when TensorFlow is not installed.
    """
    global _loaded
    if _loaded is None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # oneDNN halves the time of a training step on processors where TensorFlow leaves it off.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        if frugal:
            os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
        try:
            with warnings.catch_warnings(), _no_collections():
                warnings.simplefilter("ignore")
                tensorflow = importlib.import_module("tensorflow")
                keras = importlib.import_module("keras")
        except ImportError as error:
            raise MissingRuntimeError(
                "TensorFlow cannot be imported", value=error, hint="pip install tensorflow"
            ) from error
        if keras.backend.backend() != "tensorflow":
            raise MissingRuntimeError(
                "Keras runs on another backend",
                value=keras.backend.backend(),
                hint="set KERAS_BACKEND=tensorflow",
            )
        importlib.import_module("absl.logging").set_verbosity("error")
        tensorflow.get_logger().setLevel("ERROR")
        _loaded = (tensorflow, keras)
    if threads is not None:
        _limit_threads(_loaded[0], threads, timed)
    return _loaded


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Garbage is not looked for: importing leaves next to none, and looking takes a tenth of it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _limit_threads(tensorflow: Any, threads: int, timed: bool) -> None:
    if threads < 1:
        raise UsageError("threads must be at least 1", value=threads)
    from deploy import describe_machine

    config, cores = tensorflow.config.threading, describe_machine()["cores"]
    wanted = threads if timed and cores > 1 else max(threads, _LEAST)
    try:
        config.set_intra_op_parallelism_threads(wanted)
    except RuntimeError as error:
        # TensorFlow has run already, with a thread for each core unless it was told otherwise.
        if (config.get_intra_op_parallelism_threads() or cores) in (threads, wanted):
            return
        raise UsageError(
            "the number of threads cannot change once TensorFlow has run",
            value=threads,
            hint="choose it before the first operation, or start a new process",
        ) from error


def make_deterministic(seed: int) -> None:
    """Seed Python, numpy and TensorFlow, and ask for deterministic kernels.

    With the same seed, machine, versions and thread count, what follows gives the same
    numbers. The setting is global to the process and cannot be taken back.
    """
    tensorflow, keras = load()
    keras.utils.set_random_seed(seed)
    tensorflow.config.experimental.enable_op_determinism()


class NativeOutput:
    """Keep what C and C++ write to file descriptors 1 and 2 away from the terminal.

    Python's own sys.stdout and sys.stderr go on writing to where they wrote before. What
    was held back is kept in a temporary file, for `tail` to show when something unexpected
    happened. For a command-line program: it changes the whole process until it ends.
    """

    def __init__(self) -> None:
        self._held: IO[bytes] | None = None

    def hold_back(self) -> None:
        """Start to hold back; a second call does nothing."""
        if self._held is not None:
            return
        with Uninterrupted():
            self._held = tempfile.TemporaryFile()  # noqa: SIM115 - open until the process ends
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            stream = getattr(sys, name)
            stream.flush()
            kept = os.fdopen(
                os.dup(descriptor), "w", buffering=1, encoding=stream.encoding, errors=stream.errors
            )
            setattr(sys, name, kept)
            os.dup2(self._held.fileno(), descriptor)

    def tail(self, lines: int = 20) -> str:
        """The last lines that were held back."""
        if self._held is None:
            return ""
        self._held.seek(0)
        return "\n".join(self._held.read().decode(errors="replace").splitlines()[-lines:])
