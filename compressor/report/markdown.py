"""A report as one Markdown page: report.md, with its pictures in figures/."""

from __future__ import annotations

import re
from collections.abc import Sequence

from compressor.report import content
from deploy.text import clean

FIGURES = "figures"
_MOST_LETTERS = 400  # of a cell
MOST_ROWS = 400
LONGEST_PARAGRAPH = 20_000
# What would begin a link or code, and a backslash that would not be shown.
_MARKS = re.compile(r"[\[`]|\\(?=[!-/:-@\[-`{-~]|$)")


def report_markdown(report: content.Report) -> str:
    """The report as text; its pictures are links to `figures/NAME.png`, relative to the page."""
    parts = [f"# {_plain(report.title)}\n\n{_words(report.lead)}\n"]
    parts += [
        f"## {_plain(section.title)}\n\n{blocks_markdown(section.blocks)}"
        for section in report.sections
    ]
    return "\n".join(parts)


def blocks_markdown(blocks: Sequence[content.Block]) -> str:
    """Some blocks as text."""
    return "\n".join(map(_block, blocks))


def _block(block: content.Block) -> str:
    if isinstance(block, content.Text):
        return f"{_words(block.words)}\n"
    if isinstance(block, content.Heading):
        return f"### {_plain(block.words)}\n"
    if isinstance(block, content.Facts):
        return "".join(_fact(fact) for fact in block.facts)
    if isinstance(block, content.Table):
        return _table(block)
    if isinstance(block, content.Figures):
        return "\n".join(map(_image, block.figures))
    if isinstance(block, content.Pictures):
        return "\n".join(map(_image, block.pictures))
    assert isinstance(block, content.Details)
    return blocks_markdown(block.blocks)


def _fact(fact: content.Fact) -> str:
    note = f" ({_plain(fact.note)})" if fact.note else ""
    return f"- {_plain(fact.name)}: **{_plain(fact.value)}**{note}\n"


def _image(found: content.Figure | content.Picture) -> str:
    title, place = _plain(found.title), f"{FIGURES}/{found.name}"
    image = f"![{title}]({place}.png)"
    if isinstance(found, content.Figure):
        image = f"[{image}]({place}.svg)"
    return f"{image}\n\n**{title}.** {_plain(found.caption)}\n"


def _table(table: content.Table) -> str:
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
    text = _MARKS.sub(r"\\\g<0>", text)
    return text.replace("&", "&amp;").replace("<", "&lt;")
