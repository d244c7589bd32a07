"""What commands print, and where they write."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from deploy.text import clean

_LONGEST_LINE = 5000


def run_directory_of(model: Path, output: Path | None, suffix: str) -> Path:
    """The run directory that a command writes to, given its MODEL and -o."""
    from compressor.runs import output_directory

    return output_directory(model, output, suffix)


def print_records(records: dict[str, Any], directory: Path, as_json: bool, **options: Any) -> None:
    """Print the records of steps, as `records_text` does with `options`, and where they are."""
    from compressor.report import records_text

    text = functools.partial(records_text, **options)
    print_results(records, text, as_json, written_to=directory)


def print_results(
    results: Any,
    text: Callable[[Any], str],
    as_json: bool,
    *,
    written_to: Path | str | None = None,
) -> None:
    """Print results as JSON, or as `text` formats them, and then where they were written to.

    With JSON the latter goes to standard error.
    """
    if as_json:
        click.echo(json.dumps(results, indent=2, allow_nan=False))
    else:
        from compressor.report import cleaned

        click.echo(text(cleaned(results)), nl=False)
    if written_to is not None:
        say(f"written to: {written_to}", err=as_json)


def say(line: str, *, err: bool = False) -> None:
    """Print one line, with whatever names of files it has."""
    click.echo(clean(line, _LONGEST_LINE), err=err)
