"""The container of a bundle: a zip file that has one form only for the same members.

Every zip program reads it, and Python executes it. Its members are stored, not compressed, and
sorted by their names; times, rights and versions are constants; there are no comments, extra
fields, data descriptors, gaps or overlaps. So the members determine every byte, and a reader that
meets another byte than the writer would have written refuses the file: what one program sees in it
is what all see. The layout is that of PKWARE's APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12, 4.3.16.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping

from deploy.errors import BundleError

MOST_BYTES = 2**31 - 1
"""Of a container: what a zip file holds without its 64-bit extension, on every reader."""
MOST_MEMBERS = 4096
LONGEST_NAME = 200
"""Characters of a member's name."""

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _END_MAGIC = b"PK\3\4", b"PK\1\2", b"PK\5\6"
_VERSION, _FLAGS, _STORED = 20, 0, 0
_MADE_BY_UNIX = 3 << 8
_TIME, _DATE = 0, (1 << 5) | 1  # 1980-01-01 00:00, the first that the format has
_RIGHTS = 0o100644 << 16
# What Windows takes for a device, with any suffix.
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@-]*")


def is_bundle_name(name: str) -> bool:
    """Whether a bundle may be called this: as a member may, and in no folder."""
    return "/" not in name and is_member_name(name)


def is_member_name(name: str) -> bool:
    """Whether a member may be called that: relative, of plain ASCII, no part begins with a dot."""
    parts = name.split("/")
    return len(name) <= LONGEST_NAME and all(
        _PART.fullmatch(part) is not None
        and not part.endswith(".")
        and _DEVICE.fullmatch(part.partition(".")[0].lower()) is None
        for part in parts
    )


def write_container(members: Mapping[str, bytes]) -> bytes:
    """The container of `members`, name -> content; the order in which they come does not matter.

    Raises BundleError for a name that `is_member_name` refuses, for names that differ in case only,
    and for more than `MOST_MEMBERS` members or `MOST_BYTES` bytes.
    """
    _check_names(list(members))
    locals_, centrals, offset = [], [], 0
    for name in sorted(members):
        content = members[name]
        crc = zlib.crc32(content)
        local = _local(name, crc, len(content))
        centrals.append(_central(name, crc, len(content), offset))
        locals_ += [local, content]
        offset += len(local) + len(content)
        if offset > MOST_BYTES:
            raise _too_large(offset)
    directory = b"".join(centrals)
    size = offset + len(directory) + _END.size
    if size > MOST_BYTES:
        raise _too_large(size)
    end = _end(len(centrals), len(directory), offset)
    return b"".join((*locals_, directory, end))


def read_container(content: bytes) -> dict[str, bytes]:
    """The members of a container, name -> content.

    It is read from its beginning, and every byte that is not of a member's content is held against
    what `write_container` writes of these members; nothing is unpacked. Raises BundleError for
    any other file.
    """
    if len(content) > MOST_BYTES:
        raise _too_large(len(content))
    if not content.startswith((_LOCAL_MAGIC, _END_MAGIC)):
        begin = f"it begins with {content[:4].hex()}" if content else "it is empty"
        raise BundleError("this is no bundle", value=begin)
    view = memoryview(content)
    members: dict[str, bytes] = {}
    directory, offset = b"", 0
    for name, crc, start, size in _headers(view):
        if len(members) >= MOST_MEMBERS:
            raise _damaged(f"more than {MOST_MEMBERS:,} members")
        if members and name <= next(reversed(members)):
            raise _damaged("members that are not sorted, or one that is there twice")
        member = bytes(view[start : start + size])
        if zlib.crc32(member) != crc:
            raise _damaged(f"{name} has another checksum")
        members[name] = member
        directory += _central(name, crc, size, offset)
        offset = start + size
    _check_names(list(members))
    expected = directory + _end(len(members), len(directory), offset)
    if view[offset:] != expected:
        raise _damaged("its directory is not that of its members")
    return members


def _headers(view: memoryview) -> Iterator[tuple[str, int, int, int]]:
    """Of each member: its name, checksum, and where its content starts and how long it is."""
    offset = 0
    while view[offset : offset + 4] == _LOCAL_MAGIC:
        header = view[offset : offset + _LOCAL.size]
        if len(header) < _LOCAL.size:
            raise _damaged("it ends within a member")
        crc, size, length = _LOCAL.unpack(header)[6], _LOCAL.unpack(header)[7], header[26:28]
        start = offset + _LOCAL.size + int.from_bytes(length, "little")
        try:
            name = str(view[offset + _LOCAL.size : start], "ascii")
        except UnicodeDecodeError:
            raise _damaged("a member's name is not of plain letters") from None
        if not is_member_name(name):
            raise _unsafe(name)
        if start + size > len(view):
            raise _damaged(f"{name} ends before its end")
        if view[offset:start] != _local(name, crc, size):
            raise _damaged(f"the header of {name} is not as written")
        yield name, crc, start, size
        offset = start + size


def _local(name: str, crc: int, size: int) -> bytes:
    fields = (_VERSION, _FLAGS, _STORED, _TIME, _DATE, crc, size, size, len(name), 0)
    return _LOCAL.pack(_LOCAL_MAGIC, *fields) + name.encode("ascii")


def _central(name: str, crc: int, size: int, offset: int) -> bytes:
    versions = (_MADE_BY_UNIX | _VERSION, _VERSION)
    fields = (_FLAGS, _STORED, _TIME, _DATE, crc, size, size, len(name), 0, 0, 0, 0)
    return _CENTRAL.pack(_CENTRAL_MAGIC, *versions, *fields, _RIGHTS, offset) + name.encode("ascii")


def _end(members: int, size: int, offset: int) -> bytes:
    return _END.pack(_END_MAGIC, 0, 0, members, members, size, offset, 0)


def _check_names(names: list[str]) -> None:
    if len(names) > MOST_MEMBERS:
        raise _damaged(f"more than {MOST_MEMBERS:,} members")
    for name in names:
        if not is_member_name(name):
            raise _unsafe(name)
    if len({name.lower() for name in names}) < len(names):
        raise _damaged("two members whose names differ in case only")
    folders = {
        "/".join(parts[:length])
        for parts in (name.lower().split("/") for name in names)
        for length in range(1, len(parts))
    }
    if folders & {name.lower() for name in names}:
        raise _damaged("a member that is a folder, too")


def _unsafe(name: str) -> BundleError:
    return BundleError(
        "a bundle cannot hold a member of this name",
        value=repr(name[:LONGEST_NAME]),
        hint="names are relative, of the letters, digits and _.+=@- of ASCII",
    )


def _damaged(what: str) -> BundleError:
    return BundleError("the bundle is damaged, or not as we write it", value=what)


def _too_large(size: int) -> BundleError:
    return BundleError("the bundle is too large", value=f"{size:,} bytes, at most {MOST_BYTES:,}")
