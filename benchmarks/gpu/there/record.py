"""The document of a run: begun, written after every row, and gone on with."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
from pathlib import Path

from deploy.errors import RequestError
from deploy.files import atomic_paths
from deploy.machine import describe_machine, governor, load_average
from deploy.statistics import CONFIDENCE

from .material import Material
from .plan import missing
from .process import Facts
from .table import markdown

_PACKAGES = ("onnxruntime", "numpy", "nvidia-", "tensorrt")
_OF_AN_ARTEFACT = (
    *("file", "name", "format", "bytes", "sha256", "quantize", "optimize", "sparsity"),
    *("accuracy", "reference_accuracy", "made"),
)


def open_record(options: argparse.Namespace, material: Material, device: Facts | None) -> Facts:
    """A new record, or the one in `options.out` with its rows.

    Raises RequestError where that one is of other artefacts, another machine or other settings.
    """
    fresh = _fresh(options, material, device)
    try:
        found: Facts = json.loads(options.out.read_text())["runs"][-1]
        same = all(found[key] == fresh[key] for key in ("artefacts", "settings", "data"))
        there, here = (
            {key: value for key, value in one["machine"].items() if key != "load_average"}
            for one in (found, fresh)
        )
        missing(found)
    except FileNotFoundError:
        return fresh
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RequestError("the results so far cannot be read", value=options.out) from error
    if not same or there != here:
        hint = "remove it, or give another --out"
        raise RequestError("the results so far are of another run", value=options.out, hint=hint)
    return found


def save(record: Facts, path: Path) -> None:
    """Write the record, as JSON and as a table, each at once."""
    record["machine"]["load_average"][1] = load_average()
    finished = not missing(record)
    record["finished"], record["interrupted"] = _now() if finished else None, not finished
    document = {"schema": "compressor.bench", "schema_version": 1, "runs": [record]}
    text = f"# {record['benchmark']}\n\n{markdown(record)}\n"
    for place, content in (
        (path, json.dumps(document, indent=1) + "\n"),
        (path.with_suffix(".md"), text),
    ):
        with atomic_paths(place) as (temporary,):
            temporary.write_bytes(content.encode())


def _fresh(options: argparse.Namespace, material: Material, device: Facts | None) -> Facts:
    return {
        "id": f"{options.benchmark}-{_now()}",
        "benchmark": options.benchmark,
        "started": _now(),
        "finished": None,
        "interrupted": True,
        "compressor_version": material.version,
        "machine": {
            **describe_machine(),
            "governor": governor(),
            "load_average": [load_average(), None],
            "gpu": device,
            "packages": _packages(),
            "python": platform.python_version(),
        },
        "settings": {
            "threads": [options.threads],
            "batches": options.batches,
            "rounds": options.rounds,
            "round_seconds": options.round_seconds,
            "warmup_seconds": options.warmup_seconds,
            "starts": 1,
            "time_limit_s": options.time_limit,
            "confidence": CONFIDENCE,
            "runtimes": options.runtime,
            "transfers": options.transfers,
        },
        "data": material.data,
        "artefacts": [
            {**{key: artefact[key] for key in _OF_AN_ARTEFACT}, "described": True}
            for artefact in material.artefacts
        ],
        "rows": [],
    }


def _packages() -> dict[str, str]:
    """The packages that matter here, with their versions, as Python would import them.

    Of all packages that hold onnxruntime, that is the first one only.
    """
    found: dict[str, tuple[str, str]] = {}
    for package in importlib.metadata.distributions():
        name = str(package.metadata["Name"] or "").lower()
        if name.startswith(_PACKAGES):
            holds = "onnxruntime" if name.startswith("onnxruntime") else name
            found.setdefault(holds, (name, package.version))
    return dict(sorted(found.values()))


def _now() -> str:
    now = datetime.datetime.now(datetime.timezone.utc)  # noqa: UP017 - Python 3.9
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
