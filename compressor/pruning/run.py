"""Pruning a model file into a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compressor.data import Dataset
from compressor.errors import UsageError
from compressor.foundation import Listener, SilentListener, quiet_tensorflow
from compressor.models import known_data, needed_data
from compressor.pruning import rounds, steps
from compressor.pruning.plan import Plan, make_plan
from compressor.pruning.rounds import PruningStep
from compressor.pruning.spec import PruningSpec, SpecLike
from compressor.pruning.steps import Records, prune_in_folders
from compressor.runs import (
    MODEL_RUN,
    RunDirectory,
    Work,
    model_and_output,
    model_digest,
    refuse_other_pruning,
    same_model,
)


def prune_run(
    model: Path | str,
    output: Path | str | None = None,
    spec: SpecLike = None,
    plan: Plan | None = None,
    *,
    retrain: bool = True,
    force: bool = False,
    listener: Listener | None = None,
) -> Records:
    """Prune a model file by `spec` and retrain it: step_2_1 and step_2_2 in a run directory.

    `model` is a model file or a run directory with step_1. `output` is by default that run
    directory, or, for a file, NAME-pruned beside it. The plan gives data, retraining and seed; the
    default one, and one made without data, the embedded MNIST for a model that was trained on it
    (UsageError for any other). `spec`, which may be a sparsity alone, takes precedence over its
    sparsities and layers. Gradual pruning has step_2_2 only; iterative pruning keeps earlier rounds
    in round-1, round-2, ...
    A model that is no better than the same answer to everything is not retrained without `force`.
    Without a plan, `retrain=False` and a criterion that looks at no examples, such as magnitude,
    need no data: where they are not known, no accuracy is measured, and the records say so.
    Returns the records of the steps, and as `dense` that of the model before. `compressor.prune`
    works in memory.
    """
    spec = PruningSpec.of(spec)
    if not retrain and spec.schedule != "one-shot":
        what = f"{spec.schedule} pruning retrains"
        raise UsageError(what, value="--no-retrain", hint="leave it out")
    source, folder = model_and_output(Path(model), "step_1", output, "-pruned")
    listener = listener or SilentListener()
    if plan is None:
        data = data_to_prune(source, None, spec, retrain=retrain)
        if data is None:
            return _prune_without_data(source, folder, spec, force=force, listener=listener)
        plan = make_plan(data, sparsities=(spec.highest_sparsity,), repaired=spec.repairs)
    elif not plan.data_given:
        needed_data(source, None)  # raises where they are not known to be the embedded MNIST
    if spec.highest_sparsity not in plan.retraining:
        raise UsageError(
            "the plan has no retraining for this sparsity",
            value=f"{spec.highest_sparsity:g}",
            hint="make it with make_plan(data, sparsities=[...])",
        )
    quiet_tensorflow.load(plan.threads)
    options = plan.retraining[spec.highest_sparsity]
    steps.check_pruning(source, plan.data, spec, options, plan.asked)
    with RunDirectory(folder, MODEL_RUN) as run:
        digest = model_digest(source)
        listener.stage("measure the model")
        dense = run.step(
            "dense",
            lambda _: steps.measure_step(same_model(source, digest), plan.data, plan.asked),
            config=step_config(plan, {"model": digest}),
            force=force,
        )
        if retrain and not force:
            rounds.refuse_no_better(dense.get("no_better"))
        records = prune_into(
            run, source, digest, spec, plan, retrain=retrain, force=force, listener=listener
        )
        return {"dense": dense, **records}


def data_to_prune(
    model: Path | str, data: Dataset | None, spec: PruningSpec, *, retrain: bool
) -> Dataset | None:
    """`data`, or those that the model file `model` is known to be trained on.

    None where they are not known and this pruning needs none; raises UsageError where it does.
    """
    if data is not None or retrain or spec.needs_examples:
        return needed_data(model, data)
    return known_data(model)


def _prune_without_data(
    source: Path, folder: Path, spec: PruningSpec, *, force: bool, listener: Listener
) -> Records:
    """Prune `source` once, by its weights alone: the steps dense and step_2_1, no accuracy."""
    quiet_tensorflow.load()
    steps.check_pruning_without_data(source, spec)
    with RunDirectory(folder, MODEL_RUN) as run:
        digest = model_digest(source)
        config = {"model": digest, "data": None}
        if not force:
            refuse_other_pruning(folder, config | spec.describe())
        listener.stage("read the model")
        dense = run.step(
            "dense",
            lambda _: steps.count_step(same_model(source, digest)),
            config=config,
            force=force,
        )
        listener.stage(f"prune {100 * spec.highest_sparsity:g} %")
        pruned = run.step(
            "step_2_1",
            lambda here: steps.prune_without_data(here, same_model(source, digest), spec),
            config=config | spec.describe(),
            force=force,
        )
        records = {"dense": dense, "step_2_1": pruned}
        if force:
            _discard_others(run, records)
        return records


def prune_into(
    run: RunDirectory,
    source: Path,
    digest: str,
    spec: PruningSpec,
    plan: Plan,
    *,
    retrain: bool = True,
    force: bool = False,
    listener: Listener,
) -> Records:
    """Do the steps of a pruning in `run` that are not finished; return the records of all.

    `digest` is that of the model file `source` when the pruning began. With `force` every step is
    done again, and other steps of an earlier pruning are removed.
    """
    if not force:
        refuse_other_pruning(run.path, {"model": digest, **spec.describe()})
    options = plan.retraining[spec.highest_sparsity]
    title = f"{100 * spec.highest_sparsity:g} %"

    def do(name: str, step: PruningStep, work: Work) -> dict[str, Any]:
        trains = step.options
        if spec.schedule == "gradual":
            listener.stage(f"prune {title}, while retraining", options.images)
        elif trains is not None:
            listener.stage("retrain what is left", options.images)
        else:
            number = f", round {step.number} of {step.rounds}" if step.rounds > 1 else ""
            listener.stage(f"prune {title}{number}")
        what = {"model": digest, **spec.describe(), **(trains.describe() if trains else {})}
        return run.step(name, work, config=step_config(plan, what), force=force)

    records = prune_in_folders(
        do,
        run.path,
        lambda: same_model(source, digest),
        plan.data,
        spec,
        options,
        seed=plan.seeds[0],
        asked=plan.asked,
        retrain=retrain,
        progress=listener.progress,
    )
    if force:
        _discard_others(run, records)
    return records


def _discard_others(run: RunDirectory, records: Records) -> None:
    """Remove the steps of an earlier pruning that are not among `records`."""
    places = {name.partition("/")[0] for name in records}
    for path in [run.path / "step_2_1", run.path / "step_2_2", *run.path.glob("round-*")]:
        if path.name not in places:
            run.discard(path.name)


def step_config(plan: Plan, what: dict[str, Any]) -> dict[str, Any]:
    """All that decides a step's result: `what`, and the plan's part that every step depends on."""
    return (
        what
        | plan.asked
        | {
            "data": plan.data.data.digest,
            "seed": plan.seeds[0],
            "validation_images": len(plan.data.validation),
            "threads": plan.threads,
        }
    )
