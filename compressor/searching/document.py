"""The search document (search.json), and which trials are the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.runs import check_schema, check_version, load_schema, read_document
from compressor.searching.goal import Goal
from compressor.searching.standard import Standard
from compressor.searching.trials import Trial

SEARCH = "search.json"
DENSE, ARTEFACTS = "dense", "artefacts"
"""Steps of a search."""
SEARCH_SCHEMA = "compressor.search"
SEARCH_SCHEMA_VERSION = 1


def search_document(
    state: str,
    goal: Goal,
    standard: Standard,
    dense: Mapping[str, Any],
    done: Sequence[Trial],
    found: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The document; `found` is what `finish` returned, None before. Schema: search.schema.json."""
    made: Mapping[str, Any] = found or {}
    front, recommended = made.get("front", []), made.get("recommended", {})
    shipped = [row for row in front if row["file"] in recommended.values()]
    best = best_first(done, goal, standard)
    document = {
        "schema": SEARCH_SCHEMA,
        "schema_version": SEARCH_SCHEMA_VERSION,
        "state": state,
        "goal": goal.describe(),
        **standard.describe(),
        "dense": {**dense, **made.get("test", {})},
        "best": best[0].name if best else None,
        "trials": [trial.describe() for trial in done],
        "front": front,
        "recommended": recommended,
        "reasons": made.get("reasons", {}),
        "runtimes": made.get("dense", {}),
        "failed": made.get("failed", []),
        "met": len(shipped) == len(goal.runtimes)
        and not any(standard.shortfalls(row, goal) for row in shipped),
    }
    _check(document)
    return document


def read_search(path: Path | str) -> dict[str, Any]:
    """Read a search.json; raises CheckpointError in one line for a file that is none."""
    return read_document(Path(path), _check)


def _check(document: Any) -> None:
    check_version(document, "search document", SEARCH_SCHEMA, SEARCH_SCHEMA_VERSION)
    check_schema(document, load_schema("search.schema.json"), "search document", "search")


def best_first(done: Sequence[Trial], goal: Goal, standard: Standard) -> list[Trial]:
    """Trials that are good enough, the cheapest first; then the others, the best first.

    Those that failed are left out. For the size a trial costs the bytes of its kernels, for the
    latency its multiply-accumulates.
    """
    cost = "kernel_bytes" if goal.minimize == "size" else "macs"

    def key(trial: Trial) -> tuple[float, ...]:
        row = trial.result
        error = standard.error(row)
        return (0, row[cost], error) if standard.holds(row) else (1, error, row[cost])

    return sorted((trial for trial in done if not trial.failed), key=key)
