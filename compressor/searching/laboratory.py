"""Doing one trial: in this process, or in another one that has the same data."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data import TrainingData, judged_part, rows
from compressor.errors import CompressorError, StorageError
from compressor.exporters.checking import finite
from compressor.foundation import storage_errors, temporary_folder
from compressor.importing import load_model
from compressor.models import (
    Asked,
    Objective,
    objective_for,
    predict_scores,
    preprocessing_of,
    save_model,
    trained_on,
)
from compressor.parallel import Crew, Pool, WorkLostError, data_to_send, training_data
from compressor.pruning.rounds import teacher_scores
from compressor.runs import model_digest
from compressor.searching import steps
from compressor.searching.measures import Reached
from compressor.training import Progress, as_logits, shifted, usual_shift

_LONGEST_REASON = 300
SHIFTED, _SHIFTED_BATCH = 1000, 128
"""images that a shift is tried on, of which so many at a time"""
_MOST_MORE, _FURTHER = 0.1, 0.02
_TEACHERS = 2
"""whose scores are kept, which take as much as the labels times the classes"""
Packed = tuple[str, bytes]
"""the name of a model file, or of a zip file of a model's folder, and its content"""


@dataclasses.dataclass(frozen=True)
class Task:
    """A step, the model file that it starts from, and that of its teacher."""

    start: Path
    teacher: Path
    step: steps.Step


@dataclasses.dataclass(frozen=True)
class Done:
    """What became of a task: a JSON object, and the bytes of a model file (None: it failed)."""

    result: dict[str, Any]
    model: bytes | None


class Laboratory:
    """Does tasks in this process, on one data set; a task fails after `limit` seconds."""

    def __init__(
        self,
        data: TrainingData,
        limit: float | None = None,
        asked: Mapping[str, Asked] | None = None,
    ) -> None:
        """`asked` are the `task` and the `metric` that the user named."""
        self.data, self._limit, self._asked = data, limit, asked or {}
        self._scores: dict[str, np.ndarray] = {}

    def do(self, task: Task, progress: Progress | None = None) -> Done:
        """Do a task, as `attempted`."""

        def work() -> tuple[bytes, dict[str, Any]]:
            model = self.train(task, progress and self._limited(progress))
            result = measured(model, self.data, self.objective(model))
            return model_bytes(model, self.data, self._asked), result

        return attempted(work)

    def train(self, task: Task, progress: Progress | None = None) -> Any:
        """The model that a task makes."""
        model = load_model(task.start)
        objective = self.objective(model)
        scores = self._teacher(task.teacher) if task.step["distillation"] else None
        steps.train(model, task.step, self.data, objective, scores, progress)
        return model

    def objective(self, model: Any) -> Objective:
        """That of a model, as it was asked for."""
        return objective_for(model, self.data.data, **self._asked)

    def _teacher(self, path: Path) -> np.ndarray:
        digest = model_digest(path)
        if digest not in self._scores:
            self._scores = dict([*self._scores.items()][1 - _TEACHERS :])
            self._scores[digest] = teacher_scores(load_model(path), self.data)
        return self._scores[digest]

    def _limited(self, progress: Progress) -> Progress:
        if self._limit is None:
            return progress
        limit, end = self._limit, time.monotonic() + self._limit

        def told(step: int, steps: int, loss: float, accuracy: float) -> None:
            if time.monotonic() > end:
                raise WorkLostError(f"it took longer than {limit:g} s")
            progress(step, steps, loss, accuracy)

        return told


def attempted(work: Callable[[], tuple[bytes, dict[str, Any]]]) -> Done:
    """The file and the result of `work`; where it fails, that costs nothing else: see `error`.

    `again` says whether the reason may be gone another time. Raises StorageError for a disk that
    cannot be written.
    """
    started = time.monotonic()
    try:
        content, result = work()
    except StorageError:
        raise
    except Exception as error:  # libraries raise what they like, out of memory too
        known = isinstance(error, (CompressorError, WorkLostError))
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        reason = " ".join(reason.split())[:_LONGEST_REASON]
        short = isinstance(error, (WorkLostError, MemoryError))
        short |= type(error).__name__ == "ResourceExhaustedError"  # TensorFlow's
        return failed(reason, started, again=short)
    return Done(result | {"seconds": time.monotonic() - started}, content)


def failed(reason: str, started: float, *, again: bool) -> Done:
    result: dict[str, Any] = {"error": reason, "seconds": time.monotonic() - started}
    return Done(result | {"again": True} if again else result, None)


def measured(model: Any, data: TrainingData, objective: Objective) -> dict[str, Any]:
    """The size of a model, its metrics on the validation examples, and its loss there."""
    return {**steps.describe(model), **reached(model, data, objective).row(as_logits)}


def reached(model: Any, data: TrainingData, objective: Objective) -> Reached:
    """What a model makes of the validation examples; ModelError where that is no numbers."""
    x, y = judged_part(*data.validation_part(), objective.classes)
    feed = preprocessing_of(model, x)
    scores = finite(predict_scores(model.predict_on_batch, x, feed), "validation examples")
    targets = objective.targets_of(x, y, feed)
    return Reached(objective, scores, targets, objective.anomalies_of(y))


def tolerated_shift(
    model: Any, data: TrainingData, objective: Objective, most: int = SHIFTED
) -> int:
    """By how many pixels images are shifted while training; 0 where that would change them.

    That is where the dense model makes more errors once its validation images, at most so many,
    have moved to the corners: more than twice as many, or ten points more, and two points besides.
    """
    x, y = judged_part(*data.validation_part(most), objective.classes)
    feed = preprocessing_of(model, x)
    shift = usual_shift(feed, objective)
    heads = objective.heads
    if not shift or not all(head.decides.fraction for head in heads):
        return 0
    targets = objective.targets_of(x, y, feed)

    def errors(down: int, right: int) -> np.ndarray:
        def moved(part: Any) -> Any:
            return shifted(feed(part), (down, right), shift)

        scores = predict_scores(model.predict_on_batch, x, moved, _SHIFTED_BATCH)
        values = objective.values(scores, targets)
        return np.array([1 - values.get(head.key(), np.nan) for head in heads])

    own, ends = errors(shift, shift), (0, 2 * shift)
    corners = np.mean([errors(down, right) for down in ends for right in ends], axis=0)
    more = np.minimum(own, _MOST_MORE) + max(_FURTHER, 1 / rows(x))
    return shift if np.all(corners <= own + more) else 0


def training_pace(model: Any, data: TrainingData, batch: int) -> float:
    """About how many seconds a step of training takes: three times those of an inference."""
    x, _ = data.training_part(batch)
    times = []
    for _ in range(3):  # the first one compiles
        started = time.monotonic()
        predict_scores(model.predict_on_batch, x, preprocessing_of(model, x))
        times.append(time.monotonic() - started)
    return 3 * min(times)


def model_bytes(model: Any, data: TrainingData, asked: Mapping[str, Asked]) -> bytes:
    """A model as the bytes of a .keras file, which names the data and what was `asked` for."""
    with temporary_folder("compressor-search-") as folder, storage_errors(folder):
        save_model(trained_on(model, data.data.digest, asked), folder / "model.keras")
        return (folder / "model.keras").read_bytes()


def packed(model: Path) -> Packed:
    """A model file, or folder, to be sent."""
    if not model.is_dir():
        return model.name, model.read_bytes()
    with temporary_folder("compressor-search-") as folder, storage_errors(folder):
        name = shutil.make_archive(str(folder / "model"), "zip", model)
        return Path(name).name, Path(name).read_bytes()


def unpacked(model: Packed, folder: Path) -> Path:
    """The path of a model that was sent, written into a new `folder`."""
    name, content = model
    with storage_errors(folder):
        folder.mkdir()
        (folder / name).write_bytes(content)
        if not name.endswith(".zip"):
            return folder / name
        shutil.unpack_archive(folder / name, folder / "model")
    return folder / "model"


def laboratories(
    crew: Crew, data: TrainingData, limit: float | None, asked: Mapping[str, Asked] | None = None
) -> Pool:
    """A pool whose calls get a Laboratory."""
    return Pool(crew, _laboratory, (asked, *data_to_send(data), crew.threads), limit)


def _laboratory(asked: Mapping[str, Asked] | None, *sent: Any) -> Laboratory:
    return Laboratory(training_data(*sent), asked=asked)


class Workers:
    """Does tasks side by side in a pool. Models go there and come back as bytes."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self.count = pool, pool.count

    def submit(self, task: Task) -> Running:
        """Begin a task; returns what waits for its end."""
        start, teacher = packed(task.start), packed(task.teacher)
        return Running(self._pool.submit(_do_there, start, teacher, dict(task.step)))


class Running:
    """A task that a worker does; a call waits for its end."""

    def __init__(self, future: Future[Done]) -> None:
        self.future = future
        self._started = time.monotonic()

    def __call__(self) -> Done:
        try:
            return self.future.result()
        except WorkLostError as error:
            return failed(str(error), self._started, again=True)


def first_ended(running: Mapping[str, Running]) -> str:
    """Wait until one of the tasks ends; its name."""
    wait([task.future for task in running.values()], return_when=FIRST_COMPLETED)
    return next(name for name, task in running.items() if task.future.done())


def _do_there(laboratory: Laboratory, start: Packed, teacher: Packed, step: steps.Step) -> Done:
    with temporary_folder("compressor-trial-") as folder:
        model = unpacked(start, folder / "start")
        return laboratory.do(Task(model, unpacked(teacher, folder / "teacher"), step))
