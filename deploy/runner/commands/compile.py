"""compile: compile this runner for the Python that runs it."""

from __future__ import annotations

import argparse
import py_compile
from pathlib import Path

import deploy
from deploy.container import MOST_BYTES, read_container, write_container
from deploy.errors import RequestError
from deploy.fields import LONGEST_PATH
from deploy.files import atomic_paths, read_regular, temporary_folder
from deploy.runner.source import BundleSource
from deploy.text import clean

SUMMARY = "compile this runner for this Python, so that it starts faster"
DESCRIPTION = (
    "Put the compiled form beside each module of this runner, so that it starts in a third less "
    "time; another Python still uses the sources. compressor runner --host does this already."
)

_SOURCE, _COMPILED = ".py", ".pyc"
_MAIN = "__main__.py"  # Python runs it from its source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def execute(arguments: argparse.Namespace, source: BundleSource) -> int:
    path = Path(next(iter(deploy.__path__))).parent
    if not path.is_file():
        raise RequestError("this program is not a file", value=path, hint="run runner.pyz compile")
    archive = compiled(read_regular(path, MOST_BYTES))
    with atomic_paths(path) as (made,):
        made.write_bytes(archive)
    print(f"{clean(path, LONGEST_PATH)}: {len(archive):,} bytes")
    return 0


def compiled(archive: bytes) -> bytes:
    """The runner `archive` with its modules compiled for this Python only, beside their sources.

    They are hash-based and unchecked (PEP 552), since both come from one archive. Raises
    BundleError for an archive that `write_container` would not write.
    """
    members = {
        name: content
        for name, content in read_container(archive).items()
        if not name.endswith(_COMPILED)
    }
    with temporary_folder("compressor-compile-") as folder:
        source, target = folder / "source", folder / "target"
        for name in [name for name in members if name.endswith(_SOURCE) and name != _MAIN]:
            source.write_bytes(members[name])
            py_compile.compile(
                str(source),
                str(target),
                dfile=name,
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
            members[name[: -len(_SOURCE)] + _COMPILED] = target.read_bytes()
    return write_container(members)
