"""The keys that a server trusts, for as long as it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploy.files import identity
from deploy.signing import PublicKey, keys_pinned_in, read_public_key, runner_file


class Trust:
    """The keys by one of which a bundle must be signed: those pinned in the runner, and of `files`.

    `keys` are those that were read when the program started. A runner that is installed later, with
    others, is the word of whoever owns the device: a key that is not in it vouches for nothing any
    more.
    """

    def __init__(self, keys: Sequence[PublicKey], files: Sequence[Path] = ()) -> None:
        self.keys, self._files = tuple(keys), tuple(files)
        # What was read at the start may be of an older file already.
        self._seen: list[tuple[int, ...]] | None = None

    def look(self) -> bool:
        """Whether `keys` are others than before: read anew where a file is another.

        Raises DeployError where one cannot be read; then they stay as they are.
        """
        runner = runner_file()
        seen = [identity(path) for path in (runner, *self._files)]
        if seen == self._seen:
            return False
        keys = (*keys_pinned_in(runner), *map(read_public_key, self._files))
        changed = set(keys) != set(self.keys)
        self._seen, self.keys = seen, keys
        return changed
