"""Sensitivity: what a model loses when a single layer is pruned, for each layer.

Nothing is retrained, so this takes seconds. Source: Han et al., Learning both Weights and
Connections for Efficient Neural Networks (2015), Figure 6.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor._version import __version__
from compressor.data import Dataset, TrainingData, rows as rows_of
from compressor.errors import UsageError
from compressor.foundation import (
    Listener,
    SilentListener,
    is_whole,
    library_versions,
    quiet_tensorflow,
    several,
)
from compressor.importing import load_model
from compressor.models import (
    ALL,
    Asked,
    Objective,
    framed,
    needed_data,
    objective_for,
    preprocessing_of,
    values_on,
)
from compressor.pruning.channels import ChannelPlan, ChannelSet, channel_masks
from compressor.pruning.criteria import get_criterion
from compressor.pruning.granularity import Granularity, NOfM, parse_granularity
from compressor.pruning.kernels import Kernel
from compressor.pruning.masks import Masks, masked_variables
from compressor.pruning.pruner import masks_of, weight_scores, what_to_prune
from compressor.pruning.rounds import calibration_gradients
from compressor.pruning.selection import choose_each
from compressor.pruning.spec import PruningSpec
from compressor.runs import keras_file
from deploy import describe_machine
from deploy.tasks import Head, is_plain, losses, part_key

SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Measured by default."""
TOLERANCE = 0.01
"""The loss that `LayerSensitivity.highest_sparsity` allows: a point of accuracy and the like, or a
hundredth of an error."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A model with one layer pruned."""

    target_sparsity: float
    sparsity: float
    """reached: the fraction of the layer's weights that are zero, 0 to 1"""
    values: Mapping[str, float]
    """the metrics by their keys, such as `accuracy`, 0 to 1, or box/mean_absolute_error"""

    @property
    def accuracy(self) -> float:
        """That of a classifier, 0 to 1; NaN of any other model."""
        return self.values.get("accuracy", math.nan)

    def describe(self) -> dict[str, Any]:
        """The measurement as a JSON object."""
        reached = {"target_sparsity": self.target_sparsity, "sparsity": self.sparsity}
        return reached | dict(self.values)


@dataclasses.dataclass(frozen=True)
class LayerSensitivity:
    """One layer, or coupled ones that lose their channels together."""

    layer: str
    """the first of `layers`"""
    layers: tuple[str, ...]
    parameters: int
    """weights in the pruned kernels"""
    measurements: tuple[Measurement, ...]
    """in order of their target"""
    highest_sparsity: float | None
    """the highest target up to which all metrics that decide stay within TOLERANCE of the dense
    model's"""

    def describe(self) -> dict[str, Any]:
        """The layer as a JSON object."""
        return {
            "layer": self.layer,
            "layers": list(self.layers),
            "parameters": self.parameters,
            "measurements": [found.describe() for found in self.measurements],
            "highest_sparsity": self.highest_sparsity,
        }


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """Metrics against sparsity for each layer of a model."""

    model: str
    """path or name"""
    dense: Mapping[str, float]
    """the metrics of the whole model, as in `Measurement.values`"""
    examples: int
    """that they were measured on"""
    layers: tuple[LayerSensitivity, ...]
    left_alone: Mapping[str, str]
    """layers that cannot be pruned so, and why"""
    settings: Mapping[str, Any]
    """granularity, criterion, calibration where it has an effect, data, how the inputs are fed"""
    heads: tuple[Head, ...]
    """the outputs, with the task of each and the metric that decides"""
    task: str
    """the tasks of the outputs, and why"""

    @property
    def dense_accuracy(self) -> float:
        """That of a classifier, 0 to 1; NaN of any other model."""
        return self.dense.get("accuracy", math.nan)

    def describe(self) -> dict[str, Any]:
        """The sensitivity as a JSON object, with what it was measured on."""
        return {
            "compressor_version": __version__,
            "model": self.model,
            **self.settings,
            "examples": self.examples,
            "tolerance": TOLERANCE,
            **{part_key(key, "dense_"): value for key, value in self.dense.items()},
            **self._described_task(),
            "layers": [row.describe() for row in self.layers],
            "left_alone": dict(self.left_alone),
            "environment": {
                "machine": describe_machine(),
                "versions": library_versions(),
            },
        }

    def _described_task(self) -> dict[str, Any]:
        if is_plain(self.heads):
            return {}
        return {"task": self.task, "heads": [head.describe() for head in self.heads]}


def sensitivity(
    model: Any,
    data: Dataset | None = None,
    *,
    sparsities: Sequence[float] | None = None,
    layers: Sequence[str] = (ALL,),
    granularity: str = "weight",
    criterion: str = "magnitude",
    calibration: int | None = None,
    images: int = 1000,
    validation: int | None = None,
    task: Asked = None,
    metric: Asked = None,
    threads: int | None = None,
    listener: Listener | None = None,
) -> Sensitivity:
    """Prune each layer alone to each sparsity, and measure metrics; nothing is retrained.

    `model` is a Keras model in memory, whose weights are always restored, or a .keras file or
    the folder of a step. `data` is by default the embedded MNIST for a model that was trained on it
    (UsageError for any other), `sparsities` SPARSITIES; n:m has
    only its own. With the granularity `channel`, coupled layers are pruned together, as one row.
    `layers`, `criterion` and `calibration` are those of PruningSpec, `task` and `metric` those of
    `compressor.prune`. Metrics are measured on at
    most `images` of the `validation` examples, never on test examples. Raises UsageError, DataError
    or ModelError.
    """
    chosen = {"criterion": criterion, "calibration": calibration}
    specs = _specs(sparsities, several(layers), granularity, **chosen)
    if get_criterion(criterion).solve is not None:
        raise UsageError(
            "sensitivity takes a criterion that scores weights, not one that changes them",
            value=criterion,
            hint="choose magnitude or taylor",
        )
    if not (is_whole(images) and images >= 1):
        what = "the number of images must be a whole number, at least 1"
        raise UsageError(what, value=repr(images))
    quiet_tensorflow.load(threads)
    model, name = _load(model)
    part = TrainingData.of(needed_data(model, data), validation)
    objective = objective_for(model, part.data, task, metric)
    x, y = part.validation_part(images)
    values = functools.partial(values_on, model, x, y, objective)
    candidates, left_alone = _candidates(model, part, specs[0], objective)
    listener = listener or SilentListener()
    listener.stage("measure the dense model")
    dense = values()
    rows = []
    for number, candidate in enumerate(candidates, 1):
        listener.stage(f"prune {candidate.name} alone ({number} of {len(candidates)})")
        highest = functools.partial(_highest, objective.heads, dense)
        rows.append(_measure(model, candidate, specs, highest, values))
    described = specs[0].describe()
    settings = {key: described[key] for key in _SETTINGS if key in described}
    settings["data"] = {"name": part.data.name, "digest": part.data.digest}
    settings["inputs"] = preprocessing_of(model, x).describe()
    return Sensitivity(
        name,
        dense,
        rows_of(x),
        tuple(rows),
        left_alone,
        settings,
        objective.heads,
        objective.reason,
    )


_SETTINGS = ("granularity", "criterion", "calibration")


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """What is pruned alone."""

    name: str
    layers: tuple[str, ...]
    kernels: Sequence[Kernel]
    masks: Callable[[float], Masks]
    """sparsity -> masks by variable"""


def _specs(
    sparsities: Sequence[float] | None, layers: tuple[str, ...], granularity: str, **more: Any
) -> list[PruningSpec]:
    if sparsities is None:
        own = isinstance(parse_granularity(granularity), NOfM)
        targets: list[float | None] = [None] if own else [*SPARSITIES]
    else:
        targets = [*sparsities]
    specs = [PruningSpec(target, layers, granularity, **more) for target in targets]
    if not specs or len({spec.highest_sparsity for spec in specs}) < len(specs):
        raise UsageError("sparsities must be given, and differ", value=list(targets))
    return sorted(specs, key=lambda spec: spec.highest_sparsity)


def _load(model: Any) -> tuple[Any, str]:
    if not isinstance(model, (str, Path)):
        return framed(model), str(model.name)
    source = keras_file(Path(model), "a Keras model or the folder of a step")
    return load_model(source), str(model)


def _candidates(
    model: Any, data: TrainingData, spec: PruningSpec, objective: Objective
) -> tuple[list[_Candidate], dict[str, str]]:
    """The candidates in the order of the model; and the layers left alone, and why."""
    kernels, left_alone, plan = what_to_prune(model, spec)
    assert spec.calibration is not None
    gradients = calibration_gradients(model, data, objective, spec.calibration)
    scores = weight_scores(get_criterion(spec.criterion), kernels, gradients)
    if plan is not None:
        return [
            _Candidate(
                part.name,
                tuple(part.layers),
                [kernels[name] for name in part.layers],
                functools.partial(_channel_masks, plan, part, scores),
            )
            for part in plan.sets
        ], left_alone
    granularity = parse_granularity(spec.granularity)
    by_layer: dict[str, list[Kernel]] = {}
    for kernel in kernels.values():
        by_layer.setdefault(kernel.layer_name, []).append(kernel)
    candidates = []
    for found in by_layer.values():
        name = found[0].name
        part = {kernel.name: scores[kernel.name] for kernel in found}
        masks = functools.partial(_kernel_masks, granularity, kernels, part)
        candidates.append(_Candidate(name, (name,), found, masks))
    return candidates, left_alone


def _kernel_masks(
    granularity: Granularity,
    kernels: Mapping[str, Kernel],
    scores: Mapping[str, np.ndarray],
    sparsity: float,
) -> Masks:
    pooled = {name: granularity.pool(found) for name, found in scores.items()}
    chosen = choose_each(pooled, dict.fromkeys(scores, sparsity), granularity)
    return masks_of(granularity, kernels, chosen)


def _channel_masks(
    plan: ChannelPlan, part: ChannelSet, scores: Mapping[str, np.ndarray], sparsity: float
) -> Masks:
    # A set remembers what is gone, but each measurement starts from the whole model.
    alone = dataclasses.replace(plan, sets=[ChannelSet(part.name, part.layers)])
    masks, _ = channel_masks(alone, scores, {part.name: sparsity}, lambda target: target, "layer")
    return masks


def _measure(
    model: Any,
    candidate: _Candidate,
    specs: Sequence[PruningSpec],
    highest: Callable[[Sequence[Measurement]], float | None],
    values: Callable[[], dict[str, float]],
) -> LayerSensitivity:
    parameters = sum(math.prod(kernel.shape) for kernel in candidate.kernels)
    found = []
    for spec in specs:
        target = spec.highest_sparsity
        with _masked(model, candidate.masks(target)):
            zeros = sum(int(np.sum(kernel.numpy() == 0)) for kernel in candidate.kernels)
            found.append(Measurement(target, zeros / parameters, values()))
    return LayerSensitivity(
        candidate.name, candidate.layers, parameters, tuple(found), highest(found)
    )


@contextlib.contextmanager
def _masked(model: Any, masks: Masks) -> Iterator[None]:
    """Zero the masked weights for the body; the user's constraints stay."""
    masked = masked_variables(model, masks)
    dense = [np.array(variable.numpy()) for variable, _ in masked]
    try:
        for (variable, mask), values in zip(masked, dense, strict=True):
            variable.assign(np.where(mask, values, values.dtype.type(0)))
        yield
    finally:
        for (variable, _), values in zip(masked, dense, strict=True):
            variable.assign(values)


def _highest(
    heads: tuple[Head, ...], dense: Mapping[str, float], found: Sequence[Measurement]
) -> float | None:
    highest = None
    for measurement in found:
        lost = losses(heads, dense, measurement.values)
        # 1e-9 covers rounding: accuracies are fractions of a few thousand examples.
        if any(value > TOLERANCE + 1e-9 for value in lost.values()):
            break
        highest = measurement.target_sparsity
    return highest
