"""Options of what a model is judged by: its task, its metrics, and what a result may lose."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from compressor.commands.parameters import options
from compressor.errors import UsageError
from deploy.text import clean

_MOST_BYTES = 2**20
_WEIGHTS = 'give balanced, 0=1,1=14, or a JSON file such as {"0": 1, "1": 14}'


def _asked(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> Any:
    """None, one value for all outputs, or a dict by the names of outputs."""
    pairs = [word.rpartition("=") for word in given]
    named = {name: value for name, _, value in pairs if name}
    if not given or len(named) == len(given):
        return named or None
    if len(given) > 1:
        shown = ", ".join(map(clean, given))
        raise click.BadParameter(f"{shown}: give one, or OUTPUT=VALUE once for each output")
    return pairs[0][2]


def _weights(context: click.Context, parameter: click.Parameter, given: str | None) -> Any:
    if given is None or given == "balanced":
        return given
    if "=" in given:
        return _by_class(given, dict(part.split("=", 1) for part in _pairs(given)))
    return _by_class(given, _read(Path(given)))


def _pairs(given: str) -> list[str]:
    parts = [part.strip() for part in given.split(",") if part.strip()]
    if not all(part.count("=") == 1 for part in parts):
        raise UsageError("class weights are not like 0=1,1=14", value=clean(given))
    return parts


def _by_class(shown: str, found: dict[str, Any]) -> dict[int, float]:
    try:
        return {int(name): float(weight) for name, weight in found.items()}
    except (ValueError, TypeError) as error:
        what = "class weights are not numbers"
        raise UsageError(what, value=clean(shown), hint=_WEIGHTS) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        found = json.loads(content) if len(content) <= _MOST_BYTES else None
    except (OSError, ValueError, RecursionError):
        found = None
    if isinstance(found, list):
        found = {str(place): weight for place, weight in enumerate(found)}
    if not isinstance(found, dict):
        raise UsageError(
            "class weights cannot be read",
            value=clean(path),
            hint=_WEIGHTS,
        )
    return found


TASK = options(
    click.option(
        "--task",
        multiple=True,
        callback=_asked,
        metavar="TASK",
        help="What the outputs are: classification, binary, multi-label, regression, "
        "reconstruction or segmentation; of several outputs OUTPUT=TASK, repeated. Default: what "
        "prune was given for the model, else by the compiled loss, the outputs and the targets.",
    ),
    click.option(
        "--metric",
        multiple=True,
        callback=_asked,
        metavar="NAME",
        help="The metric that decides: accuracy, mean_recall, precision, recall, auc, "
        "mean_average_precision, label_accuracy, mean_iou, box_iou, mean_absolute_error, "
        "mean_squared_error, root_mean_squared_error or reconstruction_error; of several outputs "
        "OUTPUT=NAME, repeated. Default: what prune was given for the model, else the first "
        "compiled one, else the usual one of the task.",
    ),
)
MAX_DROP = click.option(
    "--max-drop",
    type=click.FloatRange(0),
    metavar="P",
    help="Most that the metric that decides may lose, in points of accuracy and the like, in "
    "percent of an error. A larger loss ends in exit code 1; the files are kept. Default: no "
    "limit.",
)
MAX_CLASS_DROP = click.option(
    "--max-class-drop",
    type=click.FloatRange(0),
    metavar="POINTS",
    default=5.0,
    help="Points of recall that a class may lose before a warning says so.",
)
CLASS_WEIGHT = click.option(
    "--class-weight",
    callback=_weights,
    metavar="WEIGHTS",
    help="How much the examples of each class count in retraining: balanced, 0=1,1=14, or a JSON "
    "file with such an object. Default: all alike.",
)
