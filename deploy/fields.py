"""Reading the fields of an untrusted JSON object: their types, ranges, lengths and names.

`Fields.make` reads a field for each parameter of a dataclass or function, by its annotation:

str, Digest, FilePath   printable text; a sha256; a path of any characters
int, Positive           an integer from 0, from 1, to 2**53
float                   a finite number
NotNegative, Fraction   a number from 0; from 0 to 1
bool                    true or false
tuple[...]              a list: of texts, of sizes, or a shape (`int | None`: an open size)
dict[...]               an object of any names: of texts, or of integers from 0
X | None                null is None
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from deploy.errors import ArtifactError
from deploy.text import clean

LONGEST_TEXT = 1000
"""Characters of a text, unless told otherwise."""
LONGEST_PATH = 4096
"""Characters of a path."""
MOST_ITEMS = 100_000
"""Items of a list or of an object, unless told otherwise."""
MOST_LEVELS = 64
"""Lists and objects in each other: what is written again, or compared, takes a call for each."""
_MOST_AXES = 32
_MOST_DIGITS = 1000
LARGEST_INTEGER = 2**53
"""JSON numbers above are not exact in every reader."""

Digest = str
FilePath = str
Positive = int
NotNegative = float
Fraction = float

T = TypeVar("T")
Reader = Callable[["Fields", str], Any]
"""Reads the field of this name."""
NO_READERS: Mapping[str, Reader] = {}


def parse_json(content: bytes, where: str) -> Any:
    """The value of a JSON text in UTF-8.

    Stricter than `json.loads`: NaN is refused, and so is an object that has a key twice, since
    readers differ in which one they take, and more than `MOST_LEVELS` of lists and objects in each
    other. Raises ArtifactError, naming `where`.
    """
    try:
        found = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_whole,
            parse_constant=_refuse,
        )
        check_levels(found)
        return found
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ArtifactError("invalid JSON", value=f"{where} ({reason})") from error


class Fields:
    """The fields of one object, each read once; `done` refuses any that are left.

    `where` names the object in messages, such as `inputs[0]`. Every method raises ArtifactError
    for a field that is missing, of the wrong type, or out of range.
    """

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, dict):
            raise ArtifactError(f"{where} is not an object", value=type(content).__name__)
        self._content, self._where = dict(content), where

    def has(self, key: str) -> bool:
        return key in self._content

    def left(self) -> list[str]:
        """The names of the fields that were not read yet, each a printable text."""
        return [self._text("a field", key, LONGEST_TEXT, False) for key in self._content]

    def unknown(self, key: str) -> Any:
        """Refuse a field, as `done` does."""
        raise ArtifactError(f"{self._where} has an unknown field", value=clean(key))

    def path(self, key: str) -> str:
        found = self._take(key)
        if not isinstance(found, str) or not 0 < len(found) <= LONGEST_PATH or "\0" in found:
            raise self._wrong(key, "is not a path", found)
        return found

    def text(self, key: str, *, longest: int = LONGEST_TEXT, empty: bool = False) -> str:
        """Printable text, not empty unless `empty`."""
        return self._text(key, self._take(key), longest, empty)

    def string(self, key: str, longest: int = LONGEST_TEXT) -> str:
        """Text of any characters, which may be empty, but no half of a character."""
        found = self._take(key)
        if not isinstance(found, str) or len(found) > longest or not _is_whole(found):
            raise self._wrong(key, f"is not text of at most {longest:,} characters", found)
        return found

    def choice(self, key: str, known: Sequence[str]) -> str:
        found = self.text(key)
        if found not in known:
            raise self._wrong(key, f"is not one of {', '.join(known)}", found)
        return found

    def digest(self, key: str) -> str:
        """A sha256: 64 lower-case hex digits."""
        found = self.text(key)
        if len(found) != 64 or not set(found) <= set("0123456789abcdef"):
            raise self._wrong(key, "is not a sha256", found)
        return found

    def integer(self, key: str, low: int = 0, high: int = LARGEST_INTEGER) -> int:
        """An integer from `low` to `high`."""
        return self._integer(key, self._take(key), low, high)

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number from `low` to `high`."""
        found = self._take(key)
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise self._wrong(key, "is not a number", found)
        # Compared before it is converted: an integer may be too large for a float.
        if not low <= found <= high or abs(found) > 1e300:
            raise self._wrong(key, "is out of range", found)
        return float(found)

    def boolean(self, key: str) -> bool:
        found = self._take(key)
        if not isinstance(found, bool):
            raise self._wrong(key, "is not true or false", found)
        return found

    def optional(
        self, key: str, read: Callable[..., T], *arguments: Any, **options: Any
    ) -> T | None:
        """None if the field is null, else what `read`, a method of these fields, returns."""
        if self._content.get(key, "") is None:
            self._take(key)
            return None
        return read(key, *arguments, **options)

    def shape(self, key: str) -> tuple[int | None, ...]:
        """The sizes of a tensor's axes; null where a size is open."""
        return tuple(
            None if size is None else self._integer(key, size, 0, LARGEST_INTEGER)
            for size in self.items(key, _MOST_AXES)
        )

    def sizes(self, key: str) -> tuple[int, ...]:
        """A short list of integers, such as the sizes of a tensor's axes."""
        each = self.items(key, _MOST_AXES)
        return tuple(self._integer(key, size, 0, LARGEST_INTEGER) for size in each)

    def integers(self, key: str, most: int, low: int, high: int) -> list[int]:
        """A list of at most `most` integers, each from `low` to `high`."""
        found = self.items(key, most)
        for item in found:
            self._integer(key, item, low, high)
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(self._text(key, item, LONGEST_TEXT, False) for item in self.items(key))

    def objects(
        self, key: str, read: Callable[[Fields], T], most: int = MOST_ITEMS
    ) -> tuple[T, ...]:
        """A list of objects, each made by `read` from its fields, all of which it must read."""
        found = []
        for number, item in enumerate(self.items(key, most)):
            fields = Fields(item, f"{self._path(key)}[{number}]")
            found.append(read(fields))
            fields.done()
        return tuple(found)

    def one(self, key: str, read: Callable[[Fields], T]) -> T:
        """An object made by `read` from its fields, all of which it must read."""
        fields = Fields(self._take(key), self._path(key))
        found = read(fields)
        fields.done()
        return found

    def schema(self, key: str, known: Mapping[str, Any], what: str) -> None:
        """Refuse a schema, {name, version}, other than `known`; `what` has it, in messages."""
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
        """An object, not checked further."""
        found = self._take(key)
        if not isinstance(found, dict):
            raise self._wrong(key, "is not an object", found)
        return found

    def items(self, key: str, most: int = MOST_ITEMS) -> list[Any]:
        """A list of at most `most` items, which are not checked further."""
        found = self._take(key)
        if not isinstance(found, list) or len(found) > most:
            raise self._wrong(key, f"is not a list of at most {most:,} items", found)
        return found

    def mapping(self, key: str, read: Callable[[Fields, str], T]) -> dict[str, T]:
        """An object of any names, sorted; `read` is called with its fields and each name."""
        found = self._take(key)
        fields = Fields(found, self._path(key))
        if len(found) > MOST_ITEMS:
            raise self._wrong(key, f"has more than {MOST_ITEMS:,} items", len(found))
        names = [self._text(key, name, LONGEST_TEXT, False) for name in found]
        return {name: read(fields, name) for name in sorted(names)}

    def make(
        self,
        kind: Callable[..., T],
        readers: Mapping[str, Reader] = NO_READERS,
        newer: tuple[str, ...] = (),
    ) -> T:
        """Call `kind` with a field for each of its parameters; there must be no others.

        The module says how an annotation is read; `readers` comes first: parameter -> reader.
        Earlier versions of this program did not write the `newer` fields, which have defaults.
        """
        found = {}
        for key, annotation in kind.__annotations__.items():
            if key != "return" and not (key in newer and key not in self._content):
                name = annotation.removesuffix(" | None")
                read = readers.get(key) or _READERS[name]
                bound = functools.partial(read, self)
                found[key] = bound(key) if name == annotation else self.optional(key, bound)
        self.done()
        return kind(**found)

    def done(self) -> None:
        """Refuse fields that were not read."""
        if self._content:
            self.unknown(next(iter(self._content)))

    def _text(self, key: str, found: Any, longest: int, empty: bool) -> str:
        if not isinstance(found, str):
            raise self._wrong(key, "is not text", found)
        if not int(not empty) <= len(found) <= longest or not found.isprintable():
            raise self._wrong(key, f"is not printable text of 1 to {longest} characters", found)
        return found

    def _integer(self, key: str, found: Any, low: int, high: int) -> int:
        if isinstance(found, bool) or not isinstance(found, int):
            raise self._wrong(key, "is not an integer", found)
        if not low <= found <= high:
            raise self._wrong(key, f"is not from {low} to {high}", found)
        return found

    def _take(self, key: str) -> Any:
        if key not in self._content:
            raise ArtifactError("a field is missing", value=self._path(key))
        return self._content.pop(key)

    def _path(self, key: str) -> str:
        return f"{self._where}.{clean(key)}"

    def _wrong(self, key: str, what: str, found: Any) -> ArtifactError:
        shown = found if isinstance(found, (str, float)) else type(found).__name__
        if isinstance(found, int):
            # Python refuses to write a number of thousands of digits.
            shown = found if found.bit_length() < 1000 else "too large a number"
        return ArtifactError(f"{self._path(key)} {what}", value=clean(shown))


def check_levels(content: Any) -> None:
    """Raise ValueError for more than `MOST_LEVELS` of lists and objects in each other."""
    level = [content]
    for _ in range(MOST_LEVELS + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        if not inner:
            return
        level = inner
    raise ValueError("nested too deeply")


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair, such as "\ud800" in JSON
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _whole(text: str) -> int:
    """An integer; the Python of an old device takes hours for one of a million digits."""
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def made(kind: Callable[..., T], readers: Mapping[str, Reader] = NO_READERS) -> Callable[..., T]:
    """Makes `kind` from the fields that it is given, as `Fields.make` does."""
    return lambda fields: fields.make(kind, readers)


_READERS: dict[str, Reader] = {
    "str": Fields.text,
    "Digest": Fields.digest,
    "FilePath": Fields.path,
    "bool": Fields.boolean,
    "int": Fields.integer,
    "Positive": lambda fields, key: fields.integer(key, 1),
    "float": Fields.number,
    "NotNegative": lambda fields, key: fields.number(key, 0.0),
    "Fraction": lambda fields, key: fields.number(key, 0.0, 1.0),
    "tuple[int | None, ...]": Fields.shape,
    "tuple[int, ...]": Fields.sizes,
    "tuple[str, ...]": Fields.texts,
    "dict[str, str]": lambda fields, key: fields.mapping(key, Fields.text),
    "dict[str, int]": lambda fields, key: fields.mapping(key, Fields.integer),
}
