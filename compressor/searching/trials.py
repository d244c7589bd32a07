"""The trials of a search, each a finished step of a run directory: what was paid for stays.

A trial is named by all the steps that lead to it, so the same command finds it again, and so does
one with another goal or budget.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compressor.foundation import Listener, write_bytes
from compressor.runs import MODEL, RunDirectory, is_finished, read_record
from compressor.searching.crashes import Crashes
from compressor.searching.laboratory import Done, Laboratory, Task, Workers, failed, first_ended
from compressor.searching.steps import Step

TRIAL = "trial-"
"""How the name of each trial begins."""
_RESERVED, _MOST_RESERVED = 0.18, 180.0
"""of the time budget, and seconds at most, for what follows the trials"""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A model that was made by `steps` from the dense one."""

    name: str
    steps: tuple[Step, ...]
    folder: Path
    result: dict[str, Any]
    """parameters, weights, nonzeros, validation_accuracy, validation_loss, seconds; or error, and
    `again` where another run may succeed"""

    @property
    def parent(self) -> str:
        """The name of the trial that this one goes on from."""
        return name_of(self.steps[:-1])

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

    @property
    def left_for_trials(self) -> float:
        """Seconds without those that are reserved for what follows the trials."""
        return self.left - min(_RESERVED * (self.seconds or 0.0), _MOST_RESERVED)


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
        self._crashes = Crashes(run.path)
        self._begun: dict[str, Trial] = {}
        self._untold = False
        self.changed: Callable[[], None] = lambda: None
        """called when a trial was made, and before the first one is after others were read back"""
        self.done: list[Trial] = []
        """in order; those that were narrowed only are not among them"""

    @property
    def may_go_on(self) -> bool:
        """Whether the number of trials allows another one."""
        return self._budget.trials is None or len(self.done) < self._budget.trials

    def start(self, step: Step, make: Callable[[], Done]) -> Trial:
        """A trial without training, made in this process, once."""
        name = name_of((step,))
        if name not in self._begun:
            self._begun[name] = self._kept((step,), self._watched(name, make))
        return self._begun[name]

    def train(self, wanted: Sequence[tuple[Trial | None, Step]], title: str) -> list[Trial]:
        """Do each step on the model of its trial (None: on the dense one), side by side.

        Returns those that did not fail, each once, as many as the budget of trials allows. One
        that is in `done` is returned from there: it is not done again, and counts only once.
        """
        asked: dict[str, tuple[Trial | None, Step]] = {}
        for parent, step in wanted:
            asked.setdefault(name_of(_chain(parent, step)), (parent, step))
        known = {trial.name: trial for trial in self.done}
        new = [name for name in asked if name not in known]
        if self._budget.trials is not None:
            new = new[: max(self._budget.trials - len(self.done), 0)]
        missing = {name: asked[name] for name in new if not is_known(self._run.path / name)}
        running = {}
        if self._pool is not None:
            for name, one in missing.items():
                running[name] = self._pool.submit(self._task(*one))
        side_by_side = min(len(running), self._pool.count) if self._pool is not None else 1
        for name in new:
            parent, step = asked[name]
            if name in missing:
                if self._untold:
                    self._tell()
                images = step["steps"] * step["batch_size"]
                self._listener.stage(f"trial {len(self.done) + 1}, {title}", images)
            while name in running:  # each is recorded when it ends, whichever is the first
                ended = first_ended(running)
                make = functools.partial(_shared, running.pop(ended), side_by_side)
                known[ended] = self._kept(_chain(*asked[ended]), make)
            if name not in known:
                do = functools.partial(
                    self._laboratory.do, self._task(parent, step), self._listener.progress
                )
                known[name] = self._kept(_chain(parent, step), self._watched(name, do))
            self.done.append(known[name])
            self._untold = True
            if name in missing:
                self._tell()
        return [known[name] for name in asked if name in known and not known[name].failed]

    def _watched(self, name: str, do: Callable[[], Done]) -> Callable[[], Done]:
        """`do` in this process, but not what ended one: the command would never get past it."""

        def work() -> Done:
            if self._crashes.ended(name):
                return failed("TensorFlow ended the process", time.monotonic(), again=False)
            with self._crashes.watched(name):
                return do()

        return work

    def _tell(self) -> None:
        self._untold = False
        self.changed()

    def model_of(self, trial: Trial | None) -> Path:
        """The model file of a trial; None: the dense one."""
        return self._dense if trial is None else trial.model

    def _task(self, parent: Trial | None, step: Step) -> Task:
        teacher = self._dense
        if step["teacher"] and parent is not None:
            teacher = self._folder(parent.steps[: step["teacher"]]) / MODEL
        return Task(self.model_of(parent), teacher, step)

    def _folder(self, steps: Sequence[Step]) -> Path:
        return self._run.path / name_of(steps)

    def _kept(self, steps: Sequence[Step], make: Callable[[], Done]) -> Trial:
        name, folder = name_of(steps), self._folder(steps)

        def work(here: Path) -> dict[str, Any]:
            done = make()
            if done.model is not None:
                write_bytes(here / MODEL, done.model)
            return done.result

        redo = is_finished(folder) and not is_known(folder)
        if is_finished(folder):
            self._budget.add(read_record(folder)["result"]["seconds"])
        config = {"steps": [dict(step) for step in steps]}
        result = self._run.step(name, work, config=config, force=redo)
        return Trial(name, tuple(steps), folder, result)


def is_known(folder: Path) -> bool:
    """Whether a trial came to an end, or to one that another run would come to, too."""
    return is_finished(folder) and "again" not in read_record(folder)["result"]


def _chain(parent: Trial | None, step: Step) -> tuple[Step, ...]:
    return (*(parent.steps if parent else ()), step)


def _shared(work: Callable[[], Done], side_by_side: int) -> Done:
    """What `work` returns, with the part of the time that is its own where others ran beside it."""
    done = work()
    seconds = done.result["seconds"] / side_by_side
    return dataclasses.replace(done, result=done.result | {"seconds": seconds})


def name_of(steps: Sequence[Step]) -> str:
    """The name of the trial that these steps lead to."""
    text = json.dumps([dict(step) for step in steps], sort_keys=True)
    return f"{TRIAL}{hashlib.sha256(text.encode()).hexdigest()[:12]}"
