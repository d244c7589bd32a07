"""What commands print, and where they write."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def run_directory_of(model: Path, output: Path | None, suffix: str) -> Path:
    """Where a command that takes a model or a run directory writes."""
    from compressor.runs import output_directory

    return output_directory(model, output, suffix)


def print_records(records: dict[str, Any], directory: Path, as_json: bool) -> None:
    """Print the records of steps, and where they lie."""
    from compressor.report import records_text

    print_results(records, records_text, as_json)
    click.echo(f"written to: {directory}", err=as_json)


def print_results(results: Any, text: Callable[[Any], str], as_json: bool) -> None:
    """Print what a command found: as JSON, or as `text` makes it."""
    if as_json:
        click.echo(json.dumps(results, indent=2, allow_nan=False))
    else:
        click.echo(text(results), nl=False)
