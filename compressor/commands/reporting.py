"""The command that writes a report."""

from __future__ import annotations

from pathlib import Path

import click

import compressor
from compressor.commands.options import CUSTOM, JSON, PATH
from compressor.commands.output import print_results
from compressor.commands.parameters import Command
from compressor.commands.progress import TerminalProgress


@click.command(cls=Command)
@click.argument("run", type=PATH)
@CUSTOM
@JSON
def report(run: Path, as_json: bool) -> None:
    """Write a report of a run, on one HTML page.

    RUN is the run directory of sweep, search, train or prune, or a folder with a .tflite or .onnx
    file and what was made of it: pruned files of the same layers, artefacts, bench.json.
    RUN/report.html needs no other file and no network; RUN/report.md, with RUN/figures, says the
    same. The report shows what the run directory has: sizes, accuracies, the paper's figures, the
    front and the trials of a search, the remaining weights and structure, artefacts, and the latest
    run of bench (in RUN/bench.json).

    \b
    Examples:
      compressor report runs/sweep
      compressor report runs/train
    """
    with TerminalProgress() as progress:
        done = compressor.report_run(run, listener=progress)
    made = {"page": str(done.page), "markdown": str(done.markdown)}
    print_results(made, lambda made: f"report: {made['page']}\n", as_json)
