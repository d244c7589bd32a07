"""The paper's command and its parts, on folders: train, prune, sparsify, evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from compressor import _tensorflow, steps
from compressor._files import sha256
from compressor.data import Dataset, load_dataset
from compressor.errors import CheckpointError, UsageError
from compressor.experiment import Listener, SilentListener
from compressor.models import load_model
from compressor.plan import Plan, check_paper_model, make_plan, sparsity_name
from compressor.predictors import Evaluation, find_checkpoint, load_predictor
from compressor.predictors import evaluate as evaluate_predictor
from compressor.pruning.layers import prunable_layers
from compressor.pruning.masks import load_masks
from compressor.run_directory import RECORD, RunDirectory, read_record, same_pruning
from compressor.steps import TrainingData
from compressor.training import derive_seed
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
        records |= _prune(run, source, digest, plan, force, listener)
        variables.keep(retrained)
    if 3 in do:
        records |= _sparsify(run, variables.model(), plan.data, force, listener)
    return records


def prune(
    model: Path | str,
    output: Path | str | None = None,
    plan: Plan | None = None,
    *,
    retrain: bool = True,
    force: bool = False,
    listener: Listener | None = None,
) -> Records:
    """Prune a model and retrain it: step_2_1 and step_2_2 in the run directory `output`.

    `model` is a .keras file or a run directory with step_1. `output` is by default that run
    directory, or, for a file, NAME-pruned beside it. The plan's first sparsity, its layers, its
    retraining and its first seed are used. The model need not be the paper's CNN.
    """
    plan = plan or make_plan(sparsities=(0.9,), layers=("all",))
    source, folder = _model_and_output(Path(model), "step_1", output, "-pruned")
    listener = listener or SilentListener()
    with RunDirectory(folder, _IDENTITY) as run:
        _tensorflow.load(plan.threads)
        return _prune(run, source, _digest(source), plan, force, listener, retrain=retrain)


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


def _prune(
    run: RunDirectory,
    source: Path,
    digest: str,
    plan: Plan,
    force: bool,
    listener: Listener,
    *,
    retrain: bool = True,
) -> Records:
    sparsity, seed = plan.sparsities[0], plan.seeds[0]
    options = plan.retraining[sparsity]
    listener.stage(f"prune {100 * sparsity:g} %")
    what = {"model": digest, "layers": plan.layer_names, "sparsity": sparsity}
    records = {
        "step_2_1": run.step(
            "step_2_1",
            lambda here: steps.prune_step(
                here, _same(source, digest), plan.data, layers=plan.layers, sparsity=sparsity
            ),
            config=_config(plan, what),
            force=force,
        )
    }
    if retrain:
        options = steps.with_scaled_dropout(options, records["step_2_1"]["layers"])
        listener.stage("retrain what is left", options.images)
        records["step_2_2"] = run.step(
            "step_2_2",
            lambda here: steps.retrain_step(
                here,
                run.path / "step_2_1",
                plan.data,
                options,
                seed=derive_seed(seed, f"step_2_2 {sparsity_name(sparsity)}"),
                progress=listener.progress,
            ),
            config=_config(plan, what | options.describe()),
            force=force,
        )
    return records


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
    masks = source.parent / steps.MASKS
    if masks.is_file():
        return list(load_masks(masks))
    zeros = [
        name
        for name, layer in prunable_layers(load_model(source)).items()
        if not layer.kernel.numpy().all()
    ]
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


def _model_and_output(
    model: Path, step: str, output: Path | str | None, suffix: str
) -> tuple[Path, Path]:
    if model.is_dir() and not (model / steps.MODEL).is_file():
        source = model / step / steps.MODEL
        if not source.is_file():
            known = [str(path.parent) for path in sorted(model.rglob(f"{step}/{steps.MODEL}"))]
            raise CheckpointError(
                f"the run directory has no finished {step}",
                value=model,
                hint=f"name one of {', '.join(known[:3])}" if known else "train a model first",
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
