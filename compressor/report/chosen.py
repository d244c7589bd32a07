"""Which trials of a search its recommended artefacts were made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_TRIAL = re.compile(r"trial-[0-9a-f]{12}")


def recommended_rows(search: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows of the front that are recommended."""
    files = search["recommended"].values()
    return [row for row in search["front"] if row["file"] in files]


def chosen_trials(search: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and title of the trials behind what is recommended, or of the best so far."""
    found: dict[str, list[str]] = {}
    for row in recommended_rows(search):
        found.setdefault(row["trial"], []).append(row["runtime"])
    if not found and search["best"] is not None:
        return [(search["best"], "the best so far")] if _TRIAL.fullmatch(search["best"]) else []
    return [
        (trial, f"for {' and '.join(runtimes)}")
        for trial, runtimes in found.items()
        if _TRIAL.fullmatch(trial)
    ]
