"""Numbers as text, and text in columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

MIB = 2**20
NOTHING = "–"
"""What a cell shows where there is no number."""


def mib(size: float) -> str:
    """A size in bytes as MiB: 39295608 -> "37.48"."""
    return f"{size / MIB:.2f}"


def percent(fraction: float) -> str:
    """A fraction as percent with two decimals, without the sign: 0.9897 -> "98.97"."""
    return f"{100 * fraction:.2f}"


def proportion(sparsity: float) -> str:
    """A sparsity as percent: 0.9 -> "90 %"."""
    return f"{round(100 * sparsity, 2):g} %"


def count(number: float) -> str:
    """A whole number with separators: 3211264 -> "3,211,264"."""
    return f"{number:,.0f}"


def known(number: float | None) -> str:
    """A whole number as `count` shows it, and `NOTHING` for one that is not known."""
    return NOTHING if number is None else count(number)


def milliseconds(time: float) -> str:
    """A time in ms, with as many decimals as it needs: 12.345 -> "12.35"."""
    return f"{time:.2f}" if time < 100 else f"{time:.1f}"


def threshold(value: float) -> str:
    """A magnitude with six significant digits, as float32 has: 0.012034996 -> "0.0120350"."""
    return f"{value:#.6g}"


def signed(number: float, decimals: int = 3) -> str:
    """A number with a true minus sign: -0.5 -> "−0.500"."""
    return f"{number:.{decimals}f}".replace("-", "−")


def p_value(p: float) -> str:
    """A p-value: 0.00277 -> "p = 0.0028", and "p < 0.0001" below that."""
    return f"p = {p:.4f}" if p >= 0.0001 else "p < 0.0001"


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; of equal values it is that value, to the last bit."""
    first = values[0]
    return first if all(v == first for v in values) else sum(values) / len(values)


def spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    """Mean and range over the seeds, "98.97 (98.90 to 99.01)"; one value where all are equal."""
    lowest, highest = form(min(values)), form(max(values))
    if lowest == highest:
        return form(mean(values))
    return f"{form(mean(values))} ({lowest} to {highest})"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A Markdown table; the first `left` columns are flush left, the others right."""
    lines = [header, ["---" if i < left else "---:" for i in range(len(header))], *rows]
    return "".join(f"| {' | '.join(_escaped(cell) for cell in line)} |\n" for line in lines)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in aligned columns for the terminal; a header may have several lines.

    The first column is flush left, the others right, with two spaces between.
    """
    titles = [title.split("\n") for title in header]
    height = max(len(title) for title in titles)
    titles = [[""] * (height - len(title)) + title for title in titles]
    lines = [[title[i] for title in titles] for i in range(height)]
    lines += [[]] + [list(row) for row in rows]
    widths = [max(len(line[i]) for line in lines if line) for i in range(len(header))]
    lines[height] = ["-" * width for width in widths]
    text = ""
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        text += "  ".join(cells).rstrip() + "\n"
    return text


def _escaped(cell: str) -> str:
    return " ".join(cell.replace("|", "\\|").split())
