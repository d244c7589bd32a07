"""The loop that prunes and retrains: at once, in rounds, or while training.

Its result depends on the seed, the data and the options alone.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from compressor import training
from compressor.data import TrainingData, draw_examples, take
from compressor.errors import CheckFailedError, UsageError
from compressor.models import Objective, flat_outputs, predict_scores, preprocessing_of
from compressor.pruning.granularity import Channel
from compressor.pruning.masks import Masks, apply_masks, remove_masks, zeros_to_keep
from compressor.pruning.pruner import Gradients, Pruner, Pruning, density_of
from compressor.pruning.reconstruction_inputs import Calibration
from compressor.pruning.schedules import cubic_sparsity, round_sparsity, update_steps
from compressor.pruning.selection import SparsityNow
from compressor.pruning.spec import PruningSpec
from compressor.shrinking import COMPARED_EXAMPLES, shrink
from compressor.training import Progress, TrainingOptions, as_logits, gradient_function
from deploy.tasks import losses, read_heads


class Outcome(NamedTuple):
    """What a step leaves behind."""

    model: Any
    masks: Masks
    """those that the model still needs: of removed channels none"""
    pruning: Pruning | None = None
    """where the step pruned"""
    options: TrainingOptions | None = None
    """how the step trained, where it did"""


@dataclasses.dataclass(frozen=True)
class PruningStep:
    """One step of the loop; it takes the model and the masks that the step before it left.

    The first takes masks of what was pruned before, see `zeros_to_keep`.
    """

    number: int
    """of the round, from 1"""
    rounds: int
    sparsity: float
    """the highest that the round prunes to"""
    options: TrainingOptions | None
    """how the step trains; None where it only prunes"""
    work: Callable[[Any, Masks, Objective], Outcome]
    """changes the model that it is given"""


_BATCH, _BATCH_VALUES = 256, 2**21
"""Calibration inputs that the model computes at a time, and how many values those may have."""

Do = Callable[[PruningStep], Mapping[str, Any]]
"""Does a step unless it is finished; returns its record, with the `layers` of `Pruning.describe`
where it only prunes."""


def prune_and_retrain(
    do: Do,
    data: TrainingData,
    spec: PruningSpec,
    options: TrainingOptions,
    *,
    seed: Callable[[int], int],
    teacher: Callable[[], Any],
    retrain: bool = True,
    progress: Progress | None = None,
) -> None:
    """Prune by `spec` and retrain by `options`, step by step, each done by `do`.

    One-shot pruning is one round, iterative pruning `spec.rounds`; gradual pruning is one step that
    does both. Dropout is scaled by the density; channels are removed before the last retraining or
    after a gradual one. `seed` gives each round's seed, from 1; `teacher` the dense model,
    called only to distil.
    """

    def how(number: int) -> dict[str, Any]:
        scores = teacher_scores(teacher(), data) if options.distillation else None
        return {"seed": seed(number), "teacher": scores, "progress": progress}

    def prune(
        number: int, level: SparsityNow, model: Any, masks: Masks, objective: Objective
    ) -> Outcome:
        pruning = make_pruner(model, data, spec, objective, masks, seed=seed(number)).prune(level)
        remove_masks(model)
        return Outcome(model, pruning.masks, pruning)

    def train(
        number: int, scaled: TrainingOptions, model: Any, masks: Masks, objective: Objective
    ) -> Outcome:
        if number == spec.passes:
            model, masks = remove_channels(model, masks, data, spec, objective)
        apply_masks(model, masks)
        fit(model, data, scaled, {"objective": objective, **how(number)})
        return Outcome(model, masks, options=scaled)

    def prune_while_training(model: Any, masks: Masks, objective: Objective) -> Outcome:
        pruning, scaled = prune_gradually(
            model, data, spec, options, objective=objective, masks=masks, **how(spec.passes)
        )
        model, masks = remove_channels(model, pruning.masks, data, spec, objective)
        return Outcome(model, masks, pruning, scaled)

    for number in range(1, spec.passes + 1):
        level = functools.partial(round_sparsity, number=number, rounds=spec.passes)
        step = functools.partial(PruningStep, number, spec.passes, level(spec.highest_sparsity))
        if spec.schedule == "gradual":
            do(step(options, prune_while_training))
            continue
        density = density_of(do(step(None, functools.partial(prune, number, level)))["layers"])
        if retrain:
            scaled = with_scaled_dropout(options, density)
            do(step(scaled, functools.partial(train, number, scaled)))


def make_pruner(
    model: Any,
    data: TrainingData,
    spec: PruningSpec,
    objective: Objective,
    masks: Masks | None = None,
    seed: int = 0,
) -> Pruner:
    """A pruner of `model`, calibrated on `spec.calibration` training examples.

    Which ones a criterion without labels is given depends on `seed`.
    """
    assert spec.calibration is not None
    gradients = calibration_gradients(model, data, objective, spec.calibration)
    inputs = functools.partial(calibration_inputs, model, data, objective, spec.calibration, seed)
    return Pruner(model, spec, gradients, masks, inputs)


def calibration_gradients(
    model: Any, data: TrainingData, objective: Objective, examples: int
) -> Gradients:
    """Mean gradients of the objective on `examples` training examples.

    Every call must ask for the same variables.
    """
    function: Callable[[], list[np.ndarray]] | None = None

    def gradients(variables: Sequence[Any]) -> list[np.ndarray]:
        nonlocal function
        if function is None:
            x, y = data.training_part(examples)
            function = gradient_function(model, variables, x, y, objective)
        return function()

    return gradients


def calibration_inputs(
    model: Any, data: TrainingData, objective: Objective, examples: int, seed: int
) -> Calibration:
    """`examples` training inputs, drawn by `seed` without a look at their labels."""
    chosen = data.train[draw_examples(data.train, None, examples, seed)]
    feed = preprocessing_of(model, data.data.x_train)
    size = max(min(_BATCH, _BATCH_VALUES // max(math.prod(s) for s in feed.row_shapes)), 1)

    def batch(start: int) -> Any:
        return feed(take(data.data.x_train, chosen[start : start + size]))

    batches = [functools.partial(batch, start) for start in range(0, len(chosen), size)]
    factors = _factors(model, batches[0], objective)

    def logits(outputs: list[Any]) -> list[Any]:
        made = map(as_logits, outputs, objective.aims)
        return [part if f == 1 else part * f for part, f in zip(made, factors, strict=True)]

    return Calibration(batches, logits, seed)


def _factors(model: Any, batch: Callable[[], Any], objective: Objective) -> list[float]:
    """What brings outputs of several scales, such as logits and pixels, to one; 1 for one alone."""
    if len(objective.aims) == 1:
        return [1.0]
    outputs = flat_outputs(model.predict_on_batch(batch()))
    made = [np.asarray(as_logits(x, a)) for x, a in zip(outputs, objective.aims, strict=True)]
    return [1 / float(np.std(part) or 1.0) for part in made]


def prune_gradually(
    model: Any,
    data: TrainingData,
    spec: PruningSpec,
    options: TrainingOptions,
    *,
    seed: int,
    objective: Objective,
    teacher: np.ndarray | None = None,
    progress: Progress | None = None,
    density: float | None = None,
    masks: Masks | None = None,
) -> tuple[Pruning, TrainingOptions]:
    """Train while the sparsity rises by the cubic schedule over `spec.ramp` of the steps.

    Returns the pruning that was reached, and the options with dropout scaled by the `density`, by
    default that of the kernels that are pruned. Without the `masks` of an earlier pruning its zeros
    may grow back until the sparsity has reached them.
    """
    pruner = make_pruner(model, data, spec, objective, masks)
    density = pruner.target_density if density is None else density
    options = with_scaled_dropout(options, density)
    updates = update_steps(options.steps, spec.ramp)
    done = pruner.prune(lambda target: 0.0)

    def update(step: int) -> None:
        nonlocal done
        if step in updates:
            reached = updates[step]
            done = pruner.prune(lambda target: cubic_sparsity(target, reached))

    how = {"seed": seed, "objective": objective, "teacher": teacher, "progress": progress}
    fit(model, data, options, how | {"on_step": update})
    return done, options


def remove_channels(
    model: Any, masks: Masks, data: TrainingData, spec: PruningSpec, objective: Objective
) -> tuple[Any, Masks]:
    """The model without its pruned channels, and masks of zeros that were there before, if any.

    For other granularities both are unchanged.

    It computes the same, which `shrink` checks. BatchNormalization stays, to be trained.
    """
    if spec.granularity != Channel.name:
        return model, masks
    x, _ = data.validation_part(COMPARED_EXAMPLES)
    narrowed = shrink(model, preprocessing_of(model, x)(x), fold_batchnorm=False).model
    objective.compile(narrowed, "sgd")
    return narrowed, zeros_to_keep(narrowed)


def teacher_scores(model: Any, data: TrainingData) -> np.ndarray:
    """The dense model's outputs on the training examples, float32 (n, all columns)."""
    x, _ = data.training_part()
    return predict_scores(model.predict_on_batch, x, preprocessing_of(model, x))


def refuse_no_better(found: Sequence[str] | None) -> None:
    """Raise UsageError for a model that is no better than the same answer to everything."""
    if found:
        raise UsageError(
            found[0],
            value="nothing was trained",
            hint="check the data and --task, or --force (force=True in Python)",
        )


def check_drop(records: Mapping[str, Mapping[str, Any]], most: float | None) -> None:
    """Raise CheckFailedError where the last of the steps lost more than `most` against `dense`.

    That is of a metric that decides, on the test examples, in points of accuracy and the like, or
    in percent of an error. Nothing is too much where it is None.
    """
    if most is None:
        return
    last = list(records.values())[-1]
    heads = read_heads(last.get("heads"))
    found = losses(heads, records["dense"], last)
    for head in heads:
        lost = 100 * found.get(head.key(), 0.0)
        if lost > most + 1e-9:
            unit = "points" if head.decides.fraction else "%"
            told = f"{lost:.2f} {unit}" if lost < math.inf else "has no value any more"
            raise CheckFailedError(
                "the pruned model lost more than it may",
                value=f"{head.key()} {told}, at most {most:g}",
                hint="prune less, retrain longer, or allow more with --max-drop",
            )


def with_scaled_dropout(base: TrainingOptions, density: float) -> TrainingOptions:
    """`base` with dropout scaled by the root of the density (0 to 1): D_r = D_o sqrt(C_r / C_o).

    Source: Han et al., Learning both Weights and Connections for Efficient Neural Networks,
    equation 4.
    """
    return dataclasses.replace(base, dropout_scale=math.sqrt(density))


def fit(model: Any, data: TrainingData, options: TrainingOptions, how: Mapping[str, Any]) -> None:
    """Train `model` on `data` with their sample weights, then take its masks off.

    `how` are other arguments of `training.fit`, whose errors it raises.
    """
    x, y = data.training_part()
    own = data.data.sample_weights
    weights = None if own is None else own[data.train]
    try:
        training.fit(model, x, y, options, sample_weights=weights, **how)
    finally:
        remove_masks(model)
