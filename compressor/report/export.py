"""What exporting says on a terminal: the encoding of each tensor, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.report.formatting import NOTHING, count, percent, text_table

_HEADER = ["tensor", "shape", "zeros\n%", "encoding", "values", "bytes", "dense float32\nbytes"]
_SHOWN = 40


def export_text(record: Mapping[str, Any]) -> str:
    """One artefact: a row for each tensor, the size, notes and the verdict."""
    rows = [_tensor_cells(tensor) for tensor in record["tensors"][:_SHOWN]]
    left = record["tensors"][_SHOWN:]
    if left:
        stored, dense = (sum(tensor[key] for tensor in left) for key in ("bytes", "dense_bytes"))
        rows.append([f"{len(left)} more", "", "", "", "", count(stored), count(dense)])
    text = text_table(_HEADER, rows) if rows else ""
    ratio = record["dense_bytes"] / record["bytes"]
    text += (
        f"\n{record['format']}, {record['quantize']}: {count(record['bytes'])} bytes, "
        f"{ratio:.1f} times smaller than the model's {count(record['dense_bytes'])} bytes of "
        "float32 weights\n"
    )
    removed = [f"{name} {count(units)}" for name, units in record["removed"].items()]
    if removed:
        text += f"units removed, exactly: {', '.join(removed)}\n"
    text += "".join(f"note: {note}\n" for note in record["notes"])
    return (
        text
        + f"{record['runtime']} {record['runtime_version']}: {verdict_text(record['verdict'])}\n"
    )


def verdict_text(verdict: Mapping[str, Any]) -> str:
    """The verdict of a parity check, in one line."""
    difference = verdict["difference"]
    found = "no numbers" if difference is None else f"{difference:.2g}"
    outputs = f"largest output difference {found} (of {verdict['scale']:.3g})"
    if verdict["accuracy"] is None:
        return f"{_mark(verdict)}, {outputs}, on {count(verdict['examples'])} random inputs"
    return (
        f"{_mark(verdict)}, accuracy {percent(verdict['accuracy'])} % (model "
        f"{percent(verdict['reference_accuracy'])} %), {outputs}, same class for "
        f"{percent(verdict['agreement'])} % of {count(verdict['examples'])} test examples"
    )


def exports_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Several artefacts: a row for each, the smallest of each format that passed marked."""
    smallest = {
        min(found, key=lambda record: record["bytes"])["path"]
        for found in _passed_by_format(records).values()
    }
    rows, reasons = [], []
    for record in records:
        name = [record["format"], record["quantize"]]
        if "error" in record:
            rows.append(
                [*name, *[NOTHING] * 5, "refused" if record["exit_code"] == 2 else "FAILED"]
            )
            reasons.append(f"{record['format']}, {record['quantize']}: {record['error']}\n")
            continue
        verdict = record["verdict"]
        accuracy = NOTHING if verdict["accuracy"] is None else percent(verdict["accuracy"])
        rows.append(
            [
                *name,
                count(record["bytes"]),
                f"{record['dense_bytes'] / record['bytes']:.1f}",
                accuracy,
                f"{verdict['difference']:.2g}",
                record["runtime"],
                "smallest" if record["path"] in smallest else "right",
            ]
        )
    header = ["format", "quantize", "bytes", "times\nsmaller", "accuracy\n%", "largest\ndifference"]
    return text_table([*header, "runtime", "verdict"], rows) + "".join(reasons)


def runtimes_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The runtimes: what each executes, its version, and why one is not there."""
    cells = [
        [row["name"], row["format"], row["version"] or NOTHING, row["state"], row["reason"] or ""]
        for row in rows
    ]
    return text_table(["runtime", "runs", "version", "state", ""], cells)


def _passed_by_format(
    records: Sequence[Mapping[str, Any]],
) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if "error" not in record:
            found.setdefault(record["format"], []).append(record)
    return found


def _tensor_cells(tensor: Mapping[str, Any]) -> list[str]:
    size = 1
    for length in tensor["shape"]:
        size *= length
    return [
        tensor["name"],
        "x".join(map(str, tensor["shape"])),
        f"{100 * tensor['zeros'] / max(size, 1):.1f}",
        tensor["encoding"],
        tensor["values"],
        count(tensor["bytes"]),
        count(tensor["dense_bytes"]),
    ]


def _mark(verdict: Mapping[str, Any]) -> str:
    return "right" if verdict["passed"] else f"WRONG: {verdict['reason']}"
