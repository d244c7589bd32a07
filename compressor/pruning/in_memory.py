"""Pruning a model in memory."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from compressor.data import Dataset, TrainingData
from compressor.errors import ModelError, UsageError
from compressor.foundation import quiet_tensorflow
from compressor.models import (
    Asked,
    accuracies,
    asked_for,
    data_digest,
    framed,
    has_own_layers,
    judged,
    largest_difference,
    objective_for,
    preprocessing_of,
    random_inputs,
    trained_on,
    unframed,
)
from compressor.pruning import rounds
from compressor.pruning.granularity import Channel
from compressor.pruning.masks import remove_masks, zeros_kept, zeros_to_keep
from compressor.pruning.plan import check_seed
from compressor.pruning.pruner import Pruner, Pruning
from compressor.pruning.rounds import (
    Outcome,
    PruningStep,
    prune_and_retrain,
    remove_channels,
)
from compressor.pruning.spec import PruningSpec, SpecLike
from compressor.shrinking import rebuild
from compressor.training import PRESETS, Progress, TrainingOptions, derive_seed
from deploy.tasks import Head

_COMPARED = 32
_COPY_TOLERANCE = 1e-2


@dataclasses.dataclass(frozen=True)
class Pruned:
    """A pruned model, its masks and how good it is."""

    model: Any
    """a Keras model; narrower than the one before where channels were removed"""
    masks: Mapping[str, np.ndarray]
    """layer -> bool array of its kernel's shape; where channels were removed, of `zeros_kept`"""
    layers: list[dict[str, Any]]
    """as in `Pruning.rows`"""
    left_alone: Mapping[str, str]
    """layers that this granularity cannot prune, and why"""
    warnings: tuple[str, ...]
    accuracy: float | None
    """on the test examples, 0 to 1; None without data, and unless the model is a classifier"""
    validation_accuracy: float | None
    """on the validation examples, in the same way"""
    objective: Mapping[str, Any]
    """loss, metrics, and whether they were compiled or inferred; empty without data"""
    reconstruction: Mapping[str, Mapping[str, Any]]
    """as in `Pruning.reconstruction`; empty for a criterion that changes no weights"""
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """all metrics on the test examples, and as `validation_...` on the validation examples; those
    of several outputs begin with the name: box/mean_absolute_error. Empty without data"""
    before: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """the same of the dense model"""
    heads: tuple[Head, ...] = ()
    """the outputs, with the task of each and the metric that decides; empty without data"""
    zeros_kept: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """a JSON object for each kernel that was pruned before: layer, parameters, zeros"""


def prune(
    model: Any,
    data: Dataset | None,
    spec: SpecLike = None,
    *,
    retrain: bool = True,
    options: TrainingOptions | None = None,
    validation: int | None = None,
    task: Asked = None,
    metric: Asked = None,
    force: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Pruned:
    """Prune a Keras model in memory, and retrain it; `model` itself is not changed.

    `model` has one output, or several in a list or a dict; `data` fits its inputs and, by the
    outputs' names, its outputs. `task` says what they are and `metric` which metric decides, of all
    or by name; by default it is what the model was compiled with, else what its outputs and the
    targets say. A model that is no better than the same answer to everything (the largest class,
    the mean) is not retrained without `force`. A subclassed one must be
    built, and have a `get_config` that names the arguments of its class; its layers' kernels are
    pruned, but no channels. `spec` may be a sparsity alone, or one by layer. `options` are those of
    the retraining, with Adam, by default the preset `quick`'s at this sparsity. Masked weights are
    exactly zero; to keep them so in further training, apply the masks with
    `compressor.apply_masks`. What was pruned before stays zero, too, in layers that are pruned
    again and in all others: a tenth or more of zeros in a kernel counts as that. Warns of a layer
    that loses all of its weights. Seeds the random state of Python, numpy and TensorFlow. `data`
    may be None with `retrain=False`, a criterion that looks at no examples, such as magnitude, and
    any granularity but channels: no accuracy is measured then, and the result is not compiled.
    Raises UsageError, DataError or ModelError.
    """
    if not hasattr(model, "layers"):
        hint = "for a file there is prune_run"
        raise UsageError("this takes a Keras model", value=repr(model)[:80], hint=hint)
    spec = PruningSpec.of(spec)
    check_seed(seed)
    if data is None and not (retrain or spec.needs_examples or spec.granularity == Channel.name):
        return _prune_without_data(model, spec)
    if not isinstance(data, Dataset):
        hint = "make it with load_dataset(...) or Dataset.from_arrays(...)"
        raise UsageError("this takes a data set", value=repr(data)[:80], hint=hint)
    part = TrainingData.of(data, validation)
    level, repaired = spec.highest_sparsity, spec.repairs
    options = options or PRESETS["quick"].retraining_at(level, part, repaired=repaired)
    if not retrain and spec.schedule != "one-shot":
        raise UsageError(f"{spec.schedule} pruning retrains", value="retrain=False")
    model = framed(model)
    objective = objective_for(model, data, task, metric)
    before = judged(model, part, objective)
    if retrain and not force:
        rounds.refuse_no_better(before.no_better)

    def inputs() -> Any:
        x, _ = part.validation_part(_COMPARED)
        return preprocessing_of(model, x)(x)

    student = _copy(model, inputs)
    objective.compile(student, "sgd")
    held = zeros_to_keep(student)
    rows = zeros_kept(student, held)
    done = Outcome(student, held)
    prunings: list[Pruning] = []

    def do(step: PruningStep) -> dict[str, Any]:
        nonlocal done
        done = step.work(done.model, done.masks, objective)
        if done.pruning is not None:
            prunings.append(done.pruning)
        return prunings[-1].describe()

    prune_and_retrain(
        do,
        part,
        spec,
        options,
        seed=lambda number: derive_seed(seed, f"prune {number}"),
        teacher=lambda: model,
        retrain=retrain,
        progress=progress,
    )
    student, masks, pruning = done.model, done.masks, prunings[-1]
    if not retrain:
        student, masks = remove_channels(student, masks, part, spec, objective)
    for text in pruning.warnings:
        warnings.warn(text, stacklevel=2)
    values, of_dense = (
        {key: value for key, value in found.items() if key != "heads"}
        for found in (accuracies(student, part, objective), before.values)
    )
    asked = {name: value for name, value in (("task", task), ("metric", metric)) if value}
    trained_on(student, data_digest(model), asked_for(model, objective, asked))
    return Pruned(
        unframed(student),
        masks,
        pruning.rows,
        pruning.left_alone,
        pruning.warnings,
        accuracy=values.get("accuracy"),
        validation_accuracy=values.get("validation_accuracy"),
        objective=objective.describe(),
        reconstruction=pruning.reconstruction,
        values=values,
        before=of_dense,
        heads=objective.heads,
        zeros_kept=rows,
    )


def _prune_without_data(model: Any, spec: PruningSpec) -> Pruned:
    """Prune once, by the weights alone."""
    quiet_tensorflow.load()
    model = framed(model)
    student = _copy(model, lambda: random_inputs(model, _COMPARED))
    held = zeros_to_keep(student)
    rows = zeros_kept(student, held)
    pruning = Pruner(student, spec, masks=held).prune()
    remove_masks(student)
    for text in pruning.warnings:
        warnings.warn(text, stacklevel=3)
    return Pruned(
        unframed(student),
        pruning.masks,
        pruning.rows,
        pruning.left_alone,
        pruning.warnings,
        accuracy=None,
        validation_accuracy=None,
        objective={},
        reconstruction={},
        zeros_kept=rows,
    )


def _copy(model: Any, inputs: Callable[[], Any]) -> Any:
    """A copy of `model`, not compiled, by the configuration of its layers.

    `inputs` gives a batch on which it is compared where layers are of the user's own. Raises
    ModelError where a configuration forgets what its layer computes.
    """
    # Not Keras's clone_model, which would instantiate the user's own loss and metrics again.
    copy = rebuild(model, {}, {}, share=True)
    if not has_own_layers(model):
        return copy
    x = inputs()
    difference = largest_difference(model, copy, x)
    if math.isnan(difference) and math.isnan(largest_difference(model, model, x)):
        return copy  # the model's own outputs are no numbers
    if not difference <= _COPY_TOLERANCE:
        raise ModelError(
            "a copy of the model by its configuration does not compute what the model does",
            value=f"{model.name}, difference {difference:.3g} of the output's scale",
            hint="give the classes of its layers a get_config that names all arguments",
        )
    return copy
