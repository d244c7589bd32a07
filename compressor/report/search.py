"""What a search prints: the front, what is recommended, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.report.export import export_text
from compressor.report.formatting import count, latency, text_table, times_less
from compressor.report.metrics import cell, deciding, heads_in, standard_errors, title_of
from deploy.tasks import ACCURACY

_HEADER = ["artefact", "weights", "quantised", "bytes", "ms", "times\nfaster"]


def search_text(document: Mapping[str, Any]) -> str:
    """The front, the dense model beside it, and the recommended artefacts with the reason."""
    text = ""
    dense, heads = document["dense"], heads_in(document)
    unit = "\n%" if heads[0].key() == ACCURACY else ""
    title = f"{title_of([document])}\n" if unit == "" else ""
    header = [*_HEADER, f"{title}validation{unit}", f"test{unit}"]
    for runtime, plain in document["runtimes"].items():
        rows = [
            [
                f"{'* ' if row['file'] in document['recommended'].values() else '  '}{row['file']}",
                count(row["nonzeros"]),
                row["quantize"],
                count(row["bytes"]),
                latency(row["latency_ms"]),
                f"{1 / max(row['ratio'], 1e-9):.1f}",
                cell(heads, row, "validation_"),
                cell(heads, row),
            ]
            for row in document["front"]
            if row["runtime"] == runtime
        ]
        whole = [
            "  the model, dense",
            count(dense["nonzeros"]),
            "none",
            count(plain["bytes"]),
            latency(plain["latency_ms"]),
            "1.0",
            cell(heads, dense, "validation_"),
            cell(heads, dense),
        ]
        text += f"{runtime}\n{text_table(header, [whole, *rows])}"
    for row in document["front"]:
        if row["file"] in document["recommended"].values():
            before = document["runtimes"][row["runtime"]]["bytes"]
            text += (
                f"recommended for {row['runtime']}: artefacts/{row['file']}, "
                f"{' times '.join(times_less(before, row['bytes'], 'smaller', 'larger'))} than "
                "the model: "
                f"{document['reasons'][row['runtime']]}\n"
            )
    trials = document["trials"]
    failed = [trial for trial in trials if "error" in trial]
    of_one = f"{title_of([document])} on the" if len(heads) == 1 else "on the"
    on = "of the" if unit else of_one
    text += (
        f"{count(len(trials))} trials; accepted: {deciding(heads, document, 'accepted_')} {on} "
        f"validation examples, for {deciding(heads, document, 'wanted_')}\n"
    )
    if other := standard_errors(heads, document):
        text += f"standard error on so many examples: {other}\n"
    text += "".join(f"trial failed: {trial['error']}\n" for trial in failed)
    return text + "".join(f"export failed: {row['error']}\n" for row in document["failed"])


def applied_text(record: Mapping[str, Any]) -> str:
    """What was exported, and whether it is the recipe's file."""
    same = (
        "the same file as the recipe's" if record["same"] else "not the same file as the recipe's"
    )
    return f"{export_text(record)}{same}\n"
