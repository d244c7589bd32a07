"""The paper's command and its parts, on folders: train, prune, sparsify, evaluate."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from compressor import _tensorflow, retraining, steps, training
from compressor._files import sha256
from compressor.data import Dataset, load_dataset
from compressor.data.inputs import rows
from compressor.errors import CheckpointError, ModelError, RunDirectoryError, UsageError
from compressor.experiment import Listener, SilentListener
from compressor.exporters.paper import has_sparse_form
from compressor.inspection import inspect
from compressor.models import load_model, save_model
from compressor.objective import objective_of
from compressor.plan import Plan, check_paper_model, make_plan, sparsity_name
from compressor.predictors import Evaluation, find_checkpoint, load_predictor
from compressor.predictors import evaluate as evaluate_predictor
from compressor.preprocessing import preprocessing
from compressor.pruning.layers import prunable_layers
from compressor.pruning.masks import load_masks
from compressor.pruning.pruner import density_of
from compressor.pruning.schedules import round_sparsity
from compressor.pruning.spec import PruningSpec
from compressor.run_directory import RECORD, RunDirectory, Work, read_record, same_pruning
from compressor.shrinking import shrink
from compressor.training import TrainingOptions, derive_seed
from compressor.training_data import TrainingData
from compressor.variables import Variables

Step = Literal[1, 2, 3]
Records = dict[str, dict[str, Any]]
"""Step name -> what came out of it."""

_IDENTITY = {"kind": "model"}


def train(
    train_dir: Path | str,
    plan: Plan | None = None,
    *,
    do: Sequence[Step] = (1,),
    variables_dir: Path | str | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> Records:
    """The paper's training command: any of its three steps, in `train_dir`.

    `do` names the steps: 1 trains the basic model (step_1), 2 prunes and retrains (step_2_1,
    step_2_2), 3 sparsifies (step_3). `variables_dir` (default `train_dir`/variables) is where the
    variables of the last trained model are read by steps 2 and 3, and kept by 1 and 2. The
    plan's first sparsity and first seed are used. A finished step with the same options is not
    done again; with other options it raises RunDirectoryError unless `force`.
    """
    plan = plan or make_plan(sparsities=(0.9,), preset="paper")
    if not do or not set(do) <= {1, 2, 3}:
        raise UsageError("the steps are 1, 2 and 3", value=list(do))
    root = Path(train_dir)
    if 1 in do:
        check_paper_model(plan)
    listener = listener or SilentListener()
    where = Path(variables_dir) if variables_dir is not None else root / "variables"
    with RunDirectory(root, _IDENTITY) as run, Variables(where, force=force) as variables:
        if set(do) & {1, 2}:
            variables.check_writable()
        _tensorflow.load(plan.threads)
        return _train(run, variables, plan, do, force, listener)


def _train(
    run: RunDirectory,
    variables: Variables,
    plan: Plan,
    do: Sequence[Step],
    force: bool,
    listener: Listener,
) -> Records:
    basic, retrained = run.path / "step_1", run.path / "step_2_2"
    records: Records = {}
    done_before = _is_finished(basic) and not force
    if 1 in do:
        listener.stage("train the basic model", plan.training.images)
        records["step_1"] = run.step(
            "step_1",
            lambda here: steps.train_step(
                here, plan.data, plan.training, seed=plan.seeds[0], progress=listener.progress
            ),
            config=_config(plan, plan.training.describe()),
            force=force,
        )
        # A step that was finished before is no news: what was trained after it stays.
        if not (done_before and variables.holds(retrained)):
            variables.keep(basic)
    if 2 in do:
        if 1 in do:
            source, digest = basic / steps.MODEL, _digest(basic / steps.MODEL)
        else:
            source, digest = _to_prune(run.path, variables)
        spec = PruningSpec(plan.sparsities[0], plan.layers)
        records |= _PruningJob(run, source, digest, spec, plan, force, listener).run()
        variables.keep(retrained)
    if 3 in do:
        records |= _sparsify(run, variables.model(), plan.data, force, listener)
    return records


def prune_run(
    model: Path | str,
    output: Path | str | None = None,
    spec: PruningSpec | None = None,
    plan: Plan | None = None,
    *,
    retrain: bool = True,
    force: bool = False,
    listener: Listener | None = None,
) -> Records:
    """Prune a model file by `spec` and retrain it: step_2_1 and step_2_2 in a run directory.

    The record `dense` says what the model reaches before.

    `model` is a .keras file or a run directory with step_1. `output` is by default that run
    directory, or, for a file, NAME-pruned beside it. The plan gives data, retraining and seed; its
    sparsities and layers are those of `spec`. A gradual pruning has step_2_2 only; an iterative
    one keeps its earlier rounds in round-1, round-2, ... The model need not be the paper's CNN.
    `compressor.prune` does the same to a model in memory.
    """
    spec = spec or PruningSpec()
    plan = plan or make_plan(sparsities=(spec.highest_sparsity,))
    if not retrain and spec.schedule != "one-shot":
        raise UsageError(
            f"{spec.schedule} pruning retrains", value="--no-retrain", hint="leave it out"
        )
    if spec.highest_sparsity not in plan.retraining:
        raise UsageError(
            "the plan has no retraining for this sparsity",
            value=f"{spec.highest_sparsity:g}",
            hint="make it with make_plan(sparsities=[...])",
        )
    source, folder = _model_and_output(Path(model), "step_1", output, "-pruned")
    listener = listener or SilentListener()
    _tensorflow.load(plan.threads)
    steps.check_pruning(source, plan.data, spec, plan.retraining[spec.highest_sparsity])
    with RunDirectory(folder, _IDENTITY) as run:
        job = _PruningJob(run, source, _digest(source), spec, plan, force, listener)
        return job.measure() | job.run(retrain)


def shrink_file(
    model: Path | str,
    output: Path | str | None = None,
    data: Dataset | None = None,
    *,
    round_to: int = 1,
    fold_batchnorm: bool = True,
    threads: int | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Shrink a model file exactly, and write the smaller model to `output`.

    `model` is a .keras file, the folder of a step, or a run directory with step_2_2. `output` is by
    default NAME-shrunk.keras beside the file, or shrunk.keras in the run directory. The outputs of
    both models are compared on validation examples of `data`, or on random inputs; the accuracy of
    both is measured where `data` is given. Returns a JSON object: what was removed and folded, the
    difference, and both models as `inspect` compares them. Raises RunDirectoryError when `output`
    is there and not `force`, CheckFailedError when the models do not compute the same.
    """
    source = _model_to_shrink(Path(model))
    target = Path(output) if output is not None else _shrunk_path(Path(model), source)
    if target.suffix != ".keras":
        raise UsageError("the shrunk model is a .keras file", value=target)
    if target.resolve() == source.resolve():
        raise UsageError("the shrunk model would replace the model itself", value=target)
    if target.exists() and not force:
        raise RunDirectoryError(
            "the file is there already", value=target, hint="name another with -o, or --force"
        )
    _tensorflow.load(threads)
    before = load_model(source)
    record: dict[str, Any] = {"checked_on": "random inputs"}
    inputs = None
    if data is not None:
        part = TrainingData.of(data)
        objective = steps.check_fit(before, part)
        x, _ = part.validation_part(retraining.CHECKED)
        inputs = preprocessing(before, x)(x)
        record["checked_on"] = f"{rows(x)} validation examples"
    shrunk = shrink(before, inputs, fold_batchnorm=fold_batchnorm, round_to=round_to)
    record |= {
        "removed": shrunk.removed,
        "folded": list(shrunk.folded),
        "kept": shrunk.kept,
        "difference": shrunk.difference,
    }
    if data is not None:
        record["accuracy"] = {
            name: training.evaluate(one, data.x_test, data.y_test, objective)
            for name, one in (("before", before), ("after", shrunk.model))
        }
    with contextlib.suppress(ModelError):  # a model that is no classifier stays uncompiled
        found = objective_of(before)
        if found.source == "compiled":
            found.compile(shrunk.model, "sgd")
    save_model(shrunk.model, target)
    return record | {"output": str(target), "comparison": inspect(source, target)}


def sparsify(
    model: Path | str,
    output: Path | str | None = None,
    data: Dataset | None = None,
    *,
    layers: Sequence[str] | None = None,
    threads: int | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> Records:
    """Write the paper's sparse checkpoint of a pruned model: step_3 in `output`.

    `model` is a .keras file or a run directory with step_2_2; `output` as in `prune`, with the
    suffix -sparse. `layers` are by default those whose masks lie beside the model, or else
    those that hold any zero. Its accuracy is measured when `data` is given.
    """
    source, folder = _model_and_output(Path(model), "step_2_2", output, "-sparse")
    listener = listener or SilentListener()
    part = None if data is None else TrainingData.of(data)
    with RunDirectory(folder, _IDENTITY) as run:
        _tensorflow.load(threads)
        return _sparsify(run, source, part, force, listener, layers)


def evaluate(
    checkpoint: Path | str,
    data: Dataset | None = None,
    *,
    batch_size: int = 32,
    max_steps: int = 10,
    threads: int | None = None,
) -> Evaluation:
    """The paper's two predictors: accuracy on all test images, and prediction time.

    `checkpoint` is a .keras file, a sparse .npz, or the folder of a step: dense for step_1,
    step_2_1 and step_2_2, sparse for step_3. The time is that of `max_steps` batches of
    `batch_size` images.
    """
    _tensorflow.load(threads)
    return evaluate_predictor(
        load_predictor(checkpoint),
        data or load_dataset(None),
        batch_size=batch_size,
        max_steps=max_steps,
    )


class _PruningJob:
    """The steps of one pruning, in one run directory."""

    def __init__(
        self,
        run: RunDirectory,
        source: Path,
        digest: str,
        spec: PruningSpec,
        plan: Plan,
        force: bool,
        listener: Listener,
    ) -> None:
        self._run, self._source, self._digest = run, source, digest
        self._spec, self._plan, self._force, self._listener = spec, plan, force, listener
        self._what = {"model": digest, **spec.describe()}
        self._options = plan.retraining[spec.highest_sparsity]
        self._title = f"{100 * spec.highest_sparsity:g} %"

    def measure(self) -> Records:
        """The accuracy of the model before it is pruned."""
        self._listener.stage("measure the model")
        config = _config(self._plan, {"model": self._digest})
        record = self._run.step(
            "dense",
            lambda _: steps.measure_step(_same(self._source, self._digest), self._plan.data),
            config=config,
            force=self._force,
        )
        return {"dense": record}

    def run(self, retrain: bool = True) -> Records:
        """Do what is not done yet; return the records of all steps."""
        if self._spec.schedule == "gradual":
            records = self._gradual()
            self._discard_others({"step_2_2"})
            return records
        records = {}
        rounds = self._spec.rounds if self._spec.schedule == "iterative" else 1
        source: Callable[[], Path] = functools.partial(_same, self._source, self._digest)
        for number in range(1, rounds + 1):
            folder = f"round-{number}/" if number < rounds else ""
            records |= self._round(folder, number, rounds, source, retrain)
            source = functools.partial(Path, self._run.path / folder / "step_2_2" / steps.MODEL)
        self._discard_others(set(records))
        return records

    def _discard_others(self, done: set[str]) -> None:
        """Remove, where the pruning was forced, what is left of the one that was there before."""
        if not self._force:
            return
        places = {name.partition("/")[0] for name in done}
        for path in [self._run.path / "step_2_1", *self._run.path.glob("round-*")]:
            if path.name not in places:
                self._run.discard(path.name)

    def _round(
        self, folder: str, number: int, rounds: int, source: Callable[[], Path], retrain: bool
    ) -> Records:
        title = f"{self._title}, round {number} of {rounds}" if rounds > 1 else self._title

        level = functools.partial(round_sparsity, number=number, rounds=rounds)
        self._listener.stage(f"prune {title}")
        pruned = self._step(
            f"{folder}step_2_1",
            lambda here: steps.prune_step(
                here, source(), self._plan.data, self._spec, level=level, again=number > 1
            ),
        )
        if not retrain:
            return {f"{folder}step_2_1": pruned}
        options = retraining.with_scaled_dropout(self._options, density_of(pruned["layers"]))
        part = "" if number == rounds else f" round {number}"
        self._listener.stage("retrain what is left", options.images)
        retrained = self._step(
            f"{folder}step_2_2",
            lambda here: steps.retrain_step(
                here,
                self._run.path / folder / "step_2_1",
                self._plan.data,
                options,
                self._spec,
                seed=self._seed(part),
                teacher=_same(self._source, self._digest) if options.distillation else None,
                narrowed=number == rounds,
                progress=self._listener.progress,
            ),
            options,
        )
        return {f"{folder}step_2_1": pruned, f"{folder}step_2_2": retrained}

    def _gradual(self) -> Records:
        options = self._options
        self._listener.stage(f"prune {self._title}, while retraining", options.images)
        record = self._step(
            "step_2_2",
            lambda here: steps.gradual_step(
                here,
                _same(self._source, self._digest),
                self._plan.data,
                options,
                self._spec,
                seed=self._seed(""),
                progress=self._listener.progress,
            ),
            options,
        )
        return {"step_2_2": record}

    def _step(
        self, name: str, work: Work, options: TrainingOptions | None = None
    ) -> dict[str, Any]:
        config = self._what | (options.describe() if options else {})
        return self._run.step(name, work, config=_config(self._plan, config), force=self._force)

    def _seed(self, part: str) -> int:
        name = sparsity_name(self._spec.highest_sparsity)
        return derive_seed(self._plan.seeds[0], f"step_2_2 {name}{part}")


def _sparsify(
    run: RunDirectory,
    source: Path,
    data: TrainingData | None,
    force: bool,
    listener: Listener,
    layers: Sequence[str] | None = None,
) -> Records:
    listener.stage("sparsify")
    chosen = list(layers) if layers else _sparse_layers(source)
    return {
        "step_3": run.step(
            "step_3",
            lambda here: steps.sparsify_step(here, source, data, layers=chosen),
            config={
                "model": _digest(source),
                "layers": chosen,
                "data": None if data is None else data.data.digest,
            },
            force=force,
        )
    }


def _sparse_layers(source: Path) -> list[str]:
    layers = {
        name: layer
        for name, layer in prunable_layers(load_model(source)).items()
        if has_sparse_form(layer)
    }
    masks = source.parent / steps.MASKS
    zeros = [name for name in load_masks(masks) if name in layers] if masks.is_file() else []
    zeros = zeros or [name for name, layer in layers.items() if not layer.kernel.numpy().all()]
    if not zeros:
        raise CheckpointError(
            "the model has no zero weights, so there is nothing to sparsify",
            value=source,
            hint="prune it first, or name --layers",
        )
    return zeros


def _config(plan: Plan, what: dict[str, Any]) -> dict[str, Any]:
    return what | {
        "seed": plan.seeds[0],
        "data": plan.data.data.digest,
        "validation_images": len(plan.data.validation),
        "threads": plan.threads,
    }


def _to_prune(root: Path, variables: Variables) -> tuple[Path, str]:
    """The model that step 2 prunes, and its sha256: the variables, or what it began with before.

    Once step 2 is finished the variables are its own result, pruned already; to do it again, or
    to go on after it, it begins with the model that its record names.
    """
    if variables.holds(root / "step_2_2") and _is_finished(root / "step_2_1"):
        return root / "step_1" / steps.MODEL, read_record(root / "step_2_1")["config"]["model"]
    return variables.model(), _digest(variables.model())


def _same(source: Path, digest: str) -> Path:
    if not source.is_file() or _digest(source) != digest:
        raise CheckpointError(
            "the model that was pruned is not there any more",
            value=source,
            hint="train it again with -1, or prune it from a file with compressor prune",
        )
    return source


def _is_finished(step: Path) -> bool:
    return (step / RECORD).is_file()


def _digest(source: Path) -> str:
    try:
        return sha256(source)
    except OSError as error:
        raise CheckpointError(
            "cannot read the model", value=f"{source} ({error.strerror})"
        ) from error


def _model_to_shrink(model: Path) -> Path:
    if model.is_dir() and (model / "step_2_2" / steps.MODEL).is_file():
        return model / "step_2_2" / steps.MODEL
    source = find_checkpoint(model)
    if source.suffix != ".keras":
        raise UsageError("this takes a .keras file or a run directory", value=model)
    return source


def _shrunk_path(model: Path, source: Path) -> Path:
    if model.is_dir() and source.parent != model:
        return model / "shrunk.keras"
    if _is_finished(source.parent):
        raise UsageError(
            "the model belongs to a finished step", value=source, hint="name a file with -o"
        )
    return source.with_name(f"{source.stem}-shrunk.keras")


def _model_and_output(
    model: Path, step: str, output: Path | str | None, suffix: str
) -> tuple[Path, Path]:
    if model.is_dir() and not (model / steps.MODEL).is_file():
        source = model / step / steps.MODEL
        if not source.is_file():
            known = [str(path.parent) for path in sorted(model.rglob(f"{step}/{steps.MODEL}"))]
            hint = f"name one of {', '.join(known[:3])}" if known else "train a model first"
            if step == "step_2_2" and (model / "step_2_1" / steps.MODEL).is_file():
                hint = f"it was not retrained: name {model / 'step_2_1' / steps.MODEL}, and -o"
            raise CheckpointError(
                f"the run directory has no finished {step}", value=model, hint=hint
            )
        if step == "step_2_2" and not same_pruning(model / "step_2_1", model / step):
            raise CheckpointError(
                "step_2_2 was retrained from another pruning than step_2_1 holds",
                value=model,
                hint="prune again with --force, or name the model file and -o",
            )
        return source, output_directory(model, output, suffix)
    source = find_checkpoint(model)
    if source.suffix != ".keras":
        raise UsageError("this takes a .keras file or a run directory", value=model)
    return source, output_directory(model, output, suffix)


def output_directory(model: Path, output: Path | str | None, suffix: str) -> Path:
    """Where `prune` (suffix -pruned) and `sparsify` (-sparse) write what they make of `model`.

    Raises UsageError for the model of a finished step without `output`: what would lie in the
    step's folder would be lost when the step is done again.
    """
    if output is not None:
        return Path(output)
    if model.is_dir() and not (model / steps.MODEL).is_file():
        return model
    source = find_checkpoint(model)
    if _is_finished(source.parent):
        raise UsageError(
            "the model belongs to a finished step", value=source, hint="name a folder with -o"
        )
    return source.with_name(source.stem + suffix)
