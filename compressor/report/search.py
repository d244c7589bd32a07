"""What a search prints: the front, what is recommended, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.report.export import export_text
from compressor.report.formatting import count, known, milliseconds, percent, text_table, times

_HEADER = [
    "artefact",
    "weights",
    "quantised",
    "bytes",
    "ms",
    "times\nfaster",
    "validation\n%",
    "test\n%",
]


def search_text(document: Mapping[str, Any]) -> str:
    """The front, the dense model beside it, and the recommended artefacts with the reason."""
    text = ""
    dense = document["dense"]
    for runtime, plain in document["runtimes"].items():
        rows = [
            [
                f"{'* ' if row['file'] in document['recommended'].values() else '  '}{row['file']}",
                count(row["nonzeros"]),
                row["quantize"],
                count(row["bytes"]),
                milliseconds(row["latency_ms"]),
                f"{1 / max(row['ratio'], 1e-9):.1f}",
                percent(row["validation_accuracy"]),
                known(row["accuracy"], percent),
            ]
            for row in document["front"]
            if row["runtime"] == runtime
        ]
        whole = [
            "  the model, dense",
            count(dense["nonzeros"]),
            "none",
            count(plain["bytes"]),
            milliseconds(plain["latency_ms"]),
            "1.0",
            percent(dense["validation_accuracy"]),
            "",
        ]
        text += f"{runtime}\n{text_table(_HEADER, [whole, *rows])}"
    for row in document["front"]:
        if row["file"] in document["recommended"].values():
            before = document["runtimes"][row["runtime"]]["bytes"]
            text += (
                f"recommended for {row['runtime']}: artefacts/{row['file']}, "
                f"{times(before / row['bytes'])} times smaller than the model: "
                f"{document['reasons'][row['runtime']]}\n"
            )
    trials = document["trials"]
    failed = [trial for trial in trials if "error" in trial]
    text += (
        f"{count(len(trials))} trials; accepted: {percent(document['accepted_accuracy'])} % of the "
        f"validation examples, for {percent(document['wanted_accuracy'])} %\n"
    )
    text += "".join(f"trial failed: {trial['error']}\n" for trial in failed)
    return text + "".join(f"export failed: {row['error']}\n" for row in document["failed"])


def applied_text(record: Mapping[str, Any]) -> str:
    """What was exported, and whether it is the recipe's file."""
    same = (
        "the same file as the recipe's" if record["same"] else "not the same file as the recipe's"
    )
    return f"{export_text(record)}{same}\n"
