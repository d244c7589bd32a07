"""The paper's experiment: one model, pruned at several proportions, over several seeds."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from pathlib import Path
from typing import Any

from compressor.encodings import ENCODINGS, ENTROPY, computed_break_even, measured_break_even
from compressor.errors import CompressorError, StorageError
from compressor.experiment import steps
from compressor.experiment.predictors import load_predictor, prediction_times
from compressor.experiment.results import assemble_results
from compressor.experiment.side_by_side import train_side_by_side
from compressor.experiment.steps import check_paper_model
from compressor.exporters import FORMATS, MAX_SLOWDOWN, ExportJob, Variants, write_artifact
from compressor.foundation import Listener, SilentListener, quiet_tensorflow, write_json
from compressor.importing import load_model
from compressor.models import FLOAT32_BYTES, count_parameters
from compressor.parallel import check_workers, crew_of
from compressor.pruning import Plan, PruningSpec, PruningStep, prune_in_folders
from compressor.runs import (
    MODEL,
    RunDirectory,
    Work,
    is_finished,
    read_record,
    sparsity_name,
)

RESULTS = "results.json"
_ROW = ("format", "runtime", "runtime_version", "quantize", "bytes")
_VERDICT = ("accuracy", "difference", "agreement")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep that is done."""

    directory: Path
    results: dict[str, Any]
    """what results.json holds; schema in compressor/runs/results.schema.json"""

    @property
    def failed_exports(self) -> int:
        """How many artefacts could not be made, or did not pass."""
        rows = (*self.results["dense"], *self.results["proportions"])
        return sum(len(row.get("export_errors", ())) for row in rows)


def sweep(
    output: Path | str,
    plan: Plan,
    *,
    export: bool = False,
    workers: int | None = None,
    cluster: str | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> Sweep:
    """Run the experiment in the run directory `output`, or resume it.

    The results go to results.json there (schema: compressor/runs/results.schema.json), of which
    `compressor.report_run` makes the report. Finished steps are not done again. With `export` every
    model, the dense one too, is exported to TFLite and ONNX and verified in their runtimes; this
    can be added to a finished sweep. An export that fails costs its own row, which says why under
    `export_errors`; the next sweep with `export` tries it again. It is trained in this process, by
    so many `workers`, processes of this machine that share `plan.threads`, or by those of the Dask
    `cluster` at tcp://HOST:PORT; all else, and every measurement, is done here. Raises
    RunDirectoryError when the folder holds another experiment or another process works there,
    MissingRuntimeError for a cluster that is not there or has other versions.
    """
    check_workers(workers, cluster)
    listener = listener or SilentListener()
    check_paper_model(plan)
    identity = {"kind": "sweep", **plan.describe()}
    # Where the data lies may change; what it holds may not, and its digest says so.
    del identity["data"]["name"]
    with contextlib.ExitStack() as stack:
        crew = stack.enter_context(crew_of(workers, cluster, plan.threads))
        if crew is not None and crew.threads != plan.threads:
            identity["worker_threads"] = crew.threads
        run = stack.enter_context(RunDirectory(output, identity, force=force))
        if crew is not None:
            train_side_by_side(run, plan, crew, listener)
        quiet_tensorflow.load(plan.threads, timed=True)
        records = [
            _SeedSweep(run, plan, number, export, listener).records()
            for number in range(len(plan.seeds))
        ]
        listener.stage("find the break-even points")
        points = run.step("break_even", lambda _: _break_even(run.path, plan))
        results = assemble_results(plan, records, points["encodings"])
        write_json(run.path / RESULTS, results)
    return Sweep(run.path, results)


class _SeedSweep:
    """The steps of one seed."""

    def __init__(
        self, run: RunDirectory, plan: Plan, number: int, export: bool, listener: Listener
    ) -> None:
        self._run, self._plan, self._listener = run, plan, listener
        self._export = export
        self._seed = plan.seeds[number]
        self._root = f"seed-{self._seed}"
        self._title = f"seed {self._seed}: " if len(plan.seeds) > 1 else ""
        self._images_left = plan.images_of_a_seed() * (len(plan.seeds) - number)

    def records(self) -> dict[str, Any]:
        """Do the steps that are not finished; return the records of all."""
        plan, data = self._plan, self._plan.data
        dense = self._step(
            "step_1",
            "train the basic model",
            lambda folder: steps.train_step(
                folder, data, plan.training, seed=self._seed, progress=self._listener.progress
            ),
            plan.training.images,
        )
        proportions = [self._proportion(sparsity) for sparsity in plan.sparsities]
        times = self._step("prediction_time", "measure prediction times", self._measure)
        # Last, so that the paper's own results are complete if this is interrupted.
        exported = self._artefacts("artefacts", "step_1", "the basic model")
        for row in proportions:
            part = sparsity_name(row["sparsity"])
            title = f"{100 * row['sparsity']:g} %"
            row |= self._artefacts(f"{part}/artefacts", f"{part}/step_2_2", title)
        record = {"seed": self._seed, "step_1": dense, "proportions": proportions, **times}
        return record | exported

    def _proportion(self, sparsity: float) -> dict[str, Any]:
        plan, data, part = self._plan, self._plan.data, sparsity_name(sparsity)
        root = self._run.path / self._root
        title = f"{100 * sparsity:g} %"

        def do(name: str, step: PruningStep, work: Work) -> dict[str, Any]:
            verb, images = ("retrain", step.options.images) if step.options else ("prune", 0)
            return self._step(f"{part}/{name}", f"{title}, {verb}", work, images)

        pruned = prune_in_folders(
            do,
            root / part,
            lambda: root / "step_1" / MODEL,
            data,
            PruningSpec(sparsity, plan.layers),
            plan.retraining[sparsity],
            seed=self._seed,
            progress=self._listener.progress,
        )
        sparse = self._step(
            f"{part}/step_3",
            f"{title}, sparsify",
            lambda here: steps.sparsify_step(
                here, root / part / "step_2_2" / MODEL, data, layers=plan.layers
            ),
        )
        return {"sparsity": sparsity, **pruned, "step_3": sparse}

    def _artefacts(self, name: str, source: str, title: str) -> dict[str, Any]:
        """The artefacts of a step's model, if asked for or already finished."""
        root = self._run.path / self._root
        if not self._export and not is_finished(root / name):
            return {}
        export = functools.partial(self._export_model, root / source / MODEL)
        again = self._export and _has_failed(root / name)
        return self._step(name, f"{title}, export", export, force=again)

    def _export_model(self, source: Path, folder: Path) -> dict[str, Any]:
        """Export the model file `source` as float32.FORMAT and smallest.FORMAT in `folder`."""
        job: ExportJob | None = None
        rows, failed = [], []
        with contextlib.ExitStack() as stack:
            for file_format, runtime in FORMATS.items():
                variants: Variants | None = None
                for form in ("float32", "smallest"):
                    try:
                        job = job or stack.enter_context(
                            ExportJob(source, self._plan.data.data, threads=self._plan.threads)
                        )
                        variants = variants or Variants(
                            job, file_format, runtime, "size", None, self._listener, MAX_SLOWDOWN
                        )
                        rows.append(
                            _exported(job, variants, form, folder / f"{form}.{file_format}")
                        )
                    except StorageError:
                        raise
                    except CompressorError as error:
                        # Without the hint, which may name a file in a folder that is renamed.
                        reason = str(CompressorError(error.what, value=error.value))
                        row = {"form": form, "format": file_format, "runtime": runtime}
                        failed.append(row | {"error": reason})
        return {"artefacts": rows} | ({"export_errors": failed} if failed else {})

    def _measure(self, _: Path) -> dict[str, Any]:
        root = self._run.path / self._root
        folders = {"step_1": root / "step_1"}
        for sparsity in self._plan.sparsities:
            part = sparsity_name(sparsity)
            for step in ("step_2_2", "step_3"):
                folders[f"{part}/{step}"] = root / part / step
        times = prediction_times(
            {name: load_predictor(folder) for name, folder in folders.items()},
            self._plan.data.data.x_test,
        )
        return {"prediction_time": {name: time.describe() for name, time in times.items()}}

    def _step(
        self, name: str, title: str, work: Work, images: int = 0, *, force: bool = False
    ) -> dict[str, Any]:
        self._listener.stage(self._title + title, images, self._images_left)
        self._images_left -= images
        return self._run.step(f"{self._root}/{name}", work, force=force)


def _exported(job: ExportJob, variants: Variants, form: str, target: Path) -> dict[str, Any]:
    """Write a variant that passed to `target`; its row."""
    checked = variants.one("none") if form == "float32" else variants.best()
    record = write_artifact(job, checked, target)
    row = {"file": target.name, "form": form} | {key: record[key] for key in _ROW}
    row |= {key: record["verdict"][key] for key in _VERDICT}
    validation = record["verdict"]["validation"]["accuracy"]
    return row | {"validation_accuracy": validation, "speed": record["speed"]}


def _has_failed(step: Path) -> bool:
    return is_finished(step) and "export_errors" in read_record(step)["result"]


def _break_even(run: Path, plan: Plan) -> dict[str, Any]:
    """The sparsity from which each encoding pays, on the first seed's basic model."""
    model = load_model(run / f"seed-{plan.seeds[0]}" / "step_1" / MODEL)
    kernels, stay_dense = steps.kernels_and_rest(model, plan.layers)
    parameters = count_parameters(model)
    baselines = {
        "checkpoint": steps.CHECKPOINT_BYTES * parameters,
        "weights": FLOAT32_BYTES * parameters,
    }
    shapes = [kernel.shape for kernel in kernels.values()]
    descriptions = {name: encoding.description for name, encoding in ENCODINGS.items()}
    descriptions[ENTROPY] = "Shannon's bound on the positions, and float32 values: a lower bound"
    rows = []
    for name, description in descriptions.items():
        points = {}
        for baseline, size in baselines.items():
            measured = None  # at the bound nothing is stored
            if name != ENTROPY:
                measured = measured_break_even(name, kernels, stay_dense, size)
            computed = computed_break_even(name, shapes, stay_dense, size)
            points[baseline] = {"computed": computed, "measured": measured}
        rows.append({"name": name, "description": description, "break_even": points})
    return {"encodings": rows}
