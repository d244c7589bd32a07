"""Making an artefact again by its recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.data import Dataset, TrainingData, rows
from compressor.errors import UsageError
from compressor.exporters import Variants, write_artifact
from compressor.exporters.graphs.file import is_graph_file
from compressor.exporters.graphs.job import GraphJob
from compressor.exporters.graphs.pruning import check_opened
from compressor.exporters.targets import check_free, runtime_of, target_of
from compressor.foundation import Listener, SilentListener, quiet_tensorflow, temporary_folder
from compressor.importing import load_model
from compressor.models import Asked, needed_data
from compressor.runs import MODEL, keras_file, model_digest
from compressor.runtimes import find
from compressor.searching import steps
from compressor.searching.finishing import artifact_job
from compressor.searching.graph_search import prune_step
from compressor.searching.laboratory import Laboratory, Task, model_bytes
from compressor.searching.recipe import Recipe, read_recipe
from compressor.searching.standard import accepted_in
from compressor.searching.structure import Structure
from deploy.tasks import ACCURACY


def apply_recipe(
    recipe: Recipe | Path | str,
    model: Path | str,
    output: Path | str | None = None,
    data: Dataset | None = None,
    *,
    threads: int | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Make the artefact of a `recipe`, or its file, from a model file, and prove it.

    `output` is by default NAME.tflite or NAME.onnx beside the model. With the recipe's own model
    and data, on the machine, versions and threads that it was made with, it is the same file, byte
    for byte; `same` says whether it is. With another model of the same layers the steps are the
    same, and `notes` say what differs. Returns the record of `export`, with these. Raises
    CheckpointError for a file that is no recipe, UsageError where it does not fit the model, and
    what `export` raises.
    """
    listener = listener or SilentListener()
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    is_graph = is_graph_file(model)
    if is_graph != all(step["kind"] == "prune" for step in recipe.steps):
        kinds = ("a Keras model", "a .tflite or .onnx file")
        raise UsageError(f"the recipe is for {kinds[not is_graph]}", value=model)
    source = Path(model) if is_graph else keras_file(Path(model))
    runtime = recipe.export["runtime"]
    file_format = find(runtime).format
    _, target = target_of(model, output, file_format)
    check_free(target, force)
    runtime_of(file_format, runtime)
    if is_graph and data is None:
        raise UsageError("the steps of the recipe need data", value=source, hint="give --data")
    found = data if is_graph and data is not None else needed_data(source, data)
    part = TrainingData.of(found, min(recipe.validation, max(rows(found.x_train) - 1, 1)))
    threads = threads or recipe.threads
    if not is_graph:
        quiet_tensorflow.load(threads)
    notes = [
        f"the {what} is not what the recipe was made with, so the file differs"
        for what, given, named in (
            ("model", model_digest(source), recipe.model),
            ("data set", found.digest, recipe.data),
            ("number of threads", threads, recipe.threads),
        )
        if given != named
    ]
    with temporary_folder("compressor-apply-") as folder:
        export = recipe.export
        asked = dict(recipe.asked)
        if not asked and "accepted_accuracy" in export and not is_graph:
            asked = {"metric": ACCURACY}
        made = _Walk(source, part, folder, listener, threads, recipe.asked).made(recipe)
        how: Any = {"threads": threads, "validation": len(part.validation), **asked}
        kind, own = artifact_job(made, source)
        with kind(made, found, **how, **own) as job:
            job.floor = accepted_in(export)
            variants = Variants(job, file_format, runtime, export["optimize"], None, listener)
            record = write_artifact(job, variants.one(export["quantize"]), target)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    record["notes"] = [*notes, *record["notes"]]
    return record | {"same": digest == recipe.export.get("sha256")}


class _Walk:
    """Does the steps of a recipe, each from the file of the one before."""

    def __init__(
        self,
        source: Path,
        data: TrainingData,
        folder: Path,
        listener: Listener,
        threads: int,
        asked: Mapping[str, Asked],
    ) -> None:
        self._files, self._threads, self._asked = [source], threads, asked
        self._data, self._folder, self._listener = data, folder, listener
        self._laboratory = Laboratory(data, asked=asked)

    def made(self, recipe: Recipe) -> Path:
        """The model file that the last step makes."""
        for number, step in enumerate(recipe.steps, 1):
            suffix = self._files[0].suffix if step["kind"] == "prune" else Path(MODEL).suffix
            path = self._folder / str(number) / f"model{suffix}"
            path.parent.mkdir()
            title = {
                **{"narrow": "narrow", "train": "train", "sparse": "prune while training"},
                "prune": "prune",
            }
            what = f"step {number} of {len(recipe.steps)}, {title[step['kind']]}"
            self._listener.stage(what, step.get("steps", 0) * step.get("batch_size", 0))
            do = {"narrow": self._narrow, "prune": self._prune}.get(step["kind"], self._train)
            path.write_bytes(do(step))
            self._files.append(path)
        return self._files[-1]

    def _narrow(self, step: steps.Step) -> bytes:
        model = load_model(self._files[-1])
        objective = self._laboratory.objective(model)
        structure = Structure(model, self._data, objective, step["seed"])
        if dict(step["widths"]).keys() != structure.widths.keys():
            raise UsageError(
                "the recipe does not fit the model: its layers are others",
                value=", ".join(step["widths"]),
                hint=f"the model has {', '.join(structure.widths)}",
            )
        narrowed = steps.narrow(structure, step["widths"])
        return model_bytes(narrowed, self._data, self._asked)

    def _prune(self, step: steps.Step) -> bytes:
        how: Any = {"threads": self._threads, "described": self._files[0], **self._asked}
        data, count = self._data.data, len(self._data.validation)
        with GraphJob(self._files[-1], data, validation=count, **how) as job:
            check_opened(job)
            return prune_step(job, step)[0]

    def _train(self, step: steps.Step) -> bytes:
        task = Task(self._files[-1], self._files[step["teacher"]], step)
        model = self._laboratory.train(task, self._listener.progress)
        return model_bytes(model, self._data, self._asked)
