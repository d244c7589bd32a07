"""The results as tables in Markdown, with what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.text import clean

from .plan import describe_missing

_LONGEST = 1000

Facts = Mapping[str, Any]


def markdown(record: Facts) -> str:
    """Latency and its ratio to the first artefact, by batch size, and the rows that are missing.

    Works on an unfinished run, too.
    """
    machine = record["machine"]
    gpu = machine["gpu"]
    shown = f"{gpu['name']}, driver {gpu['driver']}" if gpu else "no GPU"
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    lines = [
        _escaped(
            f"{shown}; {machine['cpu']}, {machine['cores']} cores; Python {machine['python']}; "
            f"{packages}."
        ),
        "p50 of one batch in ms, and in brackets how many times that of the first artefact.",
        "",
    ]
    groups: dict[tuple[str, str], list[Facts]] = {}
    for row in record["rows"]:
        groups.setdefault((row["runtime"], row["transfer"]), []).append(row)
    for (runtime, transfer), rows in groups.items():
        provider = next((row["provider"] for row in rows if row.get("provider")), "not measured")
        lines += [
            f"### {runtime} ({_escaped(provider)}), {transfer}",
            "",
            *_table(record, rows),
            "",
        ]
        reasons = sorted({_reason(record, row) for row in rows if row["status"] != "right"})
        lines += [*reasons, *([""] if reasons else [])]
    return "\n".join([*lines, *describe_missing(record)]).rstrip()


def cell(row: Facts | None) -> str:
    """One row as p50 (ratio), with a mark if it is wrong; a dash if it is missing."""
    if row is None or row["status"] == "failed":
        return "—" if row is None else "failed"
    ratio = f" ({row['ratio']['value']:.2f})" if row.get("ratio") else ""
    mark = " WRONG" if row["status"] == "wrong" else ""
    return f"{row['latency_ms']['p50']['value']:.3f}{ratio}{mark}"


def _table(record: Facts, rows: Sequence[Facts]) -> list[str]:
    batches = sorted({row["batch"] for row in rows})
    head = ["artefact", "bytes", "accuracy, %", *(f"batch {batch}" for batch in batches)]
    lines = [head, ["---"] * len(head)]
    for number, artefact in enumerate(record["artefacts"]):
        cells = {row["batch"]: row for row in rows if row["artefact"] == number}
        reached = next((row["accuracy"] for row in cells.values() if row.get("accuracy")), None)
        first = "—" if reached is None else f"{100 * reached:.2f}"
        line = [artefact["name"], f"{artefact['bytes']:,}", first]
        lines.append([*line, *(cell(cells.get(batch)) for batch in batches)])
    return ["| " + " | ".join(map(_escaped, line)) + " |" for line in lines]


def _reason(record: Facts, row: Facts) -> str:
    name = record["artefacts"][row["artefact"]]["name"]
    return _escaped(f"- {name}: {row['status']}, {row['reason']}")


def _escaped(text: str) -> str:
    return clean(" ".join(str(text).split()), _LONGEST).replace("|", "\\|")
