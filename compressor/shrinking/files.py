"""Shrinking a model file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from compressor.data import Dataset, TrainingData, rows
from compressor.errors import ModelError, RunDirectoryError, UsageError
from compressor.foundation import quiet_tensorflow
from compressor.importing import load_model
from compressor.models import (
    InputSize,
    asked_of,
    data_digest,
    objective_for,
    objective_of,
    preprocessing_of,
    save_model,
    sizes_fed,
    trained_on,
    values_on,
)
from compressor.runs import model_digest, model_to_shrink, shrunk_path
from compressor.shrinking.removal import COMPARED_EXAMPLES, shrink


def shrink_file(
    model: Path | str,
    output: Path | str | None = None,
    data: Dataset | None = None,
    *,
    round_to: int = 1,
    fold_batchnorm: bool = True,
    input_size: InputSize | None = None,
    threads: int | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Shrink a model file exactly, and write the smaller model to `output`.

    `model` is a model file, the folder of a step, or a run directory with step_2_2. `output` is by
    default NAME-shrunk.keras beside the file, or shrunk.keras in the run directory. The models are
    compared on validation examples of `data`, which also gives their accuracies, or on random
    inputs, with `input_size` for open sizes. Returns a JSON object: removed, folded, kept,
    difference, checked_on, source, output, and with `data` accuracy, or heads and metrics. Raises
    RunDirectoryError when `output` exists, unless `force`, and CheckFailedError when the models do
    not compute the same.
    """
    source = model_to_shrink(Path(model))
    target = Path(output) if output is not None else shrunk_path(Path(model), source)
    if target.suffix != ".keras":
        raise UsageError("the shrunk model is a .keras file", value=target)
    if os.path.realpath(target) == os.path.realpath(source):
        raise UsageError("the shrunk model would replace the model itself", value=target)
    if target.exists() and not force:
        hint = "name another with -o, or --force"
        raise RunDirectoryError("the file is there already", value=target, hint=hint)
    quiet_tensorflow.load(threads)
    before = load_model(source)
    record: dict[str, Any] = {"checked_on": "random inputs"}
    inputs = None
    if data is not None:
        part = TrainingData.of(data)
        try:
            objective = objective_for(before, data)
        except ModelError as error:
            hint = "leave the data out: the models are then compared on random inputs"
            raise ModelError(error.what, value=error.value, hint=hint) from error
        x, _ = part.validation_part(COMPARED_EXAMPLES)
        feed = preprocessing_of(before, x)
        sizes_fed(before, feed, input_size)
        inputs, record["inputs"] = feed(x), feed.describe()
        record["checked_on"] = f"{rows(x)} validation examples"
    how: dict[str, Any] = {"fold_batchnorm": fold_batchnorm, "round_to": round_to}
    shrunk = shrink(before, inputs, **how, input_size=input_size)
    record |= {
        "removed": shrunk.removed,
        "folded": list(shrunk.folded),
        "kept": shrunk.kept,
        "difference": shrunk.difference,
    }
    if data is not None:
        reached = {
            name: values_on(one, data.x_test, data.y_test, objective)
            for name, one in (("before", before), ("after", shrunk.model))
        }
        if heads := objective.described_heads():
            record |= heads | {"metrics": reached, "task": objective.reason}
        else:
            record["accuracy"] = {name: found["accuracy"] for name, found in reached.items()}
    with contextlib.suppress(ModelError):  # it stays uncompiled if its task is not known
        found = objective_of(before)
        if found.source == "compiled":
            found.compile(shrunk.model, "sgd")
    made = trained_on(shrunk.model, data_digest(before), asked_of(before))
    save_model(made, target, model_digest(source))
    return record | {"source": str(source), "output": str(target)}
