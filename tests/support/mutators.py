"""What an enemy makes of sound bytes, JSON, arrays, zip files and requests; all by a `Random`."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_WORDS = (0, 1, 2, 2**7, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
_FORMS = ((2**16, "<H", ">H"), (2**32, "<I", ">I"), (2**64, "<Q", ">Q"))
_COPIED, _LEFT_OUT = 64, 16
_JSON_TOKENS = (
    *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"-", b"e", b".", b"0", b"9" * 500),
    *(b"NaN", b"1e999", b"-Infinity", b"null", b"true", b"\\ud800", b"\xff", b"\x00", b"[" * 200),
)
DEEP: Any = []
for _ in range(80):
    DEEP = [DEEP]
STRANGE: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 2**31, 2**53, 2**63, 2**64, 10**400, -(10**400)),
    *(0.5, -0.0, 1.5, 1e-320, 1e308, -1e300, float("inf"), float("-inf"), float("nan")),
    *("", "a", "a\nb", "\x00", "\x1b[2J", "\u202e", "\ud800", "é", "x" * 9999, "9" * 5000, "NaN"),
    *("../up", "/etc/passwd", "C:\\x", "con", "..", "=1+1", "$(id)", "<b>", "|", "%s", "{0}"),
    *([], {}, [None], [[]], {"": 1}, {"a": {"a": {}}}, DEEP, [[1]] * 3, [-1], [2**70], [0] * 3000),
    *({str(number): number for number in range(300)}, [{}], ["a", "a"], [1e300, "1"]),
)
PUNCTUATION = (
    *(b"\r\n", b"\n", b"\r", b" ", b":", b"\x00", b"\xff", b"[", b"]", b"/", b"9" * 500, b"%"),
)
"""Of requests."""
NAMES = (
    *("../up", "/abs", "a/", "", ".", "..", "x" * 300, "a\x00b", "é", "con", "a\\b", "a//b"),
    *("\x1b[2J", "a\nb", "__main__.py", ".hidden", "a" * 65000),
)


def damaged(content: bytes, chance: random.Random, tokens: Sequence[bytes] = ()) -> bytes:
    """Some bytes are set, words overwritten, parts moved, doubled, left out, `tokens` put in."""
    changed = bytearray(content)
    edits = (*_EDITS, *[_token] * 2) if tokens else _EDITS
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        chance.choice(edits)(changed, chance, tokens)
    return bytes(changed)


def _flip(changed: bytearray, chance: random.Random, _: Any) -> None:
    if changed:
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)


def _set(changed: bytearray, chance: random.Random, _: Any) -> None:
    place = chance.randrange(len(changed) + 1)
    changed[place : place + 1] = bytes([chance.choice((0, 127, 128, 255, chance.randrange(256)))])


def _word(changed: bytearray, chance: random.Random, _: Any) -> None:
    word = chance.choice(_WORDS)
    form = chance.choice([form for most, *forms in _FORMS if word < most for form in forms])
    packed = struct.pack(form, word)
    place = chance.randrange(len(changed) + 1)
    if chance.randrange(2):
        place -= place % len(packed)
    changed[place : place + len(packed)] = packed


def _move(changed: bytearray, chance: random.Random, _: Any) -> None:
    start, end = sorted(chance.randrange(len(changed) + 1) for _ in range(2))
    place = chance.randrange(len(changed) + 1)
    changed[place : place + end - start] = changed[start:end]


def _double(changed: bytearray, chance: random.Random, _: Any) -> None:
    start, place = (chance.randrange(len(changed) + 1) for _ in range(2))
    changed[place:place] = changed[start : start + _COPIED] * chance.choice((1, 1, 2, 99))


def _leave_out(changed: bytearray, chance: random.Random, _: Any) -> None:
    start = chance.randrange(len(changed) + 1)
    del changed[start : start + chance.randrange(_LEFT_OUT)]


def _truncate(changed: bytearray, chance: random.Random, _: Any) -> None:
    del changed[chance.randrange(len(changed) + 1) :]


def _token(changed: bytearray, chance: random.Random, tokens: Sequence[bytes]) -> None:
    place = chance.randrange(len(changed) + 1)
    changed[place : place + chance.choice((0, 1, 1, 4))] = chance.choice(tokens)


_EDITS: tuple[Callable[[bytearray, random.Random, Sequence[bytes]], None], ...] = (
    *(_flip, _flip, _set, _set, _word, _word, _word),
    *(_move, _double, _leave_out, _truncate),
)


def altered(value: Any, chance: random.Random) -> Any:
    """A JSON value in which some places hold something strange, are gone, or hold another's."""
    changed = [copy.deepcopy(value)]
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        _alter(changed, chance)
    return changed[0]


def _alter(root: list[Any], chance: random.Random) -> None:
    holder, key = _place(root, chance)
    kind = chance.randrange(8)
    if kind < 4:
        holder[key] = copy.deepcopy(chance.choice(STRANGE))
    elif kind == 4 and holder is not root:
        del holder[key]
    elif kind == 5:
        other, there = _place(root, chance)
        holder[key] = copy.deepcopy(other[there])
    elif kind == 6 and isinstance(holder, dict):
        holder[chance.choice(STRANGE[23:44])] = holder[key]
    elif isinstance(holder, list) and holder is not root:
        holder.insert(key, copy.deepcopy(holder[key]))
    elif isinstance(holder[key], (int, float)):
        holder[key] = holder[key] * chance.choice((-1, 0, 10**9, 2)) + chance.choice((0, 1, -1))


def _place(root: list[Any], chance: random.Random) -> tuple[Any, Any]:
    """A list or object in a value, and an index or key of it."""
    holder: Any = root
    key: Any = 0
    while isinstance(holder[key], (dict, list)) and holder[key] and chance.randrange(5):
        holder = holder[key]
        key = chance.choice(list(holder)) if isinstance(holder, dict) else _index(holder, chance)
    return holder, key


def _index(items: list[Any], chance: random.Random) -> int:
    return chance.randrange(len(items))


def text_of(value: Any, chance: random.Random, indent: int | None = None) -> bytes:
    """The JSON text of a value that is `altered`, or damaged as a text, or both."""
    kind = chance.randrange(4)
    content = json.dumps(altered(value, chance) if kind else value, indent=indent).encode()
    return content if kind > 1 else damaged(content, chance, _JSON_TOKENS)


def zipped(members: Mapping[str, bytes], chance: random.Random) -> bytes:
    """A zip file of members that are damaged, gone, there twice, packed, or named otherwise."""
    listed = list(members.items())
    for _ in range(chance.choice((0, 1, 1, 2))):
        index = chance.randrange(len(listed))
        name, content = listed[index]
        kind = chance.randrange(7)
        if kind == 0 and len(listed) > 1:
            del listed[index]
        elif kind == 1:
            listed.append((name, damaged(content, chance)))
        elif kind == 2:
            listed[index] = chance.choice(NAMES) + chance.choice(("", ".npy")), content
        elif kind == 3:
            chance.shuffle(listed)
        else:
            listed[index] = name, damaged(content, chance)
    stream = io.BytesIO()
    methods = [zipfile.ZIP_STORED] * 6 + [zipfile.ZIP_DEFLATED] * 2 + [zipfile.ZIP_BZIP2]
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", chance.choice(methods)) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in listed:
            archive.writestr(zipfile.ZipInfo(name), content, archive.compression)
    content = stream.getvalue()
    kind = chance.randrange(4)
    if kind == 0:
        return damaged(content, chance)
    if kind == 1:  # its directory
        end = content.rfind(b"PK\1\2")
        return content[:end] + damaged(content[end:], chance)
    return content


_DESCRIPTIONS: tuple[Any, ...] = (
    *("<f4", ">f8", "|u1", "<i8", "|b1", "<f2", "|O", "<U4", "|S100000", "|V4", "<f16", "<c8"),
    *("<f1000000000", "", "f", 5, None, [("a", "<f4")], [("a", "|O")], "|u1|u1", "<M8[ns]", "O4"),
)
_SHAPES: tuple[Any, ...] = (
    *((), (0,), (1,), (2, 3), (-1,), (2**40,), (2**63, 2), (True,), (1.0,), [2, 3], 6, None),
    *((1,) * 33, (2, -3), (0, 2**60), (2**32, 2**32), ("2",)),
)


def npy(chance: random.Random) -> bytes:
    """An .npy file by no writer: any header before any bytes."""
    header: dict[str, Any] = {
        "descr": chance.choice(_DESCRIPTIONS),
        "fortran_order": chance.choice((False, False, True, 1, None)),
        "shape": chance.choice(_SHAPES),
    }
    if not chance.randrange(5):
        header[chance.choice(("more", "descr", "shape"))] = chance.choice((1, "(" * 300, ()))
    text = repr(header).encode() + b"\n"
    if not chance.randrange(4):
        text = damaged(text, chance, (b"(" * 200, b"lambda: 1", b"__import__('os')", b"9" * 5000))
    version = chance.choice((b"\1\0", b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\xff\xff"))
    form = "<H" if version == b"\1\0" else "<I"
    size = len(text) if chance.randrange(9) else chance.choice((0, 5, 2**16 - 1))
    payload = bytes(chance.choice((0, 1, 4, 6, 8, 24, 48, 1000)))
    return b"\x93NUMPY" + version + struct.pack(form, min(size, 2**16 - 1)) + text + payload
