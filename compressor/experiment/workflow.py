"""The paper's command and its parts, on folders: train, prune, sparsify, evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from compressor.data import Dataset, TrainingData
from compressor.errors import CheckpointError, UsageError
from compressor.experiment import steps
from compressor.experiment.paper_checkpoint import has_sparse_form
from compressor.experiment.predictors import Evaluation, evaluate_predictor, load_predictor
from compressor.experiment.steps import check_paper_model
from compressor.experiment.variables import Variables, hold_variables
from compressor.foundation import Listener, SilentListener, quiet_tensorflow, several
from compressor.importing import load_model
from compressor.models import InputSize, needed_data, prunable_layers
from compressor.pruning import (
    Plan,
    PruningSpec,
    Records,
    load_masks,
    make_plan,
    prune_into,
    step_config,
)
from compressor.runs import (
    MASKS,
    MODEL,
    MODEL_RUN,
    RunDirectory,
    is_finished,
    model_and_output,
    model_digest,
    read_record,
)

Step = Literal[1, 2, 3]


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
    step_2_2), 3 sparsifies (step_3). The last trained model is kept in `variables_dir` (default
    `train_dir`/variables) by steps 1 and 2, and read by 2 and 3. The plan's first sparsity and seed
    are used. A finished step with the same options is not done again; with others it raises
    RunDirectoryError unless `force`.
    """
    plan = plan or make_plan(sparsities=(0.9,), preset="paper")
    if not do or not set(do) <= {1, 2, 3}:
        raise UsageError("the steps are 1, 2 and 3", value=list(do))
    root = Path(train_dir)
    if 1 in do:
        check_paper_model(plan)
    listener = listener or SilentListener()
    where = Path(variables_dir) if variables_dir is not None else root / "variables"
    with RunDirectory(root, MODEL_RUN) as run, hold_variables(where, force=force) as variables:
        if set(do) & {1, 2}:
            variables.check_writable()
        quiet_tensorflow.load(plan.threads, timed=True)
        basic, retrained = root / "step_1", root / "step_2_2"
        records: Records = {}
        if 1 in do:
            done_before = is_finished(basic) and not force
            listener.stage("train the basic model", plan.training.images)
            records["step_1"] = run.step(
                "step_1",
                lambda here: steps.train_step(
                    here, plan.data, plan.training, seed=plan.seeds[0], progress=listener.progress
                ),
                config=step_config(plan, plan.training.describe()),
                force=force,
            )
            # What was retrained from a step that was already finished stays.
            if not (done_before and variables.holds(retrained)):
                variables.keep(basic)
        if 2 in do:
            if 1 in do:
                source, digest = basic / MODEL, model_digest(basic / MODEL)
            else:
                source, digest = _to_prune(root, variables)
            spec = PruningSpec(plan.sparsities[0], plan.layers)
            records |= prune_into(run, source, digest, spec, plan, force=force, listener=listener)
            variables.keep(retrained)
        if 3 in do:
            records |= _sparsify(run, variables.model(), plan.data, force, listener)
        return records


def sparsify(
    model: Path | str,
    output: Path | str | None = None,
    data: Dataset | None = None,
    *,
    layers: Sequence[str] | None = None,
    input_size: InputSize | None = None,
    threads: int | None = None,
    force: bool = False,
    listener: Listener | None = None,
) -> Records:
    """Write the paper's sparse checkpoint of a pruned model: step_3 in `output`.

    `model` is a model file or a run directory with step_2_2; `output` as in `prune_run`, with the
    suffix -sparse. `layers` are by default those with masks beside the model, or else those with
    any zero. The accuracy is measured when `data` is given; without them `input_size` gives the
    sizes that the model's inputs leave open.
    """
    source, folder = model_and_output(Path(model), "step_2_2", output, "-sparse")
    listener = listener or SilentListener()
    part = None if data is None else TrainingData.of(data)
    with RunDirectory(folder, MODEL_RUN) as run:
        quiet_tensorflow.load(threads, timed=True)
        return _sparsify(run, source, part, force, listener, layers, input_size)


def evaluate(
    checkpoint: Path | str,
    data: Dataset | None = None,
    *,
    batch_size: int = 32,
    max_steps: int = 10,
    threads: int | None = None,
) -> Evaluation:
    """The paper's two predictors: accuracy on all test images, and prediction time.

    `checkpoint` as in `load_predictor`; `data` by default the embedded MNIST, for a model that was
    trained on it (UsageError for any other); the rest as in `evaluate_predictor`.
    """
    quiet_tensorflow.load(threads, timed=True)
    predictor = load_predictor(checkpoint)
    data = needed_data(predictor.model, data)
    return evaluate_predictor(predictor, data, batch_size=batch_size, max_steps=max_steps)


def _sparsify(
    run: RunDirectory,
    source: Path,
    data: TrainingData | None,
    force: bool,
    listener: Listener,
    layers: Sequence[str] | None = None,
    input_size: InputSize | None = None,
) -> Records:
    listener.stage("sparsify")
    chosen = [*several(layers)] if layers else _sparse_layers(source)
    digest = None if data is None else data.data.digest
    record = run.step(
        "step_3",
        lambda here: steps.sparsify_step(here, source, data, layers=chosen, input_size=input_size),
        config={"model": model_digest(source), "layers": chosen, "data": digest},
        force=force,
    )
    return {"step_3": record}


def _sparse_layers(source: Path) -> list[str]:
    prunable = prunable_layers(load_model(source))
    layers = {name: layer for name, layer in prunable.items() if has_sparse_form(layer)}
    masks = source.parent / MASKS
    zeros = [name for name in load_masks(masks) if name in layers] if masks.is_file() else []
    zeros = zeros or [name for name, layer in layers.items() if not layer.kernel.numpy().all()]
    if not zeros:
        raise CheckpointError(
            "the model has no zero weights, so there is nothing to sparsify",
            value=source,
            hint="prune it first, or name --layers",
        )
    return zeros


def _to_prune(root: Path, variables: Variables) -> tuple[Path, str]:
    """The model that step 2 prunes, and its sha256.

    The variables; but once step 2 is finished these are its own result, and the model is the one
    that its record names.
    """
    if variables.holds(root / "step_2_2") and is_finished(root / "step_2_1"):
        return root / "step_1" / MODEL, str(read_record(root / "step_2_1")["config"].get("model"))
    return variables.model(), model_digest(variables.model())
