"""What the commands print on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.report.formatting import (
    NOTHING,
    cleaned,
    count,
    known,
    mib,
    milliseconds,
    percent,
    proportion,
    text_table,
    threshold,
)
from compressor.report.inspection_tables import artifact_text, shown


def records_text(records: Mapping[str, Mapping[str, Any]]) -> str:
    """The results of the paper's steps: accuracy, size, and what was pruned of each layer."""
    text = ""
    for step, record in records.items():
        text += f"{step}: {', '.join(_facts(record))}\n"
        rows = [row for row in _pruning(record).get("layers", []) if "kept" in row]
        if rows:
            text += _indented(_pruned_table(rows))
        for name, reason in _pruning(record).get("left_alone", {}).items():
            text += f"  left alone: {name}: {reason}\n"
        for warning in _pruning(record).get("warnings", []):
            text += f"  warning: {warning}\n"
        if "encodings" in record:
            rows = [[name, count(size)] for name, size in record["encodings"].items()]
            text += _indented(text_table(["encoding", "bytes"], rows))
    return text


def shrinking_text(record: Mapping[str, Any]) -> str:
    """What shrinking removed, that the function is the same, and the model before and after."""
    lines = [
        f"outputs differ by {record['difference']:.2g} of their scale, "
        f"checked on {record['checked_on']}"
    ]
    removed = [f"{name} {count(units)}" for name, units in record["removed"].items()]
    lines.append(f"units removed: {', '.join(removed) or 'none'}")
    if record["folded"]:
        lines.append(f"BatchNormalization folded: {', '.join(record['folded'])}")
    lines += [f"stays in {name}: {reason}" for name, reason in record["kept"].items()]
    if "accuracy" in record:
        before, after = record["accuracy"]["before"], record["accuracy"]["after"]
        lines.append(f"accuracy: {percent(before)} % before, {percent(after)} % after")
    return "\n".join(lines) + "\n\n" + inspection_text(record["comparison"])


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
    """What `inspect` gives: a model or checkpoint, each step of a run, or two files compared."""
    inspection = cleaned(inspection)
    if inspection["kind"] == "comparison":
        return _comparison_text(inspection)
    if inspection["kind"] == "run":
        parts = [inspection_text(step) for step in inspection["steps"].values()]
        return "\n".join([_steps_table(inspection["steps"]), *parts])
    if inspection["kind"] in ("tflite", "onnx"):
        return artifact_text(inspection)
    rows = [
        [
            f"{row['layer']}/{row['variable']}",
            " x ".join(str(size) for size in row["shape"]) or "1",
            count(row["parameters"]),
            count(row["zeros"]),
            proportion(row["zeros"] / max(row["parameters"], 1)),
            NOTHING if row["threshold"] is None else threshold(row["threshold"]),
            known(row["macs"]),
            count(row["bytes"]),
            row["storage"],
        ]
        for row in inspection["layers"]
    ]
    header = ["variable", "shape", "parameters", "zeros", "sparsity", "threshold", "MACs"]
    adam = inspection["optimizer_values"]
    return (
        f"{inspection['path']}: {inspection['kind']}, {mib(inspection['file_bytes'])} MiB, "
        f"{count(inspection['parameters'])} parameters, {count(inspection['nonzeros'])} not zero"
        + (f", and {count(adam)} values of the optimizer" if adam else "")
        + f"\n{_macs_line(inspection)}\n{text_table([*header, 'bytes', 'as'], rows)}"
    )


def _pruning(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a record says of pruning: a gradual one has it in a part of its own."""
    found: Mapping[str, Any] = record.get("pruning", record)
    return found


def _pruned_table(rows: Sequence[Mapping[str, Any]]) -> str:
    units = any("units" in row for row in rows)
    header = ["layer", "weights", "kept", *(["units", "kept"] if units else []), "threshold"]
    table = []
    for row in rows:
        cells = [row["layer"], count(row["parameters"]), count(row["kept"])]
        if units:
            cells += [count(row["units"]), count(row["units_kept"])]
        found = row["threshold"]
        table.append([*cells, NOTHING if found is None else threshold(found)])
    return text_table(header, table)


def _macs_line(inspection: Mapping[str, Any]) -> str:
    name = "multiply-accumulates (MACs) an inference"
    if inspection["macs"] is None:
        return f"{name}: not known for every layer"
    return (
        f"{count(inspection['macs'])} {name}, {count(inspection['macs_nonzero'])} of them "
        "with weights that are not zero"
    )


def _steps_table(steps: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a step: what is left of the model after it."""
    keys = ("parameters", "nonzeros", "macs", "macs_nonzero", "file_bytes")
    rows = [[name, *(known(step[key]) for key in keys)] for name, step in steps.items()]
    return text_table(
        ["step", "parameters", "not zero", "MACs", "MACs\nnot zero", "bytes of\nthe file"], rows
    )


def _comparison_text(comparison: Mapping[str, Any]) -> str:
    keys = ("parameters", "nonzeros", "macs", "macs_nonzero", "bytes")
    totals = comparison["totals"]
    named = [(row["layer"], row["before"], row["after"]) for row in comparison["layers"]]
    named.append(("total", totals["before"], totals["after"]))
    rows = [
        [shown(name), *(_change(before, after, key) for key in keys)]
        for name, before, after in named
    ]
    rows.append(["ratio", *(_times(totals["ratio"][key]) for key in keys)])
    header = ["layer", "parameters", "not zero", "MACs", "MACs\nnot zero", "bytes"]
    files = "".join(
        f"{side + ':':7} {comparison[side]['path']} ({comparison[side]['kind']}, "
        f"{mib(comparison[side]['file_bytes'])} MiB)\n"
        for side in ("before", "after")
    )
    ratio = _times(totals["ratio"]["file_bytes"])
    return (
        f"{files}{text_table(header, rows)}"
        f"bytes of the file: {_change(totals['before'], totals['after'], 'file_bytes')} ({ratio})\n"
    )


def _change(
    before: Mapping[str, int | None] | None, after: Mapping[str, int | None] | None, key: str
) -> str:
    """A number before and after; once where it did not change."""
    first, last = (known(None if side is None else side[key]) for side in (before, after))
    return first if first == last else f"{first} -> {last}"


def _times(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.2f}x"


def _facts(record: Mapping[str, Any]) -> list[str]:
    facts = []
    if "sparsity" in record:
        facts.append(f"{proportion(record['sparsity'])} pruned")
    if "accuracy" in record:
        facts.append(f"accuracy {percent(record['accuracy'])} % on the test images")
    if "validation_accuracy" in record:
        facts.append(f"{percent(record['validation_accuracy'])} % on the validation images")
    if "nonzeros" in record:
        facts.append(f"{count(record['nonzeros'])} weights of kernels are not zero")
    for rule in record.get("inputs", []):
        facts.append(f"{rule['name']} {rule['reason']}")
    if "objective" in record:
        found = record["objective"]
        facts.append(f"loss {found['loss']} on {found['outputs']} ({found['source']})")
        facts += found.get("notes", [])
    for key in ("checkpoint_bytes", "bytes"):
        if key in record:
            facts.append(f"{mib(record[key])} MiB")
    return facts


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
