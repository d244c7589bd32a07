"""The search: from a model and a goal to the best artefact, resumable at any moment."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compressor.data import Dataset, TrainingData
from compressor.errors import CheckFailedError
from compressor.foundation import (
    Listener,
    SilentListener,
    quiet_tensorflow,
    write_json,
)
from compressor.importing import load_model
from compressor.models import needed_data, objective_for
from compressor.parallel import check_workers, crew_of
from compressor.remote import SshHost
from compressor.runs import (
    RunDirectory,
    is_finished,
    is_graph,
    keras_file,
    model_digest,
    output_directory,
    read_record,
)
from compressor.searching import steps
from compressor.searching.document import ARTEFACTS, DENSE, SEARCH, best_first, search_document
from compressor.searching.evolution import Evolution
from compressor.searching.finishing import dense_files, finish
from compressor.searching.goal import Goal
from compressor.searching.graph_search import search_graph
from compressor.searching.laboratory import (
    Done,
    Laboratory,
    Workers,
    attempted,
    laboratories,
    measured,
    model_bytes,
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
from compressor.searching.recipe import Recipe
from compressor.searching.strategy import BATCH, Settings, Strategy
from compressor.searching.structure import Structure, narrowable
from compressor.searching.trials import Budget, Trial, Trials
from deploy import describe_machine

SEARCH_SUFFIX = "-search"
_DENSE_FILES, _EXPORTED = "dense-files", 3


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

    The same call goes on where an earlier one was stopped, also with another goal or budget. The
    result does not depend on that if `trials` are limited, not the time. Returns the document that
    is written to search.json there (schema: compressor/runs/search.schema.json), whose `met` says
    whether the recommended artefacts keep to the goal. Raises UsageError, DataError and ModelError
    for what cannot be searched, CheckFailedError where no artefact could be made at all,
    MissingRuntimeError for a cluster that is not there or has other versions.
    """
    goal, evolution = goal or Goal(), evolution or Evolution()
    listener = listener or SilentListener()
    check_limits(time_budget, trial_limit, trials, max_steps)
    check_workers(workers, cluster)
    place = None if host is None else SshHost.of(host)
    folder = output_directory(Path(model), output, SEARCH_SUFFIX)
    if is_graph(Path(model)):
        idle = {"workers": workers, "cluster": cluster, "trial_limit": trial_limit}
        check_untrained(Path(model), evolution, **idle, max_steps=max_steps)
        limits = (time_budget, trials, validation, threads, place)
        return search_graph(Path(model), data, goal, folder, *limits, force, listener)
    source = keras_file(Path(model))
    part = TrainingData.of(needed_data(source, data), validation)
    check_runtimes(goal, place)  # before any work is done
    threads = threads or describe_machine()["cores"]
    quiet_tensorflow.load(threads)
    seconds = TIME_BUDGET if time_budget is None and trials is None else time_budget
    loaded = load_model(source)
    steps.check_trainable(loaded)
    with crew_of(workers, cluster, threads) as crew:
        identity = {
            "kind": "search",
            "model": model_digest(source),
            "data": part.data.digest,
            "validation_images": len(part.validation),
            "seed": seed,
            "threads": threads,
            "worker_threads": crew.threads if crew else threads,
        }
        limit = trial_limit or default_limit(seconds)
        how = How(goal, evolution, max_steps, seed, crew, limit, threads, place)
        with RunDirectory(folder, identity, force=force) as run:
            return _Search(run, source, loaded, part, how, Budget(seconds, trials), listener).run()


class _Search:
    """One search in its run directory."""

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
        self._run, self._source, self._data, self._how = run, source, data, how
        self._budget, self._listener, self._model = budget, listener, model
        self._objective = objective_for(self._model, data.data)
        self._laboratory = Laboratory(data, how.trial_limit)
        listener.stage("measure the model")
        self._dense = self._step(DENSE, lambda _: measured(self._model, data, self._objective))
        examples = len(data.validation)
        self._floor = how.goal.floor(self._dense["validation_accuracy"], examples)
        cost: Cost = "macs" if how.goal.minimize == "latency" else "weights"
        self._cost = cost
        self._proposals = Proposals(
            lambda: self._structure,
            cost,
            how.evolution,
            how.seed,
            lambda: budget.left_for_trials > 0,
        )
        self._trials: Trials | None = None

    @functools.cached_property
    def _structure(self) -> Structure:
        found = self._maybe_structure
        assert found is not None
        return found

    @functools.cached_property
    def _maybe_structure(self) -> Structure | None:
        self._listener.stage("see what each layer can do without")
        return narrowable(self._model, self._data, self._objective, self._how.seed)

    def _pace(self) -> float:
        """Kept with the trials, whose lengths follow from it; 0 where the time is not limited."""
        if self._budget.seconds is None:
            return 0.0
        model, data = self._model, self._data
        found = self._step("pace", lambda _: {"pace": training_pace(model, data, BATCH)})
        return float(found["pace"])

    def _dense_files(self) -> dict[str, bytes]:
        """The dense model in float32 by runtime, made before there is anything to lose."""
        goal, threads = self._how.goal, self._how.threads
        self._step(
            _DENSE_FILES,
            lambda here: dense_files(here, self._source, self._data, goal, threads),
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
                there = laboratories(how.crew, self._data, how.trial_limit)
                pool = Workers(stack.enter_context(there))
            trials = Trials(
                self._run, self._source, self._laboratory, self._budget, self._listener, pool
            )
            self._trials = trials
            trials.changed = self._tell
            settings = Settings(
                goal.minimize,
                self._floor,
                self._data.steps(1, BATCH),
                self._dense["weights"],
                how.seed,
                how.max_steps,
                self._pace(),
            )
            can_narrow = self._step(
                "structure", lambda _: {"narrows": self._maybe_structure is not None}
            )["narrows"]
            propose = self._propose if can_narrow else None
            count = pool.count if pool else 1
            strategy = Strategy(trials, self._budget, settings, propose, self._narrow, count)
            strategy.run()
        return self._finish([trial for trial in trials.done if not trial.failed], plain)

    def _propose(self, share: float) -> dict[str, Any]:
        evolution = self._how.evolution
        config = {"share": share, "cost": self._cost, "evolution": evolution.describe()}
        name = f"widths-{share:.6f}-{self._cost}"
        title = f"evolve widths that cost {100 * share:.2g} % of the dense model"
        self._listener.stage(title)
        return self._step(name, lambda _: self._proposals.under(share), config)

    def _narrow(self, step: steps.Step) -> Done:
        def work() -> tuple[bytes, dict[str, Any]]:
            model = steps.narrow(self._structure, self._data, step["widths"])
            return model_bytes(model, self._data), steps.describe(model)

        return attempted(work)

    def _step(
        self,
        name: str,
        work: Callable[[Path], dict[str, Any]],
        config: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """What `work` makes in a folder, from the run directory if it was made so before."""

        def timed(here: Path) -> dict[str, Any]:
            started = time.monotonic()
            return {**work(here), "seconds": time.monotonic() - started}

        path, config = self._run.path / name, config or {}
        if is_finished(path):
            record = read_record(path)
            other = any(record["config"].get(key) != value for key, value in config.items())
            # What was cut short is done anew where there is more time for it than it took.
            result, budget = record["result"], self._budget
            left = budget.left if name == ARTEFACTS else budget.left_for_trials
            cut = result.get("cut", False) and left > result["seconds"]
            if other or cut:
                return self._run.step(name, timed, config=config, force=True)
            self._budget.add(record["result"]["seconds"])
        return self._run.step(name, timed, config=config)

    def _tell(self) -> None:
        """Write what is best so far, and say it."""
        assert self._trials is not None
        done = self._trials.done
        self._write("searching", done, self._earlier())
        best = best_first(done, self._how.goal, self._floor)
        holding = [trial for trial in best if self._holds(trial)]
        if holding:
            row = holding[0].result
            self._listener.stage(
                f"  best so far: {row['nonzeros']:,} of {self._dense['nonzeros']:,} weights, "
                f"{100 * row['validation_accuracy']:.2f} % on the validation examples"
            )

    def _earlier(self) -> dict[str, Any] | None:
        """The artefacts of an earlier run in this directory, which stay until there are others."""
        path = self._run.path / ARTEFACTS
        return read_record(path)["result"] if is_finished(path) else None

    def _holds(self, trial: Trial) -> bool:
        return not trial.failed and trial.result["validation_accuracy"] >= self._floor

    def _finish(self, done: list[Trial], plain: dict[str, bytes]) -> dict[str, Any]:
        trials = self._trials
        assert trials is not None
        if not done:
            if self._earlier() is None:
                self._write("failed", trials.done, None)
            reasons = [trial.result["error"] for trial in trials.done]
            what = "no trial came to an end"
            hint = "give more --time-budget" if not reasons else ""
            raise CheckFailedError(what, value=reasons[0] if reasons else None, hint=hint)
        chosen = best_first(done, self._how.goal, self._floor)[:_EXPORTED]
        whole = Trial(DENSE, (), self._source.parent, self._dense)
        config = {
            "trials": [trial.name for trial in chosen],
            "goal": self._how.goal.describe(),
            "host": self._how.host and self._how.host.name,
        }
        found = self._step(
            ARTEFACTS,
            lambda here: finish(
                here,
                plain,
                [*((trial, trial.model) for trial in chosen), (whole, self._source)],
                self._data,
                self._how.goal,
                self._floor,
                self._recipe,
                threads=self._how.threads,
                listener=self._listener,
                host=self._how.host,
                may_go_on=lambda: self._budget.left > 0,
            ),
            config,
        )
        document = self._write("done", trials.done, found)
        if not found["front"]:
            raise CheckFailedError(
                "no artefact of the search passed its check", value=found["failed"][0]["error"]
            )
        return document

    def _recipe(self, trial: Trial) -> Recipe:
        return Recipe(
            model=self._run.identity["model"],
            data=self._data.data.digest,
            validation=len(self._data.validation),
            threads=self._how.threads,
            steps=trial.steps,
        )

    def _write(self, state: str, done: list[Trial], found: dict[str, Any] | None) -> dict[str, Any]:
        document = search_document(state, self._how.goal, self._floor, self._dense, done, found)
        write_json(self._run.path / SEARCH, document)
        return document
