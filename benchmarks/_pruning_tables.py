"""Markdown tables of what weights can lose: accuracy after pruning and rounding."""

from __future__ import annotations

import operator
import statistics
from typing import Any

from benchmarks._cells import accuracy, span, table as _table
from deploy.tasks import METRICS

Result = dict[str, Any]


def pruning_table(result: Result) -> str:
    """Accuracy of every way of pruning: median and range of the seeds."""
    dense = result["dense"]["accuracy"]
    rows = []
    for row in result["rows"]:
        steps = row["training"]["steps"]
        rows.append(
            [
                f"{100 * row['sparsity']:g} %",
                row["schedule"],
                row["tool"],
                span(row["nonzeros"], "{:,}"),
                str(steps),
                accuracy(row["accuracy"]),
                ", ".join(f"{100 * value:.2f}" for value in row["accuracy"]),
            ]
        )
    seeds = ", ".join(map(str, result["seeds"]))
    head = ["pruned", "schedule", "by", "non-zeros of kernels", "steps"]
    table = _table([*head, "accuracy, median (range), %", f"seeds {seeds}"], rows)
    differences = [f"- {text}." for text in result["tfmot"]["differences"]]
    return "\n".join([f"Dense: {accuracy(dense)} %.", "", table, "", *differences])


def reconstruction_table(result: Result) -> str:
    """Accuracy of every way of pruning without retraining, and what reconstruction takes."""
    methods = list(dict.fromkeys(name for row in result["rows"] for name in row["methods"]))
    rows = []
    for row in result["rows"]:
        found = row["methods"]
        ours = found["reconstruct"]
        asked = row["wanted"]
        wanted = "" if asked is None else f"{round(100 * asked, 2):g}, {row['verdict']}"
        spent = span(ours["cpu_seconds"], "{:.0f}")
        cells = [accuracy(found[name]["accuracy"]) if name in found else "" for name in methods]
        left = span(ours["nonzeros"], "{:,}")
        rows.append([row["what"], left, *cells, wanted, spent, f"{ours['peak_bytes'] / 1e9:.2f}"])
    head = ["pruned", "non-zeros of kernels", *methods, "asked for", "CPU seconds", "peak, GB"]
    dense = f"Dense: {100 * result['dense']['accuracy']:.2f} %."
    notes = [f"- {text}." for text in result["notes"]]
    return "\n".join([dense, "", _table(head, rows), "", *notes])


def reconstruction_networks_table(result: Result) -> str:
    """What networks that are not the paper's lose either way."""
    parts = ("dense", "magnitude", "reconstruct")
    rows = [
        [
            row["name"],
            *(accuracy(row[part]) for part in parts),
            f"{row['share']:.2f}, {row['verdict']}",
        ]
        for row in result["rows"]
    ]
    share = "share of magnitude's loss (at most a third)"
    table = _table(["network", "dense", "magnitude", "reconstruct", share], rows)
    files = [
        [
            row["name"],
            *(span(row["errors"][part], "{:.3f}") for part in parts[1:]),
            f"{row['share']:.2f}, {row['verdict']}",
        ]
        for row in result.get("files", ())
    ]
    if files:
        head = ["half of a file's weights: error of its outputs", *parts[1:]]
        table += "\n\n" + _table([*head, "share (at most a half)"], files)
    wide = result["wide"]
    if wide is None:
        return table
    spent = f"{wide['seconds']:.0f} s, {wide['peak_bytes'] / 1e9:.1f} GB"
    asked = "at most 600 s and 6 GB were asked for"
    return f"{table}\n\nOne layer of 9,216 x 4,096: {spent} ({asked}: {wide['verdict']})."


def tasks_table(result: Result) -> str:
    """What each kind of task loses by its own metric, over the seeds."""
    rows = []
    for row in result["rows"]:
        metric = METRICS[row["metric"].rpartition("/")[2]]
        shown = [
            " ".join(metric.text(value) for value in row[part])
            for part in ("dense", "pruned", "artefact")
        ]
        lost = 100 * statistics.median(row["lost"])
        unit = "points" if metric.fraction else "%"
        asked = f"{lost:.2f} {unit} (at most {100 * row['most']:g}), {row['verdict']}"
        smaller = statistics.median(map(operator.truediv, row["dense_bytes"], row["bytes"]))
        rows.append([row["name"], row["metric"], *shown, asked, f"{smaller:.1f}"])
    head = ["network", "metric", "dense", "pruned", "int8 in LiteRT", "lost, median"]
    return _table([*head, "times smaller"], rows)


def rounding_table(result: Result) -> str:
    """Test accuracy and bytes by rounding; of reconstruct the median and range over the seeds."""
    rows = []
    for row in result["rows"]:
        nearest = row["nearest"]
        made = [one for one in row["reconstruct"] if one.get("accuracy") is not None]
        accuracies = [one["accuracy"] for one in made]
        taken = sum(not one["reason"] for one in row["reconstruct"])
        rows.append(
            [
                row["format"],
                row["quantize"],
                f"{nearest['bytes']:,}",
                accuracy([nearest["accuracy"]]) if nearest["passed"] else "does not pass",
                span([one["bytes"] for one in made], "{:,}") if made else "-",
                accuracy(accuracies) if made else "-",
                f"{taken} of {len(row['reconstruct'])}",
            ]
        )
    head = ["format", "quantize", "nearest, bytes", "%", "reconstruct, bytes", "%", "taken"]
    return _table(head, rows)
