"""What a report says, apart from how it is written: sections of texts, tables and pictures.

The page and the Markdown are made of the same content (`page`, `markdown`). Every word may come
from a hostile document: whoever writes them out escapes them. In a text, **this** is strong, and
an empty line ends a paragraph; nothing else is markup.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

Mark = Literal["wrong", "failed", "best"]
"""How a row of a table is set off from the others."""


@dataclasses.dataclass(frozen=True)
class Text:
    """Paragraphs."""

    words: str


@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    words: str


@dataclasses.dataclass(frozen=True)
class Fact:
    """A number that matters, what it is, and what stands behind it."""

    value: str
    name: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Facts:
    """The few numbers that matter."""

    facts: Sequence[Fact]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; the first `left` columns are flush left, the others, numbers, flush right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    note: str = ""
    marks: Mapping[int, Mark] = dataclasses.field(default_factory=dict)
    """row -> how it is set off"""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A drawing, made when it is written out."""

    name: str
    """of its files, without suffix"""
    title: str
    caption: str
    """the finding, in words"""
    draw: Callable[[], Any]
    """makes a matplotlib figure, within `plotting.style()`"""
    wide: bool = False


@dataclasses.dataclass(frozen=True)
class Picture:
    """A small image of numbers."""

    name: str
    """of its file, without suffix"""
    title: str
    caption: str
    png: bytes
    size: tuple[int, int]
    """width and height, in pixels"""


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Images side by side."""

    pictures: Sequence[Picture]


@dataclasses.dataclass(frozen=True)
class Figures:
    """Drawings side by side, where there is room."""

    figures: Sequence[Figure]


@dataclasses.dataclass(frozen=True)
class Details:
    """What is folded away on the page under one line."""

    summary: str
    blocks: Sequence[Block]


Block = Text | Heading | Facts | Table | Figures | Pictures | Details


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the report under a title; `key` names it in the page's addresses."""

    key: str
    title: str
    blocks: Sequence[Block]


@dataclasses.dataclass(frozen=True)
class Report:
    """A whole report."""

    title: str
    lead: str
    sections: Sequence[Section]

    def blocks(self) -> Iterator[Block]:
        """All blocks in their order, folded-away ones too."""
        return (block for section in self.sections for block in _unfolded(section.blocks))

    def figures(self) -> Iterator[Figure]:
        """All figures in their order."""
        return (f for b in self.blocks() if isinstance(b, Figures) for f in b.figures)


def _unfolded(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Details):
            yield from _unfolded(block.blocks)
