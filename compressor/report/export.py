"""What exporting prints on a terminal, and the tables of runtimes and devices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from compressor.report.formatting import (
    NOTHING,
    count,
    fed,
    known,
    percent,
    size,
    text_table,
    times_less,
)
from compressor.report.metrics import (
    beside_model,
    cell,
    column_title,
    heads_in,
    is_known,
    title_of,
)
from compressor.runs import is_slower
from deploy.operator_table import find_table

_NOT_MEASURED = "not measured; compressor bench does"
_HEADER = ["tensor", "shape", "zeros\n%", "encoding", "values", "bytes", "dense float32\nbytes"]
_SHOWN = 40  # tensors


def export_text(record: Mapping[str, Any]) -> str:
    """One artefact: a row for each tensor, the size, notes and the verdict."""
    rows = [_tensor_cells(tensor) for tensor in record["tensors"][:_SHOWN]]
    left = record["tensors"][_SHOWN:]
    if left:
        stored, dense = (sum(tensor[key] for tensor in left) for key in ("bytes", "dense_bytes"))
        rows.append([f"{len(left)} more", "", "", "", "", count(stored), count(dense)])
    text = text_table(_HEADER, rows) if rows else ""
    ratio = " times ".join(_beside_dense(record))
    text += (
        f"\n{record['format']}, {record['quantize']}: {count(record['bytes'])} bytes, "
        f"{ratio} than the model's {count(record['dense_bytes'])} bytes of "
        "float32 weights\n"
    )
    if code := record.get("c"):
        text += (
            f"code for {code['target']}: {count(code['constant_bytes'])} bytes of constants, "
            f"{count(code['workspace_bytes'])} of workspace at most, {count(code['stack_bytes'])} "
            f"of stack at most, {count(code['macs'])} products\n"
        )
    if micro := record.get("tflite"):
        text += (
            f"with dense weights: {count(micro['dense_file_bytes'])} bytes; arena: "
            f"{known(micro['arena_bytes'], count)} bytes, with dense weights "
            f"{known(micro['dense_arena_bytes'], count)}\n"
        )
    removed = [f"{name} {count(units)}" for name, units in record["removed"].items()]
    if removed:
        text += f"units removed, exactly: {', '.join(removed)}\n"
    text += "".join(f"note: {note}\n" for note in record["notes"])
    text += f"fed: {fed(record['inputs'])}\n"
    verdict = verdict_text(record["verdict"])
    text += f"{record['runtime']} {record['runtime_version']}: {verdict}\n"
    return f"{text}speed: {speed_text(record['speed'])}\n"


def speed_text(speed: Mapping[str, Any] | None) -> str:
    """How fast an artefact was measured to be, beside the dense model."""
    if speed is None:
        return f"{_NOT_MEASURED}, or --max-slowdown"
    ratio = speed["ratio"]
    found = f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
    slower = "SLOWER than dense: " if is_slower(speed) else ""
    where = "" if speed["host"] is None else f" on {speed['host']}"
    return (
        f"{slower}{found} times the latency of dense float32 in {speed['runtime']}{where}, one "
        "thread, batch 1"
    )


def verdict_text(verdict: Mapping[str, Any]) -> str:
    """The verdict of a parity check, in one line."""
    parts = ["right" if verdict["passed"] else f"WRONG: {verdict['reason']}"]
    chosen, difference = verdict["validation"], verdict["difference"]
    heads = heads_in(verdict)
    if chosen is not None:
        shown = beside_model(heads, chosen)
        parts.append(f"{shown} of {count(chosen['examples'])} examples to choose on")
    examples, measured = count(verdict["examples"]), is_known(heads, verdict)
    if measured:
        shown = beside_model(heads, verdict).removeprefix("accuracy ")
        parts.append(f"{shown} of {examples} test examples{_agreement(verdict)}")
    found = "no numbers" if difference is None else f"{difference:.2g}"
    parts.append(f"largest output difference {found} (of {verdict['scale']:.3g})")
    if not measured:
        what = title_of([verdict])
        parts.append(f"on {examples} random inputs: without data, {what} is not measured")
    if (computed := verdict["computation"]) is not None and computed["difference"] is not None:
        parts.append(f"within {computed['difference']:.1g} of plain kernels on the same file")
    return ", ".join(parts)


def _agreement(verdict: Mapping[str, Any]) -> str:
    found = verdict["agreement"]
    return "" if found is None else f", same class for {percent(found)} %"


def exports_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Several artefacts: a row for each, the smallest of each format that passed marked."""
    smallest: dict[str, Mapping[str, Any]] = {}
    for record in records:
        if "error" not in record:
            best = smallest.setdefault(record["format"], record)
            if record["bytes"] < best["bytes"]:
                smallest[record["format"]] = record
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
        rows.append(
            [
                *name,
                count(record["bytes"]),
                " ".join(_beside_dense(record)),
                cell(heads_in(verdict), verdict),
                f"{verdict['difference']:.2g}",
                record["runtime"],
                "smallest" if record is smallest[record["format"]] else "right",
            ]
        )
    verdicts = [record["verdict"] for record in records if "verdict" in record]
    header = [
        "format",
        "quantize",
        "bytes",
        "times the\nweights",
        column_title(verdicts),
        "largest\ndifference",
    ]
    how = next((f"fed: {fed(one['inputs'])}\n" for one in records if "inputs" in one), "")
    how += f"speed: {_NOT_MEASURED}\n" if smallest else ""
    table = text_table([*header, "runtime", "verdict"], rows)
    return table + "".join(reasons) + _shared_notes(records) + how


def _shared_notes(records: Sequence[Mapping[str, Any]]) -> str:
    """Each note once, with the artefacts that it is about, unless it is about all."""
    about: dict[str, list[str]] = {}
    for record in records:
        for note in record.get("notes", ()):
            about.setdefault(note, []).append(f"{record['format']} {record['quantize']}")
    made = sum("error" not in record for record in records)
    return "".join(
        f"note: {note}\n" if len(names) == made else f"note on {', '.join(names)}: {note}\n"
        for note, names in about.items()
    )


def runtimes_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The runtimes: what each executes, its version, and why one is not there."""
    cells = [
        [row["name"], row["format"], row["version"] or NOTHING, row["state"], row["reason"] or ""]
        for row in rows
    ]
    return text_table(["runtime", "runs", "version", "state", ""], cells)


def _beside_dense(record: Mapping[str, Any]) -> tuple[str, str]:
    """How many times a file is smaller than the weights dense in float32, or larger.

    Beside no weights at all, than a byte of them.
    """
    return times_less(max(record["dense_bytes"], 1), record["bytes"], "smaller", "larger")


def _tensor_cells(tensor: Mapping[str, Any]) -> list[str]:
    return [
        tensor["name"],
        "x".join(map(str, tensor["shape"])),
        f"{100 * tensor['zeros'] / max(math.prod(tensor['shape']), 1):.1f}",
        tensor["encoding"],
        tensor["values"],
        count(tensor["bytes"]),
        count(tensor["dense_bytes"]),
    ]


def devices_text(profiles: Sequence[Mapping[str, Any]]) -> str:
    """A row for each of `profiles`, which `DeviceProfile.describe` gives."""
    rows = [
        [
            profile["name"],
            f"{profile['cpu']['cores']} x {profile['cpu']['architecture']}",
            size(profile["memory"]["available_bytes"]),
            f"{profile['runtime']['name']} {profile['runtime']['version']}",
            " ".join(profile["python"]["versions"]) or NOTHING,
            f"{profile['prefer']['format']} {profile['prefer']['quantize'][0]}",
        ]
        for profile in profiles
    ]
    return text_table(["device", "processor", "memory", "runtime", "Python", "prefers"], rows)


def device_text(profile: Mapping[str, Any]) -> str:
    """All of one profile, a line for each part."""
    cpu, memory, gpu = profile["cpu"], profile["memory"], profile.get("gpu")
    python, prefer = profile["python"], profile["prefer"]
    features = f" ({', '.join(cpu['features'])})" if cpu["features"] else ""
    chip = profile.get("microcontroller")
    lines = {
        "processor": f"{cpu['cores']} x {cpu['model']}, {cpu['architecture']}{features}",
        "memory": f"{count(memory['available_bytes'])} of {count(memory['bytes'])} bytes for it",
        "storage": f"{count(profile['storage']['available_bytes'])} bytes",
        **({} if chip is None else {"chip": _chip_text(chip)}),
        "GPU": "none" if gpu is None else f"{gpu['model']}, {count(gpu['memory_bytes'])} bytes",
        "runtime": f"{profile['runtime']['name']} {profile['runtime']['version']}",
        "operators": _operators_text(profile),
        "Python": f"{', '.join(python['versions'])} with numpy {python['numpy']}"
        if python["versions"]
        else "none: bundles hold no program",
        "prefers": f"{prefer['format']}; {', '.join(prefer['quantize'])}; for "
        f"{prefer['optimize']}; widths of multiples of {prefer['width_multiple']}",
    }
    width = max(map(len, lines)) + 2
    text = "".join(f"{f'{what}:':<{width}}{said}\n" for what, said in lines.items())
    return f"{profile['name']}: {profile['description']}\n{text}"


def _chip_text(chip: Mapping[str, Any]) -> str:
    return (
        f"{chip['processor']}, {chip['clock_hz'] / 1e6:g} MHz, flash at {chip['flash_start']:#x}, "
        f"RAM at {chip['ram_start']:#x}"
    )


def _operators_text(profile: Mapping[str, Any]) -> str:
    own, runtime = profile.get("operators"), profile["runtime"]
    if own is not None:
        return f"{len(own)}, listed in the profile"
    if runtime["name"] == "c":
        return "those of compressor export --format c"
    table = find_table(runtime["name"], runtime["version"])
    if table is None:
        return "not known; list them as [operators]"
    measured = f"measured in {table.runtime} {table.version}"
    if "ai.onnx" in table.operators:
        return f"ONNX up to opset {table.operators['ai.onnx']}, {measured}"
    return f"{len(table.operators)}, {measured}"
