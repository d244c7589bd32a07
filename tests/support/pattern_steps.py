"""How many steps a backtracking matcher takes for a regular expression, counted, not timed.

The matcher follows Python's: alternatives in order, the longest repetition first (or the shortest,
if lazy), one character after the other. `grows` tries strings made of what the pattern matches,
twice as long each time.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from re import _constants as c, _parser  # type: ignore[attr-defined]
from typing import Any

LENGTH = 60
_FIXED = 200
_FACTOR = 3.0
_MOST_STEPS = 100_000
_CHARACTERS = "a0 /.-_:;<>\"'*\n\x1b[]#A,%\x00é\u3164\u2800"
_ENDS = ("", "\x00", "\n", " ", "a")

Nodes = list[tuple[Any, Any]]
After = Callable[[int], int | None]


class _StepsError(Exception):
    """There were more than any linear pattern takes."""


class Matcher:
    """Counts the steps of one pattern; `anchored` is for `match` and `fullmatch`."""

    def __init__(self, pattern: str | bytes, flags: int, anchored: bool) -> None:
        text = pattern if isinstance(pattern, str) else pattern.decode("latin-1")
        parsed = _parser.parse(text, flags & ~re.UNICODE if isinstance(pattern, bytes) else flags)
        self.nodes: Nodes = list(parsed)
        self._flags = parsed.state.flags
        self._anchored = anchored
        self._sets: dict[Any, re.Pattern[str]] = {}

    def steps(self, text: str) -> int:
        """The steps to look for all matches in a text, which must not be the end of it."""
        self._text, self._steps, start = text, 0, 0
        whole = self._anchored
        while start <= len(text):
            end = self._run(
                self.nodes, 0, start, lambda at: at if not whole or at == len(text) else None
            )
            if whole:
                break
            start = start + 1 if end is None or end == start else end
        return self._steps

    def _run(self, nodes: Nodes, number: int, at: int, after: After) -> int | None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _StepsError
        if number == len(nodes):
            return after(at)
        op, value = nodes[number]
        then: After = lambda end: self._run(nodes, number + 1, end, after)  # noqa: E731
        if op in (c.LITERAL, c.NOT_LITERAL, c.IN, c.ANY):
            fits = at < len(self._text) and self._fits(op, value, self._text[at])
            return then(at + 1) if fits else None
        if op is c.SUBPATTERN:
            return self._run(list(value[-1]), 0, at, then)
        if op is c.BRANCH:
            for branch in value[1]:
                if (end := self._run(list(branch), 0, at, then)) is not None:
                    return end
            return None
        if op in (c.MAX_REPEAT, c.MIN_REPEAT):
            return self._repeat(op is c.MAX_REPEAT, *value[:2], list(value[2]), 0, at, then)
        if op in (c.ASSERT, c.ASSERT_NOT):
            direction, inner = value
            begin = at if direction > 0 else at - inner.getwidth()[0]
            found = begin >= 0 and self._run(list(inner), 0, begin, lambda end: end) is not None
            return then(at) if found == (op is c.ASSERT) else None
        if op is c.AT:
            return then(at) if self._stands(value, at) else None
        raise AssertionError(f"this matcher knows no {op}: teach it")

    def _repeat(
        self, greedy: bool, low: int, high: Any, item: Nodes, count: int, at: int, then: After
    ) -> int | None:
        def more(end: int) -> int | None:
            if end == at and count >= low:
                return None
            return self._repeat(greedy, low, high, item, count + 1, end, then)

        for again in (greedy, not greedy):
            end = None
            if again and (high is c.MAXREPEAT or count < high):
                end = self._run(item, 0, at, more)
            elif not again and count >= low:
                end = then(at)
            if end is not None:
                return end
        return None

    def _fits(self, op: Any, value: Any, character: str) -> bool:
        if op is c.ANY:
            return bool(self._flags & re.DOTALL) or character != "\n"
        if op is not c.IN:
            same = self._same(chr(value), character)
            return same == (op is c.LITERAL)
        negated = value[0][0] is c.NEGATE
        return any(self._in(item, character) for item in value) != negated

    def _same(self, one: str, other: str) -> bool:
        return one == other or bool(self._flags & re.IGNORECASE and one.lower() == other.lower())

    def _in(self, item: tuple[Any, Any], character: str) -> bool:
        kind, value = item
        if kind is c.LITERAL:
            return self._same(chr(value), character)
        if kind is c.RANGE:
            return value[0] <= ord(character) <= value[1]
        if kind is c.CATEGORY:
            name = str(value).rpartition("_")[2].lower()
            found = {"digit": r"\d", "space": r"\s", "word": r"\w"}[name]
            return (re.match(found, character) is not None) != ("_NOT_" in str(value))
        return False

    def _stands(self, where: Any, at: int) -> bool:
        text = self._text
        if where in (c.AT_BEGINNING, c.AT_BEGINNING_STRING):
            return at == 0
        if where in (c.AT_END, c.AT_END_STRING):
            return at == len(text) or text[at:] == "\n"
        before, here = (bool(re.match(r"\w", part)) for part in (text[at - 1 : at], text[at:]))
        return (before != here) == (where is c.AT_BOUNDARY)

    def sample(self, nodes: Nodes, least: int = 1) -> str:
        """A short text that they match, if they look at nothing else: `least` of what repeats."""
        return "".join(self._one(node, least) for node in nodes)

    def _one(self, node: tuple[Any, Any], least: int) -> str:
        op, value = node
        if op in (c.LITERAL, c.NOT_LITERAL, c.IN, c.ANY):
            own = [chr(value)] if op is c.LITERAL else []
            own += [chr(part) for _, part in value if isinstance(part, int)] if op is c.IN else []
            ranges = [chr(v[0]) for k, v in value if k is c.RANGE] if op is c.IN else []
            for character in (*own, *ranges, *_CHARACTERS):
                if self._fits(op, value, character):
                    return character
            raise AssertionError("nothing fits: add a character to _CHARACTERS")
        if op is c.SUBPATTERN:
            return self.sample(list(value[-1]), least)
        if op is c.BRANCH:
            return self.sample(list(value[1][-1]), least)
        if op in (c.MAX_REPEAT, c.MIN_REPEAT):
            return self.sample(list(value[2]), least) * max(least, min(value[0], 3))
        return ""

    def pumps(self, nodes: Nodes) -> Iterator[str]:
        """Texts to repeat: what a part matches that begins anywhere and ends with a repetition."""
        for end, (op, value) in enumerate(nodes, 1):
            inner: list[Nodes] = []
            if op is c.SUBPATTERN:
                inner = [list(value[-1])]
            elif op is c.BRANCH:
                inner = [list(branch) for branch in value[1]]
            elif op in (c.MAX_REPEAT, c.MIN_REPEAT):
                inner = [list(value[2])]
                yield self.sample(inner[0])
            for part in inner:
                yield from self.pumps(part)
            if op in (c.MAX_REPEAT, c.MIN_REPEAT, c.SUBPATTERN) or end == len(nodes):
                for begin in range(end):
                    if begin == 0 or nodes[begin][0] is not c.LITERAL:
                        yield from (self.sample(nodes[begin:end], least) for least in (0, 1))


def grows(pattern: str | bytes, flags: int = 0, *, anchored: bool = False) -> str:
    """A text for which the steps grow faster than its length, repeated; empty if none is found."""
    matcher = Matcher(pattern, flags, anchored)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        whole = matcher.sample(matcher.nodes)
        for pump in dict.fromkeys(filter(None, matcher.pumps(matcher.nodes))):
            for first in dict.fromkeys(("", whole[: len(whole) // 2], whole[:-1])):
                for last in _ENDS:
                    if _grows(matcher, first, pump, last):
                        return pump
    finally:
        sys.setrecursionlimit(before)
    return ""


def _grows(matcher: Matcher, first: str, pump: str, last: str) -> bool:
    try:
        short, long = (
            matcher.steps(first + pump * max(length // len(pump), 2) + last)
            for length in (LENGTH, 2 * LENGTH)
        )
    except _StepsError:
        return True
    return long > _FACTOR * short + _FIXED
