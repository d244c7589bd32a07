"""The search: from a model and a goal to the best artefact, resumable at any moment."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compressor.data import Dataset, TrainingData
from compressor.foundation import Listener, SilentListener, quiet_tensorflow
from compressor.importing import load_model
from compressor.models import Asked, asked_for, needed_data, objective_for
from compressor.parallel import check_workers, crew_of
from compressor.remote import SshHost
from compressor.runs import (
    RunDirectory,
    is_graph,
    keras_file,
    model_digest,
    output_directory,
)
from compressor.searching import steps
from compressor.searching.base import BaseSearch
from compressor.searching.evolution import Evolution
from compressor.searching.finishing import dense_files
from compressor.searching.goal import Goal
from compressor.searching.graph_search import search_graph
from compressor.searching.laboratory import (
    SHIFTED,
    Done,
    Laboratory,
    Workers,
    attempted,
    laboratories,
    model_bytes,
    reached,
    tolerated_shift,
    training_pace,
)
from compressor.searching.options import (
    TIME_BUDGET,
    How,
    check_limits,
    check_runtimes,
    check_untrained,
    default_limit,
)
from compressor.searching.proposals import Cost, Proposals
from compressor.searching.strategy import BATCH, Settings, Strategy
from compressor.searching.structure import Structure, narrowable
from compressor.searching.trials import Budget, Trial, Trials
from compressor.training import as_logits
from deploy import describe_machine

SEARCH_SUFFIX = "-search"
_DENSE_FILES = "dense-files"
_WIDTHS_PART = 0.08
"""of the time budget that the widths of one share may take"""
_SHIFT_PART, _LEAST_SHIFTED = 0.02, 100
"""of the time budget that may be taken to see whether images can be shifted, and on how many"""


def search(
    model: Path | str,
    data: Dataset | None = None,
    goal: Goal | None = None,
    output: Path | str | None = None,
    *,
    time_budget: float | None = None,
    trials: int | None = None,
    evolution: Evolution | None = None,
    max_steps: int | None = None,
    validation: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    cluster: str | None = None,
    trial_limit: float | None = None,
    threads: int | None = None,
    host: SshHost | str | None = None,
    task: Asked = None,
    metric: Asked = None,
    force: bool = False,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Search for the best artefact that can be made of a model file, and write it.

    The model is narrowed, retrained and pruned in many ways in the run directory `output` (by
    default NAME-search beside the file), a .tflite or .onnx file without retraining; the best are
    exported, proven and measured, here or over ssh on the `host`. `data` are by default the
    embedded MNIST, for a model that was trained on it. Trials begin until `time_budget` seconds (by
    default 600, or without end where `trials` are given) or the number of `trials` are used up.
    `max_steps` limits each training. It is done in this process, by so many `workers`, processes of
    this machine, or by those of the Dask `cluster` at tcp://HOST:PORT. A trial that takes longer
    than `trial_limit` seconds, by default half of the time budget, fails. Test examples are run
    once, at the end; all is chosen on validation examples.

    The model may have any task, and several outputs: `task` says what they are and `metric` which
    one decides, of all or by their names, by default as for `prune`. The metric that decides stands
    wherever an accuracy is spoken of; of several outputs each keeps to its own.

    The same call goes on where an earlier one was stopped, also with another goal or budget. Trials
    and recommendation do not depend on that if `trials` are limited, not the time, and no measured
    latency decides. Returns the document that is written to search.json there (schema:
    compressor/runs/search.schema.json), whose `met` says whether the recommended artefacts keep to
    the goal. Raises UsageError, DataError and ModelError for what cannot be searched,
    CheckFailedError where no artefact could be made at all, MissingRuntimeError for a cluster that
    is not there or has other versions.
    """
    goal, evolution = goal or Goal(), evolution or Evolution()
    listener = listener or SilentListener()
    check_limits(time_budget, trial_limit, trials, max_steps)
    check_workers(workers, cluster)
    place = None if host is None else SshHost.of(host)
    folder = output_directory(Path(model), output, SEARCH_SUFFIX)
    seconds = TIME_BUDGET if time_budget is None and trials is None else time_budget
    threads = threads or describe_machine()["cores"]
    given = (("task", task), ("metric", metric))
    asked: dict[str, Asked] = {name: value for name, value in given if value}
    if is_graph(Path(model)):
        idle = {"workers": workers, "cluster": cluster, "trial_limit": trial_limit}
        check_untrained(Path(model), evolution, **idle, max_steps=max_steps)
        how = How(goal, evolution, None, seed, None, None, threads, place, asked)
        budget = Budget(seconds, trials)
        return search_graph(Path(model), data, how, folder, budget, validation, force, listener)
    source = keras_file(Path(model))
    part = TrainingData.of(needed_data(source, data), validation)
    check_runtimes(goal, place)  # before any work is done
    quiet_tensorflow.load(threads)
    loaded = load_model(source)
    steps.check_trainable(loaded)
    objective = objective_for(loaded, part.data, **asked)
    goal.check(objective.heads)
    asked = asked_for(loaded, objective, asked)
    with crew_of(workers, cluster, threads) as crew:
        identity = {
            "kind": "search",
            "model": model_digest(source),
            "data": part.data.digest,
            "validation_images": len(part.validation),
            "seed": seed,
            "threads": threads,
            **asked,
        }
        limit = trial_limit or default_limit(seconds)
        how = How(goal, evolution, max_steps, seed, crew, limit, threads, place, asked)
        with RunDirectory(folder, identity, force=force) as run:
            return _Search(run, source, loaded, part, how, Budget(seconds, trials), listener).run()


class _Search(BaseSearch):
    """A search over a Keras model, which is narrowed, retrained and pruned."""

    def __init__(
        self,
        run: RunDirectory,
        source: Path,
        model: Any,
        data: TrainingData,
        how: How,
        budget: Budget,
        listener: Listener,
    ) -> None:
        self._given = model
        self._laboratory = Laboratory(data, how.trial_limit, how.asked)
        self._objective = self._laboratory.objective(model)
        super().__init__(run, source, data, how, budget, listener)
        cost: Cost = "macs" if how.goal.minimize == "latency" else "weights"
        self._cost = cost
        self._proposals = Proposals(
            lambda: self._structure,
            cost,
            how.evolution,
            how.seed,
            lambda: budget.left_for_trials > 0,
            _WIDTHS_PART * (budget.seconds or math.inf),
        )
        self._trials: Trials | None = None

    @property
    def _done(self) -> Sequence[Trial]:
        return self._trials.done if self._trials is not None else ()

    def _measured(self) -> dict[str, Any]:
        found = reached(self._given, self._data, self._objective)
        return {**steps.describe(self._given), **found.row(as_logits), **found.of_dense()}

    def _model(self, trial: Trial) -> Path:
        return trial.model

    @functools.cached_property
    def _structure(self) -> Structure:
        found = self._maybe_structure
        assert found is not None
        return found

    @functools.cached_property
    def _maybe_structure(self) -> Structure | None:
        self._listener.stage("see what each layer can do without")
        return narrowable(self._given, self._data, self._objective, self._how.seed)

    def _pace(self) -> float:
        """Kept with the trials, whose lengths follow from it; 0 where the time is not limited."""
        if self._budget.seconds is None:
            return 0.0
        model, data = self._given, self._data
        found = self._step("pace", lambda _: {"pace": training_pace(model, data, BATCH)})
        return float(found["pace"])

    def _shift(self) -> int:
        """Pixels that images are shifted by while training."""
        model, data, objective = self._given, self._data, self._objective
        most, examples, seconds = SHIFTED, len(data.validation), self._budget.seconds
        if seconds is not None:  # five times so many are run
            pace = self._dense["seconds"] / examples
            most = min(most, int(_SHIFT_PART * seconds / (5 * max(pace, 1e-9))))
        few = most < min(_LEAST_SHIFTED, examples)

        def found(_: Path) -> dict[str, Any]:
            return {"shift": 0 if few else tolerated_shift(model, data, objective, most)}

        return int(self._step("shift", found)["shift"])

    def _decided(self, name: str, now: float) -> float:
        """Kept with the trials: a command that goes on has lost no time of a trial in flight.

        With another budget or goal it is decided anew; where no time is limited it follows from the
        trials.
        """
        if self._budget.seconds is None:
            return now
        budget, goal = self._budget, self._how.goal
        asked = [goal.minimize, goal.max_drop, goal.min_accuracy, goal.max_error]
        config = {"seconds": budget.seconds, "trials": budget.trials, "goal": asked}
        found = self._step(f"decided-{name}", lambda _: {"decided": now}, config)
        return float(found["decided"])

    def _dense_files(self) -> dict[str, bytes]:
        """The dense model in float32 by runtime, made before there is anything to lose."""
        goal, threads, asked = self._how.goal, self._how.threads, self._how.asked
        self._step(
            _DENSE_FILES,
            lambda here: dense_files(here, self._source, self._data, goal, threads, asked),
            {"runtimes": list(goal.runtimes)},
        )
        folder = self._run.path / _DENSE_FILES
        return {runtime: (folder / runtime).read_bytes() for runtime in goal.runtimes}

    def run(self) -> dict[str, Any]:
        """Do trials, then finish; what is best so far is written whenever it changes."""
        how, goal = self._how, self._how.goal
        plain = self._dense_files()
        with contextlib.ExitStack() as stack:
            pool = None
            if how.crew is not None:
                there = laboratories(how.crew, self._data, how.trial_limit, how.asked)
                pool = Workers(stack.enter_context(there))
            trials = Trials(
                self._run, self._source, self._laboratory, self._budget, self._listener, pool
            )
            self._trials = trials
            trials.changed = self._tell
            settings = Settings(
                goal.minimize,
                self._standard,
                self._data.steps(1, BATCH),
                self._dense["weights"],
                how.seed,
                how.max_steps,
                self._pace(),
                self._shift(),
            )
            can_narrow = self._step(
                "structure", lambda _: {"narrows": self._maybe_structure is not None}
            )["narrows"]
            propose = self._propose if can_narrow else None
            count = pool.count if pool else 1
            strategy = Strategy(
                trials, self._budget, settings, propose, self._narrow, count, self._decided
            )
            strategy.run()
        if all(trial.failed for trial in self._done):
            why = "nothing smaller could be tried"
            if self._done:
                why = self._done[0].result["error"]
            elif self._budget.left_for_trials <= 0:
                why = "give more --time-budget"
            self._listener.stage(f"no trial came to an end: {why}")
        return self._finish(plain)

    def _propose(self, share: float) -> dict[str, Any]:
        evolution = self._how.evolution
        config = {"share": share, "cost": self._cost, "evolution": evolution.describe()}
        name = f"widths-{share:.6f}-{self._cost}"
        title = f"evolve widths that cost {100 * share:.2g} % of the dense model"
        self._listener.stage(title)
        most = self._proposals.most
        return self._step(
            name,
            lambda _: self._proposals.under(share),
            config,
            lambda found: found.get("cut_after", math.inf) < most,
        )

    def _narrow(self, step: steps.Step) -> Done:
        def work() -> tuple[bytes, dict[str, Any]]:
            model = steps.narrow(self._structure, step["widths"])
            return model_bytes(model, self._data, self._how.asked), steps.describe(model)

        return attempted(work)
