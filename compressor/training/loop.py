"""Training and retraining a Keras model."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from compressor.data import Inputs, rows
from compressor.errors import ModelError, UsageError
from compressor.foundation import is_number, is_whole, make_plain, quiet_tensorflow
from compressor.models import Objective, all_layers, objective_of, preprocessing_of
from compressor.training import weights
from compressor.training.adam import make_adam
from compressor.training.distillation import (
    Distillation,
    compile_distilled,
    taught,
    teaching_targets,
)
from compressor.training.gathering import gatherer
from compressor.training.shifting import check_shift, offsets, shifted
from deploy.tasks import columns

_WARMUP = 0.05
START = 0.01
"""where the rise of `cosine` begins, as a fraction of the peak: above zero, so that the first step
trains, and low, since the first step of Adam goes as far whatever the gradient"""
# Their order is drawn in advance, 8 bytes an image.
_MOST_IMAGES = 2**28


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How a model is trained or retrained, with Adam.

    `steps` and `batch_size` are counted in batches and images. `schedule` is `constant`, or
    `cosine`: a linear rise over the first 5 % of the steps, from above zero, then a half cosine to
    zero (Loshchilov and Hutter, SGDR). `dropout_scale` multiplies the rate of every Dropout layer
    while training. `rewind` is the number of steps that the original training had: the learning
    rate then goes once more as it went in the last of these (Renda et al., Comparing Rewinding
    and Fine-tuning in Neural Network Pruning, 2020). `distillation` asks for a teacher.
    `class_weight` is how much the examples of each class count: `balanced`, or class -> weight.
    `shift`: the images of a classifier are moved by up to so many pixels down or up, and right or
    left, those of a batch alike; a teacher's scores stay those of the images as they are.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 2e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    dropout_scale: float = 1.0
    rewind: int | None = None
    distillation: Distillation | None = None
    class_weight: weights.ClassWeight | None = None
    shift: int = 0

    def __post_init__(self) -> None:
        weights.check_class_weight(self.class_weight)
        make_plain(self)
        for what, count in (
            ("number of steps", self.steps),
            ("batch size", self.batch_size),
        ):
            if not (is_whole(count) and count >= 1):
                said = f"the {what} must be a whole number, at least 1"
                raise UsageError(said, value=repr(count))
        if self.rewind is not None and not (is_whole(self.rewind) and self.rewind >= 1):
            what = "a training to rewind to has a whole number of steps, at least 1 step"
            raise UsageError(what, value=repr(self.rewind))
        if self.distillation is not None and not isinstance(self.distillation, Distillation):
            hint = "give compressor.Distillation()"
            raise UsageError("unknown distillation", value=repr(self.distillation), hint=hint)
        if self.images > _MOST_IMAGES:
            raise UsageError(
                "the training is too long",
                value=f"{self.steps} steps of {self.batch_size} images",
                hint=f"at most {_MOST_IMAGES:,} images can be visited",
            )
        if not (is_number(self.learning_rate) and 0 < self.learning_rate < 10):
            what = "the learning rate must lie between 0 and 10"
            raise UsageError(what, value=repr(self.learning_rate))
        if not (is_whole(self.shift) and self.shift >= 0):
            what = "the shift is a whole number of pixels, at least 0"
            raise UsageError(what, value=repr(self.shift))
        if self.schedule not in ("cosine", "constant"):
            hint = "choose cosine or constant"
            raise UsageError("unknown schedule", value=self.schedule, hint=hint)
        if not (is_number(self.dropout_scale) and 0 <= self.dropout_scale <= 1):
            raise UsageError("the scale of dropout must lie in [0, 1]", value=self.dropout_scale)

    @property
    def images(self) -> int:
        """How many images the training visits, repeats included."""
        return self.steps * self.batch_size

    def describe(self) -> dict[str, Any]:
        """The options as in results.json."""
        described: dict[str, Any] = {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "learning_rate_schedule": self.schedule,
            "dropout_scale": self.dropout_scale,
        }
        if self.rewind is not None:
            described["rewind"] = self.rewind
        if self.distillation is not None:
            described |= self.distillation.describe()
        if self.class_weight is not None:
            described["class_weight"] = weights.described(self.class_weight)
        if self.shift:
            described["shift"] = self.shift
        return described

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if self.rewind is not None:
            # A retraining longer than the training stretches it, or its end would learn nothing.
            original = dataclasses.replace(self, steps=max(self.rewind, self.steps), rewind=None)
            return original.learning_rate_at(max(self.rewind - self.steps, 0) + step)
        if self.schedule == "constant":
            return self.learning_rate
        if step < self.warmup_steps:
            return self.learning_rate * (START + (1 - START) * step / self.warmup_steps)
        done = min((step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1), 1.0)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    @property
    def warmup_steps(self) -> int:
        """Over how many steps the learning rate of `cosine` rises."""
        return min(max(round(self.steps * _WARMUP), 1), self.steps - 1)


class Progress(Protocol):
    """Called after every step of a training."""

    def __call__(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        """`loss` and `accuracy` (0 to 1) are running means so far.

        `accuracy` is NaN unless the model is a classifier.
        """


def derive_seed(seed: int, purpose: str) -> int:
    """A seed for one purpose, so that no step's numbers depend on the steps before it."""
    return int(np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(1)[0])


def fit(
    model: Any,
    x: Inputs,
    y: Any,
    options: TrainingOptions,
    *,
    seed: int,
    objective: Objective | None = None,
    teacher: np.ndarray | None = None,
    sample_weights: np.ndarray | None = None,
    on_step: Callable[[int], None] | None = None,
    progress: Progress | None = None,
) -> None:
    """Train `model` in place for exactly `options.steps` batches; leaves it compiled with Adam.

    `x` and `y` as a data set stores them: one array (n, ...) or arrays by name; `y` is None for
    reconstructions. Every epoch visits the examples in a new order that depends on `seed` alone.
    Constraints on variables (masks) are kept. `objective` is by default the model's own
    (`objective_of`). `teacher` holds a dense model's outputs (n, all columns), for
    `options.distillation`, and `sample_weights` (n,) how much each example counts. `on_step` is
    called after every step with its number, from 1. Raises ModelError when the loss becomes
    NaN or infinite, DataError where `y` does not fit the model, and UsageError where images are to
    be shifted that are none, or are no classifier's.
    """
    tensorflow, keras = quiet_tensorflow.load()
    objective = objective or objective_of(model, examples=(x, y))
    feed = preprocessing_of(model, x)
    check_shift(options.shift, feed, objective)
    quiet_tensorflow.make_deterministic(derive_seed(seed, "operations"))
    _seed_generators(model, seed)
    optimizer = make_adam(_learning_rate(keras, options))
    stored = objective.stored_targets(y)
    counted = weights.example_weights(objective, stored, options.class_weight, sample_weights)
    taught_by: list[np.ndarray] | None = None
    if options.distillation is None:
        objective.compile(model, optimizer)
    else:
        if teacher is None:
            raise UsageError("distillation needs the scores of a teacher")
        scores = columns(objective.heads, teacher)
        taught_by = [taught(*each) for each in zip(objective.aims, stored, scores, strict=True)]
        axes = None if counted is None else [part.ndim for part in counted]
        compile_distilled(model, optimizer, objective, options.distillation, axes)
    own_rates = _scale_dropout(keras, model, options.dropout_scale)
    named = dict(x) if isinstance(x, Mapping) else x
    inputs = tensorflow.nest.map_structure(gatherer, named)
    y, lessons, counts = (_gatherers(parts) for parts in (stored, taught_by, counted))

    def batch(index: Any, offset: Any = None) -> tuple[Any, ...]:
        def chosen(part: Any) -> Any:
            return None if part is None else part(index)

        fed = feed.tensors(tensorflow.nest.map_structure(chosen, inputs))
        if offset is not None:
            fed = shifted(fed, offset, options.shift)
        wanted = objective.each_target([chosen(part) for part in y], fed)
        if lessons:
            each = zip(objective.aims, wanted, map(chosen, lessons), strict=True)
            wanted = [teaching_targets(*parts) for parts in each]
        made = [wanted, [chosen(part) for part in counts]] if counts else [wanted]
        return fed, *(keras.tree.lists_to_tuples(objective.arrange(part)) for part in made)

    order = _visiting_order(rows(x), options.steps * options.batch_size, seed)
    batches = tensorflow.data.Dataset.from_tensor_slices(order).batch(options.batch_size)
    if options.shift:
        moved = offsets(options.shift, options.steps, derive_seed(seed, "shift"))
        moves = tensorflow.data.Dataset.from_tensor_slices(moved)
        batches = tensorflow.data.Dataset.zip((batches, moves))
    callbacks = [_callback(keras, model, options, on_step, progress)]
    _make_variables(model, *batch(order[: options.batch_size])[:2])
    try:
        model.fit(batches.map(batch).prefetch(2), shuffle=False, verbose=0, callbacks=callbacks)
    finally:
        for layer, rate in own_rates.items():
            layer.rate = rate
    if options.distillation is not None:
        # A saved model must not name a loss that stock Keras does not know.
        objective.compile(model, optimizer)


def _gatherers(parts: Sequence[Any] | None) -> list[Any]:
    return [None if part is None else gatherer(part) for part in parts or ()]


def _make_variables(model: Any, x: Any, targets: Any) -> None:
    """Make those of the optimizer and the metrics: TensorFlow traces a step twice that does."""
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(x, targets, model(x, training=False))
    model.reset_metrics()


def _learning_rate(keras: Any, options: TrainingOptions) -> Any:
    if options.schedule == "constant" or options.rewind is not None:
        return options.learning_rate_at(0)
    return keras.optimizers.schedules.CosineDecay(
        options.learning_rate_at(0),
        options.steps - options.warmup_steps,
        warmup_target=options.learning_rate if options.warmup_steps else None,
        warmup_steps=options.warmup_steps,
    )


def _seed_generators(model: Any, seed: int) -> None:
    # A .keras file does not hold the state of dropout's generators: that of a loaded model
    # depends on what the process did before.
    states = [v for v in model.variables if v.name == "seed_generator_state"]
    for number, state in enumerate(states):
        state.assign([derive_seed(seed, f"generator {number}") % 10**9, 0])


def _scale_dropout(keras: Any, model: Any, scale: float) -> dict[Any, float]:
    layers = all_layers(model).values()
    own = {layer: layer.rate for layer in layers if isinstance(layer, keras.layers.Dropout)}
    for layer, rate in own.items():
        layer.rate = rate * scale
    return own


def _visiting_order(images: int, visits: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(derive_seed(seed, "order"))
    epochs = [generator.permutation(images) for _ in range(math.ceil(visits / images))]
    return np.concatenate(epochs)[:visits]


def _callback(
    keras: Any,
    model: Any,
    options: TrainingOptions,
    on_step: Callable[[int], None] | None,
    progress: Progress | None,
) -> Any:
    class Report(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
            if options.rewind is not None:
                # Stock Keras could not load a schedule of ours.
                model.optimizer.learning_rate.assign(options.learning_rate_at(batch))

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            values = logs or {}
            if not math.isfinite(values["loss"]):
                raise ModelError(
                    "the loss is NaN or infinite",
                    value=f"step {batch + 1}",
                    hint="choose a smaller learning rate",
                )
            if on_step is not None:
                on_step(batch + 1)
            if progress is not None:
                accuracy = values.get("accuracy", values.get("acc", math.nan))
                progress(batch + 1, options.steps, values["loss"], accuracy)

    return Report()
