"""Which metrics an output is judged by: the compiled ones, or what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.errors import UsageError
from compressor.models.compiled import kind_of, name_of
from deploy.tasks import (
    ACCURACY,
    AUC,
    BINARY,
    METRICS,
    MULTI_LABEL,
    RECONSTRUCTION,
    TASKS,
    default_metric,
    metrics_of,
)

Asked = str | Mapping[str, str] | None
"""A task or metric for all outputs that can have it, or by the names of outputs."""

_MEAN_IOU = dict.fromkeys(("meaniou", "onehotmeaniou", "binaryiou"), "mean_iou")
_ACCURACIES = ("accuracy", "binaryaccuracy", "categoricalaccuracy", "sparsecategoricalaccuracy")
_KNOWN = {
    **dict.fromkeys(_ACCURACIES, ACCURACY),
    **_MEAN_IOU,
    "precision": "precision",
    "recall": "recall",
    "auc": AUC,
    "meanabsoluteerror": "mean_absolute_error",
    "meansquarederror": "mean_squared_error",
    "rootmeansquarederror": "root_mean_squared_error",
}
"""Kind of a compiled metric -> ours."""

_OTHERS = {
    (MULTI_LABEL, ACCURACY): "label_accuracy",
    (RECONSTRUCTION, "mean_squared_error"): "reconstruction_error",
}


def chosen_metrics(
    task: str, compiled: Sequence[Any], asked: str | None, notes: list[str]
) -> tuple[str, tuple[str, ...]]:
    """The metric that decides for an output, and all that are shown.

    That is `asked`, else the first compiled one, else the default of the task. Compiled ones that
    cannot be measured here are noted.
    """
    found = []
    for metric in compiled:
        name = _ours(task, metric)
        if name is not None:
            found.append(name)
        else:
            notes.append(f"the compiled metric {name_of(metric)} is not measured for {task}")
    default = default_metric(task)
    decides = asked or (found[0] if found else default)
    return decides, tuple(dict.fromkeys([decides, *found, default]))


def asked_task(asked: Asked, name: str, names: Sequence[str]) -> str | None:
    """The task that was asked for the output `name`. Raises UsageError for an unknown one."""
    task = _asked(asked, name, names, "task")
    if task is not None and task not in TASKS:
        raise UsageError("there is no such task", value=task, hint=f"choose {', '.join(TASKS)}")
    return task


def kept_for(kept: Mapping[str, Asked], what: str, name: str) -> str | None:
    """What an earlier command was given as `what`, task or metric, for the output `name`."""
    found = kept.get(what)
    return found if found is None or isinstance(found, str) else found.get(name)


def asked_metrics(asked: Asked, tasks: Mapping[str, str]) -> dict[str, str | None]:
    """The metric that was asked for each output, given their tasks.

    Raises UsageError for one that does not exist, or that no such output has.
    """
    found = {}
    for name, task in tasks.items():
        metric = _asked(asked, name, list(tasks), "metric")
        if metric is not None and metric not in METRICS:
            hint = f"choose {', '.join(metrics_of(task))}"
            raise UsageError("there is no such metric", value=metric, hint=hint)
        fits = metric is None or metric in metrics_of(task)
        if not fits and (isinstance(asked, Mapping) or len(tasks) == 1):
            hint = f"choose {', '.join(metrics_of(task))}"
            raise UsageError(f"{task} has no such metric", value=metric, hint=hint)
        found[name] = metric if fits else None
    if isinstance(asked, str) and not any(found.values()):
        raise UsageError("no output of the model has such a metric", value=asked)
    return found


def _asked(asked: Asked, name: str, names: Sequence[str], what: str) -> str | None:
    if asked is None or isinstance(asked, str):
        return asked
    if unknown := [given for given in asked if given not in names]:
        raise UsageError(
            f"a {what} is given for an output that the model does not have",
            value=unknown[0],
            hint=f"the outputs are {', '.join(names)}",
        )
    return asked.get(name)


def _ours(task: str, metric: Any) -> str | None:
    kind = kind_of(metric)
    config = metric.get("config") if isinstance(metric, dict) else None
    config = config if isinstance(config, dict) else {}
    if kind == "auc" and task == MULTI_LABEL and config.get("curve") == "PR":
        # Else it is one curve of all labels together.
        return "mean_average_precision" if config.get("multi_label") else None
    if kind in ("binaryaccuracy", "binaryiou") and config.get("threshold", 0.5) != 0.5:
        return None
    if kind == "binaryiou" and {*(config.get("target_class_ids") or (0, 1))} != {0, 1}:
        return None
    name = _KNOWN.get(kind, "")
    name = _OTHERS.get((task, name), name)
    if name not in METRICS or task not in METRICS[name].tasks:
        return None
    if name == AUC and config.get("curve", "ROC") != "ROC":
        return None
    if name in ("precision", "recall") and task == BINARY:
        # Those at another threshold, or of a class other than 1, are something else.
        others = config.get("thresholds"), config.get("class_id"), config.get("top_k")
        return name if others[0] in (None, 0.5, [0.5]) and others[1:] == (None, None) else None
    return name
