"""Opening zip files that nobody vouches for.

`zipfile` reads the whole directory of a file, and makes an object of every entry: 100 MB of entries
cost 1 GB of memory. Here the directory is bounded before it is read, whatever the file says of it.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Container, Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any

from deploy.errors import ArtifactError
from deploy.streams import DEFLATE_RATIO, read_up_to
from deploy.text import clean

if TYPE_CHECKING:
    import zipfile

MOST_DIRECTORY = 2**21
"""Bytes of a directory. An entry has 46 and its name, so that it has 45,000 of them at most."""

STORED, DEFLATED = 0, 8
"""The methods that are unpacked: `zipfile` does not bound the memory that bzip2 and LZMA take."""

_ENCRYPTED = 0x1
_END = 2**16 + 2**10
"""Bytes from the end record, with its comment, to the end of a file, and some more."""
_MOST_MEMBERS = 2**14
_MOST_OF_ENTRY = 1024
_LONGEST_NAME = 1000


class Archive:
    """The members of an open zip file, folders left out.

    `check` comes before `open` and `read`: what it refuses costs no memory.
    """

    def __init__(self, opened: zipfile.ZipFile, what: str, where: object, hint: str) -> None:
        self._opened, self._what, self._where, self._hint = opened, what, where, hint
        # is_dir() of ZipInfo fails for an empty name.
        self.members = [found for found in opened.infolist() if not found.filename.endswith("/")]
        self.unpacked = sum(found.file_size for found in self.members)
        """bytes of all members, by the directory"""

    def check(
        self, members: Iterable[zipfile.ZipInfo], methods: Container[int] = (STORED, DEFLATED)
    ) -> None:
        """Refuse members that are encrypted, packed otherwise, or of a size that cannot be."""
        for member in members:
            packed, method = member.compress_size, member.compress_type
            where = f"{clean(member.filename)} in {self._where}"
            if member.flag_bits & _ENCRYPTED:
                raise ArtifactError(
                    f"{self._what} is encrypted", value=where, hint="save it without a password"
                )
            if method not in methods:
                raise ArtifactError(
                    f"{self._what} is packed by a method that is not supported",
                    value=f"{where} (method {method})",
                    hint=self._hint,
                )
            if member.file_size > packed * (DEFLATE_RATIO if method == DEFLATED else 1):
                raise ArtifactError(
                    f"{self._what} contradicts itself",
                    value=f"{where} ({packed:,} bytes cannot hold {member.file_size:,})",
                    hint=self._hint,
                )

    def check_names(self) -> None:
        """Refuse names that are there twice, unreadable, or lead out of a folder."""
        seen = set()
        for member in self._opened.infolist():
            name = member.filename
            # orig_filename: zipfile cuts a name at a NUL.
            odd = not 0 < len(name) <= _LONGEST_NAME or not member.orig_filename.isprintable()
            parts = name.replace("\\", "/").split("/")
            if odd or name in seen or not parts[0] or ".." in parts:
                raise ArtifactError(
                    f"{self._what} has a member twice, or of a name that leads elsewhere",
                    value=f"{clean(name)} in {self._where}",
                    hint=self._hint,
                )
            seen.add(name)

    @contextlib.contextmanager
    def open(self, member: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
        """The unpacked bytes, as a stream, to be read within `damage`."""
        with self._damage(member):
            stream = self._opened.open(member)
        with stream:
            yield stream

    def read(self, member: zipfile.ZipInfo) -> bytes:
        """All bytes of a member, of which there are as many as the directory says."""
        with self.open(member) as stream, self._damage(member):
            # One more than there are: the end checks the checksum.
            return bytes(read_up_to(stream, member.file_size + 1))

    def _damage(self, member: zipfile.ZipInfo) -> contextlib.AbstractContextManager[None]:
        where = f"{clean(member.filename)} in {self._where}"
        return damage(f"{self._what} is damaged", where, self._hint)


@contextlib.contextmanager
def open_archive(
    file: IO[bytes], what: str, where: object, hint: str, most_members: int = _MOST_MEMBERS
) -> Iterator[Archive]:
    """Open a zip file that nobody vouches for; messages are `what` ...: `where`; `hint`.

    Raises ArtifactError, in one line, for a file that is none, or whose directory is longer than
    `MOST_DIRECTORY`, or than 1,024 bytes for each of `most_members`, or has more entries than that.
    """
    import zipfile

    most = min(MOST_DIRECTORY, most_members * _MOST_OF_ENTRY)

    def read(count: int = -1) -> bytes:
        if count > most:
            raise ArtifactError(
                f"{what} has too long a directory",
                value=f"{where} ({count:,} bytes, at most {most:,})",
            )
        # The rest of a file is read for its end record; a file of /proc has no end.
        return file.read(_END if count < 0 else count) or b""

    # zipfile reads the directory at once, by the size that it believes; so this holds wherever in
    # the file, and by whichever record, it finds that size.
    guarded: Any = types.SimpleNamespace(
        read=read, seek=file.seek, tell=file.tell, seekable=file.seekable
    )
    with damage(f"not a readable {what}", where, hint):
        opened = zipfile.ZipFile(guarded)
    guarded.read = file.read
    with opened:
        if (count := len(opened.infolist())) > most_members:
            raise ArtifactError(
                f"{what} has too many members",
                value=f"{where} ({count:,}, at most {most_members:,})",
            )
        yield Archive(opened, what, where, hint)


@contextlib.contextmanager
def damage(what: str, where: object, hint: str) -> Iterator[None]:
    """Turn whatever zipfile, zlib or numpy.lib.format raise on bad bytes into an ArtifactError.

    They document BadZipFile and ValueError, but let struct, zlib, Unicode, syntax, recursion
    and other errors through, another set in each version; hence `Exception`.
    """
    try:
        yield
    except (ArtifactError, MemoryError):
        raise
    except Exception as error:
        reason = f"{where} ({clean(f'{type(error).__name__}: {error}')})"
        raise ArtifactError(what, value=reason, hint=hint) from error
