"""Which rows there are, in the order of their importance, and which of them are missing."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deploy.text import clean

RUNTIMES = ("cuda", "tensorrt", "onnxruntime")
TRANSFERS = ("copies", "device", "graph")
BATCHES = (1, 4, 16, 64, 256, 1024, 4096)

_MODELS = ("dense", "90 %", "channels")
_BATCHES = (1, 1024)
_PRECISIONS = ("none", "float16", "int8")
"""The first words of what artefacts are quantised to. These three are what is asked first."""


class Row(NamedTuple):
    """One measurement: the artefact, by its number, and how it is run."""

    artefact: int
    runtime: str
    batch: int
    transfer: str


def planned(artefacts: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[Row]:
    """All rows of these artefacts and settings, the most important ones first.

    These are the dense, the 90 % and the channel-pruned model at batch 1 and then 1024: in
    float32, in float16 and in int8, each with copies, without, and as a CUDA graph. The rest
    follows, by batch size. The processor has no CUDA graphs.
    """

    def importance(row: Row) -> tuple[int, ...]:
        artefact = artefacts[row.artefact]
        precision = _rank(str(artefact["quantize"]).partition(" ")[0], _PRECISIONS)
        asked = str(artefact["name"]).partition(",")[0] in _MODELS and row.batch in _BATCHES
        batch = _rank(row.batch, _BATCHES)
        return (
            settings["runtimes"].index(row.runtime),
            precision if asked else len(_PRECISIONS) + 1,
            *((batch, row.batch) if asked else (row.batch, precision)),
            TRANSFERS.index(row.transfer),
            row.artefact,
        )

    rows = itertools.starmap(
        Row,
        itertools.product(
            range(len(artefacts)),
            settings["runtimes"],
            settings["batches"],
            settings["transfers"],
        ),
    )
    return sorted(
        (row for row in rows if (row.runtime, row.transfer) != ("onnxruntime", "graph")),
        key=importance,
    )


def row_of(found: Mapping[str, Any]) -> Row:
    """Which row a row of the results is."""
    return Row(found["artefact"], found["runtime"], found["batch"], found["transfer"])


def missing(record: Mapping[str, Any]) -> list[Row]:
    """The planned rows that the results do not have yet, in order."""
    done = set(map(row_of, record["rows"]))
    return [row for row in planned(record["artefacts"], record["settings"]) if row not in done]


def describe_missing(record: Mapping[str, Any]) -> list[str]:
    """Lines that say which rows are missing; none if all are there."""
    left = missing(record)
    if not left:
        return []
    names = [clean(artefact["name"]) for artefact in record["artefacts"]]
    tables: dict[tuple[str, int, str], list[str]] = {}
    for row in left:
        tables.setdefault(row[1:], []).append(names[row.artefact])
    transfers: dict[tuple[str, str], list[str]] = {}
    for (runtime, batch, transfer), few in tables.items():
        which = "; ".join(few) if len(few) < len(names) else "all artefacts"
        transfers.setdefault((which, f"{runtime}, batch {batch}"), []).append(transfer)
    places: dict[str, list[str]] = {}
    for (which, setting), found in transfers.items():
        places.setdefault(which, []).append(f"{setting} ({', '.join(found)})")
    total = len(planned(record["artefacts"], record["settings"]))
    head = [f"Not measured: {len(left)} of {total} rows", ""]
    return head + [f"- {which}: {'; '.join(found)}" for which, found in places.items()]


def _rank(value: object, order: Sequence[object]) -> int:
    return order.index(value) if value in order else len(order)
