"""Pruning a model file into a run directory, step by step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compressor.errors import UsageError
from compressor.foundation import Listener, SilentListener, quiet_tensorflow
from compressor.pruning import retraining, steps
from compressor.pruning.plan import Plan, make_plan
from compressor.pruning.pruner import density_of
from compressor.pruning.schedules import round_sparsity
from compressor.pruning.spec import PruningSpec
from compressor.runs import (
    MODEL,
    MODEL_RUN,
    RunDirectory,
    Work,
    model_and_output,
    model_digest,
    same_model,
    sparsity_name,
)
from compressor.training import TrainingOptions, derive_seed

Records = dict[str, dict[str, Any]]
"""Step name -> what came out of it."""


def prune_run(
    model: Path | str,
    output: Path | str | None = None,
    spec: PruningSpec | None = None,
    plan: Plan | None = None,
    *,
    retrain: bool = True,
    force: bool = False,
    listener: Listener | None = None,
) -> Records:
    """Prune a model file by `spec` and retrain it: step_2_1 and step_2_2 in a run directory.

    The record `dense` says what the model reaches before.

    `model` is a .keras file or a run directory with step_1. `output` is by default that run
    directory, or, for a file, NAME-pruned beside it. The plan gives data, retraining and seed; its
    sparsities and layers are those of `spec`. A gradual pruning has step_2_2 only; an iterative
    one keeps its earlier rounds in round-1, round-2, ... The model need not be the paper's CNN.
    `compressor.prune` does the same to a model in memory.
    """
    spec = spec or PruningSpec()
    plan = plan or make_plan(sparsities=(spec.highest_sparsity,))
    if not retrain and spec.schedule != "one-shot":
        raise UsageError(
            f"{spec.schedule} pruning retrains", value="--no-retrain", hint="leave it out"
        )
    if spec.highest_sparsity not in plan.retraining:
        raise UsageError(
            "the plan has no retraining for this sparsity",
            value=f"{spec.highest_sparsity:g}",
            hint="make it with make_plan(sparsities=[...])",
        )
    source, folder = model_and_output(Path(model), "step_1", output, "-pruned")
    listener = listener or SilentListener()
    quiet_tensorflow.load(plan.threads)
    steps.check_pruning(source, plan.data, spec, plan.retraining[spec.highest_sparsity])
    with RunDirectory(folder, MODEL_RUN) as run:
        job = PruningJob(run, source, model_digest(source), spec, plan, force, listener)
        return job.measure() | job.run(retrain)


class PruningJob:
    """The steps of one pruning, in one run directory."""

    def __init__(
        self,
        run: RunDirectory,
        source: Path,
        digest: str,
        spec: PruningSpec,
        plan: Plan,
        force: bool,
        listener: Listener,
    ) -> None:
        self._run, self._source, self._digest = run, source, digest
        self._spec, self._plan, self._force, self._listener = spec, plan, force, listener
        self._what = {"model": digest, **spec.describe()}
        self._options = plan.retraining[spec.highest_sparsity]
        self._title = f"{100 * spec.highest_sparsity:g} %"

    def measure(self) -> Records:
        """The accuracy of the model before it is pruned."""
        self._listener.stage("measure the model")
        config = step_config(self._plan, {"model": self._digest})
        record = self._run.step(
            "dense",
            lambda _: steps.measure_step(same_model(self._source, self._digest), self._plan.data),
            config=config,
            force=self._force,
        )
        return {"dense": record}

    def run(self, retrain: bool = True) -> Records:
        """Do what is not done yet; return the records of all steps."""
        if self._spec.schedule == "gradual":
            records = self._gradual()
            self._discard_others({"step_2_2"})
            return records
        records = {}
        rounds = self._spec.passes
        source: Callable[[], Path] = functools.partial(same_model, self._source, self._digest)
        for number in range(1, rounds + 1):
            folder = f"round-{number}/" if number < rounds else ""
            records |= self._round(folder, number, rounds, source, retrain)
            source = functools.partial(Path, self._run.path / folder / "step_2_2" / MODEL)
        self._discard_others(set(records))
        return records

    def _discard_others(self, done: set[str]) -> None:
        """Remove, where the pruning was forced, what is left of the one that was there before."""
        if not self._force:
            return
        places = {name.partition("/")[0] for name in done}
        for path in [self._run.path / "step_2_1", *self._run.path.glob("round-*")]:
            if path.name not in places:
                self._run.discard(path.name)

    def _round(
        self, folder: str, number: int, rounds: int, source: Callable[[], Path], retrain: bool
    ) -> Records:
        title = f"{self._title}, round {number} of {rounds}" if rounds > 1 else self._title

        level = functools.partial(round_sparsity, number=number, rounds=rounds)
        self._listener.stage(f"prune {title}")
        pruned = self._step(
            f"{folder}step_2_1",
            lambda here: steps.prune_step(
                here, source(), self._plan.data, self._spec, level=level, again=number > 1
            ),
        )
        if not retrain:
            return {f"{folder}step_2_1": pruned}
        options = retraining.with_scaled_dropout(self._options, density_of(pruned["layers"]))
        part = "" if number == rounds else f" round {number}"
        self._listener.stage("retrain what is left", options.images)
        retrained = self._step(
            f"{folder}step_2_2",
            lambda here: steps.retrain_step(
                here,
                self._run.path / folder / "step_2_1",
                self._plan.data,
                options,
                self._spec,
                seed=self._seed(part),
                teacher=same_model(self._source, self._digest) if options.distillation else None,
                narrowed=number == rounds,
                progress=self._listener.progress,
            ),
            options,
        )
        return {f"{folder}step_2_1": pruned, f"{folder}step_2_2": retrained}

    def _gradual(self) -> Records:
        options = self._options
        self._listener.stage(f"prune {self._title}, while retraining", options.images)
        record = self._step(
            "step_2_2",
            lambda here: steps.gradual_step(
                here,
                same_model(self._source, self._digest),
                self._plan.data,
                options,
                self._spec,
                seed=self._seed(""),
                progress=self._listener.progress,
            ),
            options,
        )
        return {"step_2_2": record}

    def _step(
        self, name: str, work: Work, options: TrainingOptions | None = None
    ) -> dict[str, Any]:
        config = self._what | (options.describe() if options else {})
        return self._run.step(name, work, config=step_config(self._plan, config), force=self._force)

    def _seed(self, part: str) -> int:
        name = sparsity_name(self._spec.highest_sparsity)
        return derive_seed(self._plan.seeds[0], f"step_2_2 {name}{part}")


def step_config(plan: Plan, what: dict[str, Any]) -> dict[str, Any]:
    """What decides the result of a step: `what`, and what of the plan every step depends on."""
    return what | {
        "seed": plan.seeds[0],
        "data": plan.data.data.digest,
        "validation_images": len(plan.data.validation),
        "threads": plan.threads,
    }
