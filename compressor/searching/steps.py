"""The steps that make a smaller model: narrow, train, and prune while training.

A step is a JSON object, so that a recipe can hold it, and its result depends on the model, the
data and the step alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from compressor.data import TrainingData
from compressor.errors import ModelError
from compressor.models import Objective, count_parameters, layer_macs
from compressor.pruning.kernels import all_kernels
from compressor.pruning.rounds import fit, prune_gradually
from compressor.pruning.spec import PruningSpec
from compressor.searching.allocation import stored_bytes
from compressor.searching.structure import Structure
from compressor.training import Distillation, Progress, TrainingOptions

Step = Mapping[str, Any]
"""`kind` narrow: `widths`, `seed`. `kind` train or sparse: `steps`, `batch_size`, `learning_rate`,
`dropout_scale`, `distillation` (weight, temperature; None: no teacher), `teacher` (the number of
earlier steps whose model teaches; 0: the dense one), `seed`, and `shift` where images are shifted;
sparse also `sparsity` by kernel, and `ramp`."""


def check_trainable(model: Any) -> None:
    """Raise ModelError for a model that no step can change."""
    if not any(kernel.variable.trainable for kernel in all_kernels(model).values()):
        what = "the model has no kernel that can be trained"
        raise ModelError(what, value=model.name, hint="set trainable = True, and save it again")


def narrow(structure: Structure, widths: Mapping[str, int]) -> Any:
    """A new model of these widths, made from the dense one without training."""
    try:
        structure.stitch(widths)
        found, _ = structure.narrowed()
    finally:
        structure.restore()
    structure.objective.compile(found, "sgd")
    return found


def train(
    model: Any,
    step: Step,
    data: TrainingData,
    objective: Objective,
    teacher: np.ndarray | None,
    progress: Progress | None = None,
) -> None:
    """Do a step of the kind train or sparse on `model`, which learns also from the `teacher`.

    `teacher` are scores for the training examples, (n, classes), where the step distils. A layer
    keeps at 0 what it pruned; one whose sparsity is 0 is trained only.
    """
    distillation = step["distillation"]
    options = TrainingOptions(
        step["steps"],
        step["batch_size"],
        step["learning_rate"],
        dropout_scale=step["dropout_scale"],
        distillation=Distillation(**distillation) if distillation else None,
        shift=step.get("shift", 0),
    )
    how: dict[str, Any] = {"seed": step["seed"], "objective": objective, "teacher": teacher}
    # A sparsity of 0 would take one weight, as the paper's does.
    sparsity = {name: part for name, part in step.get("sparsity", {}).items() if part}
    if sparsity:
        spec = PruningSpec(sparsity, schedule="gradual", ramp=step["ramp"])
        sizes = {name: math.prod(kernel.shape) for name, kernel in all_kernels(model).items()}
        kept = sum((1 - part) * sizes[name] for name, part in step["sparsity"].items())
        how["density"] = kept / sum(sizes[name] for name in step["sparsity"])
        prune_gradually(model, data, spec, options, progress=progress, **how)
    else:
        fit(model, data, options, how | {"progress": progress})


def describe(model: Any) -> dict[str, int]:
    """How large a model is: parameters, weights of its kernels, and those that are not zero.

    `kernel_bytes` are about those of the kernels in a file, `frozen_bytes` of these those that are
    not trained, if there are any; `macs` the multiply-accumulates of one inference, as far as
    they are known.
    """
    kernels = all_kernels(model).values()
    sizes = [math.prod(kernel.shape) for kernel in kernels]
    nonzeros = [kernel.nonzeros for kernel in kernels]
    stored = [*map(stored_bytes, sizes, nonzeros)]
    pairs = zip(kernels, stored, strict=True)
    frozen = sum(part for kernel, part in pairs if not kernel.variable.trainable)
    return {
        "parameters": count_parameters(model),
        "weights": sum(sizes),
        "nonzeros": sum(nonzeros),
        "kernel_bytes": sum(stored),
        "macs": sum(found.dense for found in layer_macs(model).values() if found),
        **({"frozen_bytes": frozen} if frozen else {}),
    }
