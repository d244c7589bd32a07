"""The command that only reads: inspect."""

from __future__ import annotations

from pathlib import Path

import click

import compressor
from compressor.commands.options import CUSTOM, JSON, PATH
from compressor.commands.output import print_results
from compressor.commands.parameters import Command


@click.command(cls=Command)
@click.argument("path", type=PATH)
@click.argument("other", type=PATH, required=False)
@CUSTOM
@JSON
def inspect(path: Path, other: Path | None, as_json: bool) -> None:
    """Show what is in a model or an artefact, or compare two.

    PATH is a model, a checkpoint, a run directory or an artefact. Shown are parameters, zeros,
    multiply-accumulates (MACs) and bytes, layer by layer; for an artefact (.tflite, .onnx) the
    encoding and bytes of each weight, the operators with their versions, inputs and outputs, and
    its description. Nothing in the file is executed. With OTHER (a model, a checkpoint, an artefact
    or the folder of a step), the two are compared: PATH before, OTHER after.

    \b
    Examples:
      compressor inspect runs/sweep/seed-0/0.9/step_2_2
      compressor inspect runs/train/step_1 runs/train/step_3
      compressor inspect model.keras model.onnx
    """
    from compressor.report import inspection_text

    print_results(compressor.inspect(path, other), inspection_text, as_json)
