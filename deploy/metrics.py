"""How good the outputs of a model are: measures of them against what they should be.

numpy alone, since a device measures, too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

CLASSIFICATION, BINARY, MULTI_LABEL = "classification", "binary", "multi-label"
REGRESSION, RECONSTRUCTION, SEGMENTATION = "regression", "reconstruction", "segmentation"
TASKS = (CLASSIFICATION, BINARY, MULTI_LABEL, REGRESSION, RECONSTRUCTION, SEGMENTATION)
CLASSIFYING = (CLASSIFICATION, BINARY)
"""The tasks whose targets are one class a row."""

ACCURACY, AUC = "accuracy", "auc"

_Compute = Callable[[np.ndarray, np.ndarray, "float | None"], float]


@dataclasses.dataclass(frozen=True)
class Metric:
    """A measure of outputs against targets.

    A `fraction` lies in 0 to 1, is shown in percent and lost in points; anything else is an error
    in the units of the targets (or their square), which is lost as a fraction of what it was.
    """

    name: str
    """its key in documents"""
    title: str
    tasks: tuple[str, ...]
    """where it makes sense"""
    compute: _Compute
    """outputs (n, ...), targets, the threshold of a binary or multi-label head -> value"""
    fraction: bool = True
    higher_is_better: bool = True

    def loss(self, reference: float, value: float) -> float:
        """How much worse `value` is than `reference`, 0.01 being a point or a hundredth of it.

        Negative where it is better.
        """
        worse = reference - value if self.higher_is_better else value - reference
        return worse if self.fraction else worse / max(abs(reference), 1e-12)

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is better than `other`."""
        return one > other if self.higher_is_better else one < other

    def text(self, value: float | None, digits: int = 2) -> str:
        """The value for a reader: 99.13 %, or 0.4213."""
        if value is None or not math.isfinite(value):
            return "-"
        return f"{100 * value:.{digits}f} %" if self.fraction else f"{value:.4g}"


def class_recalls(predicted: np.ndarray, targets: np.ndarray, classes: int) -> np.ndarray:
    """The recall of each class, float64 (classes,); NaN for one without an example."""
    counts = np.bincount(targets.ravel(), minlength=classes)[:classes]
    hits = np.bincount(targets.ravel()[predicted.ravel() == targets.ravel()], minlength=classes)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(hits[:classes] / counts, np.float64)


def row_errors(outputs: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """The mean squared error of each row, float64 (n,): the anomaly score of a reconstruction."""
    difference = outputs.astype(np.float64) - inputs.reshape(outputs.shape)
    return np.asarray(np.mean(difference.reshape(len(outputs), -1) ** 2, axis=1))


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float:
    """The area under the ROC curve of scores (n,), by ranks; NaN with one class alone.

    Source: Hanley and McNeil, The Meaning and Use of the Area under a ROC Curve (1982).
    """
    positive = positive.astype(bool)
    count = int(positive.sum())
    if not 0 < count < len(positive):
        return math.nan
    _, place, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[place]
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(positive) - count)))


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """The sum of precisions weighted by the rise of recall; NaN without a positive."""
    positive = positive.astype(bool)
    if not positive.any():
        return math.nan
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(positive[order])[ends]
    rises = np.diff(np.concatenate([[0], hits]))
    return float(np.sum(rises * hits / (ends + 1)) / positive.sum())


def classes_of(outputs: np.ndarray, threshold: float | None) -> np.ndarray:
    """The class int64 (n, ...) that scores (n, ..., k) say; with a threshold, of one score."""
    if threshold is not None:
        return (outputs[..., 0] > threshold).astype(np.int64)
    return np.asarray(np.argmax(outputs, axis=-1))


def _accuracy(outputs: np.ndarray, targets: np.ndarray, threshold: float | None) -> float:
    predicted = classes_of(outputs, threshold)
    return float(np.mean(predicted == targets.reshape(predicted.shape)))


def _label_accuracy(outputs: np.ndarray, targets: np.ndarray, threshold: float | None) -> float:
    return float(np.mean((outputs > (threshold or 0.0)) == (targets > 0.5)))


def _positive(outputs: np.ndarray, threshold: float | None) -> np.ndarray:
    return np.asarray(classes_of(outputs, threshold) > 0)


def _precision(outputs: np.ndarray, targets: np.ndarray, threshold: float | None) -> float:
    said = _positive(outputs, threshold)
    return float(np.mean(targets[said] > 0)) if said.any() else math.nan


def _recall(outputs: np.ndarray, targets: np.ndarray, threshold: float | None) -> float:
    there = targets > 0
    return float(np.mean(_positive(outputs, threshold)[there])) if there.any() else math.nan


def _auc(outputs: np.ndarray, targets: np.ndarray, threshold: float | None) -> float:
    scores = outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
    return area_under_curve(scores, targets)


def _mean_recall(outputs: np.ndarray, targets: np.ndarray, threshold: float | None) -> float:
    predicted = classes_of(outputs, threshold)
    classes = int(max(predicted.max(), targets.max())) + 1
    return float(np.nanmean(class_recalls(predicted, targets, classes)))


def _mean_average_precision(
    outputs: np.ndarray, targets: np.ndarray, threshold: float | None
) -> float:
    found = [average_precision(*pair) for pair in zip(outputs.T, targets.T > 0.5)]  # noqa: B905
    known = [value for value in found if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def _mean_iou(outputs: np.ndarray, targets: np.ndarray, threshold: float | None) -> float:
    predicted = classes_of(outputs, threshold).ravel()
    wanted = targets.astype(np.int64).ravel()
    classes = int(max(predicted.max(), wanted.max())) + 1
    both = np.bincount(wanted * classes + predicted, minlength=classes**2)
    confusion = both.reshape(classes, classes)
    shared = np.diag(confusion)
    either = confusion.sum(0) + confusion.sum(1) - shared
    return float(np.mean(shared[either > 0] / either[either > 0]))


def _box_iou(outputs: np.ndarray, targets: np.ndarray, threshold: float | None) -> float:
    low = np.maximum(outputs[:, :2], targets[:, :2])
    high = np.minimum(outputs[:, 2:], targets[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = [np.prod(np.clip(x[:, 2:] - x[:, :2], 0, None), axis=1) for x in (outputs, targets)]
    return float(np.mean(shared / np.maximum(areas[0] + areas[1] - shared, 1e-12)))


def _differences(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.asarray(outputs.astype(np.float64) - targets.reshape(outputs.shape))


def _absolute(outputs: np.ndarray, targets: np.ndarray, threshold: float | None) -> float:
    return float(np.mean(np.abs(_differences(outputs, targets))))


def _squared(outputs: np.ndarray, targets: np.ndarray, threshold: float | None) -> float:
    return float(np.mean(_differences(outputs, targets) ** 2))


def _root(outputs: np.ndarray, targets: np.ndarray, threshold: float | None) -> float:
    return math.sqrt(_squared(outputs, targets, threshold))


_YES_NO = (BINARY,)
_ALL_CLASSES = (CLASSIFICATION, BINARY, SEGMENTATION)
_NUMBERS = (REGRESSION, RECONSTRUCTION)
_ERROR = {"fraction": False, "higher_is_better": False}

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(ACCURACY, "accuracy", _ALL_CLASSES, _accuracy),
        Metric("mean_recall", "mean recall", CLASSIFYING, _mean_recall),
        Metric("precision", "precision", _YES_NO, _precision),
        Metric("recall", "recall", _YES_NO, _recall),
        Metric(AUC, "area under the ROC curve", (BINARY, RECONSTRUCTION), _auc),
        Metric(
            "mean_average_precision",
            "mean average precision",
            (MULTI_LABEL,),
            _mean_average_precision,
        ),
        Metric("label_accuracy", "accuracy of labels", (MULTI_LABEL,), _label_accuracy),
        Metric("mean_iou", "mean IoU", (SEGMENTATION,), _mean_iou),
        Metric("box_iou", "IoU of boxes", (REGRESSION,), _box_iou),
        Metric("mean_absolute_error", "mean absolute error", _NUMBERS, _absolute, **_ERROR),
        Metric("mean_squared_error", "mean squared error", _NUMBERS, _squared, **_ERROR),
        Metric("root_mean_squared_error", "root mean squared error", _NUMBERS, _root, **_ERROR),
        Metric(
            "reconstruction_error", "reconstruction error", (RECONSTRUCTION,), _squared, **_ERROR
        ),
    )
}
"""Name -> metric; boxes are (n, 4), their corners x1, y1, x2, y2."""
