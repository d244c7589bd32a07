"""A runner with its modules compiled for the Python that runs here, so that it starts faster.

Beside each source lies what this Python makes of it (PEP 552, hash-based, not checked: both come
from one archive). Another Python takes the sources.
"""

from __future__ import annotations

import os
import py_compile
import tempfile
from pathlib import Path

from deploy.container import read_container, write_container
from deploy.files import sync

_SOURCE, _COMPILED = ".py", ".pyc"
_MAIN = "__main__.py"  # Python runs it from its source


def compiled(archive: bytes) -> bytes:
    """The runner `archive` with its modules compiled for this Python, instead of any before.

    Raises BundleError for an archive that is not in the form in which we write them.
    """
    members = {
        name: content
        for name, content in read_container(archive).items()
        if not name.endswith(_COMPILED)
    }
    with tempfile.TemporaryDirectory(prefix="compressor-compile-") as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
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


def write_runner(path: Path, archive: bytes) -> None:
    """Write a runner at once: the old file or the new one, never a part."""
    made = path.with_name(f".{path.name}.new")
    with open(made, "wb") as file:
        file.write(archive)
        file.flush()
        os.fsync(file.fileno())
    made.replace(path)
    sync(path.parent)
