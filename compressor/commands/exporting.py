"""Commands about artefacts and what runs them: export, runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import compressor
from compressor.commands.options import DATA, FORCE, JSON, PATH, THREADS
from compressor.commands.output import print_results
from compressor.commands.parameters import Command, Names
from compressor.commands.progress import TerminalProgress
from compressor.errors import CheckFailedError

_FORMATS = ("tflite", "onnx")
_QUANTIZE = ("none", "float16", "dynamic", "int8", "int4", "codebook", "auto")


@click.command(cls=Command)
@click.argument("model", type=PATH)
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    help="The artefact to write, or the folder for --format all. Default: NAME.tflite or NAME.onnx "
    "(a folder NAME-artefacts) beside MODEL, or in the run directory.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice([*_FORMATS, "all"]),
    help="all: every format and quantisation, and a table. Default: by the suffix of FILE.",
)
@click.option(
    "--for",
    "runtime",
    type=Names(),
    metavar="RUNTIME",
    help="What will execute it: litert, tflite-runtime, onnxruntime, onnxruntime-gpu, "
    "onnxruntime-web, cuda or tensorrt. Default: litert for TFLite, onnxruntime for ONNX.",
)
@click.option(
    "--quantize",
    type=click.Choice(_QUANTIZE),
    help="Fewer bits a weight: float16, int8 (dynamic: with float activations), int4, or a "
    "codebook of 16 values; auto: the best whose accuracy holds. Default: none.",
)
@click.option(
    "--optimize",
    type=click.Choice(["size", "latency"]),
    default="size",
    show_default=True,
    help="What is chosen for: the fewest bytes, or what the runtime runs fastest.",
)
@click.option(
    "--encoding",
    metavar="E",
    help="Store every tensor so that can be, instead of choosing for each: dense, csr, blocks, "
    "csr-kernel, 1x4, 1x16 (TFLite); dense, gap8, gap4, bitmask, sparse-initializer (ONNX).",
)
@click.option(
    "--labels",
    type=Names(),
    metavar="LIST",
    help="Names of the classes, in their order, for whoever runs the artefact. Default: numbers.",
)
@DATA
@THREADS
@FORCE
@JSON
def export(
    model: Path,
    output: Path | None,
    file_format: str | None,
    runtime: tuple[str, ...] | None,
    quantize: str | None,
    data_dir: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Export MODEL, a .keras file or a run directory, and prove it in the runtime it is for.

    The model is shrunk exactly, each tensor is stored in the smallest way that the runtime executes
    correctly, and the artefact is run on the test images. One that does not do what the model does
    is kept as FILE.rejected (exit code 1). Beside FILE lie its description, FILE.json, and check
    vectors, FILE.check.npz.

    \b
    Examples:
      compressor export runs/train --format tflite --quantize auto -o mnist.tflite
      compressor export pruned.keras --data-dir data.npz --for tflite-runtime -o model.tflite
      compressor export pruned.keras --format all -o artefacts
    """
    if file_format == "all" and quantize is not None:
        raise click.UsageError("--format all makes every quantisation: leave --quantize out.")
    if file_format != "all" and runtime is not None and len(runtime) != 1:
        raise click.UsageError("Name one runtime, or --format all.")
    data = compressor.load_dataset(data_dir)
    from compressor.report import export_text, exports_text

    with TerminalProgress() as progress:
        if file_format == "all":
            options |= {} if runtime is None else {"runtimes": runtime}
            records = compressor.export_all(model, output, data, listener=progress, **options)
        else:
            record = compressor.export(
                model,
                output,
                data,
                format=file_format,  # type: ignore[arg-type]
                runtime=None if runtime is None else runtime[0],
                quantize=quantize or "none",  # type: ignore[arg-type]
                listener=progress,
                **options,
            )
    if file_format != "all":
        print_results(record, export_text, as_json)
        click.echo(f"written to: {record['path']}", err=as_json)
        return
    print_results(records, exports_text, as_json)
    written = [record for record in records if "error" not in record]
    if written:
        click.echo(f"written to: {Path(written[0]['path']).parent}", err=as_json)
    failed = [record for record in records if record.get("exit_code") == CheckFailedError.exit_code]
    if failed:
        raise CheckFailedError("artefacts do not do what the model does", value=len(failed))


@click.group(invoke_without_command=True)
@click.pass_context
def runtimes(context: click.Context) -> None:
    """List the runtimes that artefacts are verified in, or install one.

    \b
    Examples:
      compressor runtimes
      compressor runtimes install tflite-runtime
    """
    if context.invoked_subcommand is None:
        _list(as_json=False)


@runtimes.command("list", cls=Command)
@JSON
def list_runtimes(as_json: bool) -> None:
    """List the runtimes, with version and state.

    \b
    Example:
      compressor runtimes list --json
    """
    _list(as_json)


@runtimes.command("install", cls=Command)
@click.argument("name", metavar="RUNTIME")
@JSON
def install(name: str, as_json: bool) -> None:
    """Install RUNTIME under your cache folder: pinned, and checked by its hashes.

    tflite-runtime gets an environment of its own; onnxruntime-web, which bundles for browsers bring
    along, is fetched by npm as one package.

    \b
    Example:
      compressor runtimes install tflite-runtime
    """
    from compressor.report import runtimes_text
    from compressor.runtimes import install as install_runtime

    installed = install_runtime(name)
    print_results(installed, lambda row: runtimes_text([row]), as_json)


def _list(as_json: bool) -> None:
    from compressor.report import runtimes_text
    from compressor.runtimes import describe

    print_results(describe(), runtimes_text, as_json)
