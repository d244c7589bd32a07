"""Loading a model that was compiled from C."""

from __future__ import annotations

from pathlib import Path

from compressor.errors import CheckpointError
from compressor.foundation import deploy_errors
from deploy.compiled import Compiled


def load(path: Path | str) -> Compiled:
    """Load the shared library NAME.so of `compressor export --format c`; it needs no runtime.

    `run` of what is returned takes arrays int8 or float32 (n, height, width, channels). Loading a
    library runs code of it: load none that you would not run as a program. Raises CheckpointError
    for a file that is no such library.
    """
    with deploy_errors(CheckpointError):
        return Compiled(path)
