"""The bundle that a command opens, and the keys that it trusts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import BundleError

if TYPE_CHECKING:
    from deploy.bundle import Bundle
    from deploy.signing import PublicKey

CONVENIENCE = (
    "This bundle runs a program that came with it, which proves the integrity of the file, not its "
    "origin. To know who signed it, verify it with a runner installed separately (runner.pyz)"
)


@dataclasses.dataclass(frozen=True)
class BundleSource:
    """A bundle's file, and the keys, one of which must have signed it.

    `path` is None for a command without a bundle. `keys` is None in a self-running bundle, which
    asks for no signature: whoever altered the bundle could have altered this check, too.
    """

    path: Path | None
    keys: tuple[PublicKey, ...] | None

    def open(self, path: Path | None = None) -> Bundle:
        """Read and check the bundle, or the one at `path`; raises BundleError."""
        from deploy.bundle import open_bundle

        path = path or self.path
        if path is None:
            raise BundleError("no bundle was given")
        return open_bundle(path, self.keys)


def trusted_keys(files: Sequence[Path]) -> tuple[PublicKey, ...]:
    """The keys pinned in this runner, and those in `files` (PEM).

    Raises BundleError if there are none, and for a file without one.
    """
    from deploy.signing import pinned_keys, read_public_key

    keys = (*pinned_keys(), *map(read_public_key, files))
    if not keys:
        raise BundleError(
            "this runner trusts no key",
            hint="give the publisher's with --key PUB, or install a runner that pins it "
            "(compressor runner --key PUB)",
        )
    return keys
