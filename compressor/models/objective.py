"""What a model is trained for, decided by what it was compiled with, its outputs and its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from compressor.data import Array, Dataset, Inputs, named, take
from compressor.data.labels import check_label_names
from compressor.errors import ModelError
from compressor.foundation import quiet_tensorflow
from compressor.models.aims import NUMBERS, Aim, LabelForm, Objective, head_of
from compressor.models.compiled import (
    NOTES,
    Compiled,
    compiled_with,
    ignored_by,
    kind_of,
    name_of,
)
from compressor.models.files import asked_of
from compressor.models.head_metrics import (
    Asked,
    asked_metrics,
    asked_task,
    chosen_metrics,
    kept_for,
)
from compressor.models.layers import unframed
from compressor.models.open_sizes import sized, sizes_fed
from compressor.models.outputs import Output, Outputs, output_structure, outputs_of
from compressor.models.preprocessing import Preprocessing, preprocessing_of
from compressor.models.targets import anomalies_of, stored_for
from compressor.models.tasks import Evidence, check_possible, task_of
from deploy.tasks import (
    MULTI_LABEL,
    RECONSTRUCTION,
    REGRESSION,
    metrics_of,
)


def objective_of(
    model: Any,
    data: Dataset | None = None,
    task: Asked = None,
    metric: Asked = None,
    *,
    examples: tuple[Inputs, Any] | None = None,
) -> Objective:
    """The objective of a model: `task`, else by its compiled losses, its outputs and its targets.

    What `prune` was given for the model as `task` and `metric` holds where these are None.
    An output of softmax or sigmoid gives probabilities, any other logits. A loss that is inferred
    is the cross-entropy of classes or labels, else the squared error. Compiled losses that cannot
    be used (user code, or of a task other than `task`) and metrics that are not Keras's are left
    out, and noted. The targets are those of `data`, or of `examples`, (x, y). Raises ModelError for
    outputs that cannot be used, or of which nothing says what they mean; UsageError for a task or
    metric that an output does not have.
    """
    quiet_tensorflow.load()
    kept = asked_of(model)
    if data is not None:
        examples = (data.x_train, data.y_train)
    feed = None if examples is None else preprocessing_of(model, examples[0])
    outputs = outputs_of(_with_sizes(model, feed))
    notes = list(getattr(unframed(model), NOTES, ()))
    names = [output.name for output in outputs]
    layers = [tensor._keras_history.operation.name for tensor in model.outputs]
    compiled = compiled_with(unframed(model), layers, names, notes)
    seen = _evidence(model, outputs, compiled, examples, feed)
    marked = data is not None and any(
        anomalies_of(y) is not None for y in (data.y_train, data.y_test)
    )
    tasks, reasons = {}, {}
    for one in seen:
        name = one.output.name
        asked, reason = asked_task(task, name, names), "as it was asked for"
        if asked is None and (asked := kept_for(kept, "task", name)) is not None:
            reason = _KEPT
        if asked is not None:
            check_possible(asked, one.output, like_input=one.like_input)
        tasks[name], reasons[name] = (asked, reason) if asked is not None else task_of(one)
    metrics = asked_metrics(metric, tasks)
    for name, task_here in tasks.items():
        own = kept_for(kept, "metric", name)
        if metrics[name] is None and own in metrics_of(task_here):
            metrics[name], reasons[name] = own, f"{reasons[name]}, metric {own} {_KEPT}"
    aims = tuple(
        _aim(
            one,
            tasks[name],
            metrics[name],
            reasons[name],
            notes,
            alone=len(seen) == 1,
            marked=marked,
        )
        for one, name in zip(seen, names, strict=True)
    )
    used = any(aim.loss is one.compiled.loss for aim, one in zip(aims, seen, strict=True))
    source: Literal["compiled", "inferred"] = "compiled" if used else "inferred"
    return Objective(aims, source, tuple(notes), _places(model))


def objective_for(model: Any, data: Dataset, task: Asked = None, metric: Asked = None) -> Objective:
    """The objective of `model` on `data`.

    Raises as `check_fit` and `objective_of` do.
    """
    sizes_fed(model, preprocessing_of(model, data.x_train))
    found = objective_of(model, data, task, metric)
    check_fit(model, data, found)
    return found


def asked_for(model: Any, objective: Objective, asked: Mapping[str, Asked]) -> dict[str, Asked]:
    """The `task` and the `metric` of `objective` that are so because they were asked for.

    Now, in `asked`, or earlier, as is kept with the model; of several outputs by their names.
    """
    kept = asked_of(model)
    found: dict[str, Asked] = {}
    for what in ("task", "metric"):
        named = {aim.output: str(getattr(aim.head, what)) for aim in objective.aims}
        named = {
            name: value
            for name, value in named.items()
            if value in [kept_for(given, what, name) for given in (asked, kept)]
        }
        if named:
            alone = len(objective.aims) == 1
            found[what] = next(iter(named.values())) if alone else named
    return found


def check_fit(model: Any, data: Dataset, objective: Objective | None = None) -> Preprocessing:
    """The preprocessing of `data` for `model`, checked on training and test data.

    Raises as `preprocessing_of` and `objective_of` do, and DataError when the targets do not fit,
    as where the data have more classes than the model, or names of other than its classes; an
    output (n, 1) has the classes 0 and 1.
    """
    feed = preprocessing_of(model, data.x_train)
    preprocessing_of(model, data.x_test)
    objective = objective or objective_of(model, data)
    objective.stored_targets(data.y_train)
    objective.stored_targets(data.y_test)
    if objective.is_classifier:
        check_label_names(data, objective.heads[0].classes)
        _ = data.classes  # raises where the test set has labels that the training set lacks
    return feed


def _with_sizes(model: Any, feed: Preprocessing | None) -> Any:
    """The model with the sizes of its inputs where they decide those of its outputs."""
    is_open = any(None in tensor.shape[1:] for tensor in model.outputs or ())
    sizes = sizes_fed(model, feed) if feed is not None and is_open else {}
    return sized(model, sizes) if sizes else model


def _places(model: Any) -> Any:
    arranged = output_structure(model)
    if isinstance(arranged, Mapping):
        return {key: place for place, key in enumerate(sorted(arranged))}
    return list(range(len(arranged))) if isinstance(arranged, list) and len(arranged) > 1 else None


def _evidence(
    model: Any,
    outputs: Sequence[Output],
    compiled: Sequence[Compiled],
    examples: tuple[Inputs, Any] | None,
    feed: Preprocessing | None,
) -> list[Evidence]:
    stored: Sequence[Array | None] = [None] * len(outputs)
    shape, whole = tuple(model.inputs[0].shape[1:]), "float" not in str(model.inputs[0].dtype)
    if examples is not None and feed is not None:
        stored = stored_for(examples[1], [output.name for output in outputs])
        shape = feed.row_shapes[0]
        whole = whole or next(iter(named(examples[0]).values())).dtype == np.int32  # tokens
    found = []
    for output, own, target in zip(outputs, compiled, stored, strict=True):
        like = len(model.inputs) == 1 and not whole and output.shape == shape
        same = False
        if like and target is not None and examples is not None and feed is not None:
            same = _are_inputs(target, examples[0], feed)
        found.append(Evidence(output, own, like, target, examples is not None, same))
    return found


def _are_inputs(targets: Array, x: Inputs, feed: Preprocessing) -> bool:
    few = slice(0, _COMPARED)
    fed, wanted = feed.arrays(take(x, few))[0], targets[few].astype(np.float32)
    if fed.size != wanted.size:
        return False
    scaled = wanted * np.float32(feed.rules[0].scale)
    return any(np.allclose(fed, one.reshape(fed.shape), atol=1e-6) for one in (wanted, scaled))


def _aim(
    seen: Evidence,
    task: str,
    metric: str | None,
    reason: str,
    notes: list[str],
    *,
    alone: bool,
    marked: bool,
) -> Aim:
    """`alone` of its model, whose data have anomalies `marked`."""
    output, compiled = seen.output, seen.compiled
    shape = tuple(size for size in output.shape if size is not None)
    if not output.shape:
        what = "an output gives one number an example, without an axis for it"
        hint = "give it the shape (batch, 1), with a Reshape((1,)) at its end"
        raise ModelError(what, value=f"output {output.name} (None,)", hint=hint)
    if len(shape) < len(output.shape):
        raise ModelError(
            "the size of an output is open, and nothing gives it",
            value=f"output {output.name} {(None, *output.shape)}",
            hint="give data, or name the size of the input",
        )
    loss, metrics, numbers = compiled.loss, compiled.metrics, task in NUMBERS
    outputs: Outputs = "probabilities" if output.activation else "logits"
    if loss is not None and "categorical" in kind_of(loss) and (numbers or task == MULTI_LABEL):
        notes.append(f"the compiled loss {name_of(loss)} is not one of {task}")
        loss, metrics = None, ()
    threshold, form = _threshold(loss, outputs), _form(task, loss, shape[-1])
    chosen = chosen_metrics(task, metrics, metric, notes)
    name, ignored = "" if alone else output.name, ignored_by(loss, metrics)
    head = head_of(name, task, shape, chosen, threshold, marked=marked, ignored=ignored)
    if loss is None:
        loss, metrics = _inferred(form, outputs, numbers=numbers), ()
    kind: Outputs = "numbers" if numbers else outputs
    return Aim(head, output.name, loss, metrics, form, kind, compiled.weight, reason)


def _form(task: str, loss: Any, width: int) -> LabelForm:
    if task in (REGRESSION, RECONSTRUCTION, MULTI_LABEL):
        return "numbers"
    if loss is not None and "sparse" in kind_of(loss):
        return "index"
    if width == 1:
        return "column"
    return "index" if loss is None else "one-hot"


def _threshold(loss: Any, outputs: Outputs) -> float:
    if loss is None:
        return 0.0 if outputs == "logits" else 0.5
    # The decision threshold implied by the loss.
    signed = getattr(loss, "from_logits", False) or "hinge" in kind_of(loss)
    return 0.0 if signed else 0.5


def _inferred(form: LabelForm, outputs: Outputs, *, numbers: bool) -> Any:
    _, keras = quiet_tensorflow.load()
    logits = outputs == "logits"
    if form == "index":
        return keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    if numbers:
        return keras.losses.MeanSquaredError()
    return keras.losses.BinaryCrossentropy(from_logits=logits)


_COMPARED = 256
_KEPT = "as prune was given"
