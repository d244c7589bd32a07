"""How good the models of steps are, for a reader: by metric, and by class."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from compressor.models.class_drops import MAX_CLASS_DROP, ClassDrop, class_drops, worst_class
from compressor.report.formatting import NOTHING, count, is_fraction, percent
from deploy.tasks import METRICS, Head, losses, part_key, read_heads
from deploy.text import clean

_Record = Mapping[str, Any]


def metric_facts(record: _Record) -> list[str]:
    """All metrics of a step: "accuracy 99.13 % on the test images"."""
    heads = read_heads(record.get("heads"))
    if "heads" not in record:
        facts = []
        if "accuracy" in record:
            facts.append(f"accuracy {percent(record['accuracy'])} % on the test images")
        if "validation_accuracy" in record:
            value = percent(record["validation_accuracy"])
            facts.append(f"{value} % on the validation images")
        return facts
    return [fact for head in heads for fact in _of_head(head, record)]


def _of_head(head: Head, record: _Record) -> list[str]:
    facts, of = [], f"{clean(head.name)}: " if head.name else ""
    for name in head.shown:
        metric, key = METRICS[name], head.key(name)
        if key in record:
            value, aside = (record.get(part_key(key, part)) for part in ("", "validation_"))
            text = f"{of}{metric.title} {metric.text(value)} on the test examples"
            also = "" if aside is None else f" ({metric.text(aside)} on the validation examples)"
            facts.append(text + also)
    return facts


def step_cells(described: Any) -> tuple[list[str], Callable[[_Record], list[str]]]:
    """The titles of a table's columns, two for each output, and what a step has in them.

    `described` are the heads of a document, None for one classifier.
    """
    if described is None:
        keys = ("accuracy", "validation_accuracy")
        return ["accuracy (%)", "validation (%)"], lambda record: [
            percent(record[key]) if is_fraction(record.get(key)) else NOTHING for key in keys
        ]
    heads = read_heads(described)
    titles = [
        title
        for head in heads
        for title in (f"{clean(head.name)}: " * bool(head.name) + head.decides.title, "validation")
    ]

    def cells(record: _Record) -> list[str]:
        return [
            head.decides.text(record.get(part_key(head.key(), part)))
            for head in heads
            for part in ("", "validation_")
        ]

    return titles, cells


def before_and_after(heads: Any, before: _Record, after: _Record) -> list[str]:
    """All metrics of two models."""
    return [
        f"{clean(head.name)}: "
        * bool(head.name)
        + f"{METRICS[name].title}: {METRICS[name].text(before.get(head.key(name)))} before, "
        f"{METRICS[name].text(after.get(head.key(name)))} after"
        for head in read_heads(heads)
        for name in head.shown
    ]


def task_line(objective: _Record) -> str:
    """Which task a model has, and why."""
    if "task" in objective:
        return f"task: {objective['task']}"
    by = "compiled loss" if objective["source"] == "compiled" else "outputs and the labels"
    return f"task: classification, by its {by}"


def worst_class_lines(record: _Record) -> list[str]:
    """The class of least recall, where the step says it."""
    found = worst_class(read_heads(record.get("heads")), record)
    if found is None:
        return []
    return [f"worst {_name(found)}: recall {_percent(found.after)} {_examples(found)}"]


def loss_lines(
    before: _Record, after: _Record, max_class_drop: float = MAX_CLASS_DROP
) -> list[str]:
    """What a step lost against the dense model: in all, and of its classes.

    A class that loses more than `max_class_drop` of its recall is warned of.
    """
    heads = read_heads(after.get("heads"))
    lost = losses(heads, before, after)
    lines = [
        _lost(head.deciding(before), lost[head.key()], before, after)
        for head in heads
        if head.key() in lost
    ]
    drops = class_drops(heads, before, after)
    if drops and drops[0].loss > 0:
        first = drops[0]
        lines.append(
            f"{_name(first)} lost most: recall {_percent(first.before)} before, "
            f"{_percent(first.after)} after, {_examples(first)}"
        )
    for drop in drops:
        if drop.loss > max_class_drop + 1e-9:
            whole = lost.get(drop.head.key())
            while_all = f", while {drop.head.decides.title} got better" if (whole or 0) < 0 else ""
            lines.append(
                f"warning: {_name(drop)} lost {100 * drop.loss:.2f} points of recall{while_all}; "
                f"{100 * max_class_drop:g} are allowed (--max-class-drop)"
            )
    return lines


def _lost(head: Head, lost: float, before: _Record, after: _Record) -> str:
    metric, key = head.decides, head.key()
    unit = "points" if metric.fraction else "%"
    which = "worse" if lost > 0 else "better"
    of = f"{clean(head.name)}: " if head.name else ""
    change = f"{abs(100 * lost):.2f} {unit} {which}" if lost else "the same"
    if math.isinf(lost):
        change = "has no value any more"
    return (
        f"{of}{metric.title} {change}: "
        f"{metric.text(before[key])} before, {metric.text(after.get(key))} after"
    )


def _name(drop: ClassDrop) -> str:
    kind = "label" if drop.head.task == "multi-label" else "class"
    return f"{kind} {drop.shown}"


def _percent(value: float) -> str:
    return f"{percent(value)} %"


def _examples(drop: ClassDrop) -> str:
    noun = "positions" if drop.head.task == "segmentation" else "test examples"
    return f"of {count(drop.count)} {noun}"
