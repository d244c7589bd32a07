"""What the outputs of a model mean, and how good they are.

A model has one `Head` an output. Each has a task and a metric that decides whether another model
or a file is as good; the other metrics are only shown. numpy alone, since a device measures, too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deploy.metrics import (
    ACCURACY as ACCURACY,
    AUC as AUC,
    BINARY as BINARY,
    CLASSIFICATION as CLASSIFICATION,
    CLASSIFYING as CLASSIFYING,
    METRICS as METRICS,
    MULTI_LABEL as MULTI_LABEL,
    RECONSTRUCTION as RECONSTRUCTION,
    REGRESSION as REGRESSION,
    SEGMENTATION as SEGMENTATION,
    TASKS as TASKS,
    Metric as Metric,
    area_under_curve as area_under_curve,
    average_precision as average_precision,
    class_recalls as class_recalls,
    classes_of,
    row_errors as row_errors,
)

PARTS = ("", "reference_", "validation_", "validation_reference_")
"""What the name of a metric begins with: of the model that a file was made of, and so on."""


@dataclasses.dataclass(frozen=True)
class Head:
    """One output of a model.

    `shape` is that of a row of the output; `classes` is how many classes it tells apart (labels of
    a multi-label head), 0 where there are none. `threshold` is the score above which a binary or
    multi-label head says yes. `metric` decides, and `shown` are the names of all that are shown.
    `outputs_are` says of the scores of classes that they are "logits" or "probabilities", where
    that is known. Where the target of a mask is `ignored`, the position counts nowhere.
    """

    name: str
    """of the output, or "" for one alone"""
    task: str
    shape: tuple[int, ...]
    classes: int = 0
    threshold: float | None = None
    metric: str = ""
    shown: tuple[str, ...] = ()
    outputs_are: str = ""
    ignored: int | None = None

    def __post_init__(self) -> None:
        if not self.metric:
            object.__setattr__(self, "metric", default_metric(self.task))
        if self.metric not in self.shown:
            object.__setattr__(self, "shown", (self.metric, *self.shown))

    @property
    def width(self) -> int:
        """How many numbers a row has."""
        return math.prod(self.shape)

    @property
    def decides(self) -> Metric:
        """The metric that decides."""
        return METRICS[self.metric]

    def key(self, metric: str | None = None) -> str:
        """Under what a document holds a metric of this output, by default the one that decides."""
        metric = metric or self.metric
        return f"{self.name}/{metric}" if self.name else metric

    def deciding(self, values: Mapping[str, Any], part: str = "") -> Head:
        """The head as it is judged by these `values` of a model, whose keys begin with `part`.

        Its metric may have none, as the AUC where all examples are of one class: then the default
        metric of its task decides.
        """
        if values.get(part_key(self.key(), part)) is not None:
            return self
        default = dataclasses.replace(self, metric=default_metric(self.task))
        return default if values.get(part_key(default.key(), part)) is not None else self

    def describe(self) -> dict[str, Any]:
        """The head as a JSON object, which `read_heads` reads."""
        found = dataclasses.asdict(self)
        for name, usual in (("outputs_are", ""), ("ignored", None)):
            if found[name] == usual:
                del found[name]
        return found | {"shape": list(self.shape), "shown": list(self.shown)}

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """What the outputs (n, ...) say: classes int64 (n,) or (n, ...), else the outputs."""
        outputs = outputs.reshape(len(outputs), *self.shape)
        if self.task in CLASSIFYING or self.task == SEGMENTATION:
            return classes_of(outputs, self.threshold)
        if self.task == MULTI_LABEL:
            return (outputs > (self.threshold or 0.0)).astype(np.int64)
        return outputs

    def judged(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Without positions that are `ignored`: outputs (n, ..., k) as (m, k), targets (n, ...)
        as (m,); where there are none, both as they are."""
        if self.ignored is None or self.task != SEGMENTATION:
            return outputs, targets
        kept = targets != self.ignored
        return (outputs, targets) if kept.all() else (outputs[kept], targets[kept])

    def recalls(
        self, outputs: np.ndarray, targets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The recall of each class or label, and its examples, float64 and int64 (classes,).

        Of a mask the examples are positions. NaN without an example; None where there are no
        classes. Arguments as of `values`.
        """
        if not self.classes:
            return None
        predicted = self.predictions(outputs)
        predicted, targets = self.judged(predicted, targets)
        if self.task != MULTI_LABEL:
            counts = np.bincount(targets.ravel(), minlength=self.classes)[: self.classes]
            return class_recalls(predicted, targets, self.classes), counts
        there = targets > 0
        counts = there.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((there & (predicted > 0)).sum(axis=0) / counts), counts

    def values(
        self, outputs: np.ndarray, targets: np.ndarray, anomalies: np.ndarray | None = None
    ) -> dict[str, float]:
        """Every metric that is shown, by its name, of outputs (n, width) or (n, *shape).

        `targets` are int64 (n,) for classes; 0 or 1, (n, labels), for several labels; classes
        (n, *positions) for segmentation; the inputs for a reconstruction, whose AUC is that of the
        error of a row against its `anomalies`, 0 or 1, (n,); otherwise numbers of the outputs'
        shape. A metric that has no value, such as the AUC of one class alone, is left out.
        """
        outputs, targets = self.judged(outputs.reshape(len(outputs), *self.shape), targets)
        found: dict[str, float] = {}
        for name in self.shown if targets.size else ():
            if self.task == RECONSTRUCTION and name == AUC:
                if anomalies is None:
                    continue
                value = area_under_curve(row_errors(outputs, targets), anomalies)
            else:
                value = METRICS[name].compute(outputs, targets, self.threshold)
            if math.isfinite(value):
                found[name] = float(value)
        return found


def read_heads(described: Sequence[Mapping[str, Any]] | None) -> tuple[Head, ...]:
    """The heads of a document, whose schema was checked; by default those of one classifier."""
    if not described:
        return (Head("", CLASSIFICATION, (0,)),)
    return tuple(
        Head(
            one["name"],
            one["task"],
            tuple(one["shape"]),
            one["classes"],
            one["threshold"],
            one["metric"],
            tuple(one["shown"]),
            ignored=one.get("ignored"),
        )
        for one in described
    )


def is_plain(heads: Sequence[Head]) -> bool:
    """Whether this is one classifier of which nothing but accuracy is shown."""
    return len(heads) == 1 and heads[0].task in CLASSIFYING and heads[0].shown == (ACCURACY,)


def values_of(
    heads: tuple[Head, ...],
    outputs: np.ndarray,
    targets: Sequence[np.ndarray],
    anomalies: np.ndarray | None = None,
) -> dict[str, float]:
    """The metrics of all heads by `Head.key`, of outputs (n, all columns); see `Head.values`."""
    found: dict[str, float] = {}
    parts = zip(heads, columns(heads, outputs), targets)  # noqa: B905
    for head, part, wanted in parts:
        values = head.values(part, wanted, anomalies)
        found |= {head.key(metric): value for metric, value in values.items()}
    return found


def losses(
    heads: Sequence[Head], reference: Mapping[str, Any], found: Mapping[str, Any], part: str = ""
) -> dict[str, float]:
    """How much worse the metric that decides got, by head's key; see `Metric.loss`.

    `reference` and `found` are documents, whose keys begin with `part`, such as "validation_".
    What both lack, `Head.deciding` considered, is left out; what only `found` lacks, such as the
    precision of a model that never says yes, got infinitely worse.
    """
    lost = {}
    for head in heads:
        judged = head.deciding(reference, part)
        own, value = (one.get(part_key(judged.key(), part)) for one in (reference, found))
        if own is not None:
            lost[head.key()] = math.inf if value is None else judged.decides.loss(own, value)
    return lost


def deciding_text(heads: Sequence[Head], values: Mapping[str, Any], part: str = "") -> str:
    """The metrics that decide, for a reader: 99.12 %, or IoU of boxes 81.20 %, ...

    `part` is what their keys in `values` begin with, such as "validation_".
    """
    shown = [(head.decides, values.get(part_key(head.key(), part))) for head in heads]
    if is_plain(heads):
        return shown[0][0].text(shown[0][1])
    return ", ".join(f"{metric.title} {metric.text(value)}" for metric, value in shown)


def part_key(key: str, part: str) -> str:
    """The key of a metric on a part of the data: box/validation_box_iou."""
    name, slash, metric = key.rpartition("/")
    return f"{name}{slash}{part}{metric}"


def columns(heads: tuple[Head, ...], outputs: np.ndarray) -> list[np.ndarray]:
    """The part (n, width) of each head, of rows in which one follows the other, (n, all)."""
    ends = np.cumsum([head.width for head in heads])
    return [outputs[:, end - head.width : end] for head, end in zip(heads, ends)]  # noqa: B905


def default_metric(task: str) -> str:
    """The metric that decides where nothing else is asked for."""
    return _DEFAULTS[task]


def metrics_of(task: str) -> tuple[str, ...]:
    """The names of the metrics that a task may have."""
    return tuple(name for name, metric in METRICS.items() if task in metric.tasks)


_DEFAULTS = {
    CLASSIFICATION: ACCURACY,
    BINARY: ACCURACY,
    MULTI_LABEL: "mean_average_precision",
    REGRESSION: "mean_absolute_error",
    RECONSTRUCTION: "reconstruction_error",
    SEGMENTATION: "mean_iou",
}
