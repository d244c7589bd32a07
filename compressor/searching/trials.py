"""The trials of a search, each a finished step of a run directory: what was paid for stays.

A trial is named by all the steps that lead to it, so the same command finds it again, and so does
one with another goal or budget.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compressor.foundation import Listener, write_bytes
from compressor.runs import MODEL, RunDirectory, is_finished, read_record
from compressor.searching.laboratory import Done, Laboratory, Task, Workers
from compressor.searching.steps import Step


@dataclasses.dataclass(frozen=True)
class Trial:
    """A model that was made by `steps` from the dense one."""

    name: str
    steps: tuple[Step, ...]
    folder: Path
    result: dict[str, Any]
    """parameters, weights, nonzeros, validation_accuracy, validation_loss, seconds; or error"""

    @property
    def parent(self) -> str:
        """The name of the trial that this one goes on from."""
        return _name(self.steps[:-1])

    @property
    def failed(self) -> bool:
        return "error" in self.result

    @property
    def model(self) -> Path:
        return self.folder / MODEL

    def describe(self) -> dict[str, Any]:
        """As a row of the search document."""
        steps = [dict(step) for step in self.steps]
        return {"trial": self.name, "steps": steps, **self.result}


class Budget:
    """How long a search may still take; finished work counts what it took when it was done."""

    def __init__(self, seconds: float | None, trials: int | None) -> None:
        self.seconds, self.trials = seconds, trials
        self._start, self._before = time.monotonic(), 0.0

    def add(self, seconds: float) -> None:
        """Count work of an earlier run."""
        self._before += seconds

    @property
    def left(self) -> float:
        """Seconds, below 0 when they are spent."""
        if self.seconds is None:
            return float("inf")
        return self.seconds - self._before - (time.monotonic() - self._start)


class Trials:
    """Does trials in a run directory, or reads those that are finished."""

    def __init__(
        self,
        run: RunDirectory,
        dense: Path,
        laboratory: Laboratory,
        budget: Budget,
        listener: Listener,
        pool: Workers | None = None,
    ) -> None:
        self._run, self._dense, self._laboratory = run, dense, laboratory
        self._budget, self._listener, self._pool = budget, listener, pool
        self.changed: Callable[[], None] = lambda: None
        """called when a trial is done"""
        self.done: list[Trial] = []
        """in order; those that were narrowed only are not among them"""

    @property
    def may_go_on(self) -> bool:
        """Whether the number of trials allows another one."""
        return self._budget.trials is None or len(self.done) < self._budget.trials

    def start(self, step: Step, make: Callable[[], Done]) -> Trial:
        """A trial without training, made in this process."""
        return self._kept((step,), make)

    def train(self, wanted: Sequence[tuple[Trial | None, Step]], title: str) -> list[Trial]:
        """Do each step on the model of its trial (None: on the dense one), side by side.

        Returns those that did not fail, as many as the budget of trials allows.
        """
        if self._budget.trials is not None:
            wanted = wanted[: max(self._budget.trials - len(self.done), 0)]
        pending: dict[int, Callable[[], Done]] = {}
        chains = [(*(parent.steps if parent else ()), step) for parent, step in wanted]
        for number, (parent, step) in enumerate(wanted):
            if self._pool is not None and not is_finished(self._folder(chains[number])):
                pending[number] = self._pool.submit(self._task(parent, step))
        found = []
        for number, (parent, step) in enumerate(wanted):

            def make(number: int = number, parent: Any = parent, step: Step = step) -> Done:
                images = step["steps"] * step["batch_size"]
                self._listener.stage(f"trial {len(self.done) + 1}, {title}", images)
                if number in pending:
                    return pending[number]()
                return self._laboratory.do(self._task(parent, step), self._listener.progress)

            trial = self._kept(chains[number], make)
            self.done.append(trial)
            self.changed()
            if not trial.failed:
                found.append(trial)
        return found

    def model_of(self, trial: Trial | None) -> Path:
        """The model file of a trial; None: the dense one."""
        return self._dense if trial is None else trial.model

    def _task(self, parent: Trial | None, step: Step) -> Task:
        teacher = self._dense
        if step["teacher"] and parent is not None:
            teacher = self._folder(parent.steps[: step["teacher"]]) / MODEL
        return Task(self.model_of(parent), teacher, step)

    def _folder(self, steps: Sequence[Step]) -> Path:
        return self._run.path / _name(steps)

    def _kept(self, steps: Sequence[Step], make: Callable[[], Done]) -> Trial:
        name, folder = _name(steps), self._folder(steps)

        def work(here: Path) -> dict[str, Any]:
            done = make()
            if done.model is not None:
                write_bytes(here / MODEL, done.model)
            return done.result

        if is_finished(folder):
            self._budget.add(read_record(folder)["result"]["seconds"])
        result = self._run.step(name, work, config={"steps": [dict(step) for step in steps]})
        return Trial(name, tuple(steps), folder, result)


def _name(steps: Sequence[Step]) -> str:
    text = json.dumps([dict(step) for step in steps], sort_keys=True)
    return f"trial-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
