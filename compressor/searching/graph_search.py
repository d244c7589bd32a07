"""Searching over a .tflite or .onnx file: pruned at several levels without retraining, quantised.

What is tried: channels, at rising sparsity as long as the accuracy holds; then single weights, of
the file and of its narrowest version that holds. Both by reconstruction on training inputs.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data import Dataset, TrainingData
from compressor.errors import CheckFailedError, ModelError, UsageError
from compressor.exporters.graphs.file import read_graph_file
from compressor.exporters.graphs.job import GraphJob
from compressor.exporters.graphs.pruning import kernels_module, pruned_file
from compressor.foundation import Listener, write_bytes, write_json
from compressor.pruning import PruningSpec
from compressor.remote import SshHost
from compressor.runs import RunDirectory, is_finished, model_digest, read_record
from compressor.runtimes import find
from compressor.searching.allocation import stored_bytes
from compressor.searching.document import ARTEFACTS, DENSE, SEARCH, best_first, search_document
from compressor.searching.finishing import finish
from compressor.searching.goal import Goal
from compressor.searching.laboratory import attempted
from compressor.searching.options import TIME_BUDGET, check_runtimes
from compressor.searching.recipe import Recipe
from compressor.searching.trials import Budget, Trial, name_of
from deploy import describe_machine

_EXPORTED = 3
_CALIBRATION = 2048
_LEVELS = {"channel": (0.25, 0.5, 0.75), "weight": (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)}
"""Granularity -> sparsities, tried in order until one costs too much accuracy."""


def search_graph(
    source: Path,
    data: Dataset | None,
    goal: Goal,
    folder: Path,
    time_budget: float | None,
    trials: int | None,
    validation: int | None,
    threads: int | None,
    host: SshHost | None,
    force: bool,
    listener: Listener,
) -> dict[str, Any]:
    """`search` over a .tflite or .onnx file, in the run directory `folder`.

    Raises UsageError without data, and where the goal names no runtime of the file's format.
    """
    graph = read_graph_file(source)
    if data is None:
        raise UsageError("a search judges by data", value=source, hint="give --data")
    if graph.is_quantized:
        value = f"{source} ({graph.quantized})"
        raise ModelError("the weights are integers, which are not pruned", value=value)
    mine = tuple(name for name in goal.runtimes if find(name).format == graph.format)
    if not mine:
        value = ", ".join(goal.runtimes)
        raise UsageError(f"a .{graph.format} file stays one", value=value)
    goal = dataclasses.replace(goal, runtimes=mine)
    check_runtimes(goal, host)
    part = TrainingData.of(data, validation)
    threads = threads or describe_machine()["cores"]
    identity = {
        "kind": "search",
        "model": model_digest(source),
        "data": data.digest,
        "validation_images": len(part.validation),
        "threads": threads,
    }
    seconds = TIME_BUDGET if time_budget is None and trials is None else time_budget
    with RunDirectory(folder, identity, force=force) as run:
        budget = Budget(seconds, trials)
        given = (run, source, graph.content, part, goal, threads, host, budget, listener)
        return _GraphSearch(*given).run()


def prune_step(job: GraphJob, step: Mapping[str, Any]) -> tuple[bytes, Mapping[str, Any]]:
    """The file of a job after a step, and how it compares with the one before."""
    spec = PruningSpec(
        step["sparsity"],
        granularity=step["granularity"],
        scope="global",
        criterion="reconstruct",
        calibration=step["calibration"],
    )
    content, _, comparison = pruned_file(job, spec)
    return content, comparison


class _GraphSearch:
    def __init__(
        self,
        run: RunDirectory,
        source: Path,
        content: bytes,
        data: TrainingData,
        goal: Goal,
        threads: int,
        host: SshHost | None,
        budget: Budget,
        listener: Listener,
    ) -> None:
        self._run, self._source, self._content = run, source, content
        self._data, self._goal, self._threads = data, goal, threads
        self._host, self._budget, self._listener = host, budget, listener
        self._done: list[Trial] = []
        self._format = find(goal.runtimes[0]).format
        listener.stage("measure the model")
        self._dense = self._step(DENSE, (), lambda _: self._measured())
        self._floor = goal.floor(self._dense["validation_accuracy"], self._dense["examples"])

    def run(self) -> dict[str, Any]:
        narrow = self._ladder(None, "channel")
        for base in (None, narrow) if narrow is not None else (None,):
            self._ladder(base, "weight")
        chosen = best_first(self._done, self._goal, self._floor)[:_EXPORTED]
        whole = Trial(DENSE, (), self._source.parent, self._dense)
        models = [(trial, self._model(trial)) for trial in chosen]
        config = {"trials": [trial.name for trial in chosen], "goal": self._goal.describe()}
        path = self._run.path / ARTEFACTS
        stale = is_finished(path) and any(
            read_record(path)["config"].get(key) != value for key, value in config.items()
        )
        found = self._run.step(
            ARTEFACTS,
            lambda here: finish(
                here,
                dict.fromkeys(self._goal.runtimes, self._content),
                [*models, (whole, self._source)],
                self._data,
                self._goal,
                self._floor,
                self._recipe,
                threads=self._threads,
                listener=self._listener,
                host=self._host,
                may_go_on=lambda: self._budget.left > 0,
            ),
            config=config,
            force=stale,
        )
        document = self._write("done", found)
        if not found["front"]:
            what = "no artefact of the search passed its check"
            raise CheckFailedError(what, value=found["failed"][0]["error"])
        return document

    def _ladder(self, parent: Trial | None, granularity: str) -> Trial | None:
        """The last trial that keeps the accuracy, of rising sparsities and one between."""
        best: Trial | None = None
        low = 0.0
        for level in _LEVELS[granularity]:
            trial = self._trial(parent, granularity, level)
            if trial is None:
                return best
            if trial.failed or not self._holds(trial):
                between = round((low + level) / 2, 3)
                trial = None if trial.failed else self._trial(parent, granularity, between)
                return trial if trial is not None and self._holds(trial) else best
            best, low = trial, level
        return best

    def _holds(self, trial: Trial) -> bool:
        return not trial.failed and trial.result["validation_accuracy"] >= self._floor

    def _trial(self, parent: Trial | None, granularity: str, level: float) -> Trial | None:
        """A trial, from the run directory if it was made before; None where the budget is spent."""
        step = {
            **{"kind": "prune", "granularity": granularity},
            **{"sparsity": level, "calibration": _CALIBRATION},
        }
        steps = (*(parent.steps if parent else ()), step)
        name = name_of(steps)
        finished = is_finished(self._run.path / name)
        if self._budget.trials is not None and len(self._done) >= self._budget.trials:
            return None
        if not finished and self._budget.left_for_trials <= 0:
            return None
        number, what = len(self._done) + 1, f"{granularity}s"
        self._listener.stage(f"trial {number}, prune {100 * level:g} % of the {what}")
        result = self._step(name, steps, lambda here: self._pruned(here, parent, step))
        trial = Trial(name, steps, self._run.path / name, result)
        self._done.append(trial)
        self._write("searching", None)
        return trial

    def _pruned(self, here: Path, parent: Trial | None, step: Mapping[str, Any]) -> dict[str, Any]:
        source = self._source if parent is None else self._model(parent)

        def work() -> tuple[bytes, dict[str, Any]]:
            with self._job(source) as job:
                content, comparison = prune_step(job, step)
            sizes = self._sizes(content)
            return content, {**sizes, "validation_accuracy": comparison["accuracy"]}

        done = attempted(work)
        if done.model is not None:
            write_bytes(here / f"model.{self._format}", done.model)
        return done.result

    def _model(self, trial: Trial) -> Path:
        return trial.folder / f"model.{self._format}"

    def _job(self, source: Path) -> GraphJob:
        return GraphJob(
            source, self._data.data, threads=self._threads, validation=len(self._data.validation)
        )

    def _measured(self) -> dict[str, Any]:
        with self._job(self._source) as job:
            reference = job.reference
            labels, objective = reference.labels, reference.objective
        assert labels is not None
        scores = reference.scores[:, : objective.classes].astype(np.float64)
        return {
            **self._sizes(self._content),
            "validation_accuracy": reference.accuracy,
            "validation_loss": _loss(scores, labels, objective.outputs == "logits"),
            "examples": len(labels),
        }

    def _sizes(self, content: bytes) -> dict[str, int]:
        kind = kernels_module(self._format)
        model = kind.open_model(content)
        kernels = [values for values, _ in kind.kernels_of(model).values()]
        weights = sum(values.size for values in kernels)
        left = [int(np.count_nonzero(values)) for values in kernels]
        return {
            "parameters": weights,
            "weights": weights,
            "nonzeros": sum(left),
            "kernel_bytes": sum(map(stored_bytes, [values.size for values in kernels], left)),
            "macs": kind.multiply_accumulates(model),
        }

    def _step(
        self, name: str, steps: Sequence[Any], work: Callable[[Path], dict[str, Any]]
    ) -> dict[str, Any]:
        def timed(here: Path) -> dict[str, Any]:
            started = time.monotonic()
            return {**work(here), "seconds": time.monotonic() - started}

        if is_finished(self._run.path / name):
            self._budget.add(read_record(self._run.path / name)["result"]["seconds"])
        return self._run.step(name, timed, config={"steps": [dict(step) for step in steps]})

    def _recipe(self, trial: Trial) -> Recipe:
        return Recipe(
            model=self._run.identity["model"],
            data=self._data.data.digest,
            validation=len(self._data.validation),
            threads=self._threads,
            steps=trial.steps,
        )

    def _write(self, state: str, found: dict[str, Any] | None) -> dict[str, Any]:
        document = search_document(state, self._goal, self._floor, self._dense, self._done, found)
        write_json(self._run.path / SEARCH, document)
        return document


def _loss(scores: np.ndarray, labels: np.ndarray, logits: bool) -> float:
    """The cross-entropy of scores (n, classes), or of one score for two classes."""
    if scores.shape[1] == 1:
        scores = np.concatenate([0 * scores if logits else 1 - scores, scores], axis=1)
    if not logits:
        scores = np.log(np.clip(scores, 1e-12, None))
    logs = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
    return float(-logs[np.arange(len(labels)), labels].mean())
