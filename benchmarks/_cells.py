"""Cells and tables in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in line) + " |" for line in lines)


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


def accuracy(values: Sequence[float]) -> str:
    """Per cent, the median with the range."""
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{100 * middle:.2f} ({100 * least:.2f} to {100 * most:.2f})"


def span(values: Sequence[float], form: str) -> str:
    """The range, or the value where all are the same."""
    least, most = min(values), max(values)
    return form.format(least) if least == most else f"{form.format(least)} to {form.format(most)}"
