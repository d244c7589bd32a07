"""The keys that a server trusts, for as long as it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.files import identity
from deploy.signing import PublicKey, keys_pinned_in, read_public_key, runner_file


class Trust:
    """The keys, one of which must sign a bundle: those pinned in the runner, and those in `files`.

    `keys` are those read at the start. A runner installed later with other keys is the word of the
    device's owner: a key that is not in it is no longer trusted.
    """

    def __init__(self, keys: Sequence[PublicKey], files: Sequence[Path] = ()) -> None:
        self.keys, self._files = tuple(keys), tuple(files)
        # The keys read at the start may be of an older file already.
        self._seen: list[tuple[int, ...]] | None = None

    def look(self) -> bool:
        """Read the keys again if a file has changed; whether they differ from those before.

        Raises DeployError if a file cannot be read; the keys then stay as they are.
        """
        runner = runner_file()
        seen = [identity(path) for path in (runner, *self._files)]
        if seen == self._seen:
            return False
        keys = (*keys_pinned_in(runner), *map(read_public_key, self._files))
        changed = set(keys) != set(self.keys)
        self._seen, self.keys = seen, keys
        return changed
