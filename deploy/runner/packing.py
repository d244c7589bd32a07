"""The runner as one file, for a Python that has only numpy and a runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.container import write_container
from deploy.signing import PINNED_KEYS, PublicKey, describe_keys

# Any Python 3 can read it, so that one that is too old says so.
_MAIN = """\
import sys
from pathlib import Path

if sys.version_info < (3, 9):
    sys.stderr.write("error: this program needs Python 3.9 or newer\\n")
    sys.exit(3)

from deploy.runner.__main__ import main

sys.exit(main({}))
"""
_OWN_BUNDLE = "bundle=Path(__file__).parent"
_OF_THE_HOST = ("profile.py", "microcontroller.py", "operator_table.py")
"""Read by packaging only."""


def pack(keys: Sequence[PublicKey] = ()) -> bytes:
    """A zipapp of the package `deploy`, run by `python -I FILE`; always the same bytes.

    `keys` are pinned in it: it trusts bundles signed by one of them.
    """
    members = {"__main__.py": _MAIN.format("").encode(), **_package()}
    if keys:
        members[f"deploy/{PINNED_KEYS}"] = describe_keys(keys)
    return write_container(members)


def bundled_runner() -> dict[str, bytes]:
    """The members that make a bundle executable: `python -I NAME.bundle`. No key is pinned."""
    return {"__main__.py": _MAIN.format(_OWN_BUNDLE).encode(), **_package()}


def _package() -> dict[str, bytes]:
    package = Path(__file__).resolve().parents[1]
    return {
        path.relative_to(package.parent).as_posix(): path.read_bytes()
        for path in package.rglob("*.py")
        if path.name not in _OF_THE_HOST
    }
