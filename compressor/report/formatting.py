"""Numbers as text, and text in columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from compressor.data import listed
from compressor.pruning import FROZEN
from deploy.text import clean

MIB = 2**20
NOTHING = "–"  # in a cell without a number

_LONGEST_TEXT = 1000
_FORMULA = ("=", "+", "-", "@")


def mib(size: float) -> str:
    """A size in bytes as MiB: 39295608 -> "37.48"."""
    return f"{size / MIB:.2f}"


def percent(fraction: float) -> str:
    """A fraction as percent with two decimals, without the sign: 0.9897 -> "98.97"."""
    return f"{100 * fraction:.2f}"


def proportion(sparsity: float) -> str:
    """A sparsity as percent: 0.9 -> "90 %"; never rounded to nothing or to all."""
    digits = next((n for n in range(2, 9) if 0 < round(100 * sparsity, n) < 100), 2)
    return f"{round(100 * sparsity, digits):.12g} %"


def count(number: float) -> str:
    """A whole number with separators: 3211264 -> "3,211,264"."""
    return f"{number:,.0f}"


def fed(inputs: Sequence[Mapping[str, Any]]) -> str:
    """How each input of a model is fed, in words."""
    return "; ".join(f"{clean(rule['name'])}: {clean(rule['reason'])}" for rule in inputs)


def left_alone(reasons: Mapping[str, str]) -> list[str]:
    """Lines on the layers that were not pruned, one for each reason."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    lines = []
    for reason, found in names.items():
        few = found[0] if len(found) == 1 else f"{len(found)} layers ({listed(found)})"
        if reason == FROZEN:
            reason = "frozen; set trainable = True to prune them, and save the model again"
        lines.append(f"left alone: {few}: {reason}")
    return lines


def known(number: float | None, text: Callable[[float], str] = count) -> str:
    """`text(number)`, and `NOTHING` where it is None."""
    return NOTHING if number is None else text(number)


def milliseconds(time: float) -> str:
    """A time in ms, with as many decimals as it needs: 12.345 -> "12.35"."""
    return f"{time:.2f}" if time < 100 else f"{time:.1f}"


def latency(time: float) -> str:
    """A time in ms with three significant digits: 0.0810 -> "0.0810", 4.432 -> "4.43"."""
    return f"{time:.0f}" if time >= 1000 else f"{time:#.3g}".rstrip(".")


def threshold(value: float) -> str:
    """A magnitude with six significant digits, as float32 has: 0.012034996 -> "0.0120350"."""
    return f"{value:#.6g}"


def signed(number: float, decimals: int = 3) -> str:
    """A number with a true minus sign: -0.5 -> "−0.500"."""
    return f"{number:.{decimals}f}".replace("-", "−")


def points(difference: float) -> str:
    """A difference of two accuracies: 0.0012 -> "+0.12 points"."""
    return f"{'+' if difference > 0 else ''}{signed(100 * difference, 2)} points"


def p_value(p: float) -> str:
    """A p-value: 0.00277 -> "p = 0.0028", and "p < 0.0001" below that."""
    return f"p = {p:.4f}" if p >= 0.0001 else "p < 0.0001"


def is_fraction(value: object) -> TypeGuard[float]:
    """Whether a value of a record that was not checked is a number from 0 to 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


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


def short(text: str, most: int = 40) -> str:
    """A name as a label."""
    return clean(text, most)


def cleaned(record: Any) -> Any:
    """A record with each of its texts, names of fields too, in one line that can be seen."""
    if isinstance(record, Mapping):
        return {cleaned(key): cleaned(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [cleaned(value) for value in record]
    return clean(record, _LONGEST_TEXT) if isinstance(record, str) else record


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as CSV, ending in a newline; each text is cleaned, and no formula to a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def _cell(value: Any) -> Any:
    shown = cleaned(value)
    return f"'{shown}" if isinstance(shown, str) and shown.startswith(_FORMULA) else shown


def times(ratio: float) -> str:
    """A ratio with three significant digits or more: 4.708 -> "4.71", 1463.2 -> "1,463"."""
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:#.3g}"


def times_less(before: float, now: float, less: str, more: str) -> tuple[str, str]:
    """How many times less `now` is than `before`, or more: (8, 2, "smaller", "larger") gives
    ("4.00", "smaller"), and (2, 8, "smaller", "larger") gives ("4.00", "larger").
    """
    return (times(before / now), less) if now <= before else (times(now / before), more)


def size(number: float) -> str:
    """Bytes as people say them: 50907 -> "50.9 kB", 13100720 -> "13.1 MB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{times(number / scale)} {unit}"
    return f"{number:.0f} B"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in aligned columns for the terminal; a header may have several lines.

    The first column is flush left, the others right, with two spaces between.
    """
    height = max(title.count("\n") for title in header) + 1
    titles = [("\n" * height + title).split("\n")[-height:] for title in header]
    lines = [*zip(*titles, strict=True), *rows]
    lines = [[clean(cell, _LONGEST_TEXT) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(height, ["-" * width for width in widths])
    text = ""
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        text += "  ".join(cells).rstrip() + "\n"
    return text
