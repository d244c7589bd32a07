"""Models as users write them in Python: classes with a call of their own, layers and functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def subclassed(keras: Any, *, softmax: bool = False) -> Any:
    """A built subclassed classifier of 8 x 8 images, whose class takes no argument of Keras's."""
    layers = keras.layers

    class Net(keras.Model):
        def __init__(self, units: int = 12) -> None:
            super().__init__()
            self.flat = layers.Flatten()
            self.hidden = layers.Dense(units, activation="relu", name="hidden")
            self.drop = layers.Dropout(0.5)
            last = "softmax" if softmax else None
            self.scores = layers.Dense(4, activation=last, name="scores")

        def call(self, x: Any, training: bool = False) -> Any:
            return self.scores(self.drop(self.hidden(self.flat(x)), training=training))

    keras.utils.set_random_seed(3)
    model = Net(units=12)
    model(np.zeros((2, 8, 8, 1), np.float32))
    return model


def without_config(keras: Any) -> Any:
    """A built subclassed classifier that Keras cannot make again."""
    layers = keras.layers

    class Unknown(keras.Model):
        def __init__(self, function: Callable[..., Any]) -> None:
            super().__init__()
            self.flat, self.scores = layers.Flatten(), layers.Dense(4, name="scores")
            self.function = function

        def call(self, x: Any) -> Any:
            return self.function(self.scores(self.flat(x)))

    keras.utils.set_random_seed(3)
    model = Unknown(lambda x: x * 2.0)
    model(np.zeros((2, 8, 8, 1), np.float32))
    return model


def own_sequential(keras: Any) -> Any:
    """A Sequential of a class of its own, with a call of its own."""
    layers = keras.layers

    class Doubled(keras.Sequential):
        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            return super().call(inputs, training=training) * 2.0

    keras.utils.set_random_seed(3)
    return Doubled(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Flatten(),
            layers.Dense(12, activation="relu", name="hidden"),
            layers.Dense(4, name="scores"),
        ]
    )


def own_parts(keras: Any) -> Any:
    """A Functional model with its own layer, activations, regularizer, loss and metric.

    None of them is registered.
    """
    layers = keras.layers

    class Scale(layers.Layer):
        def build(self, shape: Any) -> None:
            self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", name="factor")

        def call(self, x: Any) -> Any:
            return x * self.factor

    class Mean(keras.metrics.Mean):
        def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            return super().update_state(y_pred)

    def swishy(x: Any) -> Any:
        return x * keras.ops.sigmoid(x)

    def small(weight: Any) -> Any:
        return 1e-4 * keras.ops.sum(weight**2)

    def loss(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(y_pred**2)

    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Flatten()(image)
    x = layers.Dense(12, activation=swishy, kernel_regularizer=small, name="hidden")(x)
    x = Scale(name="scale")(x)
    x = layers.Dense(8, activation=lambda x: keras.ops.maximum(x, 0.0), name="second")(x)
    model = keras.Model(image, layers.Dense(4, name="scores")(x), name="own")
    model.compile("adam", loss=loss, metrics=[Mean(name="mean")])
    return model


KINDS: dict[str, Callable[[Any], Any]] = {
    "subclassed": subclassed,
    "without_config": without_config,
    "own_sequential": own_sequential,
    "own_parts": own_parts,
}
