"""The paper's command and its parts, on folders: train, prune, sparsify, evaluate."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from compressor import _tensorflow, steps
from compressor._files import atomic_path, sha256
from compressor.data import Dataset, load_dataset
from compressor.errors import CheckpointError, UsageError
from compressor.experiment import Listener, SilentListener
from compressor.models import load_model
from compressor.plan import Plan, check_paper_model, make_plan, sparsity_name
from compressor.predictors import Evaluation, find_checkpoint, load_predictor
from compressor.predictors import evaluate as evaluate_predictor
from compressor.pruning.layers import prunable_layers
from compressor.pruning.masks import load_masks
from compressor.run_directory import RunDirectory
from compressor.training import derive_seed

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
    variables = Path(variables_dir) if variables_dir is not None else root / "variables"
    if 1 in do:
        check_paper_model(plan)
    listener = listener or SilentListener()
    records: Records = {}
    with RunDirectory(root, _IDENTITY) as run:
        _tensorflow.load(plan.threads)
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
            _keep_variables(root / "step_1", variables)
        if 2 in do:
            records |= _prune(run, _to_prune(root, variables), plan, force, listener)
            _keep_variables(root / "step_2_2", variables)
        if 3 in do:
            records |= _sparsify(run, _trained(variables), plan, force, listener)
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
        return _prune(run, source, plan, force, listener, retrain=retrain)


def sparsify(
    model: Path | str,
    output: Path | str | None = None,
    plan: Plan | None = None,
    *,
    layers: Sequence[str] | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> Records:
    """Write the paper's sparse checkpoint of a pruned model: step_3 in `output`.

    `model` is a .keras file or a run directory with step_2_2; `output` as in `prune`, with the
    suffix -sparse. `layers` are by default those whose masks lie beside the model, or else
    those that hold any zero.
    """
    plan = plan or make_plan(sparsities=(0.9,))
    source, folder = _model_and_output(Path(model), "step_2_2", output, "-sparse")
    listener = listener or SilentListener()
    with RunDirectory(folder, _IDENTITY) as run:
        _tensorflow.load(plan.threads)
        return _sparsify(run, source, plan, force, listener, layers)


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
    plan: Plan,
    force: bool,
    listener: Listener,
    *,
    retrain: bool = True,
) -> Records:
    sparsity, seed = plan.sparsities[0], plan.seeds[0]
    options = plan.retraining[sparsity]
    listener.stage(f"prune {100 * sparsity:g} %")
    what = {"model": sha256(source), "layers": list(plan.layers), "sparsity": sparsity}
    records = {
        "step_2_1": run.step(
            "step_2_1",
            lambda here: steps.prune_step(
                here, source, plan.data, layers=plan.layers, sparsity=sparsity
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
    plan: Plan,
    force: bool,
    listener: Listener,
    layers: Sequence[str] | None = None,
) -> Records:
    listener.stage("sparsify")
    chosen = list(layers) if layers else _sparse_layers(source)
    return {
        "step_3": run.step(
            "step_3",
            lambda here: steps.sparsify_step(here, source, plan.data, layers=chosen),
            config={
                "model": sha256(source),
                "layers": chosen,
                "data": plan.data.data.digest,
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


def _keep_variables(step: Path, variables: Path) -> None:
    """Make `variables` hold the model of the finished `step`, and its masks if it has any."""
    for name in (steps.MODEL, steps.MASKS):
        if (step / name).is_file():
            with atomic_path(variables / name) as temporary:
                shutil.copyfile(step / name, temporary)
        else:
            (variables / name).unlink(missing_ok=True)


def _trained(variables: Path) -> Path:
    model = variables / steps.MODEL
    if not model.is_file():
        raise CheckpointError(
            "there are no variables of a trained model",
            value=variables,
            hint="train one with -1, or name its --variables-dir",
        )
    return model


def _to_prune(root: Path, variables: Path) -> Path:
    """The model that step 2 prunes: the variables, unless step 2 itself left them there.

    Those are pruned already: done again, step 2 begins with the basic model as it did before.
    """
    trained, basic, retrained = _trained(variables), root / "step_1", root / "step_2_2"
    if all((step / steps.MODEL).is_file() for step in (basic, retrained)) and (
        sha256(trained) == sha256(retrained / steps.MODEL)
    ):
        return basic / steps.MODEL
    return trained


def _model_and_output(
    model: Path, step: str, output: Path | str | None, suffix: str
) -> tuple[Path, Path]:
    if model.is_dir() and not (model / steps.MODEL).is_file():
        source = model / step / steps.MODEL
        if not source.is_file():
            known = sorted(str(p.parent) for p in model.rglob(steps.MODEL))
            raise CheckpointError(
                f"the run directory has no finished {step}",
                value=model,
                hint=f"name one of {', '.join(known[:3])}" if known else "train a model first",
            )
        return source, output_directory(model, output, suffix)
    source = find_checkpoint(model)
    if source.suffix != ".keras":
        raise UsageError("this takes a .keras file or a run directory", value=model)
    return source, output_directory(model, output, suffix)


def output_directory(model: Path, output: Path | str | None, suffix: str) -> Path:
    """Where `prune` (suffix -pruned) and `sparsify` (-sparse) write what they make of `model`."""
    if output is not None:
        return Path(output)
    if model.is_dir() and not (model / steps.MODEL).is_file():
        return model
    source = find_checkpoint(model)
    return source.with_name(source.stem + suffix)
