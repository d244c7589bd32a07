"""Doing one trial: in this process, or in another one that has the same data."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data import Dataset, TrainingData
from compressor.errors import StorageError
from compressor.foundation import (
    confine_libraries,
    quiet_tensorflow,
    storage_errors,
    temporary_folder,
)
from compressor.importing import load_model
from compressor.models import (
    Objective,
    objective_for,
    predict_scores,
    preprocessing_of,
    save_model,
    trained_on,
)
from compressor.pruning.rounds import teacher_scores
from compressor.searching import steps
from compressor.training import Progress, as_logits

_LONGEST_REASON = 300


@dataclasses.dataclass(frozen=True)
class Task:
    """A step, the model file that it starts from, and that of its teacher."""

    start: Path
    teacher: Path
    step: steps.Step


@dataclasses.dataclass(frozen=True)
class Done:
    """What became of a task: a JSON object, and the bytes of a .keras file (None: it failed)."""

    result: dict[str, Any]
    model: bytes | None


class Laboratory:
    """Does tasks in this process, on one data set."""

    def __init__(self, data: TrainingData) -> None:
        self.data = data
        # Scores of one teacher take as much as the labels times the classes: two are kept.
        self._teacher = functools.lru_cache(maxsize=2)(self._scores_of)

    def do(self, task: Task, progress: Progress | None = None) -> Done:
        """Do a task; one that fails says so in `error`, and costs nothing else.

        Raises StorageError for a disk that cannot be written.
        """
        started = time.monotonic()
        try:
            model = self.train(task, progress)
            result = measured(model, self.data, objective_for(model, self.data.data))
            content = model_bytes(model, self.data)
        except StorageError:
            raise
        except Exception as error:  # TensorFlow raises what it likes, out of memory too
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
            return Done({"error": reason, "seconds": time.monotonic() - started}, None)
        return Done(result | {"seconds": time.monotonic() - started}, content)

    def train(self, task: Task, progress: Progress | None = None) -> Any:
        """The model that a task makes."""
        model = load_model(task.start)
        objective = objective_for(model, self.data.data)
        scores = self._teacher(task.teacher)
        steps.train(model, task.step, self.data, objective, scores, progress)
        return model

    def _scores_of(self, teacher: Path) -> np.ndarray:
        return teacher_scores(load_model(teacher), self.data)


def measured(model: Any, data: TrainingData, objective: Objective) -> dict[str, Any]:
    """The size of a model, its validation accuracy, and its cross-entropy in nats."""
    x, labels = data.validation_part()
    scores = predict_scores(model.predict_on_batch, x, preprocessing_of(model, x))
    logits = np.asarray(as_logits(scores, objective), np.float64)
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return {
        **steps.describe(model),
        "validation_accuracy": float(np.mean(objective.predictions(scores) == labels)),
        "validation_loss": float(-np.mean(logs[np.arange(len(labels)), labels])),
    }


def model_bytes(model: Any, data: TrainingData) -> bytes:
    """A model as the bytes of a .keras file, which names the data."""
    with temporary_folder("compressor-search-") as folder, storage_errors(folder):
        save_model(trained_on(model, data.data.digest), folder / "model.keras")
        return (folder / "model.keras").read_bytes()


class Workers:
    """Processes that do tasks side by side, each with its share of the threads.

    Where one dies, all are started anew, and what they did is done once more: a task that ends its
    process again fails, and costs nothing else.
    """

    def __init__(self, count: int, data: TrainingData, threads: int) -> None:
        parts = {f.name: getattr(data.data, f.name) for f in dataclasses.fields(Dataset)}
        plain = {n: dict(v) if isinstance(v, Mapping) else v for n, v in parts.items()}
        self._settings = plain, len(data.validation), max(threads // count, 1)
        self._count = count
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(
            self._count, context, initializer=_settle, initargs=self._settings
        )

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # nobody waits for what they are doing
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, task: Task) -> Callable[[], Done]:
        """Begin a task; returns what waits for its end."""
        pool, future = self._pool, self._submit(task)

        def wait() -> Done:
            try:
                return future.result()
            except BrokenProcessPool:
                if self._pool is pool:
                    self._pool = self._started()
            try:
                return self._submit(task).result()
            except BrokenProcessPool:
                self._pool = self._started()
                return Done({"error": "its process was killed twice", "seconds": 0.0}, None)

        return wait

    def _submit(self, task: Task) -> Future[Done]:
        try:
            return self._pool.submit(_do_there, task)
        except BrokenProcessPool:
            self._pool = self._started()
            return self._pool.submit(_do_there, task)


_there: list[Laboratory] = []


def _settle(parts: dict[str, Any], validation: int, threads: int) -> None:
    confine_libraries()
    quiet_tensorflow.load(threads)
    _there[:] = [Laboratory(TrainingData.of(Dataset(**parts), validation))]


def _do_there(task: Task) -> Done:
    return _there[0].do(task)
