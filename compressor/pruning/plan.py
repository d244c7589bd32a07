"""The plan of an experiment: a preset, and what the user changed in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from compressor.data import Dataset, TrainingData, load_dataset
from compressor.errors import UsageError
from compressor.foundation import is_number, is_whole, several
from compressor.models import PAPER_NAMES, Asked
from compressor.pruning.magnitude import check_sparsity
from compressor.runs import sparsity_name
from compressor.training import PRESETS, ClassWeight, Distillation, TrainingOptions
from deploy import describe_machine

SPARSITIES = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9)
LAYERS = ("fc1", "fc2")


@dataclasses.dataclass(frozen=True)
class Plan:
    """All options of a sweep, made explicit."""

    preset: str
    sparsities: tuple[float, ...]
    layers: tuple[str, ...]
    seeds: tuple[int, ...]
    training: TrainingOptions
    retraining: Mapping[float, TrainingOptions]
    data: TrainingData
    threads: int
    data_given: bool = True
    """False: nobody named the data, so they are the embedded MNIST"""
    task: Asked = None
    """what the model's outputs are, where the user says it"""
    metric: Asked = None
    """the metric that decides, where the user says it"""

    @property
    def asked(self) -> dict[str, Asked]:
        """The task and the metric that the user named, of those that are."""
        named = {"task": self.task, "metric": self.metric}
        return {name: value for name, value in named.items() if value is not None}

    def describe(self) -> dict[str, Any]:
        """The plan as a JSON object: all that decides the results, but for measured times."""
        return {
            "preset": self.preset,
            "sparsities": list(self.sparsities),
            "layers": self.layer_names,
            "seeds": list(self.seeds),
            "training": self.training.describe(),
            "retraining": {
                sparsity_name(sparsity): _without_dropout(options.describe())
                for sparsity, options in self.retraining.items()
            },
            "validation_images": len(self.data.validation),
            "data": self.data.data.describe(),
            "threads": self.threads,
        }

    @property
    def layer_names(self) -> list[str]:
        """The layers sorted by their own names: w_fc1 is fc1."""
        return sorted(PAPER_NAMES.get(name, name) for name in self.layers)

    def images_of_a_seed(self) -> int:
        return self.training.images + sum(options.images for options in self.retraining.values())


def check_seed(seed: int) -> None:
    """Raise UsageError for a seed that TensorFlow and numpy do not both take."""
    if not (is_whole(seed) and 0 <= seed < 2**31):
        what = "a seed must be at least 0 and below 2^31, and a whole number"
        raise UsageError(what, value=repr(seed))


def make_plan(
    data: Dataset | None = None,
    *,
    preset: str = "quick",
    sparsities: Sequence[float] = SPARSITIES,
    layers: Sequence[str] = LAYERS,
    seeds: Sequence[int] = (0,),
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    schedule: Literal["cosine", "constant"] | None = None,
    epochs: float | None = None,
    rewind: bool = False,
    distillation: Distillation | None = None,
    class_weight: ClassWeight | None = None,
    validation: int | None = None,
    threads: int | None = None,
    task: Asked = None,
    metric: Asked = None,
    repaired: bool = False,
) -> Plan:
    """Make a plan of the preset, with what is given in place of its options.

    `steps`, `batch_size`, `learning_rate` and `schedule` hold for the training and every
    retraining; `quick` retrains at `learning_rate` times the sparsity, or more gently what is
    `repaired` by the criterion (`PruningSpec.repairs`). `epochs`, `rewind` (repeats
    the learning rates at the end of the training), `distillation` (from the dense model) and
    `class_weight` (`balanced`, or class -> how much its examples count) hold for the retrainings.
    `task` says what the outputs are, and `metric` which one decides: of all outputs, or by their
    names; by default the model's own. Raises UsageError for a value that cannot be used.
    """
    if not isinstance(preset, str) or preset not in PRESETS:
        raise UsageError("unknown preset", value=preset, hint=f"choose {' or '.join(PRESETS)}")
    sparsities, layers, seeds = map(several, (sparsities, layers, seeds))
    for name, values in (("sparsities", sparsities), ("layers", layers), ("seeds", seeds)):
        if not values or any(value in values[:place] for place, value in enumerate(values)):
            raise UsageError(f"{name} must be given, and differ", value=list(values))
    if steps is not None and not (is_whole(steps) and steps >= 1):
        what = "the number of steps must be a whole number, at least 1"
        raise UsageError(what, value=repr(steps))
    for seed in seeds:
        check_seed(seed)
    seeds = tuple(map(int, seeds))
    part = TrainingData.of(data or load_dataset(None), validation)
    changes = {"batch_size": batch_size, "learning_rate": learning_rate, "schedule": schedule}
    changed: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    chosen = PRESETS[preset]
    chosen = dataclasses.replace(
        chosen,
        options=dataclasses.replace(chosen.options, **changed),
        steps=chosen.steps if steps is None else int(steps),
    )
    if epochs is not None and not (is_number(epochs) and 0 < epochs <= 10_000):
        raise UsageError("the number of epochs must lie between 0 and 10,000", value=repr(epochs))
    if epochs is not None and steps is not None:
        value = f"{epochs} epochs, {steps} steps"
        raise UsageError("the length of retraining is given twice", value=value)
    proportions = tuple(sorted(check_sparsity(p) for p in sparsities))
    training = chosen.training(part)

    def retraining(sparsity: float) -> TrainingOptions:
        options = chosen.retraining_at(sparsity, part, repaired=repaired)
        return dataclasses.replace(
            options,
            steps=options.steps if epochs is None else part.steps(epochs, options.batch_size),
            learning_rate=training.learning_rate if rewind else options.learning_rate,
            rewind=training.steps if rewind else None,
            distillation=distillation,
            class_weight=class_weight,
        )

    return Plan(
        preset=preset,
        sparsities=proportions,
        layers=layers,
        seeds=seeds,
        training=training,
        retraining={p: retraining(p) for p in proportions},
        data=part,
        threads=threads or describe_machine()["cores"],
        data_given=data is not None,
        task=task,
        metric=metric,
    )


def _without_dropout(description: dict[str, Any]) -> dict[str, Any]:
    # Dropout is scaled by the density, which is known only after pruning.
    return {name: value for name, value in description.items() if name != "dropout_scale"}
