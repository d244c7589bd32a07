"""The tables of what exporting brings, and of C code for hosts, browsers and microcontrollers."""

from __future__ import annotations

from typing import Any

from benchmarks._cells import table
from compressor.exporters import FORMATS
from compressor.exporters.request import QUANTIZATIONS

Result = dict[str, Any]

_TITLES = {"litert": "LiteRT", "onnxruntime": "ONNX Runtime"}


def export_table(result: Result) -> str:
    """Bytes and accuracy of every form for the size, then latency and load time beside dense."""
    versions = result["conditions"]["versions"]
    packages = {"tflite": "ai-edge-litert", "onnx": "onnxruntime-gpu"}
    tables = [
        _sizes(result, file_format, f"{_TITLES[runtime]} {versions[packages[file_format]]}")
        for file_format, runtime in FORMATS.items()
    ]
    return "\n\n".join([*tables, _times(result)])


def _sizes(result: Result, file_format: str, runtime: str) -> str:
    files = [
        one
        for one in result["files"]
        if one["format"] == file_format and one["optimize"] == "size" and "bytes" in one
    ]
    kinds = [kind for kind in QUANTIZATIONS if any(one["quantize"] == kind for one in files)]
    rows = []
    for model in dict.fromkeys(one["model"] for one in files):
        own = {one["quantize"]: one for one in files if one["model"] == model}
        keras = next(iter(own.values()))["reference_accuracy"]
        rows.append([model, f"{100 * keras:.2f}", *(_file(own.get(kind)) for kind in kinds)])
    return table([f"paper's CNN, seed {result['seed']}, {runtime}", "Keras, %", *kinds], rows)


def _file(one: Result | None) -> str:
    if one is None:
        return ""
    told = f"{one['bytes']:,} ({100 * one['accuracy']:.2f})"
    return told if one["passed"] else f"{told}: does not pass"


def _times(result: Result) -> str:
    rows = []
    for one in result["times"]:
        if (one["model"], one["quantize"]) == ("dense", "none"):
            continue
        aim = ", for the latency" if one["optimize"] == "latency" else ""
        ratios = [f"{one[key]['p50']:.3f}" for key in ("latency_ratio", "load_ratio")]
        name = _TITLES[FORMATS[one["format"]]]
        rows.append(
            [f"{name}: {one['model']}, {one['quantize']}{aim}", f"{one['bytes']:,}", *ratios]
        )
    head = "1 thread, batch 1; load and first run in fresh processes: times dense float32's"
    return table([head, "bytes", "latency", "load"], rows)


def sparse_c_table(result: Result) -> str:
    """Each row of the run."""
    rows = []
    for name, row in result["rows"].items():
        if row["status"] != "right":
            rows.append([name, "", row["status"], ""])
            continue
        microseconds = 1000 * row["latency_ms"]["p50"]["value"]
        ratio = f"1/{1 / row['ratio']['value']:.1f}"
        rows.append([name, f"{100 * row['accuracy']:.2f}", f"{microseconds:.1f}", ratio])
    return table(["", "test, %", "us", "of dense float32"], rows)


def pages_table(result: Result) -> str:
    """Bytes of each page, and the time of a prediction, beside that of the last."""
    last = result["rows"][-1]["latency_us"]["p50"]
    rows = [
        [
            *(row["artefact"], row["runtime"], f"{row['bytes']:,}"),
            *(f"{row['latency_us'][key]:.1f}" for key in ("p50", "p90")),
            f"1/{last / row['latency_us']['p50']:.1f}",
        ]
        for row in result["rows"]
    ]
    return table(["artefact", "runs in", "page, bytes", "us", "p90", "of the last"], rows)


def large_table(result: Result) -> str:
    """What exporting a large model takes beyond a small one."""
    rows = []
    for row in result["rows"]:
        weights = row["weights_bytes"]
        times = (row[f"{name}_beyond_small"] / weights for name in ("largest_process", "memory"))
        rows.append(
            [
                f"{100 * row['sparsity']:g} %",
                f"{row['format']}, {row['quantize']}",
                f"{row['cpu_seconds_beyond_small']:.0f}",
                *(f"{number:.1f}" for number in times),
            ]
        )
    parameters = result["rows"][0]["weights_bytes"] // 4
    head = [f"zeros of {parameters:,} parameters", "export", "CPU seconds"]
    return table([*head, "memory of the largest process", "of all"], rows)


def microcontrollers_table(result: Result) -> str:
    """What models take as C code on each processor, for the latency and for the size."""
    rows = [
        [
            *(row["model"], f"{row['nonzeros']:,}", row["processor"], row["optimize"]),
            "-" if row["accuracy"] is None else f"{100 * row['accuracy']:.2f}",
            *(f"{row[key]:,}" for key in ("weight_bytes", "flash_bytes", "ram_bytes")),
            f"{row['instructions']:,}{_wrong(row)}",
        ]
        for row in result["rows"]
    ]
    head = ["model", "weights that are not zero", "processor", "for the", "test, %"]
    return table([*head, "weights, bytes", "flash", "RAM", "instructions"], rows)


def _wrong(row: Result) -> str:
    if not row["wrong"]:
        return ""
    if row["optimize"] == "TFLM":
        return f" ({row['wrong']} rounded otherwise)"
    return f" ({row['wrong']} WRONG)"
