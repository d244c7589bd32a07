"""Searching over a .tflite or .onnx file: pruned at several levels without retraining, quantised.

What is tried: channels, at rising sparsity as long as the accuracy holds; then single weights, of
the file and of its narrowest version that holds. Both by reconstruction on training inputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data import Dataset, TrainingData
from compressor.errors import ModelError, UsageError
from compressor.exporters.graphs.file import read_graph_file
from compressor.exporters.graphs.job import GraphJob
from compressor.exporters.graphs.pruning import check_opened, kernels_module, pruned_file
from compressor.foundation import Listener, write_bytes
from compressor.models import Aim
from compressor.pruning import PruningSpec
from compressor.runs import RunDirectory, model_digest
from compressor.runtimes import find
from compressor.searching.allocation import stored_bytes
from compressor.searching.base import BaseSearch
from compressor.searching.laboratory import attempted
from compressor.searching.measures import Reached
from compressor.searching.options import How, check_runtimes
from compressor.searching.standard import validation_values
from compressor.searching.trials import Budget, Trial, is_known, name_of
from deploy.tasks import MULTI_LABEL

_CALIBRATION = 2048
_LEVELS = {"channel": (0.25, 0.5, 0.75), "weight": (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)}
"""Granularity -> sparsities, tried in order until one costs too much accuracy."""


def search_graph(
    source: Path,
    data: Dataset | None,
    how: How,
    folder: Path,
    budget: Budget,
    validation: int | None,
    force: bool,
    listener: Listener,
) -> dict[str, Any]:
    """`search` over a .tflite or .onnx file, in the run directory `folder`.

    Raises UsageError without data, and where the goal names no runtime of the file's format.
    """
    graph, goal = read_graph_file(source), how.goal
    if data is None:
        raise UsageError("a search judges by data", value=source, hint="give --data")
    if graph.is_quantized:
        value = f"{source} ({graph.quantized})"
        raise ModelError("the weights are integers, which are not pruned", value=value)
    mine = tuple(name for name in goal.runtimes if find(name).format == graph.format)
    if not mine:
        others = " and ".join(f".{kind}" for kind in {find(name).format for name in goal.runtimes})
        hint = f"that reads {others}: leave --format and --device out, or give such a file"
        value = ", ".join(goal.runtimes)
        raise UsageError(f"a .{graph.format} file stays one", value=value, hint=hint)
    how = dataclasses.replace(how, goal=dataclasses.replace(goal, runtimes=mine))
    check_runtimes(how.goal, how.host)
    part = TrainingData.of(data, validation)
    identity = {
        "kind": "search",
        "model": model_digest(source),
        "data": data.digest,
        "validation_images": len(part.validation),
        "seed": how.seed,
        "threads": how.threads,
        **how.asked,
    }
    with RunDirectory(folder, identity, force=force) as run:
        return _GraphSearch(run, source, graph.content, part, how, budget, listener).run()


def prune_step(job: GraphJob, step: Mapping[str, Any]) -> tuple[bytes, Mapping[str, Any]]:
    """The file of a job after a step, and how it compares with the one before."""
    spec = PruningSpec(
        step["sparsity"],
        granularity=step["granularity"],
        scope="global",
        criterion="reconstruct",
        calibration=step["calibration"],
    )
    job.seed = step["seed"]
    content, _, comparison = pruned_file(job, spec)
    return content, comparison


class _GraphSearch(BaseSearch):
    """A search over a .tflite or .onnx file, which is pruned."""

    _retrains = False

    def __init__(
        self,
        run: RunDirectory,
        source: Path,
        content: bytes,
        data: TrainingData,
        how: How,
        budget: Budget,
        listener: Listener,
    ) -> None:
        self._content, self._format = content, find(how.goal.runtimes[0]).format
        self._tried: list[Trial] = []
        super().__init__(run, source, data, how, budget, listener)

    def run(self) -> dict[str, Any]:
        narrow = self._ladder(None, "channel")
        for base in (None, narrow) if narrow is not None else (None,):
            self._ladder(base, "weight")
        return self._finish(dict.fromkeys(self._how.goal.runtimes, self._content))

    @property
    def _done(self) -> Sequence[Trial]:
        return self._tried

    def _ladder(self, parent: Trial | None, granularity: str) -> Trial | None:
        """The last trial that is good enough, of rising sparsities and one between."""
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

    def _trial(self, parent: Trial | None, granularity: str, level: float) -> Trial | None:
        """A trial, from the run directory if it was made before; None where the budget is spent."""
        step = {
            **{"kind": "prune", "granularity": granularity},
            **{"sparsity": level, "calibration": _CALIBRATION, "seed": self._how.seed},
        }
        steps = (*(parent.steps if parent else ()), step)
        name = name_of(steps)
        finished = is_known(self._run.path / name)
        if self._budget.trials is not None and len(self._tried) >= self._budget.trials:
            return None
        if not finished and self._budget.left_for_trials <= 0:
            return None
        number, what = len(self._tried) + 1, f"{granularity}s"
        self._listener.stage(f"trial {number}, prune {100 * level:g} % of the {what}")
        config = {"steps": [dict(step) for step in steps]}
        result = self._step(
            name,
            lambda here: self._pruned(here, parent, step),
            config,
            lambda earlier: not finished,
        )
        trial = Trial(name, steps, self._run.path / name, result)
        self._tried.append(trial)
        if not finished:
            self._tell()
        return trial

    def _pruned(self, here: Path, parent: Trial | None, step: Mapping[str, Any]) -> dict[str, Any]:
        source = self._source if parent is None else self._model(parent)

        def work() -> tuple[bytes, dict[str, Any]]:
            with self._job(source) as job:
                content, comparison = prune_step(job, step)
            keys = [head.key(name) for head in self._standard.heads for name in head.shown]
            values = {key: comparison[key] for key in keys if key in comparison}
            return content, {**self._sizes(content), **validation_values(values)}

        done = attempted(work)
        if done.model is not None:
            write_bytes(here / f"model.{self._format}", done.model)
        return done.result

    def _model(self, trial: Trial) -> Path:
        return trial.folder / f"model.{self._format}"

    def _job(self, source: Path) -> GraphJob:
        how: Any = {"threads": self._how.threads, "described": self._source, **self._how.asked}
        return GraphJob(source, self._data.data, validation=len(self._data.validation), **how)

    def _measured(self) -> dict[str, Any]:
        with self._job(self._source) as job:
            check_opened(job)
            found, objective = job.reference, job.reference.objective
        targets = objective.targets_of(found.x, found.labels, found.feed)
        anomalies = objective.anomalies_of(found.labels)
        made = Reached(objective, found.outputs, targets, anomalies)
        sizes = self._sizes(self._content)
        return {**sizes, **made.row(_logits), **made.of_dense(), "examples": len(found.scores)}

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


def _logits(scores: np.ndarray, aim: Aim) -> np.ndarray:
    """Scores (n, ..., k) as logits, one score for two classes as two.

    As `training.as_logits`, which would load TensorFlow.
    """
    scores = scores.astype(np.float64)
    if aim.outputs == "numbers":
        return scores
    logits = aim.outputs == "logits"
    if aim.head.task == MULTI_LABEL:
        scores = scores if logits else np.clip(scores, 1e-7, 1 - 1e-7)
        return scores if logits else np.log(scores) - np.log1p(-scores)
    if scores.shape[-1] == 1:
        scores = np.concatenate([0 * scores if logits else 1 - scores, scores], axis=-1)
    return scores if logits else np.log(np.clip(scores, 1e-12, None))
