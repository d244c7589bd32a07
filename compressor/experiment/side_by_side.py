"""The trainings of a sweep, done side by side in workers, ahead of all that is measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

from compressor.data import TrainingData
from compressor.errors import CheckFailedError
from compressor.experiment import steps
from compressor.foundation import Listener, storage_errors, temporary_folder, write_bytes
from compressor.parallel import Crew, Pool, WorkLostError, data_to_send, training_data
from compressor.pruning import Plan, PruningSpec, PruningStep, prune_in_folders
from compressor.runs import MODEL, RunDirectory, Work, is_finished, read_step, sparsity_name
from compressor.training import TrainingOptions

Finished = dict[str, tuple[dict[str, bytes], dict[str, Any]]]
"""Name of a step -> the content of its files by name, and its record."""
STEPS = ("step_2_1", "step_2_2", "step_3")


@dataclasses.dataclass(frozen=True)
class _Part:
    """What one worker does at once: a basic model, or all steps of one sparsity."""

    seed: int
    sparsity: float | None = None

    @property
    def folder(self) -> str:
        root = f"seed-{self.seed}"
        return root if self.sparsity is None else f"{root}/{sparsity_name(self.sparsity)}"

    @property
    def title(self) -> str:
        what = "basic model" if self.sparsity is None else f"{100 * self.sparsity:g} %"
        return f"seed {self.seed}, {what}"

    @property
    def steps(self) -> tuple[str, ...]:
        return ("step_1",) if self.sparsity is None else STEPS


def train_side_by_side(run: RunDirectory, plan: Plan, crew: Crew, listener: Listener) -> None:
    """Do every step_1, step_2_1, step_2_2 and step_3 that `run` does not have yet in workers.

    Each is written when it comes back. Raises CheckFailedError where a worker was lost with one
    again and again, and what the step itself raises; what else came back is kept.
    """
    parts = [*_parts(plan)]
    done = {part for part in parts if _is_done(run, part)}
    if len(done) == len(parts):
        return
    listener.stage(f"train side by side, {crew.count} at a time")
    with Pool(crew, training_data, (*data_to_send(plan.data), crew.threads)) as pool:
        running: dict[Future[Finished], _Part] = {}

        def begin(part: _Part) -> None:
            if part in done:
                if part.sparsity is None:
                    for sparsity in plan.sparsities:
                        begin(_Part(part.seed, sparsity))
            elif part.sparsity is None:
                running[pool.submit(_train, plan.training, part.seed)] = part
            else:
                source = run.path / f"seed-{part.seed}" / "step_1" / MODEL
                options = plan.retraining[part.sparsity]
                how = part.seed, part.sparsity, plan.layers, options
                running[pool.submit(_prune, source.read_bytes(), *how)] = part

        for seed in plan.seeds:
            begin(_Part(seed))
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                part = running.pop(future)
                _keep(run, part, future)
                done.add(part)
                listener.stage(f"  {part.title}: done")
                if part.sparsity is None:
                    begin(part)


def _parts(plan: Plan) -> Iterator[_Part]:
    for seed in plan.seeds:
        yield _Part(seed)
        yield from (_Part(seed, sparsity) for sparsity in plan.sparsities)


def _is_done(run: RunDirectory, part: _Part) -> bool:
    """Whether all its steps are finished. Raises CheckpointError where one of them was altered."""
    places = [run.path / part.folder / name for name in part.steps]
    for place in filter(is_finished, places):
        read_step(place)
    return all(map(is_finished, places))


def _keep(run: RunDirectory, part: _Part, future: Future[Finished]) -> None:
    try:
        finished = future.result()
    except WorkLostError as error:
        what = f"a training came to no end ({part.title})"
        raise CheckFailedError(what, value=error, hint="the same command goes on") from error
    for name, (contents, record) in finished.items():
        run.step(f"{part.folder}/{name}", _writing(contents, record))


def _writing(contents: Mapping[str, bytes], record: dict[str, Any]) -> Work:
    def write(here: Path) -> dict[str, Any]:
        for name, content in contents.items():
            write_bytes(here / name, content)
        return record

    return write


def _train(data: TrainingData, options: TrainingOptions, seed: int) -> Finished:
    """step_1, in a worker."""
    with temporary_folder("compressor-sweep-") as folder:
        return _done(
            folder, "step_1", lambda here: steps.train_step(here, data, options, seed=seed)
        )


def _prune(
    data: TrainingData,
    dense: bytes,
    seed: int,
    sparsity: float,
    layers: tuple[str, ...],
    options: TrainingOptions,
) -> Finished:
    """step_2_1 to step_3, in a worker, of a basic model that was sent."""
    finished: Finished = {}

    with temporary_folder("compressor-sweep-") as folder:

        def do(name: str, _: PruningStep | None, work: Callable[[Path], Any]) -> dict[str, Any]:
            finished.update(_done(folder, name, work))
            return finished[name][1]

        with storage_errors(folder):
            (folder / MODEL).write_bytes(dense)
        prune_in_folders(
            do,
            folder,
            lambda: folder / MODEL,
            data,
            PruningSpec(sparsity, layers),
            options,
            seed=seed,
        )
        source = folder / "step_2_2" / MODEL
        do("step_3", None, lambda here: steps.sparsify_step(here, source, data, layers=layers))
    return finished


def _done(folder: Path, name: str, work: Callable[[Path], Any]) -> Finished:
    here = folder / name
    with storage_errors(here):
        here.mkdir()
        record = work(here)
    return {name: ({path.name: path.read_bytes() for path in here.iterdir()}, record)}
