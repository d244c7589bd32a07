"""`bench`: which artefact to ship to a device, with evidence that convinces a sceptic.

The cases of a table are measured in turns, each in its own process:

1. *Starts*: each case is started several times, each time in a fresh process pinned to fixed CPUs,
   for the times of import, load and first run and the memory after it; the last process stays.
2. *Warm-up*: until the median of the runs settles.
3. *Proof*: the test examples and the check vectors are run, in this runtime, at this batch size.
4. *Rounds*: the cases take turns, A B C A B C, so that a machine that slows down slows all alike.
   Processes are stopped (SIGSTOP) between their turns, since the threads of some runtimes go on
   spinning after a run, on the CPUs that all share. In its turn a case runs single-stream (one
   batch after the other, each timed), then offline (as many, timed as a whole): the scenarios of
   MLPerf Inference (Reddi et al., 2020, arXiv:1911.02549, section III).

A case that fails loses only its own row.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from compressor import runtimes as known
from compressor.data import Dataset, load_dataset
from compressor.data.labels import numbered_as
from compressor.errors import (
    CheckFailedError,
    CheckpointError,
    MissingRuntimeError,
    UsageError,
)
from compressor.foundation import several, temporary_folder
from compressor.measuring.case_process import CaseProcess, Measured, Method
from compressor.measuring.cases import Case, plan_cases
from compressor.measuring.proof import FAILED, Examples
from compressor.measuring.record import (
    RunRecord,
    check_run,
    check_writable,
    keep_run,
    read_runs,
)
from compressor.measuring.subjects import Subject, default_output, find_subjects
from compressor.measuring.target import Target
from compressor.models.targets import stored_targets
from compressor.remote import SshHost
from deploy import Artifact

Json = dict[str, Any]


class BenchListener(Protocol):
    """Hears how a measurement progresses."""

    def stage(self, title: str) -> None:
        """What is being done now; rows of the current table have changed."""

    def table(self, cases: Sequence[Measured]) -> None:
        """A table begins; its rows fill while they are measured."""

    def done(self, run: Json, rows: Sequence[Json]) -> None:
        """A table is done, or was interrupted: the run so far, and the rows of this table."""


class _SilentListener:
    def stage(self, *_: Any, **__: Any) -> None:
        pass

    table = done = stage


def bench(
    artefacts: Sequence[Path | str],
    *,
    runtimes: Sequence[str] | None = None,
    threads: Sequence[int] | int = (1,),
    batches: Sequence[int] | int = (1,),
    data: Dataset | None = None,
    examples: int | None = None,
    output: Path | str | None = None,
    rounds: int = Method.rounds,
    round_seconds: float = Method.round_seconds,
    starts: int = Method.starts,
    time_limit: float = Method.time_limit,
    host: SshHost | str | None = None,
    listener: BenchListener | None = None,
) -> Json:
    """Measure artefacts in their runtimes, in turns, each in its own process.

    `artefacts` are .tflite and .onnx files, or folders of them; ratios are to the first. Each is
    run in the runtime that it was exported for, or in those of `runtimes` that execute its format:
    litert, tflite-runtime, tflite-micro, onnxruntime, cuda, tensorrt. Each thread count with each
    batch size makes a table. `data` gives the test examples, of which `examples`, drawn over all
    classes, are run to prove that a row computes what the artefact's description promises; without
    it the embedded MNIST is used if the descriptions name it as their data, else the check vectors
    decide.
    Each row gets `rounds` turns of `round_seconds`, `starts` fresh processes time its loading, and
    a runner may take `time_limit` seconds over one request. With a `host` everything runs there,
    over ssh, in temporary folders that are removed at the end, and the run describes that machine.

    The run is appended to `output` (default: bench.json of the run directory, or beside the first
    artefact) after each table, and when interrupted. Returns it, a JSON object; its schema is
    compressor/runs/bench.schema.json. A row that fails or is wrong is marked with the reason and
    raises nothing. Raises UsageError, CheckpointError and DataError for what cannot be measured,
    and MissingRuntimeError, before measuring anything, for a runtime that is not available.
    """
    artefacts = several(artefacts)
    listener = listener or _SilentListener()
    # A warm-up is one request, too.
    warmup = min(Method.warmup_seconds, time_limit / 4)
    method = Method(rounds, round_seconds, starts, warmup, time_limit)
    method.check()
    if not artefacts:
        raise UsageError("there is nothing to measure", value="no artefact")
    subjects = find_subjects([Path(path) for path in artefacts])
    for subject in subjects:
        if host is not None and subject.artifact is not None and subject.artifact.data is not None:
            what = "an artefact in two files is not measured over ssh"
            raise UsageError(what, value=subject.path, hint="leave --host out")
    machine = Target.find(None if host is None else SshHost.of(host))
    runtimes = None if runtimes is None else several(runtimes)
    tables = plan_cases(subjects, runtimes, several(threads), several(batches), machine.cores)
    target = Path(output) if output is not None else default_output(Path(artefacts[0]))
    read_runs(target)  # a file that cannot be appended to is refused before it costs time
    _check_runtimes(tables, time_limit, machine)
    shown = _examples(subjects, data, examples)
    check_writable(target)
    record = RunRecord(
        subjects, tables, shown, method, Path(os.path.realpath(target)).parent, machine
    )
    check_run(record.describe())
    try:
        for table in tables:
            measured = [Measured(case) for case in table]
            listener.table(measured)
            try:
                _measure_table(measured, shown, method, listener.stage, machine)
            finally:
                # An interrupted table is kept as far as it came.
                if any(found.facts or found.status == FAILED for found in measured):
                    rows = record.add(measured)
                    listener.done(record.describe(), rows)
                    keep_run(target, record.describe())
    except KeyboardInterrupt:
        record.finish(interrupted=True)
        if record.rows:
            keep_run(target, record.describe())
        raise
    record.finish(interrupted=False)
    run = record.describe()
    keep_run(target, run)
    return run


def _measure_table(
    measured: Sequence[Measured],
    examples: Examples | None,
    method: Method,
    heard: Callable[[str], None],
    target: Target,
) -> None:
    """Measure the cases; what was measured stays in `measured`, whatever interrupts it.

    `heard` is told in a few words what is being done.
    """
    running: list[CaseProcess] = []

    def guarded(process: CaseProcess, work: Callable[[], None]) -> None:
        try:
            work()
        # The runtime was there when the bench began: what it lacks now, this row lacks.
        except (CheckFailedError, CheckpointError, UsageError, MissingRuntimeError) as error:
            found = process.found
            found.status, found.reason, found.doing = FAILED, str(error), ""
            running.remove(process)
            process.close()

    with temporary_folder("compressor-bench-") as folder, contextlib.ExitStack() as stack:
        for found in measured:
            case = found.case
            heard(f"{case.subject.name} in {case.runtime}: start, warm up, check")
            process = CaseProcess(found, examples, method, folder, target)
            running.append(process)
            stack.callback(process.close)
            guarded(process, process.begin)
        for turn in range(1, method.rounds + 1):
            heard(f"round {turn} of {method.rounds}")
            for process in list(running):
                process.found.doing = f"round {turn}/{method.rounds}"
                guarded(process, process.round)
        for found in measured:
            found.doing = ""


def _check_runtimes(tables: Sequence[Sequence[Case]], time_limit: float, machine: Target) -> None:
    """Raise MissingRuntimeError for a runtime that is not available there.

    One that crashes or hangs is available; its rows will say so.
    """
    for name in dict.fromkeys(case.runtime for table in tables for case in table):
        if machine.host is None:
            known.python_of(name)
        runner = machine.runner(name, timeout=time_limit)
        with runner, contextlib.suppress(CheckFailedError):
            runner.probe()


def _examples(
    subjects: Sequence[Subject], data: Dataset | None, most: int | None
) -> Examples | None:
    """The examples to prove on. Raises UsageError where `data` does not fit an artefact."""
    if most is not None and most < 1:
        raise UsageError("the number of examples must be at least 1", value=most)
    described = [subject.artifact for subject in subjects if subject.artifact is not None]
    if data is None:
        digests = {artifact.provenance.data_sha256 for artifact in described}
        found = load_dataset(None) if len(digests) == 1 and None not in digests else None
        if found is None or digests != {found.digest}:
            if most is not None:
                raise UsageError("--examples needs data", value=most, hint="give --data")
            return None
        data = found
    data = _numbered(data, described)
    widths = [sum(head.width for head in artifact.tasks) for artifact in described]
    examples = Examples.of(data, most, max(widths, default=1))
    for artifact in described:
        examples.inputs(artifact.preprocessing, slice(0, 1))
        if artifact.heads is not None:
            stored_targets(data.y_test, artifact.heads)
        elif data.classes > artifact.classes:
            raise UsageError(
                "the data set has more classes than the artefact",
                value=f"{artifact.file} has {artifact.classes}, the data {data.classes}",
                hint="give the artefact's data with --data",
            )
    return examples


def _numbered(data: Dataset, described: Sequence[Artifact]) -> Dataset:
    """The data with the class numbers that the descriptions give to the names of their classes.

    Those that an artefact was measured on have its numbers already. Raises DataError where a name
    is unknown to an artefact, UsageError where artefacts number the same name otherwise.
    """
    found, before = data, None
    for artifact in described:
        whose, numbered = artifact.file, data
        if artifact.provenance.data_sha256 != data.digest:
            numbered = numbered_as(data, artifact.labels, artifact.classes, whose)
        if before is not None and numbered.digest != found.digest:
            raise UsageError(
                "the artefacts number their classes differently",
                value=f"{before}, {whose}",
                hint="measure each with its own data",
            )
        found, before = numbered, whose
    return found
