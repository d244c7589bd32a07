"""Inputs with open sizes: those of the data, or those that the user names, and never a guess."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compressor
from compressor.data import Dataset
from compressor.errors import DataError, UsageError
from compressor.models import random_inputs, sized, sizes_given


def image_model(keras: Any) -> Any:
    """Four poolings: nothing is left of an image of 8 x 8."""
    layers = keras.layers
    image = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="conv")(image)
    for _ in range(4):
        x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(4, name="scores")(x))


def two_inputs(keras: Any) -> Any:
    layers = keras.layers
    image, steps = keras.Input((None, None, 3), name="image"), keras.Input((None, 2), name="steps")
    parts = [layers.GlobalMaxPooling2D()(image), layers.GlobalMaxPooling1D()(steps)]
    return keras.Model([image, steps], layers.Dense(4)(layers.Concatenate()(parts)))


def test_random_inputs_have_the_size_that_was_named(keras: Any) -> None:
    model = image_model(keras)

    for given in ((48, 32), (48, 32, 3), {"image": (48, 32)}):
        sizes = sizes_given(model, given)
        assert sizes == {"image": (48, 32, 3)}
        assert random_inputs(model, 2, sizes=sizes).shape == (2, 48, 32, 3)
    model = two_inputs(keras)
    sizes = sizes_given(model, {"image": (9, 7), "steps": (5,)})
    image, steps = random_inputs(model, sizes=sizes)
    assert (image.shape[1:], steps.shape[1:]) == ((9, 7, 3), (5, 2))


@pytest.mark.parametrize(
    ("build", "given", "said"),
    [
        (image_model, None, "image (None, None, 3); give data, or --input-size 64x64"),
        (image_model, (64,), "does not fit"),
        (image_model, (64, 64, 4), "does not fit"),
        (image_model, (0, 64), "does not fit"),
        (image_model, (10**6, 10**6), "does not fit"),
        (image_model, {"picture": (64, 64)}, "no input of an open size by that name: picture"),
        (two_inputs, None, "--input-size image=64x64,steps=64"),
        (two_inputs, (64, 64), "name the size of each"),
        (two_inputs, {"image": (64, 64)}, "nothing gives it: steps (None, 2)"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_refused(
    keras: Any, rejected: Callable[..., str], build: Any, given: Any, said: str
) -> None:
    assert said in rejected(UsageError, sizes_given, build(keras), given)


def test_a_size_for_a_model_without_open_sizes_is_refused(
    small_net: Callable[..., Any], rejected: Callable[..., str]
) -> None:
    message = rejected(UsageError, sizes_given, small_net(), (8, 8))

    assert "no input of the model has an open size" in message


def test_a_size_that_the_model_cannot_take_is_refused(
    keras: Any, rejected: Callable[..., str], tmp_path: Path
) -> None:
    model = image_model(keras)
    model.save(tmp_path / "model.keras")
    small = Dataset.from_arrays(
        *("small", np.zeros((24, 8, 8, 3), np.uint8), np.arange(24) % 4),
        *(np.zeros((8, 8, 8, 3), np.uint8), np.arange(8) % 4),
    )

    assert "image (8, 8, 3)" in rejected(DataError, sized, model, {"image": (8, 8, 3)})
    assert "image (8, 8, 3)" in rejected(DataError, compressor.prune, model, small)
    evaluated = rejected(DataError, compressor.evaluate, tmp_path / "model.keras", small)
    assert "image (8, 8, 3)" in evaluated


def test_shrink_asks_for_it(keras: Any, rejected: Callable[..., str]) -> None:
    model = image_model(keras)

    assert "--input-size" in rejected(UsageError, compressor.shrink, model)
    assert compressor.shrink(model, input_size=(32, 32)).difference < 1e-5
