"""One case in its process: started, warmed up, proven, and run in rounds."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compressor.errors import CheckFailedError, UsageError
from compressor.exporters import load_untrusted
from compressor.foundation import storage_errors
from compressor.measuring import proof
from compressor.measuring.cases import Case
from compressor.measuring.proof import Examples, Outcome
from compressor.measuring.target import Target
from compressor.runtimes import Runner, timing
from compressor.runtimes.runner import Stored
from deploy import ArtifactError, CheckVectors
from deploy.arrays import write_arrays
from deploy.artifact_parts import InputRule

_BATCHES_FED = 64
_FED_BYTES = 64 * 2**20
_PROOF_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Method:
    """How long and how often to measure; times in seconds."""

    rounds: int = 15
    round_seconds: float = timing.ROUND_SECONDS
    """of a case in a round, single-stream, and as much again offline; of 300 runs at most"""
    starts: int = 3
    warmup_seconds: float = timing.WARMUP_SECONDS
    """at most"""
    time_limit: float = 120.0
    """of one request to a runner"""

    def check(self) -> None:
        """Raise UsageError for what cannot be measured."""
        for what, value, least in (
            ("rounds", self.rounds, 1),
            ("starts", self.starts, 1),
            ("seconds of a round", self.round_seconds, 0),
            ("time limit", self.time_limit, 0),
        ):
            if not value >= least or not value or value > 1e6:
                raise UsageError(f"cannot measure with this number of {what}", value=value)


@dataclasses.dataclass
class Measured:
    """What is known of a case so far; times in milliseconds."""

    case: Case
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    """what the runner said when it loaded the artefact"""
    import_ms: list[float] = dataclasses.field(default_factory=list)
    load_ms: list[float] = dataclasses.field(default_factory=list)
    first_ms: list[float] = dataclasses.field(default_factory=list)
    warm: dict[str, Any] = dataclasses.field(default_factory=dict)
    """what the warm-up gave"""
    fed: str | None = None
    """how examples are fed"""
    outcome: Outcome | None = None
    """what it made of the test examples"""
    check: dict[str, Any] | None = None
    rounds: list[np.ndarray] = dataclasses.field(default_factory=list)
    """of each run, of each round"""
    streams: list[float] = dataclasses.field(default_factory=list)
    """examples a second, of each round"""
    status: str = proof.UNPROVEN
    reason: str | None = "not measured"
    doing: str = "waits"
    """for who watches"""

    @property
    def classes(self) -> np.ndarray | None:
        """Predicted, int64 (examples,)."""
        return None if self.outcome is None else self.outcome.classes

    @property
    def shown(self) -> str:
        """The metrics that decide, for a reader; empty where they were not measured."""
        artifact = self.case.subject.artifact
        heads = () if artifact is None else artifact.tasks
        found = [(head.decides, self.values.get(head.key())) for head in heads]
        return ", ".join(metric.text(value) for metric, value in found if value is not None)

    @property
    def values(self) -> Mapping[str, float]:
        """Every metric by its key, as far as it was measured."""
        return {} if self.outcome is None else self.outcome.values


@dataclasses.dataclass(eq=False)
class CaseProcess:
    """The process of a case; every method raises as `Runner` does.

    `folder` holds the examples that artefacts are fed.
    """

    found: Measured
    examples: Examples | None
    method: Method
    folder: Path
    target: Target
    _rules: tuple[InputRule, ...] = ()
    _fed: Stored | None = None
    _stack: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)
    _runner: Runner | None = None
    _timer: timing.Timer | None = None

    def close(self) -> None:
        self._runner = None
        self._stack.close()

    def begin(self) -> None:
        """Start several times; warm up and prove the last process."""
        found, case, starts = self.found, self.found.case, self.method.starts
        for start in range(starts):
            found.doing = f"start {start + 1}/{starts}"
            self.close()
            self._start()
            # One batch, so that the memory is that of the artefact's own work.
            first = self._running.warm_up(
                seconds=0.0,
                batch=case.batch,
                inputs=self._fed if self._is_open else None,
                copies=case.copies,
            )
            found.first_ms.append(first["first_ns"] / 1e6)
        found.doing = "warms up"
        self._timer = timing.Timer(
            self._running,
            self.method.round_seconds,
            batch=case.batch,
            inputs=self._fed,
            copies=case.copies,
        )
        memory = {key: first[key] for key in ("peak_memory_bytes", "device_memory_bytes")}
        found.warm = self._timer.warm_up(self.method.warmup_seconds) | memory
        found.doing = "checks"
        self._prove()
        self._running.pause()

    def round(self) -> None:
        """One turn: single-stream, then offline; the process is paused before and after."""
        assert self._timer is not None
        with self._timer.turn():
            times, speed = self._timer.latencies(), self._timer.throughput()
        self.found.rounds.append(times)
        self.found.streams.append(speed)

    @property
    def _running(self) -> Runner:
        if self._runner is None:
            raise RuntimeError("the process is not started")
        return self._runner

    def _start(self) -> None:
        case = self.found.case
        runner = self.target.runner(
            case.runtime,
            threads=case.threads,
            timeout=self.method.time_limit,
            # What feeds a GPU has threads of its own.
            cpus=None if case.on_gpu else timing.pinned_cpus(case.threads, self.target.cores),
        )
        self._runner = self._stack.enter_context(runner)
        facts = load_untrusted(self._runner, case.subject.path, graph=case.transfer == "graph")
        fixed = {port["shape"][0] for port in facts["inputs"] if port["shape"]} - {None}
        if fixed - {case.batch}:
            raise CheckFailedError(
                "the artefact is made for another batch size",
                value=f"{', '.join(map(str, sorted(fixed)))}, asked for is {case.batch}",
            )
        self.found.facts = facts
        self.found.import_ms.append(facts["import_ms"])
        self.found.load_ms.append(facts["load_ms"])
        if self.examples is not None and self._fed is None:
            self._fed = self._feed(facts["inputs"], self.examples)
        vectors, described = case.subject.vectors, case.subject.artifact is not None
        if self._is_open and self._fed is None and vectors is not None and described:
            # Random inputs would have the size 1 where it is open. What is wrong with vectors, the
            # check says.
            with contextlib.suppress(ArtifactError):
                self._fed = CheckVectors.read(vectors).inputs

    @property
    def _is_open(self) -> bool:
        """Whether sizes of the inputs, the batch excepted, are those of what is fed."""
        return any(None in port["shape"][1:] for port in self.found.facts["inputs"])

    def _feed(self, ports: list[dict[str, Any]], examples: Examples) -> Path | None:
        """Write some batches to a file; None where they do not fit guessed input rules."""
        self._rules = proof.rules_of(self.found.case.subject, ports, examples.data)
        try:
            one = examples.inputs(self._rules, slice(0, 1))
        except UsageError:
            if self.found.case.subject.artifact is not None:
                raise
            return None
        self.found.fed = "; ".join(f"{rule.name}: {rule.reason}" for rule in self._rules)
        room = max(_FED_BYTES // max(sum(array.nbytes for array in one.values()), 1), 1)
        count = min(examples.count, _BATCHES_FED * self.found.case.batch, room)
        path = self.folder / f"{self.found.case.artefact}-{self.found.case.batch}.npz"
        if not path.exists():
            with storage_errors(path), open(path, "wb") as file:
                write_arrays(file, examples.drawn(count).inputs(self._rules, slice(None)))
        return path

    def _prove(self) -> None:
        found, case, examples = self.found, self.found.case, self.examples
        predict = functools.partial(self._running.predict, batch=case.batch)
        if examples is not None and self._rules and self._fed is not None:
            batches = int(_PROOF_SECONDS * 1e9 / max(found.warm["median_ns"], 1.0))
            found.outcome = proof.outcome(
                predict,
                self._rules,
                examples,
                case.subject,
                found.facts["outputs"],
                max(batches, 1) * case.batch,
            )
        if case.subject.vectors is not None and case.subject.artifact is not None:
            found.check = self._running.check(case.subject.vectors, batch=case.batch)
        found.status, found.reason = proof.verdict(
            case.subject, examples, found.values, found.check
        )
