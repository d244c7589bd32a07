"""Which bundle a command is about, and by which keys it is trusted."""

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
    "This bundle runs a program that came with it: that proves the integrity of the file, not its "
    "origin. To know from whom it is, verify it with a runner that was installed apart (runner.pyz)"
)


@dataclasses.dataclass(frozen=True)
class BundleSource:
    """A bundle's file, and the keys by one of which it must be signed.

    `path` is None for a command that names no bundle. `keys` is None in a bundle that runs itself:
    then no signature is asked for, since whoever altered the bundle would have altered this, too.
    """

    path: Path | None
    keys: tuple[PublicKey, ...] | None

    def open(self, path: Path | None = None) -> Bundle:
        """Read and check the bundle, or that of `path`; raises BundleError, in one line."""
        from deploy.bundle import open_bundle

        path = path or self.path
        if path is None:
            raise BundleError("no bundle was named")
        return open_bundle(path, self.keys)


def trusted_keys(files: Sequence[Path]) -> tuple[PublicKey, ...]:
    """The keys pinned in this runner, and those of `files` (PEM).

    Raises BundleError where there is none, and for a file that holds none.
    """
    from deploy.signing import pinned_keys, read_public_key

    keys = (*pinned_keys(), *map(read_public_key, files))
    if not keys:
        raise BundleError(
            "this runner trusts no key",
            hint="give the publisher's with --key PUB, or install a runner that has it pinned "
            "(compressor runner --key PUB)",
        )
    return keys
