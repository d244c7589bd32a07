"""Keeping what a benchmark measured, with what it was measured on."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.foundation import write_json
from deploy import describe_machine

RESULTS = Path(__file__).parent / "results"
_VERSIONS = (
    *(
        "ai-edge-litert",
        "click",
        "compressor",
        "keras",
        "numpy",
        "onnx",
        "onnxruntime-gpu",
        "scipy",
    ),
    "tensorflow",
)


def summarize(times: Sequence[float]) -> dict[str, float]:
    """Percentiles of times, in their unit."""
    return {f"p{q}": round(float(np.percentile(times, q)), 4) for q in (50, 90, 99)} | {
        "samples": len(times)
    }


def run_command(*arguments: str) -> str:
    """Run the command line, and return what it printed on standard output."""
    command = [str(Path(sys.executable).with_name("compressor")), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def save(name: str, result: dict[str, Any]) -> Path:
    """Write results/NAME.json and say where it lies."""
    path = RESULTS / f"{name}.json"
    write_json(path, {"benchmark": name, "conditions": conditions(), **result})
    print(f"written to: {path}")
    return path


def with_earlier(
    name: str, rows: Sequence[dict[str, Any]], key: Callable[[dict[str, Any]], Hashable]
) -> list[dict[str, Any]]:
    """Those rows of results/NAME.json that no row here replaces, which has the same key, and these
    rows, with when and where they were measured."""
    path = RESULTS / f"{name}.json"
    before = json.loads(path.read_text())["rows"] if path.is_file() else []
    found = {key(row): row for row in before}
    found |= {key(row): row | {"conditions": conditions()} for row in rows}
    return list(found.values())


def conditions() -> dict[str, Any]:
    """When, where and with what something is measured."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": describe_machine(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in _VERSIONS},
    }
