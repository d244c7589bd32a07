"""A small wheel of a package, in parts as `split` makes them."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import zipfile
from pathlib import Path

TAG = "cp{}{}-none-linux_{}".format(*sys.version_info[:2], platform.machine().lower())


def write_wheel(
    folder: Path, package: str, source: str, *, parts: int = 3, tag: str = TAG
) -> list[Path]:
    """PACKAGE-9.9.9-TAG.whl.part00, ... and the .sha256 of all, and the parts' paths."""
    name = f"{package}-9.9.9-{tag}.whl"
    whole = folder / name
    with zipfile.ZipFile(whole, "w") as wheel:
        wheel.writestr(f"{package.partition('_')[0]}/__init__.py", source)
        wheel.writestr(f"{package.partition('_')[0]}/filling", os.urandom(3000))
        metadata = f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 9.9.9\n"
        wheel.writestr(f"{package}-9.9.9.dist-info/METADATA", metadata)
    content = whole.read_bytes()
    whole.unlink()
    (folder / f"{name}.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    size = -(-len(content) // parts)
    written = []
    for number in range(parts):
        written.append(folder / f"{name}.part{number:02}")
        written[-1].write_bytes(content[size * number : size * (number + 1)])
    return written
