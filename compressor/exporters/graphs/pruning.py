"""Pruning a .tflite or .onnx file of any origin, without retraining."""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data import Dataset
from compressor.errors import CheckFailedError, ModelError, RunDirectoryError, UsageError
from compressor.exporters import parity
from compressor.exporters.graphs.file import is_graph_file
from compressor.exporters.graphs.job import GraphJob
from compressor.exporters.graphs.reconstruction import (
    GraphReconstruction,
    reconstruct,
    remove_channels,
)
from compressor.exporters.made_inputs import MadeInputs
from compressor.exporters.reference import Reference
from compressor.exporters.request import ExportedFile
from compressor.foundation import write_bytes
from compressor.models import ALL, Asked, InputSize
from compressor.pruning import (
    GraphKernels,
    KernelMasks,
    PruningSpec,
    SpecLike,
    get_criterion,
    prune_channels,
    prune_kernels,
)
from compressor.pruning.channels import plan_of
from compressor.pruning.granularity import Channel, parse_granularity
from compressor.pruning.pruner import Pruning
from compressor.pruning.reconstruction_solver import solve

_KERAS = "prune the Keras model, or the model that it was made of"
_COMPARED = 8
"""Examples that a file is run on in the form that is changed, before it is."""


def prune_graph(
    model: Path | str,
    output: Path | str | None = None,
    spec: SpecLike = None,
    data: Dataset | None = None,
    *,
    input_size: InputSize | None = None,
    input_range: tuple[float, float] | None = None,
    task: Asked = None,
    metric: Asked = None,
    force: bool = False,
) -> dict[str, Any]:
    """Set weights of a .tflite or .onnx file to zero, and write it as `output`.

    `output` is by default NAME-pruned beside it, in the same format; the zeros are stored, so
    export it to make it small. Channels are removed, with what depends on them. `spec`, or a
    sparsity alone, prunes by magnitude, by a registered criterion that needs no examples, or by
    `reconstruct`, which looks at what enters each layer for training examples of `data`, or for
    inputs made up in `input_range`. Layers have the names of their weights in the file. Outputs
    before and after are compared on the validation examples of `data`, else on random inputs, made
    of `input_size` and `input_range` as in `export`; `task` and `metric` as there.

    Returns a JSON object: path, format, bytes, layers (as of `prune`), left_alone, and comparison
    (agreement, accuracy and reference_accuracy, or the metrics of its `heads`, of the pruned file
    with the one that came). Raises
    UsageError for what needs training and for layers that must stay whole, ModelError where nothing
    can be pruned, and as `GraphJob` does.
    """
    source, spec = Path(model), PruningSpec.of(spec)
    if not is_graph_file(source):
        raise UsageError("this takes a .tflite or .onnx file", value=source)
    if spec.schedule != "one-shot":
        hint = f"leave --pruning-schedule out, or {_KERAS}"
        raise UsageError(f"{spec.schedule} pruning trains", value=source, hint=hint)
    made = MadeInputs.within(input_range)
    suffix = source.suffix
    target = source.with_name(f"{source.stem}-pruned{suffix}") if output is None else Path(output)
    if target.suffix != suffix:
        raise UsageError(f"a {suffix} file stays one", value=target)
    if target.exists() and (not force or target.samefile(source)):
        raise RunDirectoryError("the file is there already", value=target, hint="name another")
    how: dict[str, Any] = {"input_size": input_size, "made": made, "task": task, "metric": metric}
    with GraphJob(source, data, **how) as job:
        check_opened(job)
        content, found, comparison = pruned_file(job, spec)
    write_bytes(target, content)
    return {
        "path": str(target),
        "format": job.graph.format,
        "bytes": len(content),
        **found.describe(),
        "comparison": comparison,
        "notes": list(job.notes),
    }


def check_opened(job: GraphJob) -> None:
    """Refuse the file of a job that cannot be pruned, or computes something else once it is opened.

    Raises ModelError: nothing that is lost then is lost by pruning.
    """
    if job.graph.is_quantized:
        value = f"{job.source} ({job.graph.quantized})"
        what = "the weights are integers, which are not pruned"
        raise ModelError(what, value=value, hint="prune the file in float32")
    kind = kernels_module(job.graph.format)
    content, examples = kind.write(kind.open_model(job.graph.content)), job.drawn(_COMPARED)
    expected = job.reference.only(examples)
    verdict = parity.judge(_scores(job, content, expected), expected, job.graph.quantized)
    if verdict.passed:
        return
    again = _scores(job, job.graph.content, expected)
    if parity.judge(again, expected, job.graph.quantized).passed:  # else its outputs are random
        what = "the file computes something else in the form that can be pruned"
        newer = "export it again, with opset 18 or newer"
        hint = newer if job.graph.format == "onnx" else _KERAS
        raise ModelError(what, value=f"{job.source}, {verdict.reason}", hint=hint)


def pruned_file(job: GraphJob, spec: PruningSpec) -> tuple[bytes, Pruning, Mapping[str, Any]]:
    """The file of a job, pruned in memory; what was done, and how it compares with the one before.

    Requires: the file passed `check_opened`. Raises as `prune_graph` does.
    """
    kind = kernels_module(job.graph.format)
    graph = kind.open_model(job.graph.content)
    kernels: GraphKernels = kind.kernels_of(graph)
    named = _named(kernels, spec)
    if isinstance(parse_granularity(spec.granularity), Channel):
        found = _narrowed(job, kind, graph, named, spec)
    elif get_criterion(spec.criterion).solve is solve:
        found = _reconstructed(job, kind, graph, named, spec)
    else:
        found = prune_kernels(named, spec)
        masks = found.masks.items()
        kind.store(graph, {name: np.where(mask, kernels[name][0], 0) for name, mask in masks})
    content = kind.write(graph)
    return content, found, _compared(job, content)


def kernels_module(file_format: str) -> Any:
    """What knows the kernels of files of a format."""
    return importlib.import_module(f"compressor.exporters.{file_format}.kernels")


def _reconstructed(
    job: GraphJob, kind: Any, graph: Any, kernels: GraphKernels, spec: PruningSpec
) -> Pruning:
    assert spec.calibration is not None
    chosen = KernelMasks.of(kernels, spec)
    masks, reports = reconstruct(job, kind, graph, chosen, spec.calibration)
    return chosen.result(masks, {}, reports)


def _narrowed(
    job: GraphJob, kind: Any, graph: Any, named: GraphKernels, spec: PruningSpec
) -> Pruning:
    format_channels = importlib.import_module(f"compressor.exporters.{job.graph.format}.channels")
    walk = format_channels.walk_channels(graph)
    found, kernels = walk.map(), kind.kernels_of(graph)
    main = {id(constant): name for name, constant in walk.kernels.items()}
    plan = plan_of(found, named, main, named=ALL not in spec.layers)
    remove = None
    if get_criterion(spec.criterion).solve is solve:
        assert spec.calibration is not None
        work = GraphReconstruction(job, kind, graph, spec.calibration)
        remove = functools.partial(remove_channels, work, at_once=spec.scope == "global")
    pruned = prune_channels(kernels, plan, spec, remove)
    gone = np.concatenate([part.gone for part in plan.sets])
    format_channels.remove_channels(graph, walk, found, gone)
    return pruned


def _named(kernels: GraphKernels, spec: PruningSpec) -> GraphKernels:
    """The kernels that the specification means; UsageError for a name that none has."""
    if not kernels:
        what = "the file has no weight that an operator multiplies with"
        raise ModelError(what, value="in float32 or float16", hint=_KERAS)
    for name in spec.layers:
        if name not in kernels and name != ALL:
            near = difflib.get_close_matches(name, kernels, n=3) or sorted(kernels)[:3]
            hint = f"there are {', '.join(near)}"
            raise UsageError("the file has no such weight", value=name, hint=hint)
    if ALL in spec.layers:
        return kernels
    return {name: kernels[name] for name in kernels if name in spec.layers}


def _compared(job: GraphJob, content: bytes) -> Mapping[str, Any]:
    """How the pruned file compares with the one that came; raises CheckFailedError."""
    scores = _scores(job, content, job.reference)
    if scores.shape != job.reference.scores.shape or not np.isfinite(scores).all():
        raise CheckFailedError("the pruned file gives no scores", value=job.own_runtime)
    return (
        parity.compare(scores, job.reference).describe() | job.reference.objective.described_heads()
    )


def _scores(job: GraphJob, content: bytes, examples: Reference) -> np.ndarray:
    """The outputs of a file on examples, in the runtime of the job."""
    file = ExportedFile(content, job.original.inputs, (), {})
    with job.processes.loaded(job.own_runtime, job.graph.format, file) as (_, run):
        scores: np.ndarray = run(examples, job.batch)
        return scores
