"""Models that the code was not written for, trained on clothes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clothes import KINDS, clothes

from compressor import TrainingOptions, training
from compressor.data import Dataset
from compressor.models import accuracy_of

TRAINED = {
    "lenet": TrainingOptions(steps=100, batch_size=64, learning_rate=3e-3),
    "residual": TrainingOptions(steps=80, batch_size=32, learning_rate=1e-2),
    "mobile": TrainingOptions(steps=120, batch_size=32, learning_rate=1e-2),
    "two inputs": TrainingOptions(steps=100, batch_size=64, learning_rate=3e-3),
    "lstm": TrainingOptions(steps=80, batch_size=64, learning_rate=1e-2),
}


@dataclasses.dataclass(frozen=True)
class Foreign:
    """A trained model, its file and its data."""

    model: Any
    path: Path
    data: Dataset
    accuracy: float


@pytest.fixture(scope="session")
def clothes_data() -> Dataset:
    return Dataset.from_arrays("clothes", *clothes(2000, 1), *clothes(500, 2))


@pytest.fixture(scope="session")
def halves_data(clothes_data: Dataset) -> Dataset:
    """The upper and the lower half of each image, by the names of a model's inputs."""

    def split(x: np.ndarray) -> dict[str, np.ndarray]:
        return {"upper": x[:, :14], "lower": x[:, 14:]}

    return Dataset.from_arrays(
        "halves",
        split(clothes_data.x_train),
        clothes_data.y_train,
        split(clothes_data.x_test),
        clothes_data.y_test,
    )


def _lenet(keras: Any) -> Any:
    """LeNet-300-100, as the pruning papers take it."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Flatten(),
            layers.Dense(300, activation="relu", name="fc300"),
            layers.Dense(100, activation="relu", name="fc100"),
            layers.Dense(10, activation="softmax", name="out"),
        ]
    )


def _residual(keras: Any) -> Any:
    layers = keras.layers

    def normalised(x: Any, filters: int, name: str, **options: Any) -> Any:
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name, **options)(x)
        return layers.BatchNormalization(momentum=0.8, name=f"{name}_norm")(x)

    image = keras.Input((28, 28, 1), name="picture")
    x = layers.ReLU()(normalised(image, 12, "stem", strides=2))
    y = layers.ReLU()(normalised(x, 12, "block1_a"))
    x = layers.ReLU()(layers.Add()([x, normalised(y, 12, "block1_b")]))
    short = normalised(x, 24, "short", strides=2)
    y = layers.ReLU()(normalised(x, 24, "block2_a", strides=2))
    x = layers.ReLU()(layers.Add()([short, normalised(y, 24, "block2_b")]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10, name="head")(x), name="residual")


def _mobile(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((28, 28, 1), name="picture")
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(image)
    x = layers.Conv2D(24, 3, strides=2, use_bias=False, name="stem")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = layers.DepthwiseConv2D(3, strides=2, use_bias=False, name="depthwise")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.Conv2D(48, 1, use_bias=False, name="pointwise")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.SeparableConv2D(64, 3, strides=2, name="separable")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="head")(x))


def _two_inputs(keras: Any) -> Any:
    layers = keras.layers
    upper, lower = (keras.Input((14, 28, 1), name=name) for name in ("upper", "lower"))
    parts = [
        layers.Dense(48, activation="relu", name=f"{name}_fc")(
            layers.Flatten()(
                layers.MaxPooling2D()(
                    layers.Conv2D(8, 3, activation="relu", name=f"{name}_conv")(image)
                )
            )
        )
        for name, image in (("upper", upper), ("lower", lower))
    ]
    x = layers.Dense(32, activation="relu", name="joint")(layers.Concatenate()(parts))
    model = keras.Model([upper, lower], layers.Dense(len(KINDS), name="head")(x), name="two")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def _lstm(keras: Any) -> Any:
    """The image read row by row."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28), name="rows"),
            layers.Rescaling(1 / 255, name="scaled"),
            layers.LSTM(40, name="reader"),
            layers.Dense(10, activation="softmax", name="head"),
        ]
    )


BUILDERS = {
    **{"lenet": _lenet, "residual": _residual},
    **{"mobile": _mobile, "two inputs": _two_inputs, "lstm": _lstm},
}


@pytest.fixture(scope="session")
def foreign(
    keras: Any, clothes_data: Dataset, halves_data: Dataset, tmp_path_factory: Any
) -> Callable[[str], Foreign]:
    """A trained model by its name; made once."""
    made: dict[str, Foreign] = {}

    def get(name: str) -> Foreign:
        if name not in made:
            keras.utils.set_random_seed(1)
            data = halves_data if name == "two inputs" else clothes_data
            model = BUILDERS[name](keras)
            training.fit(model, data.x_train, data.y_train, TRAINED[name], seed=1)
            path = tmp_path_factory.mktemp("foreign") / "model.keras"
            model.save(path)
            accuracy = accuracy_of(model, data.x_test, data.y_test)
            made[name] = Foreign(model, path, data, accuracy)
        return made[name]

    return get
