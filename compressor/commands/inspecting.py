"""Commands that only look."""

from __future__ import annotations

from pathlib import Path

import click

import compressor
from compressor.commands.options import (
    JSON,
    PATH,
)
from compressor.commands.output import print_results
from compressor.commands.parameters import Command


@click.command(cls=Command)
@click.argument("path", type=PATH)
@click.argument("other", type=PATH, required=False)
@JSON
def inspect(path: Path, other: Path | None, as_json: bool) -> None:
    """Show what PATH, a model, a checkpoint, a run directory or an artefact, holds.

    Parameters, zeros, multiply-accumulates (MACs) and bytes, layer by layer. Of an artefact
    (.tflite, .onnx): how each weight is stored and its bytes, operators with their versions, inputs
    and outputs, and its description; nothing in it is executed. With OTHER, also a model, a
    checkpoint, an artefact or the folder of a step: both are compared, PATH before, OTHER after.

    \b
    Examples:
      compressor inspect runs/sweep/seed-0/0.9/step_2_2
      compressor inspect runs/train/step_1 runs/train/step_3
      compressor inspect model.keras model.onnx
    """
    from compressor.report import inspection_text

    print_results(compressor.inspect(path, other), inspection_text, as_json)
