"""The commands that search for the best artefact, and make one again: search, apply."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

import compressor
from compressor.commands.judging import TASK
from compressor.commands.options import (
    CLUSTER,
    COUNT,
    CUSTOM,
    FORCE,
    JSON,
    MODEL_DATA,
    PATH,
    SEED,
    THREADS,
    VALIDATION,
    WORKERS,
    given_data,
    host_of,
    host_options,
    output_option,
)
from compressor.commands.output import print_results
from compressor.commands.parameters import Command, List
from compressor.commands.progress import TerminalProgress
from compressor.errors import CheckFailedError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
_TIME = re.compile(r"(\d{1,8}(?:\.\d{1,3})?)([smh]?)")


class Duration(click.ParamType):
    """A time such as 90s, 10m or 1.5h; without a unit seconds."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Turn `10m` into 600.0."""
        if not isinstance(value, str):
            return float(value)
        match = _TIME.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is not a time such as 90s, 10m or 1.5h", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


@click.command(cls=Command)
@click.argument("model", type=PATH)
@output_option("Run directory to write. Default: NAME-search next to MODEL.", metavar="DIR")
@MODEL_DATA
@click.option(
    "--minimize",
    type=click.Choice(["size", "latency"]),
    help="What the artefact is to be best in. Default: size, or what the device prefers.",
)
@click.option(
    "--max-drop",
    type=float,
    metavar="P",
    help="How much worse than the model's the metric that decides may be, in points of accuracy "
    "and the like, in percent of an error. Default: 0.1.",
)
@click.option(
    "--min-accuracy",
    type=float,
    metavar="A",
    help="Instead the least accuracy, or other fraction that decides, such as the mean IoU, 0 to "
    "1.",
)
@click.option(
    "--max-error",
    type=float,
    metavar="E",
    help="Instead the largest error, where one decides, such as the mean absolute error.",
)
@click.option("--max-bytes", type=COUNT, help="Bytes that an artefact may have.")
@click.option(
    "--max-latency-ms", type=float, metavar="MS", help="Latency that it may have, on one thread."
)
@click.option("--max-ram", type=COUNT, metavar="BYTES", help="RAM that a process running it takes.")
@click.option(
    "--format",
    "formats",
    type=List(),
    metavar="LIST",
    help="Formats to write: tflite, onnx. Default: both, or the device's.",
)
@click.option(
    "--device",
    metavar="NAME|FILE",
    help="Take runtime, limits of storage and RAM, and preference from this device's profile.",
)
@host_options("Measure the latency on this machine, over ssh. Default: here.")
@click.option(
    "--time-budget",
    type=Duration(),
    metavar="TIME",
    help="How long to search: 90s, 10m, 1.5h. Default: 10m, or no limit with --trials.",
)
@click.option("--trials", type=COUNT, help="How many models to train at most.")
@click.option("--max-steps", type=COUNT, help="Training steps (batches) per trial at most.")
@click.option(
    "--de-scheme",
    type=click.Choice(["rand/1", "rand/2", "best/1", "best/2"]),
    default="best/2",
    help="Scheme of Differential Evolution, which proposes the widths of all layers together.",
)
@click.option("--de-population", type=COUNT, default=10, help="Its population N.")
@click.option("--de-scale", type=float, default=0.6, help="Its scale F.")
@click.option("--de-crossover", type=float, default=0.8, help="Its crossover rate CR.")
@click.option("--de-generations", type=COUNT, default=2, help="Generations after the first.")
@WORKERS
@CLUSTER
@click.option(
    "--trial-limit",
    type=Duration(),
    metavar="TIME",
    help="A trial that takes longer fails. Default: half of the time budget, at least a minute.",
)
@TASK
@VALIDATION
@THREADS
@SEED
@CUSTOM
@FORCE
@JSON
def search(
    model: Path,
    output: Path | None,
    data_dir: Path | None,
    formats: tuple[str, ...] | None,
    device: str | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Search for the smallest or fastest artefact.

    MODEL is a Keras model (.keras, .h5 or SavedModel), which is narrowed, retrained and pruned in
    many ways, or a .tflite or .onnx file, which is pruned without retraining. The best are
    exported, proven in their runtimes, and measured in turns with the model. All is chosen on
    validation examples, by accuracy, or by what else decides for the task of the model. The same
    command goes on where it was stopped, also with more time. If nothing keeps to the goal, the
    nearest is written, and the exit code is 1.

    \b
    Examples:
      compressor search model.keras --data data.npz -o found
      compressor search model.keras --min-accuracy 0.99 --max-bytes 20000 --time-budget 40m
      compressor search model.keras --minimize latency --max-drop 0 --format tflite
      compressor search unet.keras --data masks.npz --metric mean_iou --max-drop 1
    """
    from compressor.runs import output_directory
    from compressor.searching import SEARCH_SUFFIX

    evolution = compressor.Evolution(
        options.pop("de_scheme"),
        options.pop("de_population"),
        options.pop("de_scale"),
        options.pop("de_crossover"),
        options.pop("de_generations"),
    )
    goal, host = _goal(formats, device, options), host_of(options)
    with TerminalProgress() as progress:
        found = compressor.search(
            model,
            given_data(data_dir),
            goal,
            output,
            evolution=evolution,
            host=host,
            force=force,
            listener=progress,
            **options,
        )
    from compressor.report import search_text

    written = output_directory(model, output, SEARCH_SUFFIX)
    print_results(found, search_text, as_json, written_to=written)
    if not found["met"]:
        reason = next((r for r in found["reasons"].values() if "nothing" in r), "")
        raise CheckFailedError("the goal was not met", value=reason or "an artefact is missing")


def _goal(
    formats: tuple[str, ...] | None, device: str | None, options: dict[str, Any]
) -> compressor.Goal:
    from compressor.exporters import FORMATS

    given = {
        name: value
        for name in (
            "minimize",
            "max_drop",
            "min_accuracy",
            "max_error",
            "max_bytes",
            "max_latency_ms",
            "max_ram",
        )
        if (value := options.pop(name)) is not None
    }
    if formats is not None:
        unknown = [name for name in formats if name not in FORMATS]
        if unknown:
            raise click.UsageError(f"{unknown[0]!r} is no format: choose from tflite, onnx.")
        given["runtimes"] = tuple(FORMATS[name] for name in formats)
    if device is not None:
        from compressor.bundling import find_device

        if formats is not None:
            raise click.UsageError("--device names the format: leave --format out.")
        profile = find_device(device)
        given = {
            "minimize": profile.prefer.optimize,
            "max_bytes": profile.storage_bytes,
            "max_ram": profile.memory_bytes,
            **given,
            "runtimes": (profile.runtime,),
        }
    return compressor.Goal(**given)


@click.command(cls=Command)
@click.argument("recipe", type=PATH)
@click.argument("model", type=PATH)
@output_option("Artefact to write. Default: NAME.tflite or NAME.onnx next to MODEL.")
@MODEL_DATA
@THREADS
@CUSTOM
@FORCE
@JSON
def apply(
    recipe: Path,
    model: Path,
    output: Path | None,
    data_dir: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make an artefact again by its recipe.

    RECIPE is a file that search wrote beside an artefact, NAME.recipe.json; MODEL is the model that
    was searched, or another one of the same layers.

    \b
    Example:
      compressor apply found/artefacts/NAME.onnx.recipe.json model.keras -o again.onnx
    """
    with TerminalProgress() as progress:
        record = compressor.apply_recipe(
            recipe, model, output, given_data(data_dir), listener=progress, **options
        )
    from compressor.report import applied_text

    print_results(record, applied_text, as_json, written_to=record["path"])
