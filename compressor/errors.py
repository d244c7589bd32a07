"""The errors that a user can meet.

CompressorError                what happened, the offending value, what to do; exit code 2
├── UsageError                 an option or argument that cannot be used
├── DataError                  a data set that cannot be read, or does not fit
├── ModelError                 a model that cannot be loaded, or not pruned as asked
├── CheckpointError            a checkpoint that is damaged, or of another kind
├── BundleError                a bundle or a key that is damaged, altered, or not trusted
├── RunDirectoryError          a run directory of another experiment, in use, or in the way
├── StorageError               a file that could not be written: full disk, no permission
├── CheckFailedError           a check failed: parity, verification                exit code 1
└── MissingRuntimeError        the runtime or device asked for is not there        exit code 3

Every message is one line: `what: value; hint`.
"""

from __future__ import annotations

from typing import ClassVar

from deploy.text import one_line

_LONGEST_VALUE = 4000


class CompressorError(Exception):
    """Base of all errors raised on purpose by this package.

    `what` says what is wrong, `value` is the offending value, and `hint` says
    what to do. `str(error)` is one line of all three.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, value: object = None, hint: str = "") -> None:
        self.what, self.value, self.hint = what, value, hint
        super().__init__(one_line(what, value, hint, _LONGEST_VALUE))


class UsageError(CompressorError):
    """An option or argument that cannot be used."""


class DataError(CompressorError):
    """A data set that cannot be read, or that does not fit the model."""


class ModelError(CompressorError):
    """A model that cannot be loaded, or that cannot be treated as asked."""


class CheckpointError(CompressorError):
    """A checkpoint that is damaged, or of another kind than the one asked for."""


class BundleError(CompressorError):
    """A bundle or a key that is damaged, altered, or not trusted."""


class RunDirectoryError(CompressorError):
    """A run directory that belongs to another experiment, is in use, or is in the way."""


class StorageError(CompressorError):
    """A file that could not be written: full disk, missing permission."""


class CheckFailedError(CompressorError):
    """A check failed: parity, verification, a row of a bench."""

    exit_code = 1


class MissingRuntimeError(CompressorError):
    """The runtime or device asked for is not there."""

    exit_code = 3
