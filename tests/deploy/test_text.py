"""Cleaning of text from outside: nothing that cannot be seen is left, and it has an end."""

from __future__ import annotations

import pytest

from compressor.errors import CompressorError, DataError
from deploy.errors import DeployError
from deploy.runner.commands import serve
from deploy.text import clean

_CONTROL = [*range(0x20), *range(0x7F, 0xA0)]
_LINES = [0x2028, 0x2029]
_DIRECTION = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_NO_WIDTH = [0xAD, 0x034F, 0x115F, 0x1160, 0x17B4, 0x180B, 0x180E, 0x200B, 0x200C, 0x200D, 0x2060]
_NO_WIDTH += [0x2800, 0x3164, 0xFE00, 0xFE0F, 0xFEFF, 0xFFA0, 0xE0001, 0xE0020, 0xE0100, 0xE01EF]
_HALVES = [0xD800, 0xDCFF, 0xDFFF]
_NO_CHARACTERS = [0xFFFE, 0xFFFF, 0xE000, 0x10FFFF]


@pytest.mark.parametrize(
    "code", [*_CONTROL, *_LINES, *_DIRECTION, *_NO_WIDTH, *_HALVES, *_NO_CHARACTERS], ids=hex
)
def test_what_cannot_be_seen_is_an_escape(code: int) -> None:
    shown = clean(f"a{chr(code)}b")

    assert shown == f"a{chr(code).encode('unicode_escape').decode()}b"
    assert shown.isascii() and shown.isprintable()
    assert clean(shown) == shown
    for error in (CompressorError("what", value=f"a{chr(code)}b"), DeployError(f"a{chr(code)}b")):
        assert str(error).isprintable() and chr(code) not in str(error)


@pytest.mark.parametrize("text", ["", "conv1/kernel", "Größe 3 μs", "层", "é — ✓", "C:\\x", "a  b"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


def test_a_long_text_is_cut_where_it_is_told_least() -> None:
    assert clean("0123456789", 10) == "0123456789"
    assert clean("0123456789", 5) == "0123…"
    assert clean("0123456789", 5, tail=True) == "…6789"
    assert len(clean("\x1b" * 10**6, 100)) == 100
    assert len(clean("\U000e0001" * 10**6, 100, tail=True)) == 100


def test_an_error_is_one_line_that_has_an_end() -> None:
    error = DataError("what\nis it", value="one\n two\t\x1b[2J", hint="do\r\nthat")

    assert str(error) == r"what is it: one two \x1b[2J; do that"
    assert error.value == "one\n two\t\x1b[2J"
    assert len(str(DeployError("what", value="v" * 10**6))) < 600
    assert len(str(DataError("what", value="v" * 10**6))) < 5000
    assert str(DataError("what", value=0)) == "what: 0"
    assert str(DataError("what", value=None)) == "what"


def test_the_log_of_a_server_is_lines_that_can_be_seen(capsys: pytest.CaptureFixture[str]) -> None:
    serve._say("now serving a\x1b[2J\nforged\u202e" + "x" * 10**5)

    told = capsys.readouterr().err
    assert told.startswith(r"now serving a\x1b[2J\nforged\u202ex")
    assert told.endswith("\n") and told[:-1].isprintable() and len(told) < 2000
