"""What the commands print on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.report._format import (
    NOTHING,
    count,
    mib,
    milliseconds,
    percent,
    proportion,
    text_table,
    threshold,
)


def records_text(records: Mapping[str, Mapping[str, Any]]) -> str:
    """The results of the paper's steps: accuracy, size, and what was pruned of each layer."""
    text = ""
    for step, record in records.items():
        text += f"{step}: {', '.join(_facts(record))}\n"
        pruned = [row for row in record.get("layers", []) if "threshold" in row]
        if pruned:
            rows = [
                [
                    row["layer"],
                    count(row["parameters"]),
                    count(row["kept"]),
                    threshold(row["threshold"]),
                ]
                for row in pruned
            ]
            text += _indented(text_table(["layer", "weights", "kept", "threshold"], rows))
        if "encodings" in record:
            rows = [[name, count(size)] for name, size in record["encodings"].items()]
            text += _indented(text_table(["encoding", "bytes"], rows))
    return text


def evaluation_text(evaluation: Mapping[str, Any]) -> str:
    """The verdict of a predictor on a test set."""
    time = evaluation["prediction_time"]
    total, batch = time["total_ms"], time["batch_ms"]
    return (
        f"{evaluation['kind']} network: {evaluation['path']}\n"
        f"accuracy: {percent(evaluation['accuracy'])} % of {count(evaluation['images'])} images\n"
        f"prediction time: {milliseconds(total['p50'])} ms for {time['batches']} batches of "
        f"{time['batch_size']} (median of {time['rounds']} rounds, {time['threads']} threads)\n"
        f"  a batch: p50 {milliseconds(batch['p50'])}, p90 {milliseconds(batch['p90'])}, "
        f"p99 {milliseconds(batch['p99'])} ms\n"
    )


def inspection_text(inspection: Mapping[str, Any]) -> str:
    """The layers of a model or checkpoint, or of each step of a run."""
    if inspection["kind"] == "run":
        return "\n".join(inspection_text(step) for step in inspection["steps"].values())
    rows = [
        [
            f"{row['layer']}/{row['variable']}",
            " x ".join(str(size) for size in row["shape"]) or "1",
            count(row["parameters"]),
            count(row["zeros"]),
            proportion(row["zeros"] / max(row["parameters"], 1)),
            NOTHING if row["threshold"] is None else threshold(row["threshold"]),
            count(row["bytes"]),
            row["storage"],
        ]
        for row in inspection["layers"]
    ]
    header = ["variable", "shape", "parameters", "zeros", "sparsity", "threshold", "bytes", "as"]
    adam = inspection["optimizer_values"]
    return (
        f"{inspection['path']}: {inspection['kind']}, {mib(inspection['file_bytes'])} MiB, "
        f"{count(inspection['parameters'])} parameters, {count(inspection['nonzeros'])} not zero"
        + (f", and {count(adam)} values of the optimizer" if adam else "")
        + f"\n{text_table(header, rows)}"
    )


def _facts(record: Mapping[str, Any]) -> list[str]:
    facts = []
    if "sparsity" in record:
        facts.append(f"{proportion(record['sparsity'])} pruned")
    if "accuracy" in record:
        facts.append(f"accuracy {percent(record['accuracy'])} % on the test images")
    if "validation_accuracy" in record:
        facts.append(f"{percent(record['validation_accuracy'])} % on the validation images")
    for key in ("checkpoint_bytes", "bytes"):
        if key in record:
            facts.append(f"{mib(record[key])} MiB")
    return facts


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
