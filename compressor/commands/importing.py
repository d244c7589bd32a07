"""The command that makes a Keras 3 file of what people have: import."""

from __future__ import annotations

from pathlib import Path

import click

import compressor
from compressor.commands.options import CUSTOM, FORCE, JSON, PATH, output_option
from compressor.commands.output import print_results
from compressor.commands.parameters import Command
from compressor.commands.progress import TerminalProgress


@click.command("import", cls=Command)
@click.argument("model", type=PATH)
@output_option("The .keras file to write. Default: NAME.keras next to MODEL.")
@CUSTOM
@FORCE
@JSON
def import_command(model: Path, output: Path | None, force: bool, as_json: bool) -> None:
    """Write a model of Keras 2 as a Keras 3 file, proven.

    MODEL is a legacy .h5 file, a SavedModel folder that Keras wrote, or a .keras file, told by its
    content. What differs between Keras 2 and 3 is translated; the new file and the source run on
    the same inputs, and nothing is written if an output differs by more than 1e-4 of their scale.
    The source runs in a process of its own: an .h5 file in tf-keras (`compressor runtimes install
    tf-keras`), a SavedModel by its serving function. Code in the file (Lambda) is never run. Every
    command takes such models directly, too, without this comparison.

    \b
    Examples:
      compressor import old.h5 -o model.keras
      compressor import saved_model_folder
    """
    with TerminalProgress() as progress:
        record = compressor.import_model(model, output, force=force, listener=progress)
    from compressor.report import import_text

    print_results(record, import_text, as_json, written_to=record["output"])
