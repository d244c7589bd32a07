"""A light check of a document against its JSON Schema: what a reader relies on, in one line."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from compressor.errors import CheckpointError

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": Mapping,
    "array": (list, tuple),
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
_LARGEST = 2**63  # a whole number beyond has no place in a count, and overflows a float in time
_SHOWN = 80


def load_schema(name: str) -> dict[str, Any]:
    """The JSON Schema in the file `name` beside this module."""
    text = resources.files("compressor.runs").joinpath(name).read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let a CheckpointError met within name the file that it is about."""
    try:
        yield
    except CheckpointError as error:
        place = f"{error.value}, in {path}" if error.value is not None else path
        raise CheckpointError(error.what, value=place, hint=error.hint) from error


def check_version(document: Any, what: str, name: str, version: int) -> None:
    """Raise CheckpointError unless `document` says that it is a `name` of this version.

    `what` is what messages call it.
    """
    if not isinstance(document, Mapping) or document.get("schema") != name:
        raise CheckpointError(f"not a {what}", hint=f'"schema" is "{name}" in one')
    if document.get("schema_version") != version:
        raise CheckpointError(
            f"{what} of another version",
            value=document.get("schema_version"),
            hint=f"this one reads version {version}",
        )


class Checker:
    """Follows a schema's types, keys, values, lengths, patterns and ranges through a document.

    Keys that the schema does not name are allowed, so that a newer program's documents of the
    same version are read. Numbers must be finite and below 2^63 in size.
    """

    def __init__(self, rules: Mapping[str, Any], what: str) -> None:
        self._rules, self._what = rules, what

    def check(self, document: Any, path: str) -> None:
        """Raise CheckpointError, in one line that names the place, where `document` differs."""
        self._check(document, self._rules, path)

    def _check(self, value: Any, rule: Mapping[str, Any], path: str) -> None:
        while "$ref" in rule:
            rule = self._rules["$defs"][rule["$ref"].rpartition("/")[2]]
        expected = rule.get("type", [])
        expected = [expected] if isinstance(expected, str) else expected
        if expected and not any(_is(value, name) for name in expected):
            self._refuse(path, f"{' or '.join(expected)}, not {type(value).__name__}")
        if "enum" in rule and value not in rule["enum"]:
            names = ", ".join(str(name) for name in rule["enum"])
            self._refuse(path, f"one of {names}, not {str(value)[:_SHOWN]}")
        if isinstance(value, Mapping):
            self._check_object(value, rule, path)
        elif isinstance(value, (list, tuple)):
            self._check_array(value, rule, path)
        elif isinstance(value, str):
            self._check_text(value, rule, path)
        elif value is not None and not isinstance(value, bool):
            self._check_range(value, rule, path)

    def _check_object(self, value: Mapping[str, Any], rule: Mapping[str, Any], path: str) -> None:
        properties, others = rule.get("properties", {}), rule.get("additionalProperties", {})
        for key in rule.get("required", []):
            if key not in value:
                raise CheckpointError(f"{self._what} lacks", value=f"{path}.{key}")
        for key, inner in value.items():
            place = f"{path}.{key[:_SHOWN]}"
            self._check_text(key, rule.get("propertyNames", {}), place)
            # `additionalProperties` is false where no other key is meant: not looked at here.
            self._check(inner, properties.get(key, others or {}), place)

    def _check_array(self, value: Any, rule: Mapping[str, Any], path: str) -> None:
        if len(value) < rule.get("minItems", 0):
            raise CheckpointError(f"{self._what} has too few entries", value=path)
        if len(value) > rule.get("maxItems", len(value)):
            raise CheckpointError(f"{self._what} has too many entries", value=path)
        for index, inner in enumerate(value):
            self._check(inner, rule.get("items", {}), f"{path}[{index}]")

    def _check_text(self, value: str, rule: Mapping[str, Any], path: str) -> None:
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            self._refuse(path, "half a character, which no text holds")
        if len(value) < rule.get("minLength", 0):
            self._refuse(path, "an empty text")
        if "pattern" in rule and not re.search(rule["pattern"], value):
            self._refuse(path, f"not {value[:_SHOWN]!r}")

    def _check_range(self, value: float, rule: Mapping[str, Any], path: str) -> None:
        inside = (
            value >= rule.get("minimum", value)
            and value <= rule.get("maximum", value)
            and ("exclusiveMinimum" not in rule or value > rule["exclusiveMinimum"])
            and ("exclusiveMaximum" not in rule or value < rule["exclusiveMaximum"])
        )
        if not inside:
            self._refuse(path, f"{value:g} is out of range")

    def _refuse(self, path: str, hint: str) -> None:
        raise CheckpointError(f"{self._what} is damaged", value=path, hint=hint)


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool) and name != "boolean":
        return False
    if not isinstance(value, _TYPES[name]):
        return False
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < _LARGEST
