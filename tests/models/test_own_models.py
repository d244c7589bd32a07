"""Models with a call of their own, as they enter: inputs, outputs, names of layers, saving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_models import own_sequential, subclassed, without_config

import compressor
from compressor.errors import ModelError
from compressor.models import (
    all_layers,
    framed,
    input_names,
    objective_of,
    preprocessing_of,
    random_inputs,
    save_model,
    unframed,
)


def test_a_frame_computes_what_the_model_does_under_its_names(keras: Any) -> None:
    for model in (subclassed(keras), without_config(keras), own_sequential(keras)):
        frame = framed(model)
        x = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)

        np.testing.assert_array_equal(frame(x), model(x))
        assert unframed(frame) is model
        assert list(all_layers(frame)) == list(all_layers(model))
    assert input_names(framed(subclassed(keras))) == ("input",)
    assert input_names(framed(own_sequential(keras))) == ("image",)


def test_other_models_stay_as_they_are(keras: Any, small_net: Callable[..., Any]) -> None:
    model = small_net()

    assert framed(model) is model
    assert unframed(model) is model


def test_a_dict_of_inputs_keeps_its_keys(keras: Any) -> None:
    class Two(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.scores = keras.layers.Dense(4)

        def call(self, given: Any) -> Any:
            return self.scores(keras.ops.concatenate([given["left"], given["right"]], -1))

    model = Two()
    model({"left": np.zeros((1, 3), np.float32), "right": np.zeros((1, 2), np.float32)})

    assert input_names(framed(model)) == ("left", "right")
    drawn = random_inputs(framed(model), 5)
    assert {key: part.shape for key, part in drawn.items()} == {"left": (5, 3), "right": (5, 2)}


def test_tokens_of_an_inner_embedding_are_integers_as_stored(keras: Any) -> None:
    class Tokens(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.words = keras.layers.Embedding(50, 8)
            self.places = keras.layers.Embedding(6, 8)
            self.scores = keras.layers.Dense(4)

        def call(self, words: Any) -> Any:
            found = self.words(words) + self.places(keras.ops.arange(6))
            return self.scores(keras.ops.mean(found, axis=1))

    model = Tokens()
    model(np.zeros((1, 6), np.int32))
    stored = np.random.default_rng(0).integers(0, 50, (9, 6), dtype=np.uint8)

    fed = preprocessing_of(framed(model), stored)(stored)
    np.testing.assert_array_equal(fed, stored)
    assert "int" in str(fed.dtype)
    assert set(np.unique(random_inputs(framed(model)))) == set(range(6))


@pytest.mark.parametrize(("softmax", "outputs"), [(True, "probabilities"), (False, "logits")])
def test_what_the_outputs_are_is_told_by_what_the_call_runs(
    keras: Any, softmax: bool, outputs: str
) -> None:
    assert objective_of(framed(subclassed(keras, softmax=softmax))).outputs == outputs


def test_the_compiled_loss_is_that_of_the_model_inside(keras: Any) -> None:
    model = subclassed(keras)
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))

    found = objective_of(framed(model))

    assert (found.source, found.labels) == ("compiled", "one-hot")


def test_several_arguments_are_refused(keras: Any, rejected: Callable[..., str]) -> None:
    class Two(keras.Model):
        def call(self, left: Any, right: Any) -> Any:
            return left + right

    model = Two(name="pair")
    model(np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32))

    assert "missing a required argument: 'right'" in rejected(ModelError, framed, model)


def test_a_frame_is_saved_as_the_model_inside(keras: Any, tmp_path: Path) -> None:
    frame = framed(own_sequential(keras))
    save_model(frame, tmp_path / "model.keras")

    kind = type(unframed(frame))
    model = keras.models.load_model(
        tmp_path / "model.keras", custom_objects={"Doubled": kind}, compile=False
    )

    assert type(model) is kind


def test_inspect_takes_a_model_in_memory(keras: Any, rejected: Callable[..., str]) -> None:
    model = subclassed(keras)

    found = compressor.inspect(model)

    assert {row["layer"] for row in found["layers"]} == {"hidden", "scores"}
    assert found["parameters"] == model.count_params()
    assert (found["kind"], found["path"], found["file_bytes"]) == ("dense", model.name, None)
    pruned = compressor.inspect(model, own_sequential(keras))
    assert pruned["totals"]["ratio"]["parameters"] == 1
    unbuilt = type(model)()
    assert "never built" in rejected(ModelError, compressor.inspect, unbuilt)
