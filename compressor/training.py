"""Training, retraining and evaluating a Keras classifier."""

from __future__ import annotations

import dataclasses
import math
import zlib
from typing import Any, Literal, Protocol

import numpy as np

from compressor import _tensorflow
from compressor.data import Dataset
from compressor.errors import DataError, ModelError, UsageError
from compressor.pruning.layers import all_layers

EVALUATION_BATCH = 500
_WARMUP = 0.05
# Their order is drawn in advance, 8 bytes an image.
_MOST_IMAGES = 2**28


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """How a model is trained or retrained, with Adam.

    `steps` and `batch_size` are counted in batches and images. `schedule` is `constant`, or
    `cosine`: a linear rise over the first 5 % of the steps, then a half cosine to zero
    (Loshchilov and Hutter, SGDR). `dropout_scale` multiplies the rate of every Dropout layer
    while training.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 2e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    dropout_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError("the number of steps must be at least 1", value=self.steps)
        if self.batch_size < 1:
            raise UsageError("the batch size must be at least 1", value=self.batch_size)
        if self.images > _MOST_IMAGES:
            raise UsageError(
                "the training is too long",
                value=f"{self.steps} steps of {self.batch_size} images",
                hint=f"at most {_MOST_IMAGES:,} images can be visited",
            )
        if not 0 < self.learning_rate < 10:
            raise UsageError(
                "the learning rate must lie between 0 and 10", value=self.learning_rate
            )
        if self.schedule not in ("cosine", "constant"):
            raise UsageError(
                "unknown schedule", value=self.schedule, hint="choose cosine or constant"
            )
        if not 0 <= self.dropout_scale <= 1:
            raise UsageError("the scale of dropout must lie in [0, 1]", value=self.dropout_scale)

    @property
    def images(self) -> int:
        """How many images the training visits, again and again counted."""
        return self.steps * self.batch_size

    def describe(self) -> dict[str, Any]:
        """The options as a JSON object, as results.json keeps them."""
        return {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "learning_rate_schedule": self.schedule,
            "dropout_scale": self.dropout_scale,
        }


class Progress(Protocol):
    """Hears how far a training is; called after every step."""

    def __call__(self, step: int, steps: int, loss: float, accuracy: float) -> None:
        """`loss` and `accuracy` (0 to 1) are running means over the training so far."""


def derive_seed(seed: int, purpose: str) -> int:
    """A seed for one purpose, so that no step's numbers depend on the steps before it."""
    return int(np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(1)[0])


def dropout_scale(kept: int, weights: int) -> float:
    """By how much dropout shrinks in retraining when `kept` of `weights` remain.

    Pruning already lowers the capacity, so dropout shrinks with the square root of the
    density: D_r = D_o sqrt(C_r / C_o). Source: Han et al., Learning both Weights and
    Connections for Efficient Neural Networks, equation 4.
    """
    return math.sqrt(kept / weights)


def prepare_images(images: np.ndarray) -> np.ndarray:
    """Images as the model sees them, before reshaping: uint8 becomes float32 in 0 to 1."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    return images.astype(np.float32, copy=False)


def input_shape(model: Any) -> tuple[int, ...]:
    """The shape of one input of a model with one input and one output of class scores.

    Raises ModelError for a model with several inputs or outputs, or of variable size.
    """
    if not getattr(model, "built", False) or not hasattr(model, "inputs"):
        raise ModelError(
            "the model was never built, so its input has no shape",
            value=model.name,
            hint="give it an Input layer, or call it once before saving",
        )
    # Keras gives a model's tensors as a list and keeps the names that they had for itself.
    named = (getattr(model, name, None) for name in ("_inputs_struct", "_outputs_struct"))
    if any(isinstance(tensors, dict) for tensors in named):
        raise ModelError(
            "models with named inputs or outputs in a dictionary are not supported",
            value=model.name,
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(
            "only models with one input and one output are supported",
            value=f"{len(model.inputs)} inputs, {len(model.outputs)} outputs",
        )
    shape = tuple(model.inputs[0].shape[1:])
    if any(size is None for size in shape) or len(model.outputs[0].shape) != 2:
        raise ModelError(
            "the model must take inputs of a fixed shape and give one score a class",
            value=f"input {shape}, output {tuple(model.outputs[0].shape[1:])}",
        )
    return shape


def check_shape(model: tuple[int, ...], image: tuple[int, ...]) -> None:
    """Raise DataError, with both shapes, when images of shape `image` do not fit an input."""
    if math.prod(model) != math.prod(image) or (len(model) == len(image) and model != image):
        raise DataError(
            "the images do not fit the model",
            value=f"images {image}, model {model}",
            hint="give data of the model's input shape",
        )


def check_fit(model: Any, data: Dataset) -> None:
    """Raise DataError when the images or the classes of `data` do not fit the model."""
    check_shape(input_shape(model), data.x_train.shape[1:])
    outputs = model.outputs[0].shape[-1]
    if outputs < data.classes:
        raise DataError(
            "the data set has more classes than the model",
            value=f"data {data.classes}, model {outputs}",
            hint="give the data that the model was trained on",
        )


def fit(
    model: Any,
    images: np.ndarray,
    labels: np.ndarray,
    options: TrainingOptions,
    *,
    seed: int,
    progress: Progress | None = None,
) -> None:
    """Train `model` in place for exactly `options.steps` batches; leaves it compiled with Adam.

    `images` (n, ...) uint8 or float32 and `labels` (n,) integer. Every epoch visits the images
    in a new order that depends on `seed` alone. Constraints on variables (masks) are kept.
    Raises ModelError when the loss stops being a number.
    """
    tensorflow, keras = _tensorflow.load()
    _tensorflow.make_deterministic(derive_seed(seed, "operations"))
    _seed_generators(model, seed)
    compile_classifier(model, _learning_rate(keras, options))
    own_rates = _scale_dropout(keras, model, options.dropout_scale)
    shape = (-1, *input_shape(model))
    x, y = tensorflow.constant(images), tensorflow.constant(labels)

    def batch(index: Any) -> tuple[Any, Any]:
        chosen = tensorflow.gather(x, index)
        if images.dtype == np.uint8:
            chosen = tensorflow.cast(chosen, "float32") / 255.0
        return tensorflow.reshape(chosen, shape), tensorflow.gather(y, index)

    order = _visiting_order(len(images), options.steps * options.batch_size, seed)
    batches = tensorflow.data.Dataset.from_tensor_slices(order).batch(options.batch_size)
    callbacks = [_progress_callback(keras, options.steps, progress)]
    try:
        model.fit(batches.map(batch).prefetch(2), shuffle=False, verbose=0, callbacks=callbacks)
    finally:
        for layer, rate in own_rates.items():
            layer.rate = rate


def compile_classifier(model: Any, learning_rate: Any) -> None:
    """Compile with Adam and cross-entropy on integer labels, told apart by the output.

    A model whose output ends in a softmax gives probabilities, any other gives logits.
    """
    _, keras = _tensorflow.load()
    model.compile(
        # Keras would number the name, and the size of a checkpoint depend on earlier trainings.
        optimizer=keras.optimizers.Adam(learning_rate, name="adam"),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=not ends_in_softmax(model)),
        metrics=["accuracy"],
    )


def ends_in_softmax(model: Any) -> bool:
    """Whether the last layer turns scores into probabilities."""
    _, keras = _tensorflow.load()
    last = list(all_layers(model).values())[-1]
    return (
        isinstance(last, keras.layers.Softmax)
        or getattr(last, "activation", None) is keras.activations.softmax
    )


def evaluate(model: Any, images: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of `images` whose largest score is at the label, 0 to 1."""
    return accuracy(lambda x: model.predict_on_batch(x), images, labels, input_shape(model))


def accuracy(
    predict: Any,
    images: np.ndarray,
    labels: np.ndarray,
    shape: tuple[int, ...],
    batch: int = EVALUATION_BATCH,
) -> float:
    """The accuracy of `predict`, float32 (n, *shape) -> scores (n, classes), in batches."""
    correct = 0
    for start in range(0, len(images), batch):
        part = prepare_images(images[start : start + batch]).reshape(-1, *shape)
        scores = np.asarray(predict(part))
        correct += int(np.count_nonzero(scores.argmax(axis=-1) == labels[start : start + batch]))
    return correct / len(images)


def _learning_rate(keras: Any, options: TrainingOptions) -> Any:
    if options.schedule == "constant":
        return options.learning_rate
    warmup = max(round(options.steps * _WARMUP), 1)
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        max(options.steps - warmup, 1),
        warmup_target=options.learning_rate,
        warmup_steps=warmup,
    )


def _seed_generators(model: Any, seed: int) -> None:
    # A .keras file does not hold the state of dropout's generators: a model that is loaded has
    # one that depends on what the process did before.
    states = [v for v in model.variables if v.name == "seed_generator_state"]
    for number, state in enumerate(states):
        state.assign([derive_seed(seed, f"generator {number}") % 10**9, 0])


def _scale_dropout(keras: Any, model: Any, scale: float) -> dict[Any, float]:
    own = {
        layer: layer.rate
        for layer in all_layers(model).values()
        if isinstance(layer, keras.layers.Dropout)
    }
    for layer, rate in own.items():
        layer.rate = rate * scale
    return own


def _visiting_order(images: int, visits: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(derive_seed(seed, "order"))
    epochs = [generator.permutation(images) for _ in range(math.ceil(visits / images))]
    return np.concatenate(epochs)[:visits]


def _progress_callback(keras: Any, steps: int, progress: Progress | None) -> Any:
    class Report(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            loss = (logs or {})["loss"]
            if not math.isfinite(loss):
                raise ModelError(
                    "the loss is no number any more",
                    value=f"step {batch + 1}",
                    hint="choose a smaller learning rate",
                )
            if progress is not None:
                progress(batch + 1, steps, loss, (logs or {})["accuracy"])

    return Report()
