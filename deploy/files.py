"""Opening files that nobody vouches for."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from deploy.errors import ArtifactError

# A FIFO put in the place of a file must not hang the open.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@contextlib.contextmanager
def open_regular(path: Path | str, most_bytes: int) -> Iterator[tuple[IO[bytes], int]]:
    """Open a regular file of at most `most_bytes` for reading: the file, and its size.

    Raises ArtifactError, in one line, where it is missing, no regular file, too large, or cannot
    be read meanwhile.
    """
    try:
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ArtifactError("not a regular file", value=path)
            if status.st_size > most_bytes:
                raise ArtifactError(
                    "the file has too many bytes",
                    value=f"{path} has {status.st_size:,}, at most {most_bytes:,}",
                )
            yield file, status.st_size
    except OSError as error:
        raise ArtifactError(
            "cannot read the file", value=f"{path} ({error.strerror or error})"
        ) from error


def read_regular(path: Path | str, most_bytes: int) -> bytes:
    """All bytes of a regular file of at most `most_bytes`; raises as `open_regular` does."""
    with open_regular(path, most_bytes) as (file, size):
        # One more than there were: a file that grows meanwhile is not read for ever.
        return file.read(size + 1)
