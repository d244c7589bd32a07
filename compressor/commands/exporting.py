"""Commands for artefacts and the runtimes that execute them: export, runtimes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

import compressor
from compressor.commands.judging import TASK
from compressor.commands.options import (
    CUSTOM,
    FORCE,
    INPUT_RANGE,
    INPUT_SIZE,
    JSON,
    LABELS,
    PATH,
    THREADS,
    data_option,
    given_data,
    host_of,
    host_options,
    output_option,
)
from compressor.commands.output import print_results
from compressor.commands.parameters import Command, List, Slowdown
from compressor.commands.progress import TerminalProgress
from compressor.errors import CheckFailedError

_FORMATS = ("tflite", "onnx", "c")
_QUANTIZE = ("none", "float16", "dynamic", "int8", "int4", "codebook", "ternary", "auto")


@click.command(cls=Command)
@click.argument("model", type=PATH)
@output_option(
    "Artefact to write, or the folder for --format all and c. Default: NAME.tflite or NAME.onnx "
    "(of such a file NAME-small; folder: NAME-artefacts, NAME-c) next to MODEL, or in the run "
    "directory."
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice([*_FORMATS, "all"]),
    help="c: C code in int8, which needs no runtime. all: TFLite and ONNX in every quantisation, "
    "and a table of them. Default: by FILE's suffix.",
)
@click.option(
    "--for",
    "runtime",
    type=List(),
    metavar="RUNTIME",
    help="Runtime that will execute it: litert, tflite-runtime, tflite-micro (microcontrollers), "
    "onnxruntime, onnxruntime-gpu, onnxruntime-web, cuda or tensorrt; of C code the processor: "
    "portable, cortex-m0, cortex-m4 or host. Default: litert for TFLite, onnxruntime for ONNX, "
    "portable for C.",
)
@click.option(
    "--quantize",
    type=click.Choice(_QUANTIZE),
    help="Fewer bits per weight: float16, int8 (dynamic: int8 weights, float activations), int4, "
    "a codebook of 16 values or ternary weights (ONNX); auto: the best that keeps the accuracy. "
    "Default: none.",
)
@click.option(
    "--rounding",
    type=click.Choice(["nearest", "reconstruct"]),
    help="How int8, int4, codebook and ternary round weights: each on its own, or so that they "
    "make up for each other on training inputs, where that is better on validation data. Default: "
    "reconstruct with data (int8: if nearest costs accuracy), else nearest.",
)
@click.option(
    "--optimize",
    type=click.Choice(["size", "latency", "balanced", "ram"]),
    help="Goal of automatic choices: the smallest file, the lowest latency in the runtime, or "
    "balanced: the smallest within 1.1 times the lowest latency, which --quantize auto measures; "
    "ram (tflite-micro): the smallest file whose arena is hardly larger than with dense weights. "
    "Default: balanced for litert, tflite-runtime and onnxruntime, else size.",
)
@click.option(
    "--values",
    type=click.Choice(["8", "5", "4"]),
    default="8",
    help="Bits of a weight's values in int8, for tflite-micro and C code, which store them in "
    "fewer bytes. With 8, C code has fewer where that costs nothing on validation data.",
)
@click.option(
    "--encoding",
    metavar="E",
    help="Use this encoding for every tensor that allows it, instead of the best for each: dense, "
    "csr, blocks, csr-kernel, 1x4, 1x16, golomb (TFLite); dense, lut, huffman, prune "
    "(tflite-micro); dense, golomb, gap8, gap4, bitmask, sparse-initializer (ONNX).",
)
@LABELS
@data_option("the embedded MNIST for a model that was trained on it, else random inputs")
@click.option(
    "--max-slowdown",
    type=Slowdown(),
    default="auto",
    show_default=False,
    help="Latency that a file may take, measured in the runtime, as a ratio to the model dense in "
    "float32; none: any. Default: 1.05 with --quantize auto --optimize size, else none.",
)
@host_options("Measure the latency on this machine, over ssh. Default: here.")
@TASK
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 100),
    metavar="P",
    help="Most that the metric that decides may lose against the model, in points of accuracy and "
    "the like, in percent of an error. Default: by the quantisation, 0.1 to 0.2 points of "
    "accuracy, half a point of other fractions, 3 % of an error.",
)
@THREADS
@INPUT_SIZE
@INPUT_RANGE
@CUSTOM
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
    """Export a model to TFLite, ONNX or C, verified in its runtime.

    MODEL is a Keras model (.keras, .h5 or SavedModel), a run directory, or a .tflite or .onnx file
    of any origin, which keeps its format and is held against what it computes itself. Of a Keras
    model units and channels that no longer matter are removed. Each tensor gets the best encoding
    for --optimize that the runtime executes correctly, and the runtime runs the artefact on
    validation examples; test examples only report. If it does not compute what the file says, or
    the metric of an output gets too much worse, such as the accuracy of classes or the mean IoU of
    masks, the artefact is kept as FILE.rejected, and the exit code is 1. Its description,
    FILE.json, and check vectors, FILE.check.npz, are written next to FILE.

    \b
    Examples:
      compressor export runs/train --format tflite --quantize auto -o mnist.tflite
      compressor export pruned.keras --data data.npz --for tflite-runtime -o model.tflite
      compressor export pruned.keras --for tflite-micro --quantize int8 -o micro.tflite
      compressor export pruned.keras --format all -o artefacts
      compressor export net.h5 --quantize int8 --input-range 0,255 -o net.tflite
      compressor export found.onnx --data data.npz --quantize auto -o small.onnx
      compressor export pruned.keras --format c --for cortex-m4 -o firmware
    """
    if file_format == "all" and quantize is not None:
        raise click.UsageError("--format all covers every quantisation: leave --quantize out.")
    rounding = options.pop("rounding")
    if file_format == "all" and rounding is not None:
        raise click.UsageError("--format all chooses each rounding: leave --rounding out.")
    if file_format != "all" and runtime is not None and len(runtime) != 1:
        raise click.UsageError("Give one runtime with --for, or --format all.")
    data = given_data(data_dir)
    drop = options.pop("max_drop")
    options["max_drop"] = None if drop is None else drop / 100
    host, max_slowdown = host_of(options), options.pop("max_slowdown")
    values = int(options.pop("values"))
    if file_format == "all" and (values != 8 or options["optimize"] == "ram"):
        what = "--format all takes neither --values nor --optimize ram: give --for tflite-micro."
        raise click.UsageError(what)
    if file_format == "all" and options["optimize"] == "balanced":
        raise click.UsageError("--format all chooses no variant: leave --optimize balanced out.")
    if file_format == "all" and (host is not None or max_slowdown != "auto"):
        raise click.UsageError("--format all measures no latency: compressor bench does.")
    from compressor.report import export_text, exports_text

    with TerminalProgress() as progress:
        if file_format == "all":
            options |= {} if runtime is None else {"runtimes": runtime}
            options["optimize"] = options["optimize"] or "size"
            records = compressor.export_all(model, output, data, listener=progress, **options)
        else:
            record = compressor.export(
                model,
                output,
                data,
                format=file_format,  # type: ignore[arg-type]
                runtime=None if runtime is None else runtime[0],
                quantize=quantize or "none",  # type: ignore[arg-type]
                rounding=rounding,
                values=values,  # type: ignore[arg-type]
                max_slowdown=max_slowdown,
                host=host,
                listener=progress,
                **options,
            )
    if file_format != "all":
        print_results(record, export_text, as_json, written_to=record["path"])
        return
    written = [Path(record["path"]).parent for record in records if "error" not in record]
    print_results(records, exports_text, as_json, written_to=written[0] if written else None)
    failed = [record for record in records if record.get("exit_code") == CheckFailedError.exit_code]
    if failed:
        raise CheckFailedError("artefacts do not do what the model does", value=len(failed))
    if not written:  # the table says why
        sys.exit(records[0]["exit_code"])


@click.group(invoke_without_command=True)
@click.pass_context
def runtimes(context: click.Context) -> None:
    """List the runtimes that can execute artefacts, or install one.

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
    """List the runtimes, with their versions and states.

    \b
    Example:
      compressor runtimes list --json
    """
    _list(as_json)


@runtimes.command("install", cls=Command)
@click.argument("name", metavar="RUNTIME")
@JSON
def install(name: str, as_json: bool) -> None:
    """Install RUNTIME in your cache folder, at a pinned version, checked by hash.

    tflite-runtime and tflite-micro get environments of their own, and so do tf-keras, which reads
    the legacy .h5 files of Keras 2 for compressor import, and ziglang, which compiles C code for
    browsers. onnxruntime-web, which is packed into bundles for browsers, is downloaded as one
    package by npm.

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
