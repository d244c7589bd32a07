"""The networks and the made data of `benchmarks.tasks`: one for each kind of task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.foundation import quiet_tensorflow

Made = tuple[Any, Any, Any, Any]
"""x_train, y_train, x_test, y_test, each an array or arrays by name."""

EPOCHS = {
    "autoencoder": 25,
    "U-Net": 20,
    "regression": 60,
    "two heads": 20,
    "multi-label": 30,
    "rare class": 15,
    "digits from a folder": 40,
}
"""of the training, and of the retraining"""
BATCH = 32
RARE_WEIGHT = 14.0
"""of the rare class"""
_SIDE, _SHAPES = 64, 3
"""Pixels of a picture; circles, squares and triangles."""


def spectra(seed: int) -> tuple[Made, Any]:
    """Spectra of eight lines, of which 10 % of the test set have a line moved; an autoencoder."""
    generator = np.random.default_rng(seed)
    axis = np.arange(640)
    centres, widths = np.linspace(40, 600, 8), np.linspace(6, 16, 8)

    def drawn(count: int, moved: np.ndarray) -> np.ndarray:
        heights = generator.gamma(3.0, 0.3, (count, 8))
        places = np.repeat(centres[None], count, 0)
        rows = np.flatnonzero(moved)
        shifts = generator.choice([-1, 1], len(rows)) * generator.uniform(2, 8, len(rows))
        places[rows, generator.integers(0, 8, len(rows))] += shifts
        lines = np.exp(-0.5 * ((axis - places[..., None]) / widths[:, None]) ** 2)
        noise = generator.normal(0, 0.05, (count, 640))
        return (np.einsum("nl,nlx->nx", heights, lines) + noise).astype(np.float32)

    anomalous = (generator.random(2000) < 0.1).astype(np.int64)
    train, nothing = drawn(6000, np.zeros(6000)), np.zeros(6000, np.int64)
    made = train, nothing, drawn(2000, anomalous), anomalous
    _, keras = quiet_tensorflow.load()
    dense = keras.layers.Dense
    spectrum = keras.Input((640,))
    x = spectrum
    for units in (128, 8, 128):
        x = dense(units, activation="relu" if units > 8 else None)(x)
    model = keras.Model(spectrum, dense(640)(x))
    return made, _fitted(model, train, train, "mse", None, EPOCHS["autoencoder"])


def shapes(seed: int) -> tuple[Made, Any]:
    """Pictures (64, 64, 1) with shapes, and a mask of what lies where; a U-Net of four levels."""
    generator = np.random.default_rng(seed)
    train, test = (_pictures(generator, count, _SIDE, most=3) for count in (1500, 400))
    made = train[0], train[1], test[0], test[1]
    _, keras = quiet_tensorflow.load()
    layers = keras.layers
    picture = keras.Input((_SIDE, _SIDE, 1))
    x: Any = layers.Rescaling(1 / 255)(picture)
    passed = []
    widths = (8, 16, 32, 64)

    def twice(x: Any, channels: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        return x

    for channels in widths[:-1]:
        x = twice(x, channels)
        passed.append(x)
        x = layers.MaxPooling2D()(x)
    x = twice(x, widths[-1])
    for channels, kept in zip(widths[-2::-1], passed[::-1], strict=True):
        x = layers.Conv2DTranspose(channels, 2, strides=2)(x)
        x = twice(layers.Concatenate()([kept, x]), channels)
    model = keras.Model(picture, layers.Conv2D(_SHAPES + 1, 1, activation="softmax")(x))
    loss = "sparse_categorical_crossentropy"
    return made, _fitted(model, made[0], made[1], loss, None, EPOCHS["U-Net"])


def numbers(seed: int) -> tuple[Made, Any]:
    """Thirteen features and a number that depends on eight of them; a small regression."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(0, 1, (6000, 13)).astype(np.float32)
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3]
    y = y + 5 * x[:, 4] - 4 * x[:, 5] * x[:, 6] + 3 * np.abs(x[:, 7] - 0.4)
    y = (y + generator.normal(0, 1.0, len(y))).astype(np.float32)[:, None]
    made = x[:4800], y[:4800], x[4800:], y[4800:]
    model = _perceptron((13,), (128, 64), 1, None)
    return made, _fitted(model, made[0], made[1], "mse", ["mae"], EPOCHS["regression"])


def boxes(seed: int) -> tuple[Made, Any]:
    """Pictures (32, 32, 1) of one shape, its kind and its box; a network with two outputs."""
    generator = np.random.default_rng(seed)
    parts = [_pictures(generator, count, 32, most=1) for count in (4000, 1000)]
    targets = [{"kind": kind, "box": box} for _, _, kind, box in parts]
    made = parts[0][0], targets[0], parts[1][0], targets[1]
    _, keras = quiet_tensorflow.load()
    layers = keras.layers
    picture = keras.Input((32, 32, 1))
    x = layers.Rescaling(1 / 255)(picture)
    for channels in (16, 32, 64):
        x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(96, activation="relu")(layers.Flatten()(x))
    outputs = {
        "kind": layers.Dense(_SHAPES, activation="softmax", name="kind")(x),
        "box": layers.Dense(4, activation="sigmoid", name="box")(x),
    }
    model = keras.Model(picture, outputs)
    losses = {"kind": "sparse_categorical_crossentropy", "box": "mae"}
    metrics = {"kind": ["accuracy"], "box": ["mae"]}
    return made, _fitted(model, made[0], targets[0], losses, metrics, EPOCHS["two heads"])


def labels(seed: int) -> tuple[Made, Any]:
    """Forty features and eight labels that are there or not, each for reasons of its own."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(8000, 40)).astype(np.float32)
    mixed = np.tanh(x @ generator.normal(0, 0.4, (40, 24)))
    y = (mixed @ generator.normal(size=(24, 8)) + generator.normal(0, 1, (8000, 8)) > 1.5) * 1
    made = x[:6400], y[:6400].astype(np.uint8), x[6400:], y[6400:].astype(np.uint8)
    model = _perceptron((40,), (96, 48), 8, "sigmoid")
    return made, _fitted(
        model, made[0], made[1], "binary_crossentropy", None, EPOCHS["multi-label"]
    )


def rare(seed: int) -> tuple[Made, Any]:
    """Twenty features, and a class that 6 % of the examples belong to."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(24000, 20)).astype(np.float32)
    score = x[:, 0] * x[:, 1] + x[:, 2] + 0.8 * np.abs(x[:, 3]) + 0.3 * generator.normal(size=24000)
    y = (score > np.quantile(score, 0.94)).astype(np.int64)
    made = x[:18000], y[:18000], x[18000:], y[18000:]
    model = _perceptron((20,), (96, 48), 1, "sigmoid")
    metrics = ["accuracy", "recall", "precision"]
    weights = {0: 1.0, 1: RARE_WEIGHT}
    return made, _fitted(
        model,
        *made[:2],
        "binary_crossentropy",
        metrics,
        EPOCHS["rare class"],
        class_weight=weights,
    )


def digits(seed: int) -> tuple[Made, Any]:
    """scikit-learn's 1,797 digits, bytes (8, 8, 1); a small CNN."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = np.rint(found.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = x[order], found.target[order].astype(np.int64)
    made = x[:1400], y[:1400], x[1400:], y[1400:]
    _, keras = quiet_tensorflow.load()
    layers = keras.layers
    picture = keras.Input((8, 8, 1))
    z = layers.Rescaling(1 / 255)(picture)
    for channels in (16, 32):
        z = layers.Conv2D(channels, 3, padding="same", activation="relu")(z)
    z = layers.Dense(64, activation="relu")(layers.Flatten()(layers.MaxPooling2D()(z)))
    model = keras.Model(picture, layers.Dense(10, activation="softmax")(z))
    loss = "sparse_categorical_crossentropy"
    return made, _fitted(
        model, made[0], made[1], loss, ["accuracy"], EPOCHS["digits from a folder"]
    )


NETWORKS: dict[str, Callable[[int], tuple[Made, Any]]] = {
    "autoencoder": spectra,
    "U-Net": shapes,
    "regression": numbers,
    "two heads": boxes,
    "multi-label": labels,
    "rare class": rare,
    "digits from a folder": digits,
}


def _perceptron(inputs: tuple[int, ...], hidden: tuple[int, ...], size: int, last: Any) -> Any:
    _, keras = quiet_tensorflow.load()
    given = keras.Input(inputs)
    x = given
    for units in hidden:
        x = keras.layers.Dense(units, activation="relu")(x)
    return keras.Model(given, keras.layers.Dense(size, activation=last)(x))


def _fitted(
    model: Any, x: Any, y: Any, loss: Any, metrics: Any, epochs: int, class_weight: Any = None
) -> Any:
    _, keras = quiet_tensorflow.load()
    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * -(-len(x) // BATCH))
    model.compile(keras.optimizers.Adam(rate), loss=loss, metrics=metrics)
    model.fit(x, y, epochs=epochs, batch_size=BATCH, verbose=0, class_weight=class_weight)
    return model


def _pictures(
    generator: np.random.Generator, count: int, side: int, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pictures uint8 (n, side, side, 1), masks uint8 (n, side, side), kinds and boxes.

    Kinds, int64 (n,), and boxes, float32 (n, 4) as corners x1, y1, x2, y2 in 0 to 1, are those of
    the last shape drawn; a mask is 0 where nothing is, else the kind plus one.
    """
    down, right = np.mgrid[:side, :side]
    masks = np.zeros((count, side, side), np.uint8)
    pictures = generator.normal(60, 25, (count, side, side))
    kinds = np.zeros(count, np.int64)
    found = np.zeros((count, 4), np.float32)
    for row in range(count):
        for _ in range(generator.integers(1, most + 1)):
            kind = int(generator.integers(0, _SHAPES))
            radius = generator.uniform(side / 10, side / 4)
            y, x = generator.uniform(radius, side - 1 - radius, 2)
            across, along = np.abs(right - x), down - y
            if kind == 0:
                inside = across**2 + along**2 <= radius**2
            elif kind == 1:
                inside = np.maximum(across, np.abs(along)) <= radius
            else:
                inside = (np.abs(along) <= radius) & (across <= (along + radius) / 2)
            masks[row][inside] = kind + 1
            pictures[row][inside] += generator.uniform(40, 140)
            kinds[row] = kind
            places = [along_axis[inside] for along_axis in (right, down)]
            corners = [p.min() for p in places] + [p.max() + 1 for p in places]
            found[row] = np.array(corners) / side
    return np.clip(pictures, 0, 255).astype(np.uint8)[..., None], masks, kinds, found
