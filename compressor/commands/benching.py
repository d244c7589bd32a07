"""The command that measures artefacts: bench."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import compressor
from compressor.commands.options import JSON, PATH, data_option, host_of, host_options
from compressor.commands.output import print_results
from compressor.commands.parameters import Command, Names, Numbers
from compressor.errors import CheckFailedError

_FAILED = ("wrong", "failed")


@click.command(cls=Command)
@click.argument("artefacts", type=PATH, nargs=-1, required=True, metavar="ARTEFACT...")
@click.option(
    "--runtime",
    "runtimes",
    type=Names(),
    metavar="LIST",
    help="Where each artefact is run, of litert, tflite-runtime, onnxruntime, cuda, tensorrt. "
    "Default: the runtime that it was exported for.",
)
@click.option(
    "--threads",
    type=Numbers(int),
    default="1",
    show_default=True,
    help="Threads, each number a table of its own.",
)
@click.option(
    "--batch",
    "batches",
    type=Numbers(int),
    default="1",
    show_default=True,
    help="Examples at once, each number a table of its own.",
)
@data_option("the embedded MNIST where the artefacts were made with it, else none")
@click.option(
    "--examples",
    type=click.IntRange(1),
    metavar="N",
    help="Test examples that prove each row. Default: all.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=15,
    show_default=True,
    help="How often each row has its turn.",
)
@click.option(
    "--round-seconds",
    type=float,
    default=0.1,
    show_default=True,
    help="How long a turn is, single-stream, and again offline; 300 runs at most.",
)
@click.option(
    "--starts",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Fresh processes that time the loading of each row.",
)
@click.option(
    "--time-limit",
    type=float,
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="After which a runtime that does not answer is ended; this costs its row.",
)
@host_options("Measure on this machine, through your ssh: [user@]host.")
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    help="The JSON file that the run is appended to. Default: bench.json in the run directory of "
    "the first artefact, or beside it.",
)
@JSON
def bench(
    artefacts: tuple[Path, ...],
    data_dir: Path | None,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure ARTEFACTs (.tflite and .onnx files, or folders of them) in their runtimes.

    Each row is a process of its own, kept to its processors; the rows take turns, so that ratios to
    the first hold when the machine's speed drifts. Every row is proven on the test examples: one
    that does not reach its description's accuracy is marked WRONG, and never called fastest. Exit
    code 1 when a row is WRONG or failed, 3 when a runtime is not there.

    \b
    Examples:
      compressor bench runs/demo/dense.tflite runs/demo/smallest.tflite
      compressor bench runs/demo --threads 1,2 --batch 1,32
      compressor bench dense.tflite small.tflite --runtime litert,tflite-runtime
      compressor bench dense.onnx small.onnx --runtime onnxruntime,cuda --batch 1,256
      compressor bench dense.tflite small.tflite --host pi@raspberrypi.local
    """
    from compressor.commands.bench_progress import BenchProgress
    from compressor.measuring import default_output
    from compressor.report import answer_text, table_text

    def show(run: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
        if not as_json:
            click.echo(table_text(run, rows))

    host = host_of(options)
    data = None if data_dir is None else compressor.load_dataset(data_dir)
    target = output or default_output(artefacts[0])
    try:
        with BenchProgress(show) as progress:
            run = compressor.bench(
                artefacts, data=data, output=target, host=host, listener=progress, **options
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"what was measured is kept in {target}") from None
    print_results(run, answer_text, as_json)
    click.echo(f"appended to: {target}", err=as_json)
    bad = [row for row in run["rows"] if row["status"] in _FAILED]
    if bad:
        raise CheckFailedError(
            "rows failed or are wrong", value=f"{len(bad)} of {len(run['rows'])}"
        )
