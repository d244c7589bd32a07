"""The metrics of a document for a reader: those that decide, of one output or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.report.formatting import NOTHING, known, percent, points, signed
from deploy.tasks import ACCURACY, Head, part_key, read_heads
from deploy.text import clean


def heads_in(document: Mapping[str, Any]) -> tuple[Head, ...]:
    """What the outputs mean of which a document holds metrics; by default one classifier's."""
    return read_heads(document.get("heads"))


def deciding(heads: Sequence[Head], document: Mapping[str, Any], part: str = "") -> str:
    """The metrics that decide: "81.20 %", of several outputs "box 0.0841, kind 92.50 %".

    `part` is what their names begin with, such as "reference_".
    """
    found = []
    for head in heads:
        value = document.get(part_key(head.key(), part))
        found.append(_named(head, NOTHING if value is None else head.decides.text(value)))
    return ", ".join(found)


def standard_errors(heads: Sequence[Head], document: Mapping[str, Any]) -> str:
    """By how much other examples move the metrics that decide: "0.13 points"; "" if not known."""
    found = []
    for head in heads:
        value = document.get(part_key(head.key(), "standard_error_"))
        if value:
            metric = head.decides
            shown = f"{100 * value:.2f} points" if metric.fraction else metric.text(value)
            found.append(_named(head, shown))
    return ", ".join(found)


def beside_model(heads: Sequence[Head], document: Mapping[str, Any]) -> str:
    """The metrics that decide, with those of the model: "mean IoU 81.20 % (model 81.41 %)"."""
    found = []
    for head in heads:
        value, own = (document.get(part_key(head.key(), part)) for part in ("", "reference_"))
        of = f"{clean(head.name)}: " if head.name else ""
        shown = NOTHING if value is None else head.decides.text(value)
        model = "" if own is None else f" (model {head.decides.text(own)})"
        found.append(f"{of}{head.decides.title} {shown}{model}")
    return ", ".join(found)


def before_and_after(comparison: Mapping[str, Any]) -> str:
    """Metrics on validation examples: "validation accuracy 99.12 % before, 99.01 % after"."""
    heads = heads_in(comparison)
    if not is_known(heads, comparison):
        return f"{title_of([comparison])} not measured"
    found = []
    for head in heads:
        both = (comparison.get(part_key(head.key(), part)) for part in ("reference_", ""))
        before, after = map(head.decides.text, both)
        of = f" of {clean(head.name)}" if head.name else ""
        found.append(f"validation {head.decides.title}{of} {before} before, {after} after")
    return "; ".join(found)


def change(heads: Sequence[Head], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """How the metrics that decide differ: "+0.12 points", of an error "+1.20 %"."""
    found = []
    for head in heads:
        old, new = before.get(head.key()), after.get(head.key())
        if old is None or new is None:
            continue
        if head.decides.fraction:
            found.append(_named(head, points(new - old)))
        else:
            rise = 100 * (new - old) / max(abs(old), 1e-12)
            found.append(_named(head, f"{'+' if rise > 0 else ''}{signed(rise, 2)} %"))
    return ", ".join(found) or NOTHING


def _named(head: Head, shown: str) -> str:
    """What is shown of one output, after its name where it has one."""
    return f"{clean(head.name)} {shown}" if head.name else shown


def is_known(heads: Sequence[Head], document: Mapping[str, Any], part: str = "") -> bool:
    """Whether any metric that decides was measured."""
    return any(document.get(part_key(head.key(), part)) is not None for head in heads)


def title_of(documents: Sequence[Mapping[str, Any]]) -> str:
    """What the metrics of all these documents are called together: "mean IoU", or "metric"."""
    names = {tuple(head.decides.title for head in heads_in(one)) for one in documents}
    alike = names.pop() if len(names) == 1 else ()
    return alike[0] if len(alike) == 1 else "metric"


def column_title(documents: Sequence[Mapping[str, Any]]) -> str:
    """The title of a column of `cell`s: "accuracy", and "%" where all are classifiers."""
    title = title_of(documents)
    return f"{title}\n%" if title == "accuracy" and _all_plain(documents) else title


def cell(heads: Sequence[Head], document: Mapping[str, Any], part: str = "") -> str:
    """The metrics that decide, in a column: without the sign of one classifier's accuracy."""
    if len(heads) == 1 and heads[0].key() == ACCURACY:
        return known(document.get(part + ACCURACY), percent)
    return deciding(heads, document, part)


def _all_plain(documents: Sequence[Mapping[str, Any]]) -> bool:
    return all(len(heads_in(one)) == 1 for one in documents)
