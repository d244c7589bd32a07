"""What measuring says on a terminal: a table for each setting, what to ship, and the conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.report.formatting import MIB, NOTHING, count, known, percent, text_table
from compressor.report.metrics import beside_model, cell, column_title, heads_in, is_known
from compressor.runs import (
    BenchRow,
    BenchRun,
    fastest_of,
    is_slower,
    is_sound,
    median_ms,
    runtimes_of,
)
from deploy.text import clean

_MARKS = {"right": "right", "unproven": "unproven", "wrong": "WRONG", "failed": "FAILED"}
_LONGEST_NAME = 32
LONGEST_FED = 200
_BUSY = 0.5


def table_text(run: BenchRun, rows: Sequence[BenchRow]) -> str:
    """The rows of one setting: latency, throughput and accuracy, then starting and memory.

    Rows that are wrong or failed are red on a terminal, and their reasons stand below.
    """
    first = rows[0]
    threads = f"{first['threads']} thread{'s' * (first['threads'] > 1)}"
    tables = [_coloured(make(run, rows), rows) for make in (_latency_table, _start_table)]
    reasons = [
        _red(f"{_where(run, row, rows)}: {_MARKS[row['status']]}: {row['reason']}", row) + "\n"
        for row in rows
        if row["reason"] and row["status"] != "unproven"
    ]
    title = f"\n{threads}, batch {first['batch']}\n\n"
    return title + "\n".join(tables) + "".join(reasons) + _fastest(run, rows)


def answer_text(run: BenchRun) -> str:
    """Below all tables: what to ship, and what the numbers were measured on."""
    lines = []
    sound = [row for row in run["rows"] if is_sound(row) and median_ms(row) is not None]
    if sound:
        smallest = min(sound, key=lambda row: (_artefact(run, row)["bytes"], median_ms(row)))
        lines.append(
            f"smallest: {_artefact(run, smallest)['name']}, "
            f"{count(_artefact(run, smallest)['bytes'])} bytes"
            f"{_metrics(run, smallest)}{_unproven(smallest)}"
        )
    unproven = dict.fromkeys(
        f"{_artefact(run, row)['name']}: {row['reason']}"
        for row in run["rows"]
        if row["status"] == "unproven" and row["reason"]
    )
    lines += [f"unproven: {text}" for text in unproven]
    lines += _conditions(run)
    return "".join(f"{line}\n" for line in lines)


def _latency_table(run: BenchRun, rows: Sequence[BenchRow]) -> str:
    header = ["artefact", *_kind_header(rows), "bytes", "p50\nms", "", "p90\nms", "p99\nms"]
    metric = column_title([_artefact(run, row) for row in rows])
    header += ["times\nthe first", "examples\na second", metric, "verdict"]
    cells = []
    for row in rows:
        latency, ratio, rate = row["latency_ms"], row["ratio"], row["throughput"]
        times = [NOTHING, "", NOTHING, NOTHING]
        if latency is not None:
            p50, p90, p99 = (latency[name] for name in ("p50", "p90", "p99"))
            times = [_ms(p50["value"]), _half_width(p50), _ms(p90["value"]), _ms(p99["value"])]
        cells.append(
            [
                _name(run, row),
                *_kind(row, rows),
                count(_artefact(run, row)["bytes"]),
                *times,
                NOTHING if ratio is None else f"{ratio['value']:.3f}",
                NOTHING if rate is None else count(rate["value"]),
                cell(heads_in(_artefact(run, row)), row),
                _MARKS[row["status"]] + (", slower" if is_slower(row) else ""),
            ]
        )
    return text_table(header, cells)


def _start_table(run: BenchRun, rows: Sequence[BenchRow]) -> str:
    header = ["artefact", *_kind_header(rows), "import\nms", "load\nms", "first run\nms"]
    header += ["peak\nMiB", "same class\nas the first, %"]
    delegates = dict.fromkeys(row["delegate"]["name"] for row in rows if row["delegate"])
    header += [f"nodes by\n{name}" for name in delegates]
    arenas = any(row.get("arena_bytes") for row in rows)
    header += ["arena\nbytes"] if arenas else []
    cells = []
    for row in rows:
        starts = [row[name] and row[name]["p50"] for name in ("import_ms", "load_ms", "first_ms")]
        cells.append(
            [
                _name(run, row),
                *_kind(row, rows),
                *(known(time, _ms) for time in starts),
                known(row["peak_memory_bytes"], lambda memory: f"{memory / MIB:.1f}"),
                known(row["agreement"], percent),
                *(_nodes(row["delegate"], name) for name in delegates),
                *([known(row.get("arena_bytes"), count)] if arenas else []),
            ]
        )
    return text_table(header, cells)


def _nodes(delegate: Mapping[str, Any] | None, name: str) -> str:
    if delegate is None or delegate["name"] != name:
        return NOTHING
    return f"{delegate['nodes']} of {delegate['of']}"


def _kind_header(rows: Sequence[BenchRow]) -> list[str]:
    apart = any(row["transfer"] != "copies" for row in rows)
    return ["runtime", *(["memory"] if apart else [])]


def _kind(row: BenchRow, rows: Sequence[BenchRow]) -> list[str]:
    """Runtime and, where any row stays in the GPU's memory, where inputs come from."""
    return [row["runtime"], *([row["transfer"]] if len(_kind_header(rows)) > 1 else [])]


def _fastest(run: BenchRun, rows: Sequence[BenchRow]) -> str:
    best = fastest_of(rows)
    if best is None:
        return "fastest: no row is sound\n"
    text = f"fastest: {_where(run, best, rows)}, {_ms(median_ms(best) or 0.0)} ms"
    if best is not rows[0] and best["ratio"] and is_sound(rows[0]):
        text += f", {1 / max(best['ratio']['value'], 1e-9):.1f} times as fast as the first"
    return f"{text}{_metrics(run, best)}{_unproven(best)}\n"


def _conditions(run: BenchRun) -> list[str]:
    machine, settings = run["machine"], run["settings"]
    start, end = machine["load_average"]
    load = "not known" if start is None else f"{start:g} at the start"
    load += "" if end is None else f", {end:g} at the end"
    host = f"{machine['host']}, " if machine.get("host") else ""
    lines = [
        f"machine: {host}{machine['cpu']}, {machine['cores']} cores, "
        f"{machine['system']}, governor {machine['governor'] or 'not readable'}, load {load}"
    ]
    if machine["gpu"]:
        lines.append(f"GPU: {machine['gpu']['name']}, driver {machine['gpu'].get('driver')}")
    lines += dict.fromkeys(filter(None, map(_runtime_line, run["rows"])))
    ways = dict.fromkeys(row["fed"] for row in run["rows"] if row.get("fed"))
    lines += [f"fed: {clean(fed, LONGEST_FED)}" for fed in ways]
    cost = next(
        (
            f"; every time holds the clock's {row['timer_ns']:.0f} ns, with an empty Python "
            f"call {row['call_ns']:.0f} ns"
            for row in run["rows"]
            if row["timer_ns"] is not None
        ),
        "",
    )
    lines.append(
        f"method: {settings['rounds']} rounds in turns, {settings['starts']} fresh starts, "
        f"± is half the {100 * settings['confidence']:g} % interval (bootstrap over rounds){cost}"
    )
    unsettled = sum(bool(row["warmup"]) and not row["warmup"]["settled"] for row in run["rows"])
    if unsettled:
        lines.append(f"note: the median did not settle in the warm-up of {unsettled} rows")
    if start is not None and start > _BUSY * machine["cores"]:
        lines.append("note: the machine was busy; trust the ratios, not the milliseconds")
    return lines


def _runtime_line(row: BenchRow) -> str:
    if row["version"] is None:
        return ""
    parts = [f"{row['runtime']} {row['version']}"]
    if row["provider"]:
        parts.append(row["provider"])
    parts += [f"numpy {row['numpy']}", f"Python {row['python']}"]
    if row["cpus"] is not None:
        parts.append(f"pinned to CPU {', '.join(map(str, row['cpus']))}")
    return "runtime: " + ", ".join(parts)


def _artefact(run: BenchRun, row: BenchRow) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run["artefacts"][row["artefact"]]
    return found


def _name(run: BenchRun, row: BenchRow) -> str:
    return clean(_artefact(run, row)["name"], _LONGEST_NAME, tail=True)


def _where(run: BenchRun, row: BenchRow, rows: Sequence[BenchRow]) -> str:
    text = _name(run, row)
    if len(runtimes_of(rows)) > 1:
        text += f" in {row['runtime']}"
    return text + (f" ({row['transfer']})" if row["transfer"] != "copies" else "")


def _metrics(run: BenchRun, row: BenchRow) -> str:
    heads = heads_in(_artefact(run, row))
    return f", {beside_model(heads, row)}" if is_known(heads, row) else ""


def _unproven(row: BenchRow) -> str:
    return " (unproven)" if row["status"] == "unproven" else ""


def _ms(time: float) -> str:
    """Milliseconds with three significant digits or more: 0.0412, 1.23, 123.4."""
    if time >= 100:
        return f"{time:,.0f}"
    return f"{time:.1f}" if time >= 10 else f"{time:.2f}" if time >= 1 else f"{time:.4f}"


def _half_width(interval: Mapping[str, float]) -> str:
    """Half the interval, as a percentage of the value."""
    width = (interval["high"] - interval["low"]) / 2 / max(interval["value"], 1e-12)
    return f"±{100 * width:.1f} %"


def _coloured(table: str, rows: Sequence[BenchRow]) -> str:
    """The table with the lines of rows that are wrong or failed in red."""
    lines = table.splitlines()
    head, body = lines[: -len(rows)], lines[-len(rows) :]
    body = [_red(line, row) for line, row in zip(body, rows, strict=True)]
    return "\n".join([*head, *body]) + "\n"


def _red(text: str, row: BenchRow) -> str:
    import click

    return text if is_sound(row) else click.style(text, fg="red", bold=row["status"] == "wrong")
