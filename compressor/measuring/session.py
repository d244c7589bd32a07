"""Measuring the cases of one table: each in a process of its own, in turns.

1. *Starts*: each case is started several times, in a fresh process kept to its processors, for the
   times of import, load and first run, and for the memory after it; the last process stays.
2. *Warm-up*: until the median of the runs settles.
3. *Proof*: the test examples and the check vectors are run, in this runtime, at this batch.
4. *Rounds*: the cases take turns, A B C A B C, so that a machine that becomes slower slows all
   alike. Processes are stopped (SIGSTOP) while it is not their turn, since the threads of some
   runtimes go on spinning after a run, on the processors that all share. In its turn a case runs
   single-stream (a batch after the other, each timed), then offline (as many, timed in all): the
   scenarios as MLPerf Inference names them (Reddi et al., 2020, arXiv:1911.02549, section III).

A case that fails costs its own row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from compressor.errors import CheckFailedError, MissingRuntimeError, UsageError
from compressor.foundation import temporary_folder
from compressor.measuring import proof
from compressor.measuring.case_process import CaseProcess, Measured, Method
from compressor.measuring.cases import Case
from compressor.measuring.proof import Examples
from compressor.measuring.target import Target

Heard = Callable[[str], None]
"""Told what is being done, in a few words."""


class Session:
    """The processes of one table."""

    def __init__(
        self,
        cases: Sequence[Case],
        examples: Examples | None,
        method: Method,
        heard: Heard,
        target: Target,
    ) -> None:
        self.measured = [Measured(case) for case in cases]
        self._examples, self._method, self._heard = examples, method, heard
        self._target = target
        self._running: dict[int, CaseProcess] = {}

    def run(self) -> None:
        """Measure all cases. What was measured stays in `measured`, whatever interrupts it."""
        with contextlib.ExitStack() as stack:
            self._run(stack, stack.enter_context(temporary_folder("compressor-bench-")))

    def _run(self, stack: contextlib.ExitStack, folder: Path) -> None:
        for number, found in enumerate(self.measured):
            case = found.case
            self._heard(f"{case.subject.name} in {case.runtime}: start, warm up, check")
            process = CaseProcess(found, self._examples, self._method, folder, self._target)
            self._running[number] = process
            stack.callback(process.close)
            self._guarded(number, process.begin)
        for turn in range(1, self._method.rounds + 1):
            self._heard(f"round {turn} of {self._method.rounds}")
            for number, process in list(self._running.items()):
                self.measured[number].doing = f"round {turn}/{self._method.rounds}"
                self._guarded(number, process.round)
        for found in self.measured:
            found.doing = ""

    def _guarded(self, number: int, work: Callable[[], None]) -> None:
        """Do a part of a case; what goes wrong with it costs this row."""
        try:
            work()
        # The runtime was there when the bench began: what it lacks now, this row lacks.
        except (CheckFailedError, UsageError, MissingRuntimeError) as error:
            found = self.measured[number]
            found.status, found.reason, found.doing = proof.FAILED, str(error), ""
            self._running.pop(number).close()
