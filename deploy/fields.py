"""Reading the fields of a JSON object that nobody vouches for: types, ranges, lengths, names."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from deploy.errors import ArtifactError

LONGEST_TEXT = 1000
"""Characters of a text, unless told otherwise."""
LONGEST_PATH = 4096
"""Characters of a path."""
MOST_ITEMS = 100_000
"""Items of a list or of an object, unless told otherwise."""
LARGEST_INTEGER = 2**53
"""JSON numbers above are not exact in every reader."""

T = TypeVar("T")


def parse_json(content: bytes, where: str) -> Any:
    """The value of a JSON text in UTF-8.

    Stricter than `json.loads`: no NaN, and no key twice in an object, since readers differ in
    which they take. Raises ArtifactError, naming `where`.
    """
    try:
        return json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ArtifactError("cannot read the JSON text", value=f"{where} ({reason})") from error


class Fields:
    """The fields of one object, each read once; `done` refuses those that nobody asked for.

    `where` names the object in messages, such as `inputs[0]`. Every method raises ArtifactError
    for a field that is missing, of another type, or out of its range.
    """

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise ArtifactError(f"{where} is no object", value=type(content).__name__)
        self._content, self._where = dict(content), where

    def path(self, key: str) -> str:
        """A path on this machine, of any characters."""
        found = self._take(key)
        if not isinstance(found, str) or not 0 < len(found) <= LONGEST_PATH or "\0" in found:
            raise self._wrong(key, "is no path", found)
        return found

    def text(self, key: str, *, longest: int = LONGEST_TEXT, empty: bool = False) -> str:
        """A printable text, not empty unless `empty`."""
        return self._text(key, self._take(key), longest, empty)

    def choice(self, key: str, known: Sequence[str]) -> str:
        """One of the texts `known`."""
        found = self.text(key)
        if found not in known:
            raise self._wrong(key, f"is none of {', '.join(known)}", found)
        return found

    def digest(self, key: str) -> str:
        """A sha256: 64 hex digits, lower case."""
        found = self.text(key)
        if len(found) != 64 or not set(found) <= set("0123456789abcdef"):
            raise self._wrong(key, "is no sha256", found)
        return found

    def integer(self, key: str, low: int = 0, high: int = LARGEST_INTEGER) -> int:
        """A whole number within `low` and `high`."""
        return self._integer(key, self._take(key), low, high)

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number within `low` and `high`."""
        found = self._take(key)
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise self._wrong(key, "is no number", found)
        # The comparison comes first: a whole number may be too large for a float.
        if not low <= found <= high or abs(found) > 1e300:
            raise self._wrong(key, "is out of range", found)
        return float(found)

    def boolean(self, key: str) -> bool:
        """True or false."""
        found = self._take(key)
        if not isinstance(found, bool):
            raise self._wrong(key, "is neither true nor false", found)
        return found

    def optional(
        self, key: str, read: Callable[..., T], *arguments: Any, **options: Any
    ) -> T | None:
        """None where the field is null, else what `read`, a method of these fields, makes of it."""
        if self._content.get(key, "") is None:
            self._take(key)
            return None
        return read(key, *arguments, **options)

    def shape(self, key: str) -> tuple[int | None, ...]:
        """Sizes of a tensor's axes; null where a size is left open."""
        return tuple(
            None if size is None else self._integer(key, size, 0, LARGEST_INTEGER)
            for size in self._list(key, 32)
        )

    def sizes(self, key: str) -> tuple[int, ...]:
        """Sizes of a tensor's axes, all known."""
        return tuple(self._integer(key, size, 0, LARGEST_INTEGER) for size in self._list(key, 32))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of printable texts."""
        each = self._list(key, MOST_ITEMS)
        return tuple(self._text(key, item, LONGEST_TEXT, False) for item in each)

    def objects(
        self, key: str, read: Callable[[Fields], T], most: int = MOST_ITEMS
    ) -> tuple[T, ...]:
        """A list of objects, each made by `read` of its fields, all of which it must read."""
        found = []
        for number, item in enumerate(self._list(key, most)):
            fields = Fields(item, f"{self._path(key)}[{number}]")
            found.append(read(fields))
            fields.done()
        return tuple(found)

    def one(self, key: str, read: Callable[[Fields], T]) -> T:
        """An object, made by `read` of its fields, all of which it must read."""
        fields = Fields(self._take(key), self._path(key))
        found = read(fields)
        fields.done()
        return found

    def schema(self, key: str, known: Mapping[str, Any], what: str) -> None:
        """Refuse another schema, {name, version}, than `known`; `what` has it, in messages."""
        fields = Fields(self._take(key), self._path(key))
        fields.choice("name", (str(known["name"]),))
        version = fields.integer("version", 1)
        fields.done()
        if version != known["version"]:
            raise ArtifactError(
                f"the {what} has another schema version",
                value=version,
                hint=f"this program reads version {known['version']}",
            )

    def object(self, key: str) -> dict[str, Any]:
        """An object as it is, for who reads it with fields of its own."""
        found = self._take(key)
        if not isinstance(found, dict):
            raise self._wrong(key, "is no object", found)
        return found

    def items(self, key: str, most: int = MOST_ITEMS) -> Any:
        """A list of anything, as it is."""
        return self._list(key, most)

    def mapping(self, key: str, read: Callable[[Fields, str], T]) -> dict[str, T]:
        """An object of any names, sorted; `read` is called with its fields and each name."""
        found = self._take(key)
        fields = Fields(found, self._path(key))
        if len(found) > MOST_ITEMS:
            raise self._wrong(key, f"has more than {MOST_ITEMS:,} items", len(found))
        names = [self._text(key, name, LONGEST_TEXT, False) for name in found]
        return {name: read(fields, name) for name in sorted(names)}

    def done(self) -> None:
        """Refuse fields that were not read."""
        if self._content:
            raise ArtifactError(
                f"{self._where} has a field that is not known", value=next(iter(self._content))
            )

    def _list(self, key: str, most: int) -> list[Any]:
        found = self._take(key)
        if not isinstance(found, list) or len(found) > most:
            raise self._wrong(key, f"is no list of at most {most:,} items", found)
        return found

    def _text(self, key: str, found: Any, longest: int, empty: bool) -> str:
        if not isinstance(found, str):
            raise self._wrong(key, "is no text", found)
        if not int(not empty) <= len(found) <= longest or not found.isprintable():
            raise self._wrong(key, f"is no printable text of 1 to {longest} characters", found)
        return found

    def _integer(self, key: str, found: Any, low: int, high: int) -> int:
        if isinstance(found, bool) or not isinstance(found, int):
            raise self._wrong(key, "is no whole number", found)
        if not low <= found <= high:
            raise self._wrong(key, f"is not within {low} and {high}", found)
        return found

    def _take(self, key: str) -> Any:
        if key not in self._content:
            raise ArtifactError("a field is missing", value=self._path(key))
        return self._content.pop(key)

    def _path(self, key: str) -> str:
        return f"{self._where}.{key}"

    def _wrong(self, key: str, what: str, found: Any) -> ArtifactError:
        shown = found if isinstance(found, (str, float)) else type(found).__name__
        if isinstance(found, int):
            # Python refuses to write a number of thousands of digits.
            shown = found if found.bit_length() < 1000 else "too large a number"
        return ArtifactError(f"{self._path(key)} {what}", value=shown)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
