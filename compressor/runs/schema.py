"""Checks a document against its JSON Schema, and refuses it in one line."""

from __future__ import annotations

import functools
import json
import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from compressor.errors import CheckpointError
from compressor.foundation import read_json
from deploy.text import clean

_BEYOND = 2**63  # such an integer is no count, and overflows a float in time
_LARGEST = 16 * 2**20  # bytes; checking a byte takes microseconds
_LONGEST_PATH = 200
_LONGEST_REASON = 300
_SURROGATE = re.compile("[\ud800-\udfff]")  # half of a pair: no valid text holds one
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def load_schema(name: str) -> dict[str, Any]:
    """The JSON Schema in the file `name` beside this module."""
    text = resources.files("compressor.runs").joinpath(name).read_text("utf-8")
    return dict(json.loads(text))


def read_document(path: Path, check: Callable[[Any], None]) -> dict[str, Any]:
    """Read a JSON document that passes `check`; raises CheckpointError, naming the file."""
    document = read_json(path, largest=_LARGEST)
    try:
        check(document)
    except CheckpointError as error:
        place = f"{error.value}, in {path}" if error.value is not None else path
        raise CheckpointError(error.what, value=place, hint=error.hint) from error
    return document


def check_version(document: Any, what: str, name: str, version: int) -> None:
    """Raise CheckpointError unless `document`, called `what`, is a `name` of this version."""
    if not isinstance(document, Mapping) or document.get("schema") != name:
        raise CheckpointError(f"not a {what}", hint=f'"schema" is "{name}" in one')
    if document.get("schema_version") != version:
        raise CheckpointError(
            f"{what} of another version",
            value=clean(document.get("schema_version")),
            hint=f"this one reads version {version}",
        )


def check_schema(document: Any, schema: Mapping[str, Any], what: str, root: str) -> None:
    """Raise CheckpointError at the first place where `document` violates `schema`.

    The message calls the document `what`; its paths begin with `root`. Keys that the schema does
    not name are allowed, so that a newer program's documents of the same version can be read.
    Numbers must be finite, integers below 2^63 in size, and texts valid Unicode.
    """
    try:
        # Not jsonschema's best match: a hostile document may have millions of errors.
        error = next(_reader()(schema).iter_errors(document), None)
        if error is None:
            return
        # The message usually begins with the value, whole.
        said, value = error.message, repr(error.instance)
    except RecursionError:
        raise CheckpointError(f"{what} is damaged", value=root, hint="nested too deeply") from None
    if said.startswith(value):
        said = _SHORT.repr(error.instance) + said[len(value) :]
    place = (root + error.json_path[1:])[:_LONGEST_PATH]
    raise CheckpointError(f"{what} is damaged", value=place, hint=clean(said, _LONGEST_REASON))


@functools.cache
def _reader() -> Any:
    """The validator class of a lenient reader; jsonschema takes long to import, hence late."""
    from jsonschema import Draft202012Validator, validators

    def further_keys(validator: Any, rule: Any, value: Any, schema: Any) -> Iterator[Any]:
        if rule:
            yield from Draft202012Validator.VALIDATORS["additionalProperties"](
                validator, rule, value, schema
            )

    types = {
        "object": lambda _, value: isinstance(value, Mapping),
        "array": lambda _, value: isinstance(value, (list, tuple)),
        "string": lambda _, value: isinstance(value, str) and not _SURROGATE.search(value),
        "integer": lambda _, value: _is_count(value),
        "number": lambda _, value: (
            _is_count(value) or (isinstance(value, float) and math.isfinite(value))
        ),
    }
    return validators.extend(
        Draft202012Validator,
        {"additionalProperties": further_keys},
        type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(types),
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _BEYOND
