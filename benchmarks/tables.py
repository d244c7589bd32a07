"""Markdown tables of what the benchmarks found, and putting them into RESULTS.md.

    python -m benchmarks.tables [NAME ...] [--write]

RESULTS.md holds each table between `<!-- table NAME -->` and `<!-- end -->`; nothing in there is
written by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._cells import accuracy as _accuracy, span as _span, table as _table
from benchmarks._export_tables import (
    export_table,
    large_table,
    microcontrollers_table,
    pages_table,
    sparse_c_table,
)
from benchmarks._pruning_tables import (
    pruning_table,
    reconstruction_networks_table,
    reconstruction_table,
    rounding_table,
    tasks_table,
)
from benchmarks._record import RESULTS
from benchmarks.gpu.there.table import markdown
from compressor.foundation import write_bytes

PAGE = Path(__file__).parent / "RESULTS.md"
MACHINES = "machines"
"""Name of the table of where and when every benchmark ran."""

Result = dict[str, Any]

BESIDE = {
    "alike": "the smallest peer of the same type of weights that loads",
    "loads": "the smallest peer that loads",
    "packed": "the smallest in gzip or xz, which must be unpacked to be loaded",
}
"""What an artefact of ours is compared with, in the order of the numbers behind its bytes."""


def main() -> None:
    """Print the tables named, or all there are results of; write them with --write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(TABLES))
    parser.add_argument("--write", action="store_true", help="into RESULTS.md, too")
    options = parser.parse_args()
    print_tables(*(options.names or TABLES))
    if options.write:
        write_bytes(PAGE, fill(PAGE.read_text(), RESULTS).encode())


def print_tables(*names: str) -> None:
    """Print the tables of the results that are there."""
    for name in names:
        found = read_result(name)
        if found is not None:
            print(TABLES[name](found))


def fill(text: str, results: Path) -> str:
    """The Markdown `text` with every table in it as the results in the folder say.

    A table whose results are not there stays as it is; KeyError for one that nothing makes.
    """

    def replaced(match: re.Match[str]) -> str:
        found = read_result(match["name"], results)
        if found is None:
            return match[0]
        return f"{match['begin']}\n{TABLES[match['name']](found)}\n{match['end']}"

    return re.sub(
        r"(?P<begin><!-- table (?P<name>\S+) -->)\n.*?(?P<end><!-- end -->)",
        replaced,
        text,
        flags=re.DOTALL,
    )


def read_result(name: str, results: Path = RESULTS) -> Result | None:
    """What results/NAME.json holds, or of `machines` all of them; None where it is not there."""
    if name == MACHINES:
        return {path.stem: json.loads(path.read_text()) for path in sorted(results.glob("*.json"))}
    path = results / f"{name}.json"
    if not path.is_file():
        return None
    found: Result = json.loads(path.read_text())
    return found


def sizes_table(result: Result) -> str:
    """Bytes and accuracy of every file, and how ours compare; then what does not load."""
    models = list(dict.fromkeys(row["model"] for row in result["rows"]))
    packed: dict[tuple[str, str], list[Result]] = {}
    places: dict[tuple[str, str, str], dict[str, Result]] = {}
    for row in result["rows"]:
        if row["kind"] == "packed":
            packed.setdefault((row["model"], row["unpacked"]), []).append(row)
        else:
            kind = (row["format"], row["tool"], row["form"])
            places.setdefault(kind, {})[row["model"]] = row
    notes: dict[str, int] = {}
    rows = []
    for kind in sorted(places, key=lambda kind: ("tflite", "onnx", "npz").index(kind[0])):
        cells = []
        for model in models:
            row = places[kind].get(model)
            parts = packed.get((model, row["file"]), []) if row else []
            cells.append("; ".join([_size_cell(row, notes) if row else "-", *map(_packed, parts)]))
        rows.append([kind[0], f"{kind[1]}: {kind[2]}", *cells])
    table = _table(["format", "made by", *models], rows)
    listed = [f"- [{number}] {reason}." for reason, number in notes.items()]
    return "\n".join([table, "", *listed, "", *_verdicts(result)])


def _size_cell(row: Result, notes: dict[str, int]) -> str:
    text = "not made" if row["bytes"] is None else f"{row['bytes']:,}"
    if row["accuracy"] is not None:
        text += f" ({100 * row['accuracy']:.2f})"
    if not row["loads"]:
        text += f" [{notes.setdefault(row['reason'], len(notes) + 1)}]"
    beside = row.get("beside")
    if beside:
        ratios = (beside[kind] and f"{beside[kind]['ratio']:.2f}" for kind in BESIDE)
        text += f" **{' / '.join(ratio or '-' for ratio in ratios)}**"
        if any(beside[kind] and beside[kind]["verdict"] == "larger" for kind in ("alike", "loads")):
            text += " ▲"
    return text


def _packed(row: Result) -> str:
    return f"{Path(row['file']).suffix[1:]} {row['bytes']:,}"


def _verdicts(result: Result) -> list[str]:
    """How often ours is smaller and larger, and how our smallest of each model compares."""
    ours = [row for row in result["rows"] if row.get("beside")]
    lines = []
    for kind, text in BESIDE.items():
        found = [row for row in ours if row["beside"][kind]]
        by_verdict = {
            verdict: [row for row in found if row["beside"][kind]["verdict"] == verdict]
            for verdict in ("smaller", "equal", "larger")
        }
        counted = ", ".join(f"{len(rows)} {verdict}" for verdict, rows in by_verdict.items())
        lines.append(f"- Of {len(found)} artefacts of ours beside {text}: {counted}.")
    smallest: dict[tuple[str, str], Result] = {}
    for row in sorted(ours, key=lambda row: int(row["bytes"])):
        smallest.setdefault((row["model"], row["format"]), row)
    rows = []
    for model, file_format in dict.fromkeys((row["model"], row["format"]) for row in ours):
        row = smallest[model, file_format]
        said = (_named(row["beside"][kind]) for kind in ("loads", "packed"))
        rows.append([model, file_format, f"{row['form']}, {row['bytes']:,}", *said])
    head = ["model", "format", "our smallest", BESIDE["loads"], BESIDE["packed"]]
    return [*lines, "", _table(head, rows)]


def _named(peer: Result | None) -> str:
    if peer is None:
        return "none is as accurate"
    name = f"{peer['tool']}: {peer['form']}, {peer['bytes']:,}"
    return f"{name}; ours is {peer['ratio']:.2f} times that, {peer['verdict']}"


def latency_table(result: Result) -> str:
    """Median latency of every artefact, and its ratio to the first of its run."""
    lines = []
    for model, run in result["runs"].items():
        settings = list(dict.fromkeys((row["threads"], row["batch"]) for row in run["rows"]))
        rows = []
        for number, artefact in enumerate(run["artefacts"]):
            of_it = [row for row in run["rows"] if row["artefact"] == number]
            for runtime in dict.fromkeys(row["runtime"] for row in of_it):
                cells = {
                    (row["threads"], row["batch"]): _latency_cell(row)
                    for row in of_it
                    if row["runtime"] == runtime
                }
                label = f"{artefact['name']} ({runtime})"
                rows.append([label, *(cells.get(key, "") for key in settings)])
        head = [f"threads {threads}, batch {batch}" for threads, batch in settings]
        lines += [_table([f"{model}: ms of a batch (times the first)", *head], rows), ""]
    return "\n".join(lines).rstrip()


def _latency_cell(row: Result) -> str:
    latency, ratio = row["latency_ms"], row["ratio"]
    if not latency:
        return f"{row['status']}: {row['reason'] or 'not measured'}"
    text = f"{latency['p50']['value']:.3f}"
    if ratio:
        text += f" ({ratio['value']:.2f})"
    return text if row["status"] == "right" else f"{text} {row['status'].upper()}"


def scaling_table(result: Result) -> str:
    """How the wall time of a sweep grows: with proportions, and with parameters."""
    phases = list(dict.fromkeys(phase for row in result["rows"] for phase in row["seconds"]))
    rows = [
        [
            row["what"],
            f"{row['parameters']:,}",
            str(row["proportions"]),
            *(f"{row['seconds'].get(phase, 0):.1f}" for phase in phases),
            f"{sum(row['seconds'].values()):.1f}",
        ]
        for row in result["rows"]
    ]
    head = ["grows", "parameters", "proportions", *phases, "all, seconds"]
    return _table(head, rows)


def cold_start_table(result: Result) -> str:
    """What a bundle's start costs: ms of whole processes, and times the runtime alone."""
    kinds = list(result["rows"][0]["seconds"])
    rows = [
        [
            f"{row['artefact']}, {row['bytes']:,} bytes ({row['runtime']} {row['version']})",
            *(
                f"{1000 * row['seconds'][kind]['p50']:.0f} ({_ratio(row['ratio'][kind])})"
                for kind in kinds
            ),
        ]
        for row in result["rows"]
    ]
    return _table(["ms, median (times the runtime alone)", *kinds], rows)


def _ratio(interval: Result) -> str:
    return f"{interval['value']:.2f}, {interval['low']:.2f} to {interval['high']:.2f}"


def machines_table(results: Result) -> str:
    """When each benchmark ran, and where; a line more for rows that ran elsewhere or later."""
    rows = []
    for name, result in results.items():
        places: dict[tuple[str, str, str], list[str]] = {}
        for row in result.get("rows") or [{}]:
            found = row.get("conditions") if isinstance(row, dict) else None
            found = found or result.get("conditions")
            if found is None:
                continue
            machine = found["machine"]
            at = found["date"], machine.get("cpu", "-"), f"{machine['cores']}"
            told = [str(row[key]) for key in ("name", "model", "space") if key in row]
            places.setdefault(at, []).append(", ".join(told))
        for at, told in places.items():
            which = "; ".join(dict.fromkeys(told)) if len(places) > 1 else "all"
            rows.append([name, which or "others", *at])
    return _table(["results", "rows", "date", "processor", "cores"], rows)


def gpu_table(result: Result) -> str:
    """The newest run on a GPU, finished or not."""
    return markdown(result["runs"][-1])


def search_table(result: Result) -> str:
    """What each search recommends, in the median of its seeds, and whether that was asked for."""
    rows = []
    for row in result["rows"]:
        for runtime in row["runs"][0]["runtimes"]:
            found = [run["runtimes"][runtime] for run in row["runs"] if runtime in run["runtimes"]]
            faster = _span([1 / one["ratio"] for one in found], "{:.1f}")
            sizes = [one["bytes"] for one in found]
            size, span = f"{statistics.median(sizes):,.0f}", _span(sizes, "{:,}")
            smaller = [one["dense_bytes"] / one["bytes"] for one in found]
            missed = [what for what in row["missed"] if what.startswith(f"{runtime}: ")]
            rows.append(
                [
                    f"{row['name']}: `{row['options']}`, {row['seconds'] / 60:g} minutes",
                    runtime,
                    size if size == span else f"{size} ({span})",
                    f"{statistics.median(smaller):,.0f}",
                    _accuracy([one["accuracy"] for one in found]),
                    f"{100 * row['dense_accuracy']:.2f}",
                    faster,
                    _span([run["cpu_seconds"] for run in row["runs"]], "{:,}"),
                    "MISSED" if missed else "reached",
                ]
            )
    head = ["search", "runtime", "bytes", "times smaller", "test, %", "dense, %", "times faster"]
    return _table([*head, "CPU seconds", "target"], rows)


def optimisers_table(result: Result) -> str:
    """The median score of each optimiser under each budget, with the range over the seeds."""
    tables = []
    for row in result["rows"]:
        rows = []
        for method, runs in row["methods"].items():
            scores = zip(*(run["scores"] for run in runs), strict=True)
            cells = [f"{statistics.median(s):.4f} ({_span(s, '{:.4f}')})" for s in scores]
            rows.append([method, *cells])
        shares = max(row["budgets"]) < 1
        told = [f"{100 * b:.2g} %" if shares else f"{b:,}" for b in row["budgets"]]
        head = [f"{budget} {row['unit']}" for budget in told]
        title = f"{row['model']}, {row['space']}: best of {row['evaluations']} evaluations, nats"
        tables.append(_table([title, *head], rows))
    return "\n\n".join(tables)


def exhaustive_table(result: Result) -> str:
    """How far above the best of all allocations each method stays under each budget."""
    tables = []
    for row in result["rows"]:
        budgets = row["budgets"]
        rows = [["the best of all, nats", *(f"{one['best']:.4f}" for one in budgets)]]
        for method in budgets[0]["methods"]:
            cells = []
            for one in budgets:
                found, best = one["methods"][method], one["best"]
                above = [100 * (score / best - 1) for score in found["scores"]]
                looked = f"{statistics.median(found['looked_at']):.0f}"
                cells.append(f"{statistics.median(above):.1f} ({_span(above, '{:.1f}')}), {looked}")
            rows.append([f"{method}: % above it, scored", *cells])
        told = [f"{b['budget']:,} weights, {b['allocations']:,} allocations" for b in budgets]
        tables.append(_table([row["model"], *told], rows))
    return "\n\n".join(tables)


def allocation_table(result: Result) -> str:
    """Bytes and accuracy of uniform and of allocated sparsity, by the seed of the calibration."""
    rows = []
    for row in result["rows"]:
        uniform, allocated = row["uniform"], row["allocated"] or row["uniform"]
        for kind, file in uniform["files"].items():
            other = allocated["files"][kind]
            less = 1 - other["bytes"] / file["bytes"]
            bytes_of = [f"{one['bytes']:,}" for one in (file, other)]
            tested = [f"{100 * one['accuracy']:.2f}" for one in (file, other)]
            sparsity = "-" if row["allocated"] is None else f"{100 * allocated['sparsity']:g}"
            rows.append([str(row["seed"]), kind, *bytes_of, f"{100 * less:.0f}", *tested, sparsity])
    head = ["seed", "int8 for the size", "uniform, bytes", "allocated, bytes", "fewer, %"]
    return _table([*head, "uniform, test, %", "allocated, test, %", "sparsity, %"], rows)


TABLES: dict[str, Callable[[Result], str]] = {
    MACHINES: machines_table,
    "export": export_table,
    "export-large": large_table,
    "sizes": sizes_table,
    "latency": latency_table,
    "pruning": pruning_table,
    "reconstruction": reconstruction_table,
    "reconstruction-networks": reconstruction_networks_table,
    "sweep-scaling": scaling_table,
    "cold-start": cold_start_table,
    "gpu": gpu_table,
    "rounding": rounding_table,
    "tasks": tasks_table,
    "search": search_table,
    "optimisers": optimisers_table,
    "exhaustive": exhaustive_table,
    "allocation": allocation_table,
    "microcontrollers": microcontrollers_table,
    "sparse_c": sparse_c_table,
    "pages": pages_table,
}
"""Name of the results -> what makes a table of them."""


if __name__ == "__main__":
    main()
