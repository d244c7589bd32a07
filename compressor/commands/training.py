"""The commands of the paper's experiment: train, sparsify, evaluate, sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import compressor
from compressor.commands.options import (
    CLUSTER,
    COUNT,
    CUSTOM,
    DATA,
    FORCE,
    INPUT_SIZE,
    JSON,
    MODEL_DATA,
    PATH,
    SEED,
    THREADS,
    WORKERS,
    data_option,
    data_or_mnist,
    given_data,
    layers_option,
    output_option,
    run_directory_option,
    training_options,
)
from compressor.commands.output import print_records, print_results, run_directory_of, say
from compressor.commands.parameters import Command, List
from compressor.commands.progress import TerminalProgress
from compressor.errors import CheckFailedError


@click.command(cls=Command)
@click.option("-1", "step_1", is_flag=True, help="Train the basic model (step_1). The default.")
@click.option("-2", "step_2", is_flag=True, help="Prune (step_2_1) and retrain (step_2_2).")
@click.option("-3", "step_3", is_flag=True, help="Store only the remaining connections (step_3).")
@DATA
@click.option(
    "--train-dir",
    type=PATH,
    default=Path("runs/train"),
    metavar="DIR",
    help="Run directory, with a folder for each step.",
)
@click.option(
    "--variables-dir",
    type=PATH,
    metavar="DIR",
    help="Where the variables of the last trained model are kept, and read from. "
    "Default: TRAIN_DIR/variables.",
)
@click.option(
    "--sparsity", type=float, default=0.9, help="Fraction of the weights to remove, 0 to below 1."
)
@layers_option("w_fc1,w_fc2")
@training_options("paper")
@SEED
@CUSTOM
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
    """Train, prune, retrain and sparsify the paper's CNN.

    Options may be spelled as in the paper: --train_data_dir for --data, for example.

    \b
    Example, the paper's whole experiment at 90 % sparsity:
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
    print_records(records, train_dir, as_json)


@click.command(cls=Command)
@click.argument("model", type=PATH)
@run_directory_option("-sparse")
@data_option("none; no accuracy is measured")
@layers_option(None, "Layers to store sparse. Default: the pruned ones.")
@THREADS
@INPUT_SIZE
@CUSTOM
@FORCE
@JSON
def sparsify(
    model: Path,
    output: Path | None,
    data_dir: Path | None,
    layers: tuple[str, ...] | None,
    input_size: Any,
    threads: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the paper's sparse checkpoint (step_3).

    MODEL is a pruned model or its run directory. The checkpoint's scores are compared with the
    model's; with --data its accuracy is measured too.

    \b
    Example:
      compressor sparsify runs/train
    """
    with TerminalProgress() as progress:
        records = compressor.sparsify(
            model,
            output,
            given_data(data_dir),
            layers=layers,
            input_size=input_size,
            threads=threads,
            force=force,
            listener=progress,
        )
    print_records(records, run_directory_of(model, output, "-sparse"), as_json)


@click.command(cls=Command)
@click.argument("checkpoint", type=PATH, required=False)
@click.option("--checkpoint-dir", type=PATH, metavar="DIR", help="Same as CHECKPOINT.")
@MODEL_DATA
@click.option("--batch-size", type=COUNT, default=32, help="Images per batch.")
@click.option("--max-steps", type=COUNT, default=10, help="Batches to measure prediction time on.")
@THREADS
@CUSTOM
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
    """Measure a checkpoint with the paper's two predictors.

    CHECKPOINT is a model, a sparse .npz file, or the folder of a step: the dense predictor
    runs step_1, step_2_1 and step_2_2, the sparse one step_3. Accuracy and prediction time are
    measured.

    \b
    Example:
      compressor evaluate --checkpoint_dir runs/train/step_3 --batch_size 32 --max_steps 10
    """
    if (checkpoint is None) == (checkpoint_dir is None):
        raise click.UsageError("Give one checkpoint, as CHECKPOINT or by --checkpoint-dir.")
    evaluation = compressor.evaluate(
        checkpoint or checkpoint_dir or "",
        given_data(data_dir),
        batch_size=batch_size,
        max_steps=max_steps,
        threads=threads,
    )
    from compressor.report import evaluation_text

    print_results(evaluation.describe(), evaluation_text, as_json)


@click.command(cls=Command)
@output_option(
    "Run directory. After an interruption, the same command resumes.",
    metavar="DIR",
    default=Path("runs/sweep"),
)
@DATA
@click.option(
    "--sparsities",
    type=List(float),
    default="0.1,0.3,0.5,0.7,0.8,0.9",
    help="Sparsities to prune to.",
)
@layers_option("w_fc1,w_fc2")
@click.option("--seeds", type=List(int), default="0", help="Random seeds; one basic model each.")
@click.option(
    "--export",
    is_flag=True,
    help="Also export every model to TFLite and ONNX, verified in their runtimes. What fails is "
    "reported, and tried again by the next such sweep.",
)
@training_options("quick")
@WORKERS
@CLUSTER
@FORCE
@JSON
def sweep(
    output: Path,
    export: bool,
    workers: int | None,
    cluster: str | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run the paper's experiment: one basic model, many sparsities.

    For each seed a basic model is trained, and at each sparsity it is pruned, retrained, sparsified
    and measured. The results go into a report, DIR/report.html.

    \b
    Example:
      compressor sweep --preset paper --seeds 0,1,2 -o runs/paper
    """
    data = data_or_mnist(options.pop("data_dir"))
    plan = compressor.make_plan(data, steps=options.pop("max_steps"), **options)
    with TerminalProgress() as progress:
        done = compressor.sweep(
            output,
            plan,
            export=export,
            workers=workers,
            cluster=cluster,
            force=force,
            listener=progress,
        )
        report = compressor.report_run(output, listener=progress)
    from compressor.report import artefact_text, has_artefacts, summary_text

    print_results(done.results, summary_text, as_json)
    if has_artefacts(done.results) and not as_json:
        print_results(done.results, lambda results: f"{artefact_text(results)}\n", False)
    say(f"report: {report.page}", err=as_json)
    if done.failed_exports:
        what = "artefacts could not be made, or do not do what the model does"
        hint = "the report says why; the same command tries them again"
        raise CheckFailedError(what, value=done.failed_exports, hint=hint)


def _plan(
    data_dir: Path | None,
    sparsity: float,
    seed: int,
    max_steps: int | None,
    **options: Any,
) -> compressor.Plan:
    return compressor.make_plan(
        data_or_mnist(data_dir),
        sparsities=(sparsity,),
        seeds=(seed,),
        steps=max_steps,
        **options,
    )
