"""Text from outside, made fit for a terminal, a page or a log."""

from __future__ import annotations

import re

_MOST = 120
# Python prints these as they are, but they are blank or have no width.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def clean(text: object, most: int = _MOST, *, tail: bool = False) -> str:
    """`text` in one line of at most `most` characters, all of which can be seen.

    Written as Python's escapes are control characters (ESC and those of C1 too), ends of lines and
    paragraphs, what turns the direction of writing, what is invisible, and halves of characters.
    Where it is too long, its beginning is kept, or with `tail` its end. Cleaning twice does no
    more than once.
    """
    shown = str(text)
    shown = shown[-most - 1 :] if tail else shown[: most + 1]
    if not shown.isprintable() or _INVISIBLE.search(shown):
        shown = "".join(
            c if c.isprintable() and not _INVISIBLE.match(c) else _escaped(c) for c in shown
        )
    if len(shown) <= most:
        return shown
    return f"…{shown[1 - most :]}" if tail else f"{shown[: most - 1]}…"


def one_line(what: str, value: object, hint: str, most: int) -> str:
    """The message of an error, `what: value; hint`, with a value of at most `most` characters.

    White space, ends of lines too, becomes one space.
    """
    shown = "" if value is None else clean(" ".join(str(value).split()), most)
    message = what + (f": {shown}" if shown else "") + (f"; {hint}" if hint else "")
    return clean(" ".join(message.split()), 2 * most)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
