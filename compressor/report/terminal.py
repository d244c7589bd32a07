"""What the commands print on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.data import listed
from compressor.models.class_drops import MAX_CLASS_DROP
from compressor.report.formatting import (
    NOTHING,
    cleaned,
    count,
    fed,
    known,
    left_alone,
    mib,
    milliseconds,
    percent,
    proportion,
    text_table,
    threshold,
)
from compressor.report.metrics import beside_model, heads_in, is_known
from compressor.report.step_metrics import (
    before_and_after,
    loss_lines,
    metric_facts,
    task_line,
    worst_class_lines,
)
from deploy.text import clean

_LONGEST = 60


def records_text(
    records: Mapping[str, Mapping[str, Any]], max_class_drop: float = MAX_CLASS_DROP
) -> str:
    """The results of the paper's steps: metrics, size, and what was pruned of each layer.

    With a step `dense`, at the end, what the last one lost against it, in all and of its classes.
    """
    text = ""
    for step, record in records.items():
        text += f"{step}: {', '.join(_facts(record))}\n"
        if "objective" in record:
            text += _indented(task_line(record["objective"]))
        text += "".join(f"  {line}\n" for line in worst_class_lines(record))
        text += "".join(f"  note: {line}\n" for line in record.get("no_better", []))
        text += _zeros_kept(record.get("zeros_kept", []))
        rows = [row for row in _pruning(record).get("layers", []) if "kept" in row]
        if rows:
            text += _indented(_pruned_table(rows))
        text += _reconstructed(_pruning(record).get("reconstruction", {}))
        for line in left_alone(_pruning(record).get("left_alone", {})):
            text += f"  {line}\n"
        for warning in _pruning(record).get("warnings", []):
            text += f"  warning: {warning}\n"
        if isinstance(record.get("encodings"), Mapping):
            rows = [[name, count(size)] for name, size in record["encodings"].items()]
            text += _indented(text_table(["encoding", "bytes"], rows))
    if "dense" in records and len(records) > 1:
        last = list(records.values())[-1]
        lines = loss_lines(records["dense"], last, max_class_drop)
        text += "".join(f"{line}\n" for line in lines)
    return text


def _zeros_kept(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    found = listed(
        f"{row['layer']} ({count(row['zeros'])} of {count(row['parameters'])})" for row in rows
    )
    return f"  note: weights that are zero already stay so: {found}\n"


def import_text(record: Mapping[str, Any]) -> str:
    """What was imported, and how far its outputs are from those of the source."""
    return (
        f"{record['kind']}, {count(record['parameters'])} parameters\n"
        f"outputs differ from {record['proven_by']} by {record['difference']:.2g} of their scale, "
        f"checked on {count(record['examples'])} random inputs\n"
    )


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
    if "metrics" in record:
        lines.append(f"task: {record['task']}")
        lines += before_and_after(record["heads"], **record["metrics"])
    if "inputs" in record:
        lines.append(f"fed: {fed(record['inputs'])}")
    return "\n".join(lines) + "\n\n" + inspection_text(record["comparison"])


def evaluation_text(evaluation: Mapping[str, Any]) -> str:
    """What a predictor achieved on a test set."""
    time = evaluation["prediction_time"]
    total, batch = time["total_ms"], time["batch_ms"]
    return (
        f"{evaluation['kind']} network: {evaluation['path']}\n"
        f"accuracy: {percent(evaluation['accuracy'])} % of {count(evaluation['images'])} images\n"
        f"prediction time: {milliseconds(total['p50'])} ms for {time['batches']} batches of "
        f"{time['batch_size']} (median of {time['rounds']} rounds, {time['threads']} threads)\n"
        f"  a batch: p50 {milliseconds(batch['p50'])}, p90 {milliseconds(batch['p90'])}, "
        f"p99 {milliseconds(batch['p99'])} ms\n"
        f"fed: {fed(evaluation['inputs'])}\n"
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
            _shape(row["shape"]),
            count(row["parameters"]),
            count(row["zeros"]),
            proportion(row["zeros"] / max(row["parameters"], 1)),
            known(row["threshold"], threshold),
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
            cells += [known(row.get("units")), known(row.get("units_kept"))]
        table.append([*cells, known(row["threshold"], threshold)])
    return text_table(header, table)


def _reconstructed(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """How well what is left of each layer makes up for what went."""
    header = ["layer", "error by\nmagnitude", "error", "rows", "s", "MiB"]
    table = [
        [
            name,
            proportion(report["magnitude_error"]),
            proportion(report["error"]),
            count(report["rows"]),
            f"{report['seconds']:.1f}",
            mib(report["bytes"]),
        ]
        for name, report in reports.items()
        if "error" in report
    ]
    text = _indented(text_table(header, table)) if table else ""
    for name, report in reports.items():
        if "refined" in report:
            before, after = map(proportion, report["refined"])
            text += f"  {name}: refined, error of the logits {before} before, {after} after\n"
        if "note" in report:
            text += f"  {name}: pruned {report['note']}\n"
    return text


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
    rows.append(["ratio", *(known(totals["ratio"][key], _times) for key in keys)])
    header = ["layer", "parameters", "not zero", "MACs", "MACs\nnot zero", "bytes"]
    files = "".join(
        f"{side + ':':7} {comparison[side]['path']} ({comparison[side]['kind']}, "
        f"{mib(comparison[side]['file_bytes'])} MiB)\n"
        for side in ("before", "after")
    )
    ratio = known(totals["ratio"]["file_bytes"], _times)
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


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x"


def _facts(record: Mapping[str, Any]) -> list[str]:
    facts = []
    if "sparsity" in record:
        facts.append(f"{proportion(record['sparsity'])} pruned")
    facts += metric_facts(record)
    if "accuracy_note" in record:
        facts.append(record["accuracy_note"])
    if "nonzeros" in record:
        facts.append(f"{count(record['nonzeros'])} weights of kernels are not zero")
    facts += [f"fed {fed([rule])}" for rule in record.get("inputs", [])]
    if "objective" in record:
        found = record["objective"]
        several = any(head["name"] for head in record.get("heads", []))
        outputs = "" if several else f" on {found['outputs']}"
        facts.append(f"loss {found['loss']}{outputs} ({found['source']})")
        facts += found.get("notes", [])
    sizes = [record[key] for key in ("checkpoint_bytes", "bytes") if key in record]
    return facts + [f"{mib(size)} MiB" for size in sizes]


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


def artifact_text(inspection: Mapping[str, Any]) -> str:
    """The weights of an artefact and how they are stored, its operators, inputs and description."""
    lines = [
        f"{inspection['path']}: {inspection['kind']}, {mib(inspection['file_bytes'])} MiB, "
        f"{known(inspection['parameters'])} parameters, {known(inspection['nonzeros'])} not zero",
        *(_ports(side, inspection[side]) for side in ("inputs", "outputs")),
        f"operators: {', '.join(map(_operator, inspection['operators'])) or 'none'}",
        *_description(inspection),
    ]
    header = ["weight", "shape", "parameters", "zeros", "sparsity", "bytes", "as", "values"]
    return "\n".join(lines) + "\n" + text_table(header, list(map(_weight, inspection["layers"])))


def shown(name: str) -> str:
    """A name; of a long one the end, which tells it from others."""
    return clean(name, _LONGEST, tail=True)


def _weight(row: Mapping[str, Any]) -> list[str]:
    zeros, parameters = row["zeros"], row["parameters"]
    return [
        shown("/".join(part for part in (row["layer"], row["variable"]) if part)),
        NOTHING if row["shape"] is None else _shape(row["shape"]),
        known(parameters),
        known(zeros),
        NOTHING if zeros is None else proportion(zeros / max(parameters, 1)),
        count(row["bytes"]),
        shown(row["storage"]),
        row["values"],
    ]


def _ports(side: str, ports: Sequence[Mapping[str, Any]]) -> str:
    found = []
    for port in ports:
        shape = "" if port["shape"] is None else f" {_shape(port['shape'])}"
        scale = "" if port["scale"] is None else f", scale {port['scale']:.6g}"
        found.append(f"{shown(port['name'])} ({port['dtype']}{shape}{scale})")
    return f"{side}: {', '.join(found) or 'none'}"


def _shape(shape: Sequence[int | None]) -> str:
    """A shape, with a star where a size is free."""
    return " x ".join("*" if size is None else str(size) for size in shape) or "1"


def _operator(row: Mapping[str, Any]) -> str:
    version = "" if row["version"] is None else f" v{row['version']}"
    times = "" if row["count"] == 1 else f" ({row['count']} times)"
    return f"{shown(row['name'])}{version}{times}"


def _description(inspection: Mapping[str, Any]) -> list[str]:
    if inspection["description_error"] is not None:
        return [f"description: {inspection['description_error']}"]
    described = inspection["description"]
    if described is None:
        return []
    lines = [
        f"made for {shown(described['runtime'])}, quantize {described['quantize']}, "
        f"optimize {described['optimize']}"
    ]
    for check in described["verified"]:
        heads = heads_in(described)
        found = f"verified in {shown(check['runtime'])} {shown(check['version'])}"
        if is_known(heads, check):
            found += f": {beside_model(heads, check).replace('(model', '(Keras model')}"
        lines.append(f"{found}, {count(check['examples'])} examples")
    return lines
