"""The command that measures artefacts: bench."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import compressor
from compressor.commands.options import (
    COUNT,
    JSON,
    PATH,
    data_option,
    given_data,
    host_of,
    host_options,
    output_option,
)
from compressor.commands.output import print_results, say
from compressor.commands.parameters import Command, List
from compressor.errors import CheckFailedError

_FAILED = ("wrong", "failed")


@click.command(cls=Command)
@click.argument("artefacts", type=PATH, nargs=-1, required=True, metavar="ARTEFACT...")
@click.option(
    "--runtime",
    "runtimes",
    type=List(),
    metavar="LIST",
    help="Runtimes to measure in: litert, tflite-runtime, tflite-micro, onnxruntime, cuda, "
    "tensorrt, c. Default: the one that each artefact was exported for.",
)
@click.option("--threads", type=List(int), default="1", help="Thread counts; one table for each.")
@click.option(
    "--batch", "batches", type=List(int), default="1", help="Batch sizes; one table for each."
)
@data_option("the embedded MNIST if the artefacts were made with it, else none")
@click.option(
    "--examples",
    type=COUNT,
    metavar="N",
    help="Test examples to verify each row on, drawn over all classes. Default: all.",
)
@click.option(
    "--rounds", type=COUNT, default=15, help="Rounds; every row is measured once in each."
)
@click.option(
    "--round-seconds",
    type=float,
    default=0.1,
    help="Length of a row's turn in a round: single-stream, then again offline; at most 300 runs.",
)
@click.option(
    "--starts",
    type=COUNT,
    default=3,
    help="Fresh processes that time how long each row takes to load.",
)
@click.option(
    "--time-limit",
    type=float,
    default=120.0,
    metavar="SECONDS",
    help="How long a runtime may take to answer before it is stopped and its row fails.",
)
@host_options("Measure on this machine instead, over ssh: [user@]host.")
@output_option(
    "JSON file to append the run to. Default: bench.json in the run directory of the first "
    "artefact, or next to it."
)
@JSON
def bench(
    artefacts: tuple[Path, ...],
    data_dir: Path | None,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure the size, accuracy and latency of artefacts.

    ARTEFACTs are .tflite and .onnx files, or folders of them. Each row, an artefact in a runtime,
    runs in its own process, pinned to fixed cores. Rows are measured in turns, so ratios to the
    first row hold even if the machine's speed drifts. Every row is verified on the test examples:
    one that does not reach the accuracy in its description is marked WRONG and never called
    fastest. Exit code: 1 if a row is WRONG or failed, 3 if a runtime is not available.

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
    from compressor.report import answer_text, cleaned, table_text

    def show(run: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
        if not as_json:
            click.echo(table_text(*cleaned([run, rows])))

    host = host_of(options)
    data = given_data(data_dir)
    target = output or default_output(artefacts[0])
    try:
        with BenchProgress(show) as progress:
            run = compressor.bench(
                artefacts, data=data, output=target, host=host, listener=progress, **options
            )
    except KeyboardInterrupt as stopped:
        stopped.args = (f"finished measurements are kept in {target}",)
        raise
    print_results(run, answer_text, as_json)
    say(f"appended to: {target}", err=as_json)
    bad = [row for row in run["rows"] if row["status"] in _FAILED]
    if bad:
        raise CheckFailedError(
            "rows failed or are wrong", value=f"{len(bad)} of {len(run['rows'])}"
        )
