"""compile: this runner for the Python that runs it."""

from __future__ import annotations

import argparse
from pathlib import Path

import deploy
from deploy.container import MOST_BYTES
from deploy.errors import RequestError
from deploy.files import read_regular
from deploy.runner.compiling import compiled, write_runner
from deploy.runner.source import BundleSource

SUMMARY = "compile this runner for the Python here, so that it starts faster"
DESCRIPTION = (
    "Put beside each module of this runner what the Python here makes of it, so that it starts in "
    "a third less time; another Python goes on taking the sources. compressor runner --host does "
    "it at once."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def execute(arguments: argparse.Namespace, source: BundleSource) -> int:
    """Write the runner anew, in its place."""
    path = Path(next(iter(deploy.__path__))).parent
    if not path.is_file():
        raise RequestError("this program is no file", value=path, hint="it is runner.pyz that is")
    archive = compiled(read_regular(path, MOST_BYTES))
    write_runner(path, archive)
    print(f"{path}: {len(archive):,} bytes")
    return 0
