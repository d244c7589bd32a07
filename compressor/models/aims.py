"""What a model is trained for and judged by: a loss, a task and metrics for each output."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from compressor.data import Array, Inputs
from compressor.foundation import quiet_tensorflow
from compressor.models.compiled import fresh, name_of
from compressor.models.layers import unframed
from compressor.models.outputs import Outputs
from compressor.models.preprocessing import Preprocessing
from compressor.models.targets import anomalies_of, stored_targets
from deploy.tasks import (
    ACCURACY,
    AUC,
    BINARY,
    CLASSIFICATION,
    CLASSIFYING,
    MULTI_LABEL,
    RECONSTRUCTION,
    REGRESSION,
    SEGMENTATION,
    Head,
    default_metric,
    is_plain,
    values_of,
)

LabelForm = Literal["index", "one-hot", "column", "numbers"]

NUMBERS = (REGRESSION, RECONSTRUCTION)
"""The tasks whose outputs are no scores of classes or labels."""


@dataclasses.dataclass(frozen=True)
class Aim:
    """What one output is trained for.

    `labels` is the format that the loss takes: class numbers (n, ...) for `index`, float32
    (n, ..., classes) for `one-hot`, float32 (n, ..., 1) for the `column` of yes and no, and float32
    of the output's shape for `numbers`.
    """

    head: Head
    output: str
    """the name of the output, which `head` leaves out where there is one alone"""
    loss: Any
    """a Keras loss"""
    metrics: tuple[Any, ...]
    """as `model.compile` takes them"""
    labels: LabelForm
    outputs: Outputs
    weight: float | None = None
    """of the loss in the sum of all; None is 1"""
    reason: str = ""
    """why it has this task"""

    def targets(self, stored: Any) -> Any:
        """Targets as `targets_of` gives them, a TensorFlow tensor, in the format of the loss."""
        tensorflow, _ = quiet_tensorflow.load()
        if self.left_out is not None:  # most losses take no value but classes
            stored = tensorflow.cast(stored, "int32")
            stored = tensorflow.where(stored == self.left_out, 0, stored)
        if self.labels == "one-hot":
            return tensorflow.one_hot(stored, self.head.shape[-1])
        if self.labels == "column":
            return tensorflow.cast(stored, "float32")[..., None]
        if self.labels == "numbers":
            return tensorflow.reshape(tensorflow.cast(stored, "float32"), (-1, *self.head.shape))
        return stored

    @property
    def of_classes(self) -> bool:
        """Whether a target is one class: of an example, or of each position of a mask."""
        return self.head.task in (*CLASSIFYING, SEGMENTATION)

    @property
    def left_out(self) -> int | None:
        """The value of a mask that is no class, and that the loss itself does not ignore.

        Positions that have it are to weigh nothing in the loss.
        """
        ignored = self.head.ignored
        known = ignored is None or 0 <= ignored < self.head.classes
        return None if known or getattr(self.loss, "ignore_class", None) == ignored else ignored

    def all_metrics(self) -> list[Any]:
        """New ones of those that were compiled, and accuracy in any case where it is the default.

        Elsewhere it would decide, as the first compiled one, when the model is looked at again.
        """
        metrics = [fresh(metric) for metric in self.metrics]
        by_default = default_metric(self.head.task) == ACCURACY
        if by_default and not any(name_of(metric) in ("accuracy", "acc") for metric in metrics):
            metrics.append(self._accuracy())
        return metrics

    def _accuracy(self) -> Any:
        _, keras = quiet_tensorflow.load()
        if self.labels == "index":
            return keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        if self.labels == "one-hot":
            return keras.metrics.CategoricalAccuracy(name="accuracy")
        threshold = self.head.threshold
        return keras.metrics.BinaryAccuracy(name="accuracy", threshold=threshold)


def head_of(
    name: str,
    task: str,
    shape: tuple[int, ...],
    metrics: tuple[str, tuple[str, ...]],
    threshold: float,
    *,
    marked: bool,
    ignored: int | None = None,
) -> Head:
    """The head of an output with this task and shape of a row.

    `metrics` are the one that decides and all that are shown; `threshold` is the score above which
    it says yes, if it says yes or no. The data have anomalies `marked`: a reconstruction shows how
    well it finds them. The value `ignored` in a mask counts nowhere.
    """
    decides, shown = metrics
    if task == RECONSTRUCTION and marked:
        shown = tuple(dict.fromkeys((*shown, AUC)))
    one = shape[-1] == 1
    classes = 0 if task in NUMBERS else 2 if one else shape[-1]
    yes_or_no = task in (BINARY, MULTI_LABEL) or (task == SEGMENTATION and one)
    ignored = ignored if task == SEGMENTATION else None
    threshold_of = threshold if yes_or_no else None
    return Head(name, task, shape, classes, threshold_of, decides, shown, ignored=ignored)


@dataclasses.dataclass(frozen=True)
class Objective:
    """The losses and metrics of a training, and what the outputs mean: an `Aim` each."""

    aims: tuple[Aim, ...]
    source: Literal["compiled", "inferred"]
    notes: tuple[str, ...] = ()
    """what the model was compiled with but cannot be used, and why"""
    arranged: Any = None
    """the places of the outputs in the structure that the model gives; None for one alone"""

    @classmethod
    def of_classes(cls, classes: int, outputs: Any) -> Objective:
        """That of a classifier of which only the scores (n, classes) are known, not the loss."""
        threshold = (0.0 if outputs == "logits" else 0.5) if classes == 1 else None
        task = BINARY if classes == 1 else CLASSIFICATION
        head = Head("", task, (classes,), max(classes, 2), threshold)
        return cls((Aim(head, "", None, (), "index", outputs),), "inferred")

    @property
    def heads(self) -> tuple[Head, ...]:
        """What the outputs mean, in the order in which they follow each other in scores."""
        return tuple(aim.head for aim in self.aims)

    @property
    def is_classifier(self) -> bool:
        """Whether the model has one output of scores, (n, classes), or (n, 1) for yes and no."""
        return len(self.aims) == 1 and self.heads[0].task in CLASSIFYING

    @property
    def loss(self) -> Any:
        """The loss of the first output."""
        return self.aims[0].loss

    @property
    def metrics(self) -> tuple[Any, ...]:
        """The compiled metrics of the first output."""
        return self.aims[0].metrics

    @property
    def labels(self) -> LabelForm:
        """The format that the loss of the first output takes."""
        return self.aims[0].labels

    @property
    def outputs(self) -> Outputs:
        """Whether the first output gives probabilities."""
        return self.aims[0].outputs

    @property
    def classes(self) -> int:
        """The number of scores of a classifier; otherwise of all numbers that an example gives."""
        return sum(head.width for head in self.heads)

    @property
    def threshold(self) -> float:
        """The score above which a binary classifier says 1."""
        found = self.heads[0].threshold
        return 0.5 if found is None else found

    @property
    def reason(self) -> str:
        """The tasks, and why: "regression, by its compiled loss mse"; each output by its name."""
        parts = [f"{aim.head.task}, {aim.reason}" for aim in self.aims]
        if len(parts) == 1:
            return parts[0]
        named_parts = zip(self.aims, parts, strict=True)
        return "; ".join(f"{aim.output}: {part}" for aim, part in named_parts)

    def describe(self) -> dict[str, Any]:
        """The objective as a JSON object."""
        described = {
            "loss": self._each(lambda aim: name_of(aim.loss)),
            "metrics": [
                f"{aim.head.name}/{name_of(metric)}" if aim.head.name else name_of(metric)
                for aim in self.aims
                for metric in aim.metrics
            ],
            "source": self.source,
            "outputs": self._each(lambda aim: aim.outputs),
        }
        if not is_plain(self.heads):
            described["task"] = self.reason
        return described | ({"notes": list(self.notes)} if self.notes else {})

    def described_heads(self) -> dict[str, Any]:
        """`heads` for a document; nothing for a classifier of which only accuracy is shown."""
        if is_plain(self.heads):
            return {}
        return {"heads": [head.describe() for head in self.heads]}

    def targets_of(self, x: Inputs, y: Any, feed: Preprocessing | None = None) -> list[Array]:
        """What `Head.values` takes for each output, of stored inputs and targets.

        A reconstruction's are the inputs, fed by `feed`. Raises DataError where they do not fit.
        """
        found = self.stored_targets(y)
        if any(part is None for part in found):
            assert feed is not None
            fed = feed.arrays(x)[0]
            return [fed if part is None else part for part in found]
        return [part for part in found if part is not None]

    def stored_targets(self, y: Any) -> list[Array | None]:
        """The same without the inputs: None for a reconstruction."""
        return stored_targets(y, self.heads, [aim.output for aim in self.aims])

    def values(
        self, scores: np.ndarray, targets: Sequence[Array], anomalies: Array | None = None
    ) -> dict[str, float]:
        """All metrics by their keys, of scores (n, all columns); see `deploy.tasks.values_of`."""
        return values_of(self.heads, scores, targets, anomalies)

    def anomalies_of(self, y: Any) -> Array | None:
        """Labels 0 and 1, (n,), beside a reconstruction; else None."""
        return anomalies_of(y) if self.heads[0].task == RECONSTRUCTION else None

    def targets(self, stored: Any, fed: Any = None) -> Any:
        """A batch of targets as the losses take them, in the structure of the model's outputs.

        `stored` is a tensor, or one for each output, as `stored_targets` gives them; `fed` is the
        batch of inputs, as the model takes it, for a reconstruction.
        """
        parts = list(stored) if isinstance(stored, (list, tuple)) else [stored]
        return self.arrange(self.each_target(parts, fed))

    def each_target(self, stored: Sequence[Any], fed: Any) -> list[Any]:
        """The same in a list, in the order of the outputs."""
        _, keras = quiet_tensorflow.load()
        inputs = None if fed is None else keras.tree.flatten(fed)[0]
        return [
            aim.targets(inputs if aim.head.task == RECONSTRUCTION else part)
            for aim, part in zip(self.aims, stored, strict=True)
        ]

    def arrange(self, parts: Sequence[Any]) -> Any:
        """Something for each output, in the structure in which the model gives its outputs."""
        if self.arranged is None:
            return parts[0]
        if isinstance(self.arranged, Mapping):
            return {key: parts[place] for key, place in self.arranged.items()}
        return [parts[place] for place in self.arranged]

    def predictions(self, scores: np.ndarray) -> np.ndarray:
        """What the first output says, of its scores: the class of each row (n, classes)."""
        return self.heads[0].predictions(scores)

    def compile(self, model: Any, optimizer: Any) -> None:
        """Compile `model` for training."""
        weights = None
        if any(aim.weight is not None for aim in self.aims):
            weights = self.arrange([1.0 if a.weight is None else a.weight for a in self.aims])
        model.compile(
            optimizer=optimizer,
            loss=self.arrange([aim.loss for aim in self.aims]),
            metrics=self.arrange([aim.all_metrics() for aim in self.aims]),
            loss_weights=weights,
        )
        if unframed(model) is not model:  # the user's own, which is saved and handed back
            self.compile(unframed(model), model.optimizer)

    def _each(self, text: Any) -> str:
        if len(self.aims) == 1:
            return str(text(self.aims[0]))
        return ", ".join(f"{aim.output}: {text(aim)}" for aim in self.aims)
