"""The runner as one file, for a Python that has numpy and a runtime and nothing of ours."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

_MAIN = """\
import sys

from deploy.runner.__main__ import main

sys.exit(main())
"""


def pack() -> bytes:
    """A zipapp of the package `deploy`, run by `python -I FILE`; the same bytes every time."""
    package = Path(__file__).resolve().parents[1]
    members = {"__main__.py": _MAIN.encode()}
    for path in sorted(package.rglob("*.py")):
        members[path.relative_to(package.parent).as_posix()] = path.read_bytes()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.create_system, member.external_attr = 3, 0o644 << 16
            archive.writestr(member, content)
    return stream.getvalue()
