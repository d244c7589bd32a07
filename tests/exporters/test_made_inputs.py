"""Exports without data: inputs made up within a range, which int8 is calibrated on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stock_runtimes import run_artefact

import compressor
from compressor.data import Dataset
from compressor.errors import UsageError
from compressor.exporters.made_inputs import MadeInputs


def raw(keras: Any) -> Any:
    """It takes 0 to 255: on numbers in 0 to 1 its hidden units hardly move."""
    keras.utils.set_random_seed(0)
    row = keras.Input((6,), name="row")
    x = keras.layers.Dense(8, "relu", name="hidden")(row)
    return keras.Model(row, keras.layers.Dense(4, name="scores")(x))


def tokens(keras: Any, *, beside: bool = False) -> Any:
    """Tokens as floats, and a real number beside them where asked."""
    layers = keras.layers
    words, amount = keras.Input((5,), name="words"), keras.Input((2,), name="amount")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(9, 3)(words))
    inputs = [words, amount] if beside else words
    x = layers.Concatenate()([x, amount]) if beside else x
    return keras.Model(inputs, layers.Dense(4, name="scores")(x))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("file_format", ["tflite", "onnx"])
def test_int8_is_right_in_the_range_that_was_given(
    keras: Any, tmp_path: Path, file_format: str
) -> None:
    model, path = raw(keras), tmp_path / f"model.{file_format}"

    record = compressor.export(model, path, quantize="int8", input_range=(0, 255))

    assert record["notes"][0] == (
        "Calibrated on made-up inputs between 0 and 255: give data for the accuracy of real ones."
    )
    described = json.loads(path.with_name(path.name + ".json").read_text())
    (rule,) = described["preprocessing"]
    assert rule["reason"].endswith("calibrated on made-up inputs between 0 and 255")
    x = np.random.default_rng(5).uniform(0, 255, (50, 6)).astype(np.float32)
    found, expected = run_artefact(path, {"row": x}), np.asarray(model(x))
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    vectors = np.load(path.with_name(path.name + ".check.npz"))
    assert max(vectors[name].max() for name in vectors.files if "row" in name) > 200


def test_a_large_network_is_compared_on_fewer_inputs(
    keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = 6 * 8 + 8 * 4
    monkeypatch.setattr("compressor.exporters.job.RANDOM_MACS", 40 * weights)
    record = compressor.export(raw(keras), tmp_path / "model.tflite")
    assert record["verdict"]["passed"] and record["verdict"]["examples"] == 40


@pytest.mark.slow
def test_float_files_are_compared_in_the_range_and_say_nothing(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"

    record = compressor.export(raw(keras), path, input_range=(-3, 3))

    assert record["notes"] == []
    assert "made-up" not in path.with_name(path.name + ".json").read_text()


def test_int8_is_calibrated_on_other_inputs_than_it_is_checked_on(keras: Any) -> None:
    made = MadeInputs.within((-2, 7))
    checked, calibrated = made.draw(raw(keras), 20, {}), made.calibration(raw(keras), 20, {})

    for x in (checked, calibrated):
        assert x.min() >= -2 and x.max() <= 7 and np.ptp(x) > 8
    assert not np.isin(checked, calibrated).any()


def test_tokens_keep_to_their_table_beside_real_numbers_in_the_range(keras: Any) -> None:
    drawn = MadeInputs.within((100, 200)).draw(tokens(keras, beside=True), 40, {})

    assert set(np.unique(drawn["words"])) <= set(range(9))
    assert drawn["amount"].min() >= 100 and drawn["amount"].max() <= 200


def test_int8_without_data_and_range_is_refused_and_names_both(
    keras: Any, tmp_path: Path, rejected: Callable[..., str]
) -> None:
    model, path = raw(keras), tmp_path / "model.tflite"

    message = rejected(UsageError, compressor.export, model, path, quantize="int8")

    assert "give the data" in message
    assert "--input-range LOW,HIGH" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "given", [(3, 1), (1, 1), (1,), (0, np.nan), (-np.inf, 0), "ab", 5, (0, 1e39), (0, 10**400)]
)
def test_what_is_no_range_is_refused(
    keras: Any, tmp_path: Path, rejected: Callable[..., str], given: Any
) -> None:
    path = tmp_path / "model.tflite"

    message = rejected(UsageError, compressor.export, raw(keras), path, input_range=given)

    assert "two numbers, the lower one first" in message


def test_a_range_that_nothing_is_drawn_in_is_refused(
    keras: Any, tmp_path: Path, rejected: Callable[..., str]
) -> None:
    x, labels = np.ones((24, 6), np.float32), np.arange(24) % 4
    data = Dataset.from_arrays("rows", x, labels, x, labels)

    def refused(model: Any, data: Dataset | None = None) -> str:
        path = tmp_path / "m.tflite"
        return rejected(UsageError, compressor.export, model, path, data, input_range=(0, 255))

    assert "without data: 0,255; leave it out" in refused(raw(keras), data)
    assert "no input of the model takes real numbers" in refused(tokens(keras))
