"""The runner as one file, for a Python that has numpy and a runtime and nothing of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.container import write_container
from deploy.signing import PINNED_KEYS, PublicKey, describe_keys

# What any Python 3 can read, so that one that is too old says so.
_MAIN = """\
import sys

if sys.version_info < (3, 9):
    sys.stderr.write("error: this program needs Python 3.9 or newer\\n")
    sys.exit(3)

from deploy.runner.__main__ import main

sys.exit(main())
"""
_BUNDLE_MAIN = """\
import sys
from pathlib import Path

if sys.version_info < (3, 9):
    sys.stderr.write("error: this program needs Python 3.9 or newer\\n")
    sys.exit(3)

from deploy.runner.__main__ import main

sys.exit(main(bundle=Path(__file__).parent))
"""
_OF_THE_HOST = ("profile.py", "operator_table.py")
"""What only packaging reads."""


def pack(keys: Sequence[PublicKey] = ()) -> bytes:
    """A zipapp of the package `deploy`, run by `python -I FILE`; the same bytes every time.

    `keys` are pinned in it: it trusts the bundles that are signed by one of them.
    """
    members = {"__main__.py": _MAIN.encode(), **_package()}
    if keys:
        members[f"deploy/{PINNED_KEYS}"] = describe_keys(keys)
    return write_container(members)


def bundled_runner() -> dict[str, bytes]:
    """The members by which a bundle is executable: `python -I NAME.bundle`. No key is pinned."""
    return {"__main__.py": _BUNDLE_MAIN.encode(), **_package()}


def _package() -> dict[str, bytes]:
    package = Path(__file__).resolve().parents[1]
    return {
        path.relative_to(package.parent).as_posix(): path.read_bytes()
        for path in package.rglob("*.py")
        if path.name not in _OF_THE_HOST
    }
