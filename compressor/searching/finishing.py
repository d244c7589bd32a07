"""The artefacts of a search: exported, proven, measured in turns, and one of them recommended.

Everything is chosen on validation examples. The test examples are run once, when all is chosen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data import TrainingData
from compressor.errors import CheckFailedError, CompressorError, ModelError, UsageError
from compressor.exporters import MAX_SLOWDOWN, ExportJob, Variants, write_artifact
from compressor.exporters.checking import Checked, Job
from compressor.exporters.graphs.file import is_graph_file
from compressor.exporters.graphs.job import GraphJob
from compressor.exporters.request import QUANTIZATIONS, Request
from compressor.foundation import Listener, SilentListener, sha256, write_bytes, write_json
from compressor.models import Asked
from compressor.remote import SshHost
from compressor.runtimes import find, median_latencies, peak_memories
from compressor.searching.goal import Goal
from compressor.searching.recipe import RECIPE_SUFFIX, Recipe
from compressor.searching.standard import Standard, validation_values
from compressor.searching.trials import Trial

_ROUNDS = 7
_QUICK = 10.0
"""seconds that the dense model took on the validation examples: it is then run on the test examples
even where time is over"""


@dataclasses.dataclass
class _Made:
    """An artefact in memory that passed its check."""

    trial: Trial
    job: Job
    checked: Checked
    row: dict[str, Any]


def dense_files(
    folder: Path,
    dense: Path,
    data: TrainingData,
    goal: Goal,
    threads: int | None,
    asked: Mapping[str, Asked] | None = None,
) -> dict[str, Any]:
    """Write the dense model into `folder`, for each runtime a file of its name.

    Raises ModelError where it cannot be exported: then nothing that is made of it can.
    """
    how: Any = {"threads": threads, "validation": len(data.validation), **(asked or {})}
    with ExportJob(dense, data.data, **how) as job:
        for runtime in goal.runtimes:
            file_format = find(runtime).format
            try:
                file = job.build(file_format, Request(runtime, encoding="dense"))
            except CompressorError as error:
                hint = "choose another --format" if len(goal.runtimes) > 1 else ""
                raise ModelError(
                    f"the model cannot be exported to {file_format}", value=error.what, hint=hint
                ) from error
            if file.data:
                what, value = "a search takes models of at most 2 GB", f"{file.size / 1e9:.2f} GB"
                raise ModelError(what, value=value, hint="remove channels first, with prune")
            write_bytes(folder / runtime, file.content)
    return {"runtimes": list(goal.runtimes)}


def finish(
    folder: Path,
    plain: Mapping[str, bytes],
    chosen: Sequence[tuple[Trial, Path]],
    data: TrainingData,
    goal: Goal,
    standard: Standard,
    recipe: Callable[[Trial], Recipe],
    *,
    asked: Mapping[str, Asked] | None = None,
    threads: int | None,
    listener: Listener,
    host: SshHost | None = None,
    may_go_on: Callable[[], bool] = lambda: True,
    retrained: bool = True,
) -> dict[str, Any]:
    """Export the models of `chosen` into `folder`, the likeliest first; as many as time allows.

    The last one is the dense model, a trial without steps, which has no recipe. Where the others
    were `retrained`, it is exported only if none of them keeps the accuracy, whatever the time;
    else quantised it may well be smaller than they are. `plain` are the dense model's
    files in float32, by runtime. Latency, and RAM where the goal limits it, are measured
    here, or on the `host`.

    Returns a JSON object: `front`, a row for each artefact that no other one beats in bytes,
    latency and accuracy; `recommended`, by runtime, with `reasons`; `dense`, what the dense model
    takes in each runtime; `test`, the metrics that decide of the dense model on the test examples,
    if it is quick or time is left; `failed`; `cut`, whether time was too short for some `chosen`.
    """
    made: list[_Made] = []
    failed: list[dict[str, Any]] = []
    cut = False
    with contextlib.ExitStack() as stack:
        jobs: dict[Path, Job] = {}

        def opened(model: Path) -> Job:
            if model in jobs:
                return jobs[model]
            how: Any = {"threads": threads, "validation": len(data.validation), **(asked or {})}
            kind, own = artifact_job(model, chosen[-1][1])
            job = jobs[model] = stack.enter_context(kind(model, data.data, **how, **own))
            job.floor = standard.accepted
            return job

        for trial, model in chosen:
            held = {one.row["runtime"] for one in made if standard.holds(one.row)}
            settled = held == set(goal.runtimes)
            if not trial.steps and settled and retrained:
                continue  # larger, and slower
            if made and (trial.steps or settled) and not may_go_on():
                cut = True
                continue
            try:
                job = opened(model)
            except CompressorError as error:  # outputs that are no numbers
                failed += [
                    {"trial": trial.name, "runtime": runtime, "error": str(error)}
                    for runtime in goal.runtimes
                ]
                continue
            for runtime in goal.runtimes:
                listener.stage(f"export {trial.result['nonzeros']:,} weights for {runtime}")
                try:
                    found = best_variants(job, runtime, goal, standard, host)
                except CompressorError as error:
                    failed.append({"trial": trial.name, "runtime": runtime, "error": str(error)})
                    continue
                made += [
                    _Made(trial, job, checked, _row(trial, checked, standard)) for checked in found
                ]
        times = {
            runtime: _measured(made, plain[runtime], runtime, goal, host, listener)
            for runtime in plain
        }
        rows = [one.row for one in made]
        recommended, reasons = {}, {}
        for runtime in goal.runtimes:
            mine = [row for row in rows if row["runtime"] == runtime]
            if mine:
                best, reason = choose(mine, goal, standard)
                recommended[runtime], reasons[runtime] = best["file"], reason
        kept = [
            one
            for one in made
            if _is_unbeaten(one.row, rows, standard) or one.row["file"] in recommended.values()
        ]
        listener.stage("judge the chosen artefacts on the test examples")
        keys = [head.key() for head in standard.heads]
        front = []
        for one in kept:
            try:
                record = write_artifact(one.job, one.checked, folder / one.row["file"])
            except CheckFailedError as error:  # outputs that are no numbers
                what = {"trial": one.trial.name, "runtime": one.row["runtime"]}
                failed.append(what | {"error": str(CompressorError(error.what, value=error.value))})
                continue
            front.append(one.row)
            one.row |= {key: record["verdict"].get(key) for key in keys}
            if not one.trial.steps:
                continue
            written = recipe(one.trial).with_export(one.row, sha256(folder / one.row["file"]))
            write_json(folder / f"{one.row['file']}{RECIPE_SUFFIX}", written.describe())
        test: dict[str, Any] = {}
        quick = chosen[-1][0].result.get("seconds", math.inf) <= _QUICK
        if front and (quick or may_go_on()):
            with contextlib.suppress(CompressorError):  # outputs that are no numbers
                if (whole := opened(chosen[-1][1]).test) is not None:
                    test = {key: whole.own_values.get(key) for key in keys}
    return {
        "test": test,
        "front": sorted(front, key=lambda row: (row["runtime"], row["bytes"])),
        "recommended": recommended,
        "reasons": reasons,
        "dense": times,
        "failed": failed,
        "cut": cut,
    }


def artifact_job(model: Path, source: Path) -> tuple[Any, dict[str, Any]]:
    """The job that makes artefacts of a model file, and arguments that only its kind takes.

    What was retrained is judged on the validation examples alone, as the dense model was: with
    training examples, which it knows, it would seem better. A .tflite or .onnx file is described as
    its `source` is, which was measured as that is.
    """
    if is_graph_file(model):
        return GraphJob, {"described": source}
    return ExportJob, {"choose_on": 0}


def best_variants(
    job: Job, runtime: str, goal: Goal, standard: Standard, host: SshHost | None = None
) -> list[Checked]:
    """The smallest or fastest variant that passes and is good enough; else the best.

    Where a measurement has to decide among several, all that pass. Raises CheckFailedError where
    none does.
    """
    file_format = find(runtime).format
    silent = SilentListener()
    variants = Variants(job, file_format, runtime, goal.minimize, None, silent, host=host)
    best = variants.best()
    tried = [best]
    # Of the size, the best is the smallest already; latencies are not known yet.
    too_large = goal.minimize == "latency" and best.size > (goal.max_bytes or math.inf)
    measured = goal.max_latency_ms is not None or goal.max_ram is not None
    more = not standard.holds(_metrics(best)) or too_large or measured
    if best.verdict.passed and more:
        for quantize in QUANTIZATIONS:
            if quantize == best.request.quantize:
                continue
            with contextlib.suppress(ModelError, UsageError):
                tried.append(variants.one(quantize))
    passed = [one for one in tried if one.verdict.passed and not one.file.data]
    if not passed:
        raise CheckFailedError(
            f"no variant does what the model does in {runtime}", value=best.verdict.reason
        )
    if goal.minimize == "latency" or measured:
        return passed
    holding = [checked for checked in passed if standard.holds(_metrics(checked))]
    if holding:
        return [min(holding, key=lambda checked: checked.size)]
    return [min(passed, key=lambda checked: standard.error(_metrics(checked)))]


def choose(
    rows: Sequence[dict[str, Any]], goal: Goal, standard: Standard
) -> tuple[dict[str, Any], str]:
    """The row to recommend among those of one runtime, and why."""
    measure = "bytes" if goal.minimize == "size" else "latency_ms"
    holding = [row for row in rows if not standard.shortfalls(row, goal)]
    if holding:
        best = min(_fast(holding), key=lambda row: (row[measure], row["bytes"]))
        what = "smallest" if goal.minimize == "size" else "fastest"
        others = f" of {len(rows)}" if len(rows) > 1 else ""
        return best, f"the {what}{others} that keeps to the goal"
    best = min(
        _fast(rows), key=lambda row: (len(standard.shortfalls(row, goal)), standard.error(row))
    )
    return best, "nothing keeps to the goal; the nearest: " + "; ".join(
        standard.shortfalls(best, goal)
    )


def _fast(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Those that take no longer than the dense model; all where none does."""
    return [row for row in rows if row["ratio"] <= MAX_SLOWDOWN] or rows


def _row(trial: Trial, checked: Checked, standard: Standard) -> dict[str, Any]:
    request, found = checked.request, _metrics(checked)
    return {
        "file": f"{trial.name}-{request.runtime}-{request.quantize}.{checked.format}",
        "trial": trial.name,
        "runtime": request.runtime,
        "quantize": request.quantize,
        "optimize": request.optimize,
        "bytes": checked.size,
        "nonzeros": trial.result["nonzeros"],
        **{key: found.get(key) for key in standard.keys},
    }


def _metrics(checked: Checked) -> dict[str, float]:
    """The metrics of an artefact on the examples to choose on, as those of a row."""
    return validation_values(checked.verdict.chosen_on.values)


def _measured(
    made: Sequence[_Made],
    plain: bytes,
    runtime: str,
    goal: Goal,
    host: SshHost | None,
    listener: Listener,
) -> dict[str, Any]:
    """Time the artefacts of a runtime in turns with the dense model, whose numbers are returned."""
    mine = [one for one in made if one.row["runtime"] == runtime]
    contents = [plain, *(one.checked.file.content for one in mine)]
    where: dict[str, Any] = {} if host is None else {"host": host}
    place = "" if host is None else f" on {host.name}"
    listener.stage(f"measure {len(contents)} artefacts in turns in {runtime}{place}")
    for one in mine:
        one.job.processes.pause()
    if mine:  # the inputs of all are alike
        where |= mine[0].job.timed_on(mine[0].checked.file)
    times = np.median(median_latencies(contents, runtime, rounds=_ROUNDS, **where), axis=0)
    dense: dict[str, Any] = {"bytes": len(plain), "latency_ms": float(times[0])}
    for one, milliseconds in zip(mine, times[1:], strict=True):
        one.row["latency_ms"] = float(milliseconds)
        one.row["ratio"] = float(milliseconds / times[0])
    if goal.max_ram is not None:
        rows = [dense, *(one.row for one in mine)]
        for row, ram in zip(rows, peak_memories(contents, runtime, **where), strict=True):
            row["ram_bytes"] = ram
    return dense


def _is_unbeaten(row: dict[str, Any], rows: Sequence[dict[str, Any]], standard: Standard) -> bool:
    """Whether no other artefact of its runtime is at least as good in everything, and better.

    Latencies are measured: those within MAX_SLOWDOWN of each other are as good.
    """

    def beats(other: dict[str, Any]) -> bool:
        if other["latency_ms"] > MAX_SLOWDOWN * row["latency_ms"]:
            return False
        smaller = row["bytes"] - other["bytes"]
        better = standard.error(row) - standard.error(other)
        faster = MAX_SLOWDOWN * other["latency_ms"] < row["latency_ms"]
        return smaller >= 0 and better >= 0 and (smaller > 0 or better > 0 or faster)

    return not any(other["runtime"] == row["runtime"] and beats(other) for other in rows)
