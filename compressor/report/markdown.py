"""A report as one Markdown page: report.md, with its pictures in figures/."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.report.content import (
    Block,
    Details,
    Fact,
    Facts,
    Figure,
    Figures,
    Heading,
    Picture,
    Pictures,
    Report,
    Table,
    Text,
)
from deploy.text import clean

FIGURES = "figures"
_MOST_LETTERS = 400  # of a cell
MOST_ROWS = 400
LONGEST_PARAGRAPH = 20_000


def report_markdown(report: Report) -> str:
    """The report as text; its pictures are links to `figures/NAME.png`, relative to the page."""
    parts = [f"# {_plain(report.title)}\n\n{_words(report.lead)}\n"]
    for section in report.sections:
        blocks = [_block(block) for block in section.blocks]
        parts.append("\n".join([f"## {_plain(section.title)}\n", *blocks]))
    return "\n".join(parts)


def blocks_markdown(blocks: Sequence[Block]) -> str:
    """Some blocks as text."""
    return "\n".join(_block(block) for block in blocks)


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return f"{_words(block.words)}\n"
    if isinstance(block, Heading):
        return f"### {_plain(block.words)}\n"
    if isinstance(block, Facts):
        return "".join(_fact(fact) for fact in block.facts)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figures):
        return "\n".join(_figure(figure) for figure in block.figures)
    if isinstance(block, Pictures):
        return "\n".join(_picture(picture) for picture in block.pictures)
    assert isinstance(block, Details)
    return blocks_markdown(block.blocks)


def _fact(fact: Fact) -> str:
    note = f" ({_plain(fact.note)})" if fact.note else ""
    return f"- {_plain(fact.name)}: **{_plain(fact.value)}**{note}\n"


def _figure(figure: Figure) -> str:
    place = f"{FIGURES}/{figure.name}"
    return (
        f"[![{_plain(figure.title)}]({place}.png)]({place}.svg)\n\n"
        f"**{_plain(figure.title)}.** {_plain(figure.caption)}\n"
    )


def _picture(picture: Picture) -> str:
    return (
        f"![{_plain(picture.title)}]({FIGURES}/{picture.name}.png)\n\n"
        f"**{_plain(picture.title)}.** {_plain(picture.caption)}\n"
    )


def _table(table: Table) -> str:
    marks = {"wrong": "✗ ", "failed": "✗ ", "best": "★ "}
    align = ["---" if i < table.left else "---:" for i in range(len(table.header))]
    lines = [[_cell(cell) for cell in table.header], align]
    for index, row in enumerate(table.rows[:MOST_ROWS]):
        first, *others = [_cell(cell) for cell in row]
        lines.append([marks.get(table.marks.get(index, ""), "") + first, *others])
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    more = len(table.rows) - MOST_ROWS
    note = f"{table.note} {more} more rows are not shown." if more > 0 else table.note
    return f"{text}\n{_words(note)}\n" if note else text


def _cell(text: str) -> str:
    return _plain(cut(text)).replace("|", "\\|")


def cut(text: str) -> str:
    """A text as a cell shows it: on one line, and not without end."""
    return clean(" ".join(text.split()), _MOST_LETTERS)


def _words(text: str) -> str:
    return "\n\n".join(_plain(part) for part in text.strip().split("\n\n"))


def _plain(text: str) -> str:
    """No HTML, no link and no code comes from a name in a document."""
    text = clean(" ".join(text.split()), LONGEST_PARAGRAPH)
    for letter, escaped in (("&", "&amp;"), ("<", "&lt;"), ("[", "\\["), ("`", "\\`")):
        text = text.replace(letter, escaped)
    return text
