"""`evaluate` measures the accuracy of classifiers: what has none is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("regression", "accuracy of a classifier"),
        ("multi-label", "accuracy of a classifier"),
        ("no targets", "target"),
        ("too many classes", "more classes"),
    ],
)
def test_what_has_no_accuracy(keras: Any, tmp_path: Path, kind: str, said: str) -> None:
    x = np.random.default_rng(0).random((60, 5)).astype(np.float32)
    y: Any = np.arange(60) % (26 if kind == "too many classes" else 3)
    width, activation, loss = 3, "softmax", "sparse_categorical_crossentropy"
    if kind == "regression":
        width, activation, loss, y = 1, "linear", "mse", x.sum(axis=1)
    elif kind == "multi-label":
        activation, loss, y = "sigmoid", "binary_crossentropy", (x[:, :3] > 0.5).astype(np.int64)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(width, activation)])
    model.compile("sgd", loss)
    model.save(tmp_path / "m.keras")
    parts = {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]}
    if kind == "no targets":
        parts = {name: part for name, part in parts.items() if name.startswith("x")}
    np.savez(tmp_path / "d.npz", **parts)

    outcome = compressor("evaluate", tmp_path / "m.keras", "--data", tmp_path / "d.npz")

    assert outcome.code == 2 and said in outcome.stderr and not outcome.stdout
    assert len(outcome.stderr.splitlines()) == 1
