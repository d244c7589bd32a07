"""JSON from outside: what is too long, too deep, or read differently by others, is one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from deploy.errors import ArtifactError
from deploy.fields import MOST_LEVELS, Fields, parse_json


@pytest.fixture(autouse=True)
def _as_on_an_old_python() -> Iterator[None]:
    """Before 3.10.7, int() took the digits of any number, in quadratic time."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(limit)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"9" * 5_000_000, "a number of 5,000,000 digits"),
        (b'{"a": [-' + b"9" * 1001 + b"]}", "a number of 1,002 digits"),
        (b"[" * 66 + b"]" * 66, "nested too deeply"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "nested too deeply"),
        (b"[" * 10**6, "nested too deeply"),
        (b"NaN", "NaN is not JSON"),
        (b'{"a": 1, "a": 2}', "a key twice"),
        (b"\xff", "utf-8"),
        (b"", "Expecting value"),
    ],
)
def test_what_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        parse_json(content, "x.json")

    message = str(caught.value)
    assert message.startswith("invalid JSON: x.json (") and says in message
    assert message.isprintable() and len(message) < 800


def test_what_is_taken() -> None:
    assert parse_json(b"[" * MOST_LEVELS + b"]" * MOST_LEVELS, "x.json")
    assert parse_json(b"-" + b"9" * 999, "x.json") == -(10**999 - 1)
    assert parse_json(b'{"a": [1.5, -0, 1e3, true, null]}', "x") == {"a": [1.5, 0, 1e3, True, None]}


def test_a_long_value_or_name_does_not_fill_the_message() -> None:
    long = "x" * 5000
    for content, read in (
        ({"a": long}, lambda fields: fields.text("a")),
        ({"a": long}, lambda fields: fields.choice("a", ("b",))),
        ({long: 1}, lambda fields: fields.done()),
        ({"a": {long[:1000]: "x"}}, lambda fields: fields.mapping("a", Fields.integer)),
    ):
        with pytest.raises(ArtifactError) as caught:
            read(Fields(content, "it"))
        error = caught.value
        assert len(f"{error.what} {error.value}") < 400
