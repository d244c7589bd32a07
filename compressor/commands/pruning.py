"""Commands that make a model smaller: prune, shrink, sensitivity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

import compressor
from compressor.commands.judging import CLASS_WEIGHT, MAX_CLASS_DROP, MAX_DROP, TASK
from compressor.commands.options import (
    COUNT,
    CRITERION,
    CUSTOM,
    FORCE,
    GRANULARITY,
    INPUT_RANGE,
    INPUT_SIZE,
    JSON,
    MODEL_DATA,
    PATH,
    SEED,
    THREADS,
    VALIDATION,
    data_option,
    given_data,
    layers_option,
    output_option,
    run_directory_option,
    training_options,
)
from compressor.commands.output import print_records, print_results, run_directory_of
from compressor.commands.parameters import Command, List, Sparsities
from compressor.commands.progress import TerminalProgress
from compressor.errors import UsageError

LAYERS = layers_option(
    "all",
    "Layers to prune: names as inspect shows them, such as fc1 or attention/query (a part of a "
    "layer), or all.",
)


@click.command(cls=Command)
@click.argument("model", type=PATH)
@run_directory_option("-pruned")
@MODEL_DATA
@click.option(
    "--sparsity",
    type=Sparsities(),
    metavar="P",
    help="Fraction of each layer's weights to remove, 0 to below 1; or one per layer: "
    "fc1=0.95,conv2=0.8. Default: 0.9; n:m implies its own.",
)
@click.option("--global", "is_global", is_flag=True, help="One sparsity over all layers together.")
@LAYERS
@GRANULARITY
@CRITERION
@click.option(
    "--calibration",
    type=COUNT,
    metavar="N",
    help="Training inputs for the criterion: with labels for taylor's gradients (default: 1024), "
    "without for reconstruct (default: 8192).",
)
@click.option(
    "--pruning-schedule",
    type=click.Choice(["one-shot", "gradual", "iterative"]),
    default="one-shot",
    help="Prune at once, gradually while retraining (Zhu and Gupta's cubic schedule), or "
    "iteratively: prune and retrain, in --rounds.",
)
@INPUT_SIZE
@INPUT_RANGE
@click.option("--rounds", type=COUNT, help="Rounds of iterative pruning. Default: 3.")
@click.option(
    "--ramp",
    type=float,
    help="Fraction of the training steps by which gradual pruning reaches the sparsity. "
    "Default: 0.6.",
)
@click.option("--retrain/--no-retrain", default=True, help="Retrain the remaining weights, or not.")
@click.option("--epochs", type=float, help="Length of the retraining, in epochs.")
@click.option(
    "--rewind", is_flag=True, help="Retrain with the learning rates from the end of the training."
)
@click.option("--distill", is_flag=True, help="Distil from the dense model while retraining.")
@click.option("--distill-weight", type=float, help="Weight of the distillation loss. Default: 0.3.")
@click.option("--temperature", type=float, help="Temperature of the distillation. Default: 2.")
@CLASS_WEIGHT
@TASK
@MAX_DROP
@MAX_CLASS_DROP
@training_options("quick")
@SEED
@CUSTOM
@FORCE
@JSON
def prune(
    model: Path,
    output: Path | None,
    retrain: bool,
    force: bool,
    as_json: bool,
    data_dir: Path | None,
    seed: int,
    max_steps: int | None,
    max_drop: float | None,
    max_class_drop: float,
    **options: Any,
) -> None:
    """Remove most weights of a model, and retrain the rest.

    MODEL is a Keras model (.keras, .h5 or SavedModel) or a run directory. With --no-retrain,
    magnitude needs no data; no accuracy is measured then. With it, MODEL may also be a .tflite or
    .onnx file of any origin: weights, blocks, n:m or channels go, by magnitude or reconstruct (with
    --data or --input-range), and -o is the file to write, by default NAME-pruned next to MODEL.

    A model that is no better than the same answer to everything (the largest class, the mean) is
    not retrained: exit code 2, unless --force. What an earlier pruning made zero stays zero. What
    is lost by more than --max-drop ends in exit code 1, with the files kept.

    \b
    Examples:
      compressor prune model.keras --data data.npz --sparsity 0.8 -o pruned
      compressor prune model.keras --granularity channel --sparsity 0.5 -o narrow
      compressor prune model.keras --criterion reconstruct --no-retrain -o fast
      compressor prune found.onnx --no-retrain --sparsity 0.8 -o pruned.onnx
      compressor prune model.keras --pruning-schedule gradual --sparsity 0.98 --epochs 4 --distill
    """
    _refuse_idle(options, retrain=retrain)
    chosen = {name: options.pop(name) for name in (*_SPEC, *_DISTILLATION)}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    teaching = {_DISTILLATION[name]: chosen.pop(name) for name in _DISTILLATION if name in chosen}
    distillation = compressor.Distillation(**teaching) if options.pop("distill") else None
    spec = compressor.PruningSpec(
        sparsity=options.pop("sparsity"),
        layers=options.pop("layers"),
        scope="global" if options.pop("is_global") else "layer",
        schedule=options.pop("pruning_schedule"),
        **chosen,
    )
    from compressor.pruning import check_drop, data_to_prune
    from compressor.runs import is_graph, model_and_output

    made = {name: options.pop(name) for name in ("input_size", "input_range")}
    if is_graph(model):
        if retrain:
            raise UsageError(
                "retraining needs the Keras model",
                value=model,
                hint="a .tflite or .onnx file is pruned with --no-retrain",
            )
        _refuse_training(model)
        graph_data = given_data(data_dir)
        asked = {name: options[name] for name in ("task", "metric")}
        if graph_data is None and (max_drop is not None or any(asked.values())):
            raise UsageError(_NEED_DATA, value=model)
        record = compressor.prune_graph(
            model, output, spec, graph_data, force=force, **made, **asked
        )
        print_results(record, _graph_text, as_json, written_to=record["path"])
        check_drop(_before_and_after(record["comparison"]), max_drop)
        return
    if idle := [name for name, value in made.items() if value is not None]:
        option = f"--{idle[0].replace('_', '-')}"
        raise UsageError(f"{option} is for .tflite and .onnx files", value=model)
    source, _ = model_and_output(model, "step_1", output, "-pruned")
    data = data_to_prune(source, given_data(data_dir), spec, retrain=retrain)
    plan = None
    if data is not None:
        plan = compressor.make_plan(
            data,
            sparsities=(spec.highest_sparsity,),
            seeds=(seed,),
            steps=max_steps,
            distillation=distillation,
            repaired=spec.repairs,
            **options,
        )
    elif max_drop is not None or options["task"] or options["metric"]:
        raise UsageError(_NEED_DATA, value=model)
    with TerminalProgress() as progress:
        records = compressor.prune_run(
            model, output, spec, plan, retrain=retrain, force=force, listener=progress
        )
    shown = {"max_class_drop": max_class_drop / 100}
    print_records(records, run_directory_of(model, output, "-pruned"), as_json, **shown)
    check_drop(records, max_drop)


def _graph_text(record: dict[str, Any]) -> str:
    lines = [f"left alone {name}: {why}" for name, why in record.get("left_alone", {}).items()]
    lines += [f"warning: {text}" for text in record.get("warnings", ())]
    for row in record["layers"]:
        shape, gone = "x".join(map(str, row["shape"])), 1 - row["kept"] / row["parameters"]
        how = record.get("reconstruction", {}).get(row["layer"], {})
        error = ""
        if "error" in how:
            error = f", error {how['error']:.3g} (by magnitude {how['magnitude_error']:.3g})"
        what = f"{100 * gone:.1f} % pruned"
        if "units" in row:
            what = f"{row['units_kept']} of {row['units']} units kept"
        lines.append(f"{row['layer']}: {shape}, {what}{error}")
        lines += [f"  {how['note']}"] if "note" in how else []
        if "not_refit" in how:
            lines.append(f"  nothing makes up for its units in {', '.join(how['not_refit'])}")
    from compressor.report import before_and_after

    found = record["comparison"]
    same = ""
    if found["agreement"] is not None:
        share = f"{100 * found['agreement']:.1f} %"
        same = f"; {share} of {found['examples']} examples get the same class as before"
    narrowed = any("units" in row for row in record["layers"])
    zeros = "" if narrowed else ", zeros included: compressor export stores them small"
    lines.append(f"{record['bytes']:,} bytes{zeros}; {before_and_after(found)}{same}")
    return "\n".join(lines) + "\n"


_SPEC = ("granularity", "criterion", "calibration", "rounds", "ramp")
_TRAINING = (
    *("preset", "max_steps", "batch_size", "learning_rate", "schedule", "validation"),
    *("threads", "seed", "max_class_drop"),
)
_NEED_DATA = "--task, --metric and --max-drop need data"
_DISTILLATION = {"distill_weight": "weight", "temperature": "temperature"}


def _refuse_idle(options: dict[str, Any], *, retrain: bool) -> None:
    """Refuse options that have no effect without another one."""
    schedule = options["pruning_schedule"]
    idle = {"rounds": "--pruning-schedule iterative"} if schedule != "iterative" else {}
    if schedule != "gradual":
        idle["ramp"] = "--pruning-schedule gradual"
    if options["criterion"] == "magnitude":
        idle["calibration"] = "--criterion taylor or reconstruct"
    if not options["distill"]:
        idle |= dict.fromkeys(_DISTILLATION, "--distill")
    if not retrain:
        idle |= dict.fromkeys(("distill", "rewind", "epochs", "class_weight"), "retraining")
    for name, needed in idle.items():
        if options[name] not in (None, False):
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} has no effect without {needed}.")


def _before_and_after(comparison: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The metrics of a comparison as those of steps."""
    from deploy.tasks import part_key, read_heads

    heads = read_heads(comparison.get("heads"))
    # Not only those that decide: where one has no value, another of the head does.
    keys = [head.key(name) for head in heads for name in head.shown]
    before = {key: comparison[part_key(key, "reference_")] for key in keys if key in comparison}
    return {"dense": before, "pruned": comparison}


def _refuse_training(model: Path) -> None:
    """Refuse options of the training, which a .tflite or .onnx file gets none of."""
    context = click.get_current_context()
    for name in _TRAINING:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} has no effect on this file", value=model)


@click.command(cls=Command)
@click.argument("model", type=PATH)
@output_option(
    "The .keras file to write. Default: NAME-shrunk.keras next to MODEL, or shrunk.keras in a run "
    "directory."
)
@data_option("none; the models are compared on random inputs, and no accuracy is measured")
@click.option(
    "--round-to",
    type=COUNT,
    default=1,
    help="Keep layer widths at multiples of this; runtimes are fast with 4 or 8.",
)
@click.option(
    "--fold-batchnorm/--no-fold-batchnorm",
    default=True,
    help="Fold BatchNormalization into the preceding kernel, or keep it for further training.",
)
@THREADS
@INPUT_SIZE
@CUSTOM
@FORCE
@JSON
def shrink(
    model: Path,
    output: Path | None,
    data_dir: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Remove units and channels that no longer matter, exactly.

    MODEL is a Keras model (.keras, .h5 or SavedModel) or a run directory. The smaller model
    computes the same function: both run on the same inputs, and it is refused if an output differs
    by more than 1e-5 of their scale.

    \b
    Example:
      compressor shrink pruned --data data.npz --round-to 8 -o small.keras
    """
    data = given_data(data_dir)
    record = compressor.shrink_file(model, output, data, **options)
    record["comparison"] = compressor.inspect(record.pop("source"), record["output"])
    from compressor.report import shrinking_text

    print_results(record, shrinking_text, as_json, written_to=record["output"])


@click.command(cls=Command)
@click.argument("model", type=PATH)
@output_option(
    "Folder for sensitivity.json, .csv, .png and .svg. Default: no files are written.",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
)
@MODEL_DATA
@click.option(
    "--sparsities",
    type=List(float),
    metavar="LIST",
    help="Sparsities to measure at. Default: 0.1 to 0.9 in tenths, 0.95 and 0.99; n:m "
    "implies its own.",
)
@LAYERS
@GRANULARITY
@CRITERION
@click.option(
    "--images", type=COUNT, default=1000, help="Validation images to measure accuracy on."
)
@TASK
@VALIDATION
@THREADS
@CUSTOM
@JSON
def sensitivity(
    model: Path, output: Path | None, data_dir: Path | None, as_json: bool, **options: Any
) -> None:
    """Measure how pruning each layer alone affects accuracy.

    MODEL is a Keras model (.keras, .h5 or SavedModel) or the folder of a step; it is neither
    retrained nor changed. Layers that tolerate a high sparsity can be pruned more than the others:
    `compressor prune` takes a sparsity per layer.

    \b
    Example:
      compressor sensitivity runs/train/step_1 --sparsities 0.5,0.8,0.9 -o runs/sensitivity
    """
    with TerminalProgress() as progress:
        found = compressor.sensitivity(
            model, given_data(data_dir), listener=progress, **options
        ).describe()
    from compressor.report import sensitivity_text, write_sensitivity

    if output is not None:
        write_sensitivity(found, output)
    print_results(found, sensitivity_text, as_json, written_to=output)
