"""What the outputs of a .tflite or .onnx file mean, of which nothing says what it was made for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from compressor.data import Dataset
from compressor.errors import ModelError
from compressor.models import Asked, Objective, Preprocessing
from compressor.models.aims import NUMBERS, Aim, head_of
from compressor.models.compiled import Compiled
from compressor.models.head_metrics import asked_metrics, asked_task, chosen_metrics
from compressor.models.outputs import Output, Outputs
from compressor.models.targets import anomalies_of, stored_for
from compressor.models.tasks import Evidence, check_possible, task_of
from deploy import Artifact
from deploy.tasks import RECONSTRUCTION, REGRESSION


def graph_objective(
    described: Artifact | None,
    outputs: Sequence[Output],
    feed: Preprocessing,
    data: Dataset | None,
    task: Asked = None,
    metric: Asked = None,
    *,
    scored: bool,
) -> Objective:
    """What the `outputs` of a file mean, in the order of their columns; of a `scored` file the
    first one is a row of scores.

    As `task` says, else what the file is `described` as, else the outputs and the targets; a
    `metric` may be asked for beside the description. Where one array of targets comes with several
    outputs it is of the first one, and the others are only compared. Without data or a description,
    what gives no row of scores gives numbers. Raises ModelError, UsageError and DataError as
    `objective_of` does.
    """
    if (said := _described(described, outputs, task, metric)) is not None:
        return said
    targets = None if data is None else data.y_train
    # Without targets nothing says what others mean than the scores.
    scores_alone = targets is None and scored and task is None
    if isinstance(targets, np.ndarray) or scores_alone:
        outputs = outputs[:1]
    names = [output.name for output in outputs]
    stored = stored_for(targets, names)
    found, reasons = {}, []
    for output, target in zip(outputs, stored, strict=True):
        like = len(feed.rules) == 1 and output.shape == tuple(feed.row_shapes[0])
        like = like and "float" in feed.rules[0].dtype
        seen = Evidence(output, Compiled(), like, target, data is not None)
        asked = asked_task(task, output.name, names)
        if asked is not None:
            check_possible(asked, output, like_input=like)
        found[output.name], reason = (
            (asked, "as it was asked for") if asked is not None else _task(seen, scored)
        )
        reasons.append(reason)
    metrics = asked_metrics(metric, found)
    alone = len(outputs) == 1
    aims = tuple(
        _aim(output, found[output.name], metrics[output.name], reason, target, alone=alone)
        for output, reason, target in zip(outputs, reasons, stored, strict=True)
    )
    return Objective(aims, "inferred")


def _task(seen: Evidence, scored: bool) -> tuple[str, str]:
    if not (seen.has_data or scored) and seen.flat:
        return REGRESSION, "by its output"
    try:
        return task_of(seen)
    except ModelError:
        if seen.has_data:
            raise
        return (RECONSTRUCTION if seen.like_input else REGRESSION), "by its output"


def _described(
    described: Artifact | None, outputs: Sequence[Output], task: Asked, metric: Asked
) -> Objective | None:
    """What a description says, where there is one; None, too, where another task is asked for."""
    heads = None if described is None else described.heads
    if heads is None or [head.shape for head in heads] != [tuple(o.shape) for o in outputs]:
        return None
    names = [output.name for output in outputs]
    tasks = {name: head.task for name, head in zip(names, heads, strict=True)}
    if any(asked_task(task, name, names) not in (None, tasks[name]) for name in names):
        return None
    metrics = asked_metrics(metric, tasks)
    aims = []
    for head, name in zip(heads, names, strict=True):
        asked, reason = metrics[name], "as its description says"
        if asked not in (None, head.metric):
            head = dataclasses.replace(
                head, metric=asked, shown=tuple(dict.fromkeys((asked, *head.shown)))
            )
            reason += f", metric {asked} as it was asked for"
        outputs_are: Any = head.outputs_are or "numbers"
        aims.append(Aim(head, name, None, (), "numbers", outputs_are, reason=reason))
    return Objective(tuple(aims), "inferred")


def _aim(
    output: Output, task: str, metric: str | None, reason: str, target: Any, *, alone: bool
) -> Aim:
    shape = tuple(int(size or 0) for size in output.shape)
    scores: Outputs = "probabilities" if output.activation else "logits"
    head = head_of(
        "" if alone else output.name,
        task,
        shape,
        chosen_metrics(task, (), metric, []),
        0.5 if output.activation else 0.0,
        marked=anomalies_of(target) is not None,
    )
    outputs: Outputs = "numbers" if task in NUMBERS else scores
    return Aim(head, output.name, None, (), "numbers", outputs, reason=reason)
