"""The bench document (bench.json): its schema, a light check, and views of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.errors import CheckpointError
from compressor.runs.schema import check_schema, check_version, load_schema, read_document

BENCH = "bench.json"
BENCH_SCHEMA = "compressor.bench"
BENCH_SCHEMA_VERSION = 1

Bench = Mapping[str, Any]
"""A bench document; bench.schema.json beside this file says what is in it."""
BenchRun = Mapping[str, Any]
"""One of its runs."""
BenchRow = Mapping[str, Any]
"""One row of a run."""


def bench_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the bench document."""
    return load_schema("bench.schema.json")


def check_bench(bench: Bench) -> None:
    """Raise CheckpointError in one line unless `bench` can be reported.

    Checks the name, the version and the schema. Every row must name an artefact of its run, and no
    two artefacts of a run may have one name.
    """
    check_version(bench, "bench document", BENCH_SCHEMA, BENCH_SCHEMA_VERSION)
    check_schema(bench, bench_schema(), "bench document", "bench")
    for number, run in enumerate(bench["runs"]):
        names = [artefact["name"] for artefact in run["artefacts"]]
        if len(set(names)) < len(names):
            raise CheckpointError(
                "bench document gives two artefacts one name", value=f"bench.runs[{number}]"
            )
        for index, row in enumerate(run["rows"]):
            if row["artefact"] >= len(names):
                raise CheckpointError(
                    "bench document has no such artefact",
                    value=f"bench.runs[{number}].rows[{index}].artefact",
                )


def row_fault(row: BenchRow) -> str:
    """What the schema refuses in a row; empty where it refuses nothing."""
    try:
        check_schema(row, bench_schema()["$defs"]["row"], "row", "row")
    except CheckpointError as error:
        return f"{error.value}: {error.hint}"
    return ""


def read_bench(path: Path) -> dict[str, Any]:
    """Read and check the bench document at `path`; raises CheckpointError in one line."""
    return read_document(path, check_bench)


def newest_run(bench: Bench) -> BenchRun | None:
    """The last run that measured anything; None where none did."""
    return next((run for run in reversed(bench["runs"]) if run["rows"]), None)


def is_sound(row: BenchRow) -> bool:
    """Whether a row may be called fastest or lie on a Pareto front."""
    return row["status"] in ("right", "unproven")


def is_slower(measured: Mapping[str, Any]) -> bool:
    """Whether a row, or the `speed` of an artefact, is surely slower than what it is compared with.

    That is the first row of its table, or dense float32. All of the ratio's interval is above 1.
    """
    return measured.get("ratio") is not None and measured["ratio"]["low"] > 1


def median_ms(row: BenchRow) -> float | None:
    """The median latency of a batch in ms; None where it was not measured."""
    latency = row.get("latency_ms")
    return None if latency is None else float(latency["p50"]["value"])


def fastest_of(rows: Iterable[BenchRow]) -> BenchRow | None:
    """The sound row with the shortest median latency; None where none was measured."""
    timed = [row for row in rows if is_sound(row) and median_ms(row) is not None]
    return min(timed, key=lambda row: median_ms(row) or 0.0, default=None)


def fastest(run: BenchRun) -> BenchRow | None:
    """`fastest_of` the rows with the fewest threads and smallest batch that have one."""
    found = (fastest_of(rows_with(run, setting)) for setting in settings_of(run["rows"]))
    return next((row for row in found if row is not None), None)


def rows_with(run: BenchRun, setting: tuple[int, int]) -> list[BenchRow]:
    """The rows measured with this (threads, batch)."""
    return [row for row in run["rows"] if (row["threads"], row["batch"]) == setting]


def settings_of(rows: Sequence[BenchRow]) -> list[tuple[int, int]]:
    """Every measured (threads, batch), in ascending order."""
    return sorted({(row["threads"], row["batch"]) for row in rows})


def runtimes_of(rows: Sequence[BenchRow]) -> list[str]:
    """The runtimes, in the order of their first rows."""
    return list(dict.fromkeys(row["runtime"] for row in rows))
