"""The `compressor` command: reads options, calls one function, prints what it gives."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

import compressor
from compressor._click import SETTINGS, Command, Numbers, Sparsities
from compressor._options import (
    CRITERION,
    DATA,
    FORCE,
    GRANULARITY,
    JSON,
    PATH,
    SEED,
    SPARSITY,
    THREADS,
    VALIDATION,
    data_option,
    layers_option,
    output_option,
    training_options,
)
from compressor._progress import TerminalProgress
from compressor._tensorflow import NativeOutput
from compressor.errors import CompressorError

INTERRUPTED = 130


@click.group(context_settings=SETTINGS)
@click.version_option(compressor.__version__, "-V", "--version", message="%(prog)s %(version)s")
def cli() -> None:
    """Prune Keras models, store them sparse, and measure what that brings.

    Start with: compressor sweep
    """


@cli.command(cls=Command)
@click.option("-1", "step_1", is_flag=True, help="Train the basic model (step_1). The default.")
@click.option("-2", "step_2", is_flag=True, help="Prune (step_2_1) and retrain (step_2_2).")
@click.option("-3", "step_3", is_flag=True, help="Store the non-zero connections only (step_3).")
@DATA
@click.option(
    "--train-dir",
    type=PATH,
    default=Path("runs/train"),
    show_default=True,
    metavar="DIR",
    help="Run directory: a folder for each step.",
)
@click.option(
    "--variables-dir",
    type=PATH,
    metavar="DIR",
    help="Where the variables of the last trained model are read and kept. "
    "Default: TRAIN_DIR/variables.",
)
@SPARSITY
@layers_option("w_fc1,w_fc2")
@training_options("paper")
@SEED
@FORCE
@JSON
def train(
    step_1: bool,
    step_2: bool,
    step_3: bool,
    train_dir: Path,
    variables_dir: Path | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train the paper's CNN, and prune, retrain and sparsify it: the paper's command.

    \b
    Example, the whole experiment of the paper at 90 %:
      compressor train -1 -2 -3 --train_dir /tmp/mnist_train \\
        --max_steps 10000 --batch_size 32 --sparse_ratio 0.9 \\
        --pruning_variable_names w_fc1,w_fc2
    """
    chosen = [number for number, on in ((1, step_1), (2, step_2), (3, step_3)) if on]
    with TerminalProgress() as progress:
        records = compressor.train(
            train_dir,
            _plan(**options),
            do=chosen or [1],  # type: ignore[arg-type]
            variables_dir=variables_dir,
            force=force,
            listener=progress,
        )
    _print_records(records, train_dir, as_json)


@cli.command(cls=Command)
@click.argument("model", type=PATH)
@output_option("-pruned")
@DATA
@click.option(
    "--sparsity",
    "--sparse-ratio",
    "sparsity",
    type=Sparsities(),
    metavar="P",
    help="Fraction of the weights to remove from each layer, from 0 to below 1, or one for each: "
    "fc1=0.95,conv2=0.8. Default: 0.9; n:m brings its own.",
)
@click.option(
    "--global", "is_global", is_flag=True, help="One threshold over all layers, not one for each."
)
@layers_option("all")
@GRANULARITY
@CRITERION
@click.option(
    "--calibration",
    type=click.IntRange(1),
    metavar="IMAGES",
    help="Training images that taylor's gradients are computed on. Default: 1024.",
)
@click.option(
    "--pruning-schedule",
    type=click.Choice(["one-shot", "gradual", "iterative"]),
    default="one-shot",
    show_default=True,
    help="Prune at once, while retraining (Zhu and Gupta's cubic schedule), or in --rounds.",
)
@click.option("--rounds", type=click.IntRange(1), help="Of iterative pruning. Default: 3.")
@click.option(
    "--ramp",
    type=float,
    help="Fraction of the steps over which gradual pruning reaches the sparsity. Default: 0.6.",
)
@click.option("--retrain/--no-retrain", default=True, help="Retrain what is left, or not.")
@click.option("--epochs", type=float, help="Length of the retraining, in passes over the data.")
@click.option(
    "--rewind", is_flag=True, help="Retrain with the learning rates that the training ended with."
)
@click.option("--distill", is_flag=True, help="Let the model learn from the dense one's scores.")
@click.option("--distill-weight", type=float, help="Of the dense one's scores. Default: 0.3.")
@click.option("--temperature", type=float, help="Of --distill. Default: 2.")
@training_options("quick")
@SEED
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
    **options: Any,
) -> None:
    """Prune MODEL, a .keras file or a run directory, and retrain it.

    \b
    Examples:
      compressor prune model.keras --data-dir data.npz --sparsity 0.8 -o pruned
      compressor prune model.keras --granularity channel --sparsity 0.5 -o narrow
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
    plan = compressor.make_plan(
        compressor.load_dataset(data_dir),
        sparsities=(spec.highest_sparsity,),
        seeds=(seed,),
        steps=max_steps,
        distillation=distillation,
        **options,
    )
    with TerminalProgress() as progress:
        records = compressor.prune_run(
            model, output, spec, plan, retrain=retrain, force=force, listener=progress
        )
    _print_records(records, _output(model, output, "-pruned"), as_json)


_SPEC = ("granularity", "criterion", "calibration", "rounds", "ramp")
_DISTILLATION = {"distill_weight": "weight", "temperature": "temperature"}


def _refuse_idle(options: dict[str, Any], *, retrain: bool) -> None:
    """Refuse options that would do nothing without another one."""
    schedule = options["pruning_schedule"]
    idle = {"rounds": "--pruning-schedule iterative"} if schedule != "iterative" else {}
    if schedule != "gradual":
        idle["ramp"] = "--pruning-schedule gradual"
    if options["criterion"] == "magnitude":
        idle["calibration"] = "--criterion taylor"
    if not options["distill"]:
        idle |= dict.fromkeys(_DISTILLATION, "--distill")
    if not retrain:
        idle |= dict.fromkeys(("distill", "rewind", "epochs"), "retraining")
    for name, needed in idle.items():
        if options[name] not in (None, False):
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} does nothing without {needed}.")


@cli.command(cls=Command)
@click.argument("model", type=PATH)
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    help="The .keras file to write. Default: NAME-shrunk.keras beside MODEL, or shrunk.keras in a "
    "run directory.",
)
@data_option("none: the models are compared on random inputs, and no accuracy is measured")
@click.option(
    "--round-to",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Keep widths that are multiples of this: runtimes like 4 or 8.",
)
@click.option(
    "--fold-batchnorm/--no-fold-batchnorm",
    default=True,
    help="Fold BatchNormalization into the kernel before it, or keep it for more training.",
)
@THREADS
@FORCE
@JSON
def shrink(
    model: Path,
    output: Path | None,
    data_dir: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Remove from MODEL every unit and channel that no longer matters; the function stays.

    MODEL is a .keras file or a run directory. Both models are run on the same inputs, and the new
    one is refused when an output differs by more than 1e-5 of their scale.

    \b
    Example:
      compressor shrink pruned --data-dir data.npz --round-to 8 -o small.keras
    """
    data = None if data_dir is None else compressor.load_dataset(data_dir)
    record = compressor.shrink_file(model, output, data, **options)
    from compressor.report.terminal import shrinking_text

    _print(record, shrinking_text, as_json)
    click.echo(f"written to: {record['output']}", err=as_json)


@cli.command(cls=Command)
@click.argument("model", type=PATH)
@output_option("-sparse")
@data_option("none, and no accuracy is measured")
@layers_option(None, "Layers to store sparse. Default: those that were pruned.")
@THREADS
@FORCE
@JSON
def sparsify(
    model: Path,
    output: Path | None,
    data_dir: Path | None,
    layers: tuple[str, ...] | None,
    threads: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the paper's sparse checkpoint (step_3) of MODEL, a pruned model or run directory.

    Its scores are compared with the model's; its accuracy is measured where --data-dir is given.

    \b
    Example:
      compressor sparsify runs/train
    """
    with TerminalProgress() as progress:
        records = compressor.sparsify(
            model,
            output,
            None if data_dir is None else compressor.load_dataset(data_dir),
            layers=layers,
            threads=threads,
            force=force,
            listener=progress,
        )
    _print_records(records, _output(model, output, "-sparse"), as_json)


@cli.command(cls=Command)
@click.argument("checkpoint", type=PATH, required=False)
@click.option("--checkpoint-dir", type=PATH, metavar="DIR", help="The same as CHECKPOINT.")
@DATA
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True)
@click.option(
    "--max-steps",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Batches whose prediction time is measured.",
)
@THREADS
@JSON
def evaluate(
    checkpoint: Path | None,
    checkpoint_dir: Path | None,
    data_dir: Path | None,
    batch_size: int,
    max_steps: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure accuracy and prediction time of CHECKPOINT: the paper's two predictors.

    CHECKPOINT is a .keras file, a sparse .npz, or the folder of a step: step_1, step_2_1 and
    step_2_2 are predicted with the dense network, step_3 with the sparse one.

    \b
    Example:
      compressor evaluate --checkpoint_dir runs/train/step_3 --batch_size 32 --max_steps 10
    """
    if (checkpoint is None) == (checkpoint_dir is None):
        raise click.UsageError("Give one checkpoint, as CHECKPOINT or by --checkpoint-dir.")
    evaluation = compressor.evaluate(
        checkpoint or checkpoint_dir or "",
        compressor.load_dataset(data_dir),
        batch_size=batch_size,
        max_steps=max_steps,
        threads=threads,
    )
    from compressor.report.terminal import evaluation_text

    _print(evaluation.describe(), evaluation_text, as_json)


@cli.command(cls=Command)
@click.option(
    "-o",
    "--output",
    type=PATH,
    default=Path("runs/sweep"),
    show_default=True,
    metavar="DIR",
    help="Run directory; the same command goes on where it was interrupted.",
)
@DATA
@click.option(
    "--sparsities",
    type=Numbers(float),
    default="0.1,0.3,0.5,0.7,0.8,0.9",
    show_default=True,
    help="Proportions to prune at.",
)
@layers_option("w_fc1,w_fc2")
@click.option(
    "--seeds", type=Numbers(int), default="0", show_default=True, help="One basic model each."
)
@training_options("quick")
@FORCE
@JSON
def sweep(output: Path, force: bool, as_json: bool, **options: Any) -> None:
    """The paper's experiment: train, then prune, retrain, sparsify and measure at each proportion.

    \b
    Example:
      compressor sweep --preset paper --seeds 0,1,2 -o runs/paper
    """
    data = compressor.load_dataset(options.pop("data_dir"))
    plan = compressor.make_plan(data, steps=options.pop("max_steps"), **options)
    with TerminalProgress() as progress:
        done = compressor.sweep(output, plan, force=force, listener=progress)
    from compressor.report import summary_text

    _print(done.results, summary_text, as_json)
    click.echo(f"report: {done.report}", err=as_json)


@cli.command(cls=Command)
@click.argument("model", type=PATH)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for sensitivity.json, .csv, .png and .svg. Default: none, and no file is written.",
)
@DATA
@click.option(
    "--sparsities",
    type=Numbers(float),
    metavar="LIST",
    help="Sparsities to measure at. Default: 0.1 to 0.9 in tenths, 0.95 and 0.99; n:m has its own.",
)
@layers_option("all")
@GRANULARITY
@CRITERION
@click.option(
    "--images",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Images that accuracy is measured on, of those set aside from training.",
)
@VALIDATION
@THREADS
@JSON
def sensitivity(
    model: Path, output: Path | None, data_dir: Path | None, as_json: bool, **options: Any
) -> None:
    """Show what pruning each layer of MODEL alone costs in accuracy, without retraining.

    MODEL, a .keras file or the folder of a step, stays as it is. Layers that keep their accuracy
    far up can be pruned more than the others: prune takes a sparsity for each layer.

    \b
    Example:
      compressor sensitivity runs/train/step_1 --sparsities 0.5,0.8,0.9 -o runs/sensitivity
    """
    with TerminalProgress() as progress:
        found = compressor.sensitivity(
            model, compressor.load_dataset(data_dir), listener=progress, **options
        ).describe()
    from compressor.report.sensitivity import sensitivity_text, write_sensitivity

    if output is not None:
        write_sensitivity(found, output)
    _print(found, sensitivity_text, as_json)
    if output is not None:
        click.echo(f"written to: {output}", err=as_json)


@cli.command(cls=Command)
@click.argument("path", type=PATH)
@click.argument("other", type=PATH, required=False)
@JSON
def inspect(path: Path, other: Path | None, as_json: bool) -> None:
    """Show what PATH, a model, a checkpoint or a run directory, holds, layer by layer.

    Parameters, zeros, multiply-accumulates (MACs) and bytes. With OTHER, also a model, a
    checkpoint or the folder of a step: both are compared, PATH before and OTHER after.

    \b
    Examples:
      compressor inspect runs/sweep/seed-0/0.9/step_2_2
      compressor inspect runs/train/step_1 runs/train/step_3
    """
    from compressor.report.terminal import inspection_text

    _print(compressor.inspect(path, other), inspection_text, as_json)


def _plan(
    data_dir: Path | None,
    sparsity: float,
    seed: int,
    max_steps: int | None,
    **options: Any,
) -> compressor.Plan:
    return compressor.make_plan(
        compressor.load_dataset(data_dir),
        sparsities=(sparsity,),
        seeds=(seed,),
        steps=max_steps,
        **options,
    )


def _output(model: Path, output: Path | None, suffix: str) -> Path:
    from compressor.sources import output_directory

    return output_directory(model, output, suffix)


def _print_records(records: dict[str, Any], directory: Path, as_json: bool) -> None:
    from compressor.report.terminal import records_text

    _print(records, records_text, as_json)
    click.echo(f"written to: {directory}", err=as_json)


def _print(results: Any, text: Callable[[Any], str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(results, indent=2, allow_nan=False))
    else:
        click.echo(text(results), nl=False)


def main() -> NoReturn:
    """Run the command line: bad input ends in one line and exit code 2, Ctrl-C in 130."""
    native = NativeOutput()
    try:
        code = cli.main(prog_name="compressor", standalone_mode=False, obj=native)
    except (KeyboardInterrupt, click.exceptions.Abort):
        _fail("interrupted; what was finished is kept, and the same command goes on", INTERRUPTED)
    except CompressorError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        place = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        hint = f" (see {place} --help)" if place else ""
        _fail(" ".join(error.format_message().split()) + hint, error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        reason, place = error.strerror or str(error), error.filename or "standard output"
        _fail(str(CompressorError(reason, value=place)), 2)
    except MemoryError:
        _fail("out of memory; use smaller batches or a smaller model", 2)
    except Exception:
        traceback.print_exc()
        click.echo(native.tail(), err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"error: {message}" if code != INTERRUPTED else message, err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
