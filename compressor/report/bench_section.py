"""The bench in the report: its tables, what failed, and what it was measured on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compressor.report import formatting as form
from compressor.report.bench_terminal import LONGEST_FED
from compressor.report.content import Block, Details, Heading, Mark, Table, Text
from compressor.report.metrics import cell, column_title, heads_in
from compressor.report.tables import machine_text
from compressor.report.trade_offs import setting_text
from compressor.runs import (
    BenchRow,
    BenchRun,
    fastest,
    fastest_of,
    is_slower,
    is_sound,
    median_ms,
    rows_with,
    settings_of,
)

_OPEN = 4  # settings whose tables are not folded away
_HEADER = (
    *("p50 (ms)", "p90 (ms)", "p99 (ms)", "times the first", "examples/s", "load (ms)"),
    *("first (ms)", "peak memory (MB)", "bytes"),
)


def bench_blocks(run: BenchRun) -> list[Block]:
    """A table for each (threads, batch), then the rows that are not right."""
    blocks: list[Block] = [Text(_bench_text(run))]
    settings = settings_of(run["rows"])
    for number, setting in enumerate(settings):
        rows = rows_with(run, setting)
        part: list[Block] = [_table(run, rows, note=_NOTE if number == 0 else "")]
        title = setting_text(*setting)
        blocks += [Heading(title), *part] if number < _OPEN else [Details(title, part)]
    for heading, stati in (
        ("Wrong and failed", ("wrong", "failed")),
        ("Not proven", ("unproven",)),
    ):
        if rows := [row for row in run["rows"] if row["status"] in stati]:
            blocks += [Heading(heading), _reasons(run, rows)]
    return blocks


_NOTE = (
    "Latency of one batch, one after the other; behind the median its confidence interval. Times "
    "the first: latency divided by that of the first row of this setting, pair by pair, so below 1 "
    "is faster; slower: surely above 1. Examples a second: offline. First: the first inference. ★ "
    "the fastest sound row."
)


def _bench_text(run: BenchRun) -> str:
    rows = run["rows"]
    counts = {
        status: sum(row["status"] == status for row in rows)
        for status in ("right", "unproven", "wrong", "failed")
    }
    named = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    text = (
        f"{len(run['artefacts'])} artefacts in {len(rows)} rows ({named}), measured "
        f"{run['started']}."
    )
    found = fastest(run)
    if found is not None:
        name = form.short(run["artefacts"][found["artefact"]]["name"])
        text += (
            f" The fastest with {setting_text(found['threads'], found['batch'])} is **{name}** in "
            f"{found['runtime']}: {form.latency(median_ms(found) or 0.0)} ms"
        )
        ratio = found.get("ratio")
        first = rows_with(run, (found["threads"], found["batch"]))[0]
        if ratio and found is not first and is_sound(first):
            text += f", {form.times(1 / ratio['value'])} times as fast as the first"
        text += "."
    if run["interrupted"]:
        text += " **The measurement was interrupted**: what was measured until then is here."
    return text


def _table(run: BenchRun, rows: Sequence[BenchRow], note: str) -> Table:
    best = fastest_of(rows)
    marks: dict[int, Mark] = {
        index: "best" if row is best else row["status"]
        for index, row in enumerate(rows)
        if row is best or row["status"] in ("wrong", "failed")
    }
    metric = column_title([run["artefacts"][row["artefact"]] for row in rows])
    header = ["artefact", "runtime", "status", metric.replace("\n%", " (%)"), *_HEADER]
    return Table(header, [_cells(run, row) for row in rows], left=3, note=note, marks=marks)


def _cells(run: BenchRun, row: BenchRow) -> list[str]:
    artefact = run["artefacts"][row["artefact"]]
    latency = row.get("latency_ms")

    def value(key: str, part: str, text: Callable[[float], str]) -> str:
        return form.NOTHING if row.get(key) is None else text(row[key][part])

    return [
        form.short(artefact["name"], 60),
        _runtime(row),
        (row["status"].upper() if row["status"] in ("wrong", "failed") else row["status"])
        + (", slower" if is_slower(row) else ""),
        cell(heads_in(artefact), row),
        form.NOTHING if latency is None else _interval(latency["p50"]),
        form.NOTHING if latency is None else form.latency(latency["p90"]["value"]),
        form.NOTHING if latency is None else form.latency(latency["p99"]["value"]),
        value("ratio", "value", "{:.3f}".format),
        value("throughput", "value", form.count),
        value("load_ms", "p50", form.latency),
        value("first_ms", "p50", form.latency),
        form.known(row.get("peak_memory_bytes"), lambda memory: f"{memory / 1e6:.1f}"),
        form.count(artefact["bytes"]),
    ]


def _runtime(row: BenchRow) -> str:
    text = " ".join(part for part in (row["runtime"], row.get("version")) if part)
    return text if row["transfer"] == "copies" else f"{text}, {row['transfer']}"


def _interval(found: Mapping[str, Any]) -> str:
    value, low, high = (form.latency(found[key]) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _reasons(run: BenchRun, rows: Sequence[BenchRow]) -> Table:
    """The rows that are not right, each reason once for the settings that share it."""
    shared: dict[tuple[str, str, str, str], list[str]] = {}
    for row in rows:
        name = run["artefacts"][row["artefact"]]["name"]
        key = (form.short(name, 60), row["runtime"], row["status"].upper(), row["reason"] or "")
        shared.setdefault(key, []).append(setting_text(row["threads"], row["batch"]))
    cells = [[*key[:3], "; ".join(settings), key[3]] for key, settings in shared.items()]
    marks: dict[int, Mark] = {
        i: "failed" if line[2] == "FAILED" else "wrong"
        for i, line in enumerate(cells)
        if line[2] in ("WRONG", "FAILED")
    }
    header = ["artefact", "runtime", "status", "settings", "reason"]
    return Table(header, cells, left=5, marks=marks)


def bench_conditions(run: BenchRun) -> Table:
    """What the bench was measured on, and how."""
    machine, settings, data = run["machine"], run["settings"], run["data"]
    rows = [row for row in run["rows"] if row["status"] != "failed"] or run["rows"]
    loads, gpu = machine.get("load_average") or [None, None], machine.get("gpu")
    found = {
        "machine": machine_text(machine),
        "governor": machine.get("governor") or "cannot be read",
        "load average": "{} at the start, {} at the end".format(
            *(form.known(load, "{:.2f}".format) for load in loads)
        ),
        **({"GPU": _gpu(gpu)} if gpu else {}),
        "runtimes": _distinct(f"{row['runtime']} {row.get('version') or ''}" for row in rows),
        "providers and delegates": _distinct(_provider(row) for row in rows),
        "pinned to CPUs": _distinct(
            ", ".join(map(str, row["cpus"])) if row.get("cpus") else "not pinned" for row in rows
        ),
        "Python and numpy": _distinct(
            f"Python {row['python']}, numpy {row.get('numpy') or '?'}"
            for row in rows
            if row.get("python")
        ),
        "method": f"{settings['rounds']} interleaved rounds of {settings['round_seconds']:g} s "
        f"a row, {settings['starts']} fresh starts, {100 * settings['confidence']:g} % confidence "
        f"intervals, {settings['time_limit_s']:g} s at most",
        "warming up": _warming(rows),
        "cost of measuring": _cost(rows),
        "data": "none"
        if data is None
        else f"{data['name']}, {form.count(data['examples'])} examples, sha256 {data['sha256']}",
        "fed": _distinct(form.short(row["fed"], LONGEST_FED) for row in rows if row.get("fed")),
        "time": f"{run['started']} to {run['finished'] or 'an unknown end'}",
        "compressor": run["compressor_version"],
    }
    return Table(["condition", "value"], [[k, v or form.NOTHING] for k, v in found.items()], left=2)


def _distinct(texts: Any) -> str:
    return "; ".join(dict.fromkeys(text.strip() for text in texts if text.strip()))


def _gpu(gpu: Mapping[str, Any]) -> str:
    parts = [str(gpu["name"])]
    if gpu.get("memory_bytes"):
        parts.append(f"{gpu['memory_bytes'] / 2**30:.1f} GiB")
    if gpu.get("driver"):
        parts.append(f"driver {gpu['driver']}")
    return ", ".join(parts)


def _provider(row: BenchRow) -> str:
    if delegate := row.get("delegate"):
        return f"{delegate['name']} ({delegate['nodes']} of {delegate['of']} nodes)"
    return row.get("provider") or ""


def _warming(rows: Sequence[BenchRow]) -> str:
    runs = [row["warmup"] for row in rows if row.get("warmup")]
    if not runs:
        return ""
    settled = sum(bool(found["settled"]) for found in runs)
    least, most = (end(found["runs"] for found in runs) for end in (min, max))
    many = form.count(least) if least == most else f"{form.count(least)} to {form.count(most)}"
    return f"{many} runs; {settled} of {len(runs)} rows settled"


def _cost(rows: Sequence[BenchRow]) -> str:
    parts = []
    for key, what in (("timer_ns", "the clock"), ("call_ns", "Python's call")):
        values = [row[key] for row in rows if row.get(key) is not None]
        if values:
            parts.append(f"{what} {max(values):.0f} ns at most")
    return ", ".join(parts)
