"""Doing one trial: in this process, or in another one that has the same data."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data import Dataset, TrainingData
from compressor.errors import CompressorError, StorageError
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
_PR_SET_PDEATHSIG = 1


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
        """Do a task, as `attempted`."""

        def work() -> tuple[Any, dict[str, Any]]:
            model = self.train(task, progress)
            return model, measured(model, self.data, objective_for(model, self.data.data))

        return attempted(work, self.data)

    def train(self, task: Task, progress: Progress | None = None) -> Any:
        """The model that a task makes."""
        model = load_model(task.start)
        objective = objective_for(model, self.data.data)
        scores = self._teacher(task.teacher)
        steps.train(model, task.step, self.data, objective, scores, progress)
        return model

    def _scores_of(self, teacher: Path) -> np.ndarray:
        return teacher_scores(load_model(teacher), self.data)


def attempted(work: Callable[[], tuple[Any, dict[str, Any]]], data: TrainingData) -> Done:
    """The model and the result of `work`; where it fails, that costs nothing else: see `error`.

    Raises StorageError for a disk that cannot be written.
    """
    started = time.monotonic()
    try:
        model, result = work()
        content = model_bytes(model, data)
    except StorageError:
        raise
    except Exception as error:  # TensorFlow raises what it likes, out of memory too
        known = isinstance(error, CompressorError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())[:_LONGEST_REASON]
        return Done({"error": reason, "seconds": time.monotonic() - started}, None)
    return Done(result | {"seconds": time.monotonic() - started}, content)


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


def training_pace(model: Any, data: TrainingData, batch: int) -> float:
    """About how many seconds a step of training takes: three times those of an inference."""
    x, _ = data.training_part(batch)
    times = []
    for _ in range(3):  # the first one compiles
        started = time.monotonic()
        predict_scores(model.predict_on_batch, x, preprocessing_of(model, x))
        times.append(time.monotonic() - started)
    return 3 * min(times)


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
        self.count = count
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(
            self.count, context, initializer=_settle, initargs=self._settings
        )

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # nobody waits for what they are doing
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, task: Task) -> Running:
        """Begin a task; returns what waits for its end."""
        return Running(self, task)

    def _submit(self, task: Task) -> Future[Done]:
        try:
            return self._pool.submit(_do_there, task)
        except BrokenProcessPool:
            self._pool = self._started()
            return self._pool.submit(_do_there, task)


class Running:
    """A task that a worker does; a call waits for its end."""

    def __init__(self, workers: Workers, task: Task) -> None:
        self._workers, self._task = workers, task
        self.future = workers._submit(task)
        self._pool = workers._pool

    def __call__(self) -> Done:
        workers = self._workers
        try:
            return self.future.result()
        except BrokenProcessPool:
            if workers._pool is self._pool:
                workers._pool = workers._started()
        try:
            return workers._submit(self._task).result()
        except BrokenProcessPool:
            workers._pool = workers._started()
            return Done({"error": "its process was killed twice", "seconds": 0.0}, None)


def first_ended(running: Mapping[str, Running]) -> str:
    """Wait until one of the tasks ends; its name."""
    wait([task.future for task in running.values()], return_when=FIRST_COMPLETED)
    return next(name for name, task in running.items() if task.future.done())


_there: list[Laboratory] = []


def _settle(parts: dict[str, Any], validation: int, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the search ends its workers itself
    _die_with_parent()
    confine_libraries()
    quiet_tensorflow.load(threads)
    _there[:] = [Laboratory(TrainingData.of(Dataset(**parts), validation))]


def _die_with_parent() -> None:
    """On Linux: end with the parent process, however that ends."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _do_there(task: Task) -> Done:
    return _there[0].do(task)
