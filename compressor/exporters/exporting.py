"""Exporting a model: build, verify in the runtime, write the artefact and its description."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from compressor.data import Dataset
from compressor.errors import (
    CheckFailedError,
    MissingRuntimeError,
    ModelError,
    UsageError,
)
from compressor.exporters.checking import FORMATS, Checked, Job
from compressor.exporters.description import describe_artifact, replaced_weights
from compressor.exporters.graphs.file import is_graph_file, read_graph_file
from compressor.exporters.graphs.job import GraphJob
from compressor.exporters.inspection import artifact_format
from compressor.exporters.job import ExportJob
from compressor.exporters.made_inputs import MadeInputs
from compressor.exporters.request import (
    MAX_SLOWDOWN,
    QUANTIZATIONS,
    Optimize,
    Quantize,
    Rounding,
)
from compressor.exporters.targets import (
    C,
    aim_of,
    check_choice,
    check_drop,
    check_empty,
    check_for_c,
    check_for_small,
    check_free,
    check_rounding,
    runtime_of,
    target_of,
)
from compressor.exporters.variants import Variants
from compressor.foundation import Listener, SilentListener, json_text, several, write_files
from compressor.models import Asked, InputSize, known_data
from compressor.remote import SshHost
from compressor.runs import REJECTED, artefact_stem, artefacts_folder, model_to_shrink
from compressor.runtimes import Runner, find
from deploy.artifact import DESCRIPTION_SUFFIX, VECTORS_SUFFIX

Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What was asked for: what the outputs mean, what decides, and how much of it may be lost."""

    task: Asked
    metric: Asked
    max_drop: float | None


def export(
    model: Any,
    output: Path | str | None = None,
    data: Dataset | None = None,
    *,
    format: Literal["tflite", "onnx", "c"] | None = None,
    runtime: str | None = None,
    quantize: Quantize | Literal["auto"] = "none",
    rounding: Rounding | None = None,
    values: Literal[8, 5, 4] = 8,
    optimize: Optimize | None = None,
    encoding: str | None = None,
    labels: Sequence[str] | None = None,
    input_size: InputSize | None = None,
    input_range: tuple[float, float] | None = None,
    threads: int | None = None,
    max_slowdown: float | Literal["auto"] | None = "auto",
    host: SshHost | str | None = None,
    task: Asked = None,
    metric: Asked = None,
    max_drop: float | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> Record:
    """Export a model as the artefact `output`, and prove it in the runtime that will execute it.

    `model` is a Keras model, a model file, the folder of a step, a run directory with step_2_2, or
    a .tflite or .onnx file of any origin. A Keras model is first shrunk, exactly; a subclassed one,
    or one with a layer that cannot be rebuilt, is exported as it is, and `notes` say so. A .tflite
    or .onnx file keeps its format and open sizes (a .tflite file may become C code, too), and is
    held against what it computes itself; where it is quantised already its values stay, and where
    nothing makes it smaller it is left as it came, which `notes` say, too. `format` is by default
    that of `output`, `runtime` is litert for TFLite and onnxruntime for ONNX. `quantize` "auto" is
    the best variant whose accuracy holds. `optimize` says what is best: "size" the smallest,
    "latency" the fastest, "balanced" the smallest that takes at most 1.1 times as long as the
    fastest. Variants are measured; the encoding of each weight is chosen by constants. By default
    it is "balanced" for litert, tflite-runtime and onnxruntime, else "size". `rounding`
    "reconstruct" rounds weights so that they make up for each other, on training inputs without
    labels; "nearest" is taken where that is better on validation data, as `notes` say. By default
    both are tried where there are data, in int8 where rounding to the nearest costs accuracy.
    `encoding` forces one for every tensor that it can store. `labels` are the names of the classes.
    Sizes that inputs leave open are those of the data, without data `input_size`, (64, 64) or by
    the inputs' names: a TFLite file is fixed to them, an ONNX file is not where it is right at
    another size, too.

    For the `runtime` tflite-micro, int8 weights have `values` of 8, 5 or 4 bits (C code: at most so
    many; with 8 as few as cost nothing on validation examples), and `optimize` may
    be "ram": the smallest file whose arena is at most 1.1 times that of dense weights. A .tflite
    file is then held against what TFLite Micro computes of it, where it runs it. The record has
    `tflite`: dense_file_bytes, and arena_bytes and dense_arena_bytes as they were measured.

    `data` gives the examples to choose on (its validation set), the calibration of int8, and the
    test examples, which report on the artefact and decide nothing; by default the embedded MNIST,
    for a model that was trained on it.
    With `format` "c" the output is a folder, by default MODEL-c: C code in int8 for the processor
    `runtime`, one of portable, cortex-m0, cortex-m4 and host, and the library NAME.so compiled of
    it, which is the artefact. The code must compute what its reference in numpy does, bit for bit.

    What the outputs mean is decided as `prune` does, or given as `task`; the metric of each that
    decides is its first compiled one, or `metric`; either is one for all, or by the outputs' names.
    The artefact may lose `max_drop` of it, 0.01 being a point of what is a fraction, such as the
    mean IoU, and one percent more of an error; by default next to nothing.

    Without data the artefact is compared on random inputs, accuracy is not measured, and "auto" is
    "none" or "float16". `input_range`, (low, high), are the bounds of these inputs, by default 0
    and 1; where it is given, int8 is calibrated on others like them, and `notes` say so. It is
    refused where there are data, or no input takes real numbers.

    A variant whose latency is more than `max_slowdown` times that of the model dense in float32 is
    passed over; it is measured in turns with it, here or on the `host`. Where nothing keeps to
    that, the fastest is taken, and `notes` say so. "auto" is 1.05 where variants are chosen among
    for the size, and else no limit; with None the size is chosen without measuring but on a `host`.

    Writes `output`, its description `output`.json (`deploy.Artifact`), check vectors
    `output`.check.npz, and of ONNX beyond 2 GB the weights. Returns a JSON object: path, bytes, the
    encoding of each tensor, the verdict. Raises CheckFailedError when the artefact fails the parity
    check: it is then kept as `output`.rejected, with its report `output`.rejected.json, and nothing
    is written as `output`.
    Raises ModelError for what the format or the runtime cannot hold, MissingRuntimeError for a
    runtime that is not available, RunDirectoryError when the file exists and not `force`.
    """
    listener = listener or SilentListener()
    chosen, target = target_of(model, output, format)
    runtime = runtime_of(chosen, runtime)
    check_choice("quantisation", quantize, (*QUANTIZATIONS, "auto"))
    if chosen == C:
        check_for_c(quantize, encoding, max_slowdown, host, rounding)
        check_empty(target.parent, force)
    aim = aim_of(chosen, runtime, optimize)
    check_for_small(runtime, quantize, values, aim)
    check_rounding(rounding, quantize)
    check_drop(max_drop)
    check_free(target, force)
    limit = _limit(max_slowdown, quantize, aim)
    place = None if host is None else SshHost.of(host)
    if place is not None:
        with Runner(runtime, host=place) as runner:  # fails before any work is done
            runner.probe()
    wants = Wanted(task, metric, max_drop)
    sizes = (input_size, input_range)
    with _job(model, data, labels, threads, listener, *sizes, wants, runtime) as job:
        if chosen == C:
            from compressor.exporters.c import export_c

            made = export_c(job, target.stem, runtime, aim, listener, values)
            return write_artifact(job, made, target)
        if rounding == "reconstruct" and job.rounder is None:
            what, hint = (
                "weights are reconstructed on training inputs, and there are no data",
                "give --data",
            )
            if job.data is not None:
                what, hint = (
                    "weights of an artefact are rounded to the nearest",
                    "give the Keras model",
                )
            raise UsageError(what, value=f"--rounding {rounding}", hint=hint)
        variants = Variants(job, chosen, runtime, aim, encoding, listener, limit, place)
        variants.rounding, variants.may_grow = rounding, quantize != "auto"
        variants.value_bits = values
        variants.loops = chosen == "tflite" and (
            aim == "latency" or (aim == "balanced" and quantize == "auto")
        )
        checked = variants.best() if quantize == "auto" else variants.one(quantize)
        return write_artifact(job, checked, target)


def export_all(
    model: Any,
    output: Path | str | None = None,
    data: Dataset | None = None,
    *,
    runtimes: Sequence[str] | None = None,
    optimize: Optimize = "size",
    encoding: str | None = None,
    labels: Sequence[str] | None = None,
    input_size: InputSize | None = None,
    input_range: tuple[float, float] | None = None,
    threads: int | None = None,
    task: Asked = None,
    metric: Asked = None,
    max_drop: float | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> list[Record]:
    """Export a model in every format and quantisation into the folder `output`.

    Arguments as in `export`; the files are NAME-QUANTISATION.FORMAT. The `runtimes` are by default
    those of both formats, of a .tflite or .onnx file that of its own; one that is quantised already
    is written once, as what it is. Returns the record of each;
    of one that could not be made or did not pass it has `error` and `exit_code`.
    """
    listener = listener or SilentListener()
    check_choice("aim", optimize, ("size", "latency"))
    check_drop(max_drop)
    graph = artifact_format(Path(model)) if is_graph_file(model) else None
    if runtimes is None:
        runtimes = tuple(FORMATS.values()) if graph is None else (FORMATS[graph],)
    runtimes = several(runtimes)
    wanted = QUANTIZATIONS
    if graph is not None and (kept := read_graph_file(Path(model)).quantized) != "none":
        wanted = (kept,) if kept != "float16" else QUANTIZATIONS[1:]
    if len({find(runtime).format for runtime in runtimes}) < len(runtimes):
        what = "runtimes of the same format would get the same files"
        raise UsageError(what, value=", ".join(runtimes), hint="export for one at a time")
    folder, stem = artefacts_folder(model, output), artefact_stem(model)
    jobs = []
    for runtime in runtimes:
        chosen = find(runtime).format
        if graph not in (None, chosen):
            hint = f"choose {FORMATS[graph or chosen]}"
            raise UsageError(f"a .{graph} file stays one", value=runtime, hint=hint)
        for quantize in wanted:
            target = folder / f"{stem}-{quantize}.{chosen}"
            check_free(target, force)
            jobs.append((chosen, runtime, quantize, target))
    records = []
    wants = Wanted(task, metric, max_drop)
    with _job(model, data, labels, threads, listener, input_size, input_range, wants) as job:
        for chosen, runtime, quantize, target in jobs:
            variants = Variants(job, chosen, runtime, optimize, encoding, listener)
            variants.rounding, variants.may_grow = None, False
            try:
                records.append(write_artifact(job, variants.one(quantize), target))
            except (ModelError, UsageError, CheckFailedError, MissingRuntimeError) as error:
                asked = {"format": chosen, "runtime": runtime, "quantize": quantize}
                records.append(asked | {"error": str(error), "exit_code": error.exit_code})
    return records


def write_artifact(job: Job, checked: Checked, target: Path) -> Record:
    """Write an artefact that passed, with its description and vectors, and return its record.

    The test examples are run now, once, to report on it. Raises CheckFailedError for one that did
    not pass, which is kept as `target`.rejected.
    """
    checked = job.on_test(checked)
    record = {
        "path": str(target),
        "format": checked.format,
        "runtime": checked.request.runtime,
        "quantize": checked.request.quantize,
        "rounding": checked.request.rounding,
        "optimize": checked.request.optimize,
        "bytes": checked.size,
        "dense_bytes": job.dense_bytes,
        "tensors": [
            dataclasses.asdict(one) | {"shape": list(one.shape), "dense_bytes": one.dense_bytes}
            for one in checked.file.tensors
        ],
        "needs": checked.file.needs,
        "notes": [*job.notes, *checked.file.notes],
        "inputs": job.reference.feed.describe(),
        "removed": job.removed,
        "verdict": checked.verdict.describe(),
        "runtime_version": checked.facts["version"],
        "speed": None if checked.speed is None else checked.speed.describe(),
        **({checked.format: dict(checked.file.details)} if checked.file.details else {}),
    }
    if not checked.verdict.passed or checked.vectors is None:
        kept = target.with_name(target.name + REJECTED)
        report = kept.with_name(kept.name + DESCRIPTION_SUFFIX)
        data = {kept.with_name(name): part for name, part in checked.file.data.items()}
        write_files(data | {kept: checked.file.content, report: json_text(record).encode()})
        raise CheckFailedError(
            f"the artefact does not do what the model does in {checked.request.runtime}",
            value=checked.verdict.reason,
            hint=f"kept as {kept}, with a report {'and weights ' * bool(data)}beside it",
        )
    check = checked.vectors.to_bytes()
    artifact = describe_artifact(job, checked, target.name, check)
    # The description names the file by its sha256, so it gets its name last.
    described = json_text(artifact.describe()).encode()
    contents = {"": checked.file.content, VECTORS_SUFFIX: check, DESCRIPTION_SUFFIX: described}
    others = {**checked.file.data, **checked.file.beside}
    beside = {target.with_name(name): part for name, part in others.items()}
    named = {target.with_name(target.name + end): part for end, part in contents.items()}
    old = replaced_weights(target)
    write_files(beside | named)
    if old is not None and old not in beside:
        old.unlink(missing_ok=True)
    return record


def _job(
    model: Any,
    data: Dataset | None,
    labels: Sequence[str] | None,
    threads: int | None,
    listener: Listener,
    input_size: InputSize | None,
    input_range: tuple[float, float] | None,
    wants: Wanted,
    runtime: str | None = None,
) -> Job:
    made = MadeInputs.within(input_range)
    kind: Callable[..., Job] = ExportJob
    if is_graph_file(model):
        listener.stage("run the model")
        kind, given = functools.partial(GraphJob, runtime=runtime), Path(model)
    else:
        listener.stage("run and shrink the model")
        given = model if hasattr(model, "layers") else model_to_shrink(Path(model))
        data = known_data(given) if data is None else data
    return kind(
        given,
        data,
        labels=labels,
        threads=threads,
        input_size=input_size,
        made=made,
        **dataclasses.asdict(wants),
    )


def _limit(
    asked: float | Literal["auto"] | None, quantize: str, optimize: Optimize
) -> float | None:
    if asked == "auto":
        return MAX_SLOWDOWN if quantize == "auto" and optimize == "size" else None
    if asked is not None and not 0 < asked < float("inf"):
        raise UsageError("a slowdown is a positive number", value=asked, hint="1.05, or none")
    return asked
