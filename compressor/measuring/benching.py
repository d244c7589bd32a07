"""Measuring artefacts: which one to ship to a device, answered so that a sceptic accepts it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from compressor import runtimes as known
from compressor.data import Dataset, load_dataset
from compressor.errors import CheckFailedError, UsageError
from compressor.measuring.case_process import Measured, Method
from compressor.measuring.cases import Case, plan_cases
from compressor.measuring.proof import FAILED, Examples
from compressor.measuring.record import RunRecord
from compressor.measuring.results_file import check_writable, keep_run, read_runs
from compressor.measuring.session import Session
from compressor.measuring.subjects import Subject, default_output, find_subjects
from compressor.measuring.target import Target
from compressor.remote import SshHost

Json = dict[str, Any]


class BenchListener(Protocol):
    """Hears how far a measurement is."""

    def stage(self, title: str) -> None:
        """What is done now; the table that is being measured has changed."""

    def table(self, cases: Sequence[Measured]) -> None:
        """A table begins; its rows fill while they are measured."""

    def done(self, run: Json, rows: Sequence[Json]) -> None:
        """A table is done, or was interrupted: the run so far, and the rows of this table."""


class _SilentListener:
    def stage(self, title: str) -> None:
        pass

    def table(self, cases: Sequence[Measured]) -> None:
        pass

    def done(self, run: Json, rows: Sequence[Json]) -> None:
        pass


def bench(
    artefacts: Sequence[Path | str],
    *,
    runtimes: Sequence[str] | None = None,
    threads: Sequence[int] = (1,),
    batches: Sequence[int] = (1,),
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
    """Measure artefacts in their runtimes, in turns, each in a process of its own.

    `artefacts` are .tflite and .onnx files, or folders of them; ratios are to the first. Each is
    run in the runtime that it was exported for, or in those of `runtimes` that execute its format:
    litert, tflite-runtime, onnxruntime, cuda, tensorrt. Every number of `threads` with every batch
    makes a table. `data` gives the test examples, of which the first `examples` are run to prove
    that a row computes what the artefact's description promises; without it the embedded MNIST is
    taken where the descriptions say that it is theirs, else check vectors prove. `rounds` is how
    often each row has its turn of `round_seconds`, `starts` how many fresh processes time its
    loading, and `time_limit` the seconds that a runner may take over one request. With a `host` all
    of it is run there, through ssh: artefacts, vectors and examples are copied to temporary folders
    there, which are removed at the end, and what says on which machine describes that one.

    The run is appended to `output`, bench.json of the run directory or beside the first artefact:
    after each table, and when interrupted. Returns it, a JSON object; its schema is
    compressor/runs/bench.schema.json. A row that fails or is wrong is marked in it, with the
    reason, and raises nothing. Raises UsageError, CheckpointError and DataError for what cannot be
    measured, and MissingRuntimeError, before anything is, for a runtime that is not there.
    """
    listener = listener or _SilentListener()
    # A warm-up is one request, too.
    warmup = min(Method.warmup_seconds, time_limit / 4)
    method = Method(rounds, round_seconds, starts, warmup, time_limit)
    method.check()
    if not artefacts:
        raise UsageError("there is nothing to measure", value="no artefact")
    subjects = find_subjects([Path(path) for path in artefacts])
    machine = Target.find(None if host is None else SshHost.of(host))
    tables = plan_cases(subjects, runtimes, threads, batches, machine.cores)
    target = Path(output) if output is not None else default_output(Path(artefacts[0]))
    read_runs(target)  # a file that cannot be appended to is refused before it costs time
    _check_runtimes(tables, time_limit, machine)
    shown = _examples(subjects, data, examples)
    check_writable(target)
    record = RunRecord(subjects, tables, shown, method, target.resolve().parent, machine)
    try:
        for table in tables:
            session = Session(table, shown, method, listener.stage, machine)
            _measure(session, record, target, listener)
    except KeyboardInterrupt:
        record.finish(interrupted=True)
        if record.rows:
            keep_run(target, record.describe())
        raise
    record.finish(interrupted=False)
    run = record.describe()
    keep_run(target, run)
    return run


def _measure(session: Session, record: RunRecord, target: Path, listener: BenchListener) -> None:
    """Measure one table, and keep it as far as it came."""
    listener.table(session.measured)
    try:
        session.run()
    finally:
        if any(found.facts or found.status == FAILED for found in session.measured):
            rows = record.add(session.measured)
            run = record.describe()
            listener.done(run, rows)
            keep_run(target, run)


def _check_runtimes(tables: Sequence[Sequence[Case]], time_limit: float, machine: Target) -> None:
    """Raise MissingRuntimeError for a runtime that cannot run there: nothing takes its place.

    One that crashes or hangs is there; its rows will say so.
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
        raise UsageError("no number of examples", value=most)
    described = [subject.artifact for subject in subjects if subject.artifact is not None]
    if data is None:
        digests = {artifact.provenance.data_sha256 for artifact in described}
        if len(digests) != 1 or None in digests:
            return None
        data = load_dataset(None)
        if digests != {data.digest}:
            return None
    examples = Examples.of(data, most)
    for artifact in described:
        examples.inputs(artifact.preprocessing, slice(0, 1))
        if data.classes > artifact.classes:
            raise UsageError(
                "the data set has more classes than the artefact",
                value=f"{artifact.file} has {artifact.classes}, the data {data.classes}",
                hint="give the artefact's data with --data",
            )
    return examples
