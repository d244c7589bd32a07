"""The command that writes a report."""

from __future__ import annotations

import json
from pathlib import Path

import click

import compressor
from compressor.commands.options import JSON, PATH
from compressor.commands.parameters import Command
from compressor.commands.progress import TerminalProgress


@click.command(cls=Command)
@click.argument("run", type=PATH)
@JSON
def report(run: Path, as_json: bool) -> None:
    """Write RUN/report.html: everything that is known of a run, on one page.

    RUN is the run directory of sweep, or of train or prune. The page needs no other file and no
    network; RUN/report.md with RUN/figures says the same. It holds what is there: sizes,
    accuracies, the paper's figures, what is left of the weights and of the structure, artefacts,
    and what bench measured (RUN/bench.json, its newest run).

    \b
    Examples:
      compressor report runs/sweep
      compressor report runs/train
    """
    with TerminalProgress() as progress:
        done = compressor.report_run(run, listener=progress)
    if as_json:
        click.echo(json.dumps({"page": str(done.page), "markdown": str(done.markdown)}, indent=2))
    else:
        click.echo(f"report: {done.page}")
