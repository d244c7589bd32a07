"""Whole numbers that are no bytes reach the model as they are stored, from training to artefact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor

from compressor import export
from compressor.data import load_dataset
from compressor.importing import load_model
from compressor.models import accuracy_of
from deploy import CheckVectors, read_artifact

FED = "features: as stored: int32"


@pytest.fixture(scope="module")
def made(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model of features from 0 to 19, which says whether their sum is large; and its data."""
    folder = tmp_path_factory.mktemp("features")
    generator = np.random.default_rng(0)
    x = generator.integers(0, 20, (400, 4))
    assert x.dtype == np.int64
    y = (x.sum(axis=1) > 38).astype(np.int64)
    np.savez(folder / "d.npz", x_train=x[:300], y_train=y[:300], x_test=x[300:], y_test=y[300:])
    features = keras.Input((4,), name="features")
    model = keras.Model(features, keras.layers.Dense(2, name="scores")(features))
    # The second score is larger where the sum is above 38.5: divided by 255 it never is.
    model.set_weights([np.array([[0, 1]] * 4, np.float32), np.array([0, -38.5], np.float32)])
    model.save(folder / "m.keras")
    return folder / "m.keras", folder / "d.npz"


def test_the_accuracy_is_that_of_keras_itself(made: tuple[Path, Path]) -> None:
    model, data = load_model(made[0]), load_dataset(made[1])

    assert accuracy_of(model, data.x_test, data.y_test) == 1


@pytest.mark.sampled(1)
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_an_artefact_is_fed_the_same(
    made: tuple[Path, Path], tmp_path: Path, quantize: Any
) -> None:
    path = tmp_path / "m.tflite"

    record = export(made[0], path, load_dataset(made[1]), quantize=quantize)

    assert record["verdict"]["reference_accuracy"] == 1
    assert record["verdict"]["accuracy"] > 0.97
    (rule,) = read_artifact(path).preprocessing
    assert (rule.scale, rule.reason) == (1, "as stored: int32")
    fed = CheckVectors.read(tmp_path / "m.tflite.check.npz").inputs["features"]
    assert fed.max() > 10 and np.array_equal(fed, np.rint(fed))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["prune", "-o", "out", "--max-steps", "2", "--layers", "all", "--sparsity", "0.5"],
        ["sensitivity", "--sparsities", "0.5", "-o", "out"],
        ["evaluate", "--max-steps", "1"],
        ["shrink", "-o", "small.keras"],
        ["export", "-o", "m.onnx"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_says_how_it_feeds_the_model(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command, *options = words

    outcome = compressor(command, made[0], "--data", made[1], *options)

    assert outcome.code == 0, outcome.stderr
    assert FED in outcome.stdout


@pytest.mark.slow
def test_a_bench_says_how_it_feeds_artefacts(made: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    export(made[0], path, load_dataset(made[1]))
    quick = ["--rounds", "1", "--round-seconds", "0.01", "--starts", "1"]

    described = compressor("bench", path, "--data", made[1], *quick)
    path.with_name("m.tflite.json").unlink()
    guessed = compressor("bench", path, "--data", made[1], *quick)

    assert FED in described.stdout
    assert "as stored, guessed, for there is no description" in guessed.stdout
    for outcome in (described, guessed):
        assert outcome.code == 0 and "100.00" in outcome.stdout
