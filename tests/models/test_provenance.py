"""The embedded MNIST is the default for what was trained on it, and for nothing else."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor as command

import compressor
from compressor import load_dataset
from compressor.data import Dataset
from compressor.errors import UsageError
from compressor.models.files import data_digest, load_model, save_model, trained_on


@pytest.fixture
def foreign(keras: Any, tmp_path: Path) -> Path:
    """A model of MNIST's shape that was trained on something else."""
    keras.utils.set_random_seed(1)
    layers = [
        keras.Input((28, 28, 1)),
        keras.layers.AveragePooling2D(4),
        keras.layers.Flatten(),
        keras.layers.Dense(10, name="scores"),
    ]
    keras.Sequential(layers, name="foreign").save(tmp_path / "foreign.keras")
    return tmp_path / "foreign.keras"


def test_a_foreign_model_is_never_retrained_or_judged_on_mnist(
    foreign: Path, tmp_path: Path
) -> None:
    for words in (("prune",), ("sensitivity",), ("evaluate",)):
        outcome = command(*words, foreign)

        assert outcome.code == 2, words
        (line,) = outcome.stderr.strip().splitlines()
        assert "it is not known which data the model was trained on" in line
        assert "--data mnist" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign.keras"]


def test_a_plan_without_data_retrains_no_foreign_model(
    foreign: Path, tmp_path: Path, rejected: Callable[..., str]
) -> None:
    spec = compressor.PruningSpec(0.5)
    plan = compressor.make_plan(sparsities=(0.5,), steps=1)

    message = rejected(
        UsageError, compressor.prune_run, foreign, tmp_path / "pruned", spec, plan, retrain=False
    )

    assert "it is not known which data the model was trained on" in message
    assert not (tmp_path / "pruned").exists()


def test_an_export_without_data_says_that_accuracy_was_not_measured(
    foreign: Path, tmp_path: Path
) -> None:
    outcome = command("export", foreign, "-o", tmp_path / "m.tflite")

    assert outcome.code == 0, outcome.stderr
    assert "without data, accuracy is not measured" in outcome.stdout
    assert "test examples" not in outcome.stdout


def test_mnist_can_be_named(foreign: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    asked = load_dataset("mnist")
    assert asked.digest == load_dataset(None).digest

    Path("mnist").mkdir()
    np.savez(
        "mnist/own.npz",
        x_train=np.zeros((4, 2), np.float32),
        y_train=[0, 1, 0, 1],
        x_test=np.zeros((2, 2), np.float32),
        y_test=[0, 1],
    )
    assert load_dataset("mnist").name == "own"  # what exists comes first


@pytest.mark.slow
def test_what_was_trained_on_mnist_says_so_wherever_it_goes(
    foreign: Path, tmp_path: Path, rejected: Callable[..., str]
) -> None:
    mnist = load_dataset(None)
    ours, copied = tmp_path / "ours.keras", tmp_path / "elsewhere" / "copy.keras"
    save_model(trained_on(load_model(foreign), mnist.digest), ours)
    copied.parent.mkdir()
    shutil.copy(ours, copied)

    shrunk = compressor.shrink_file(copied, tmp_path / "small.keras")

    for path in (copied, Path(shrunk["output"])):
        assert data_digest(path) == data_digest(load_model(path)) == mnist.digest
    assert compressor.evaluate(copied, max_steps=1).describe()["accuracy"] < 0.5
    first, again = (ours.read_bytes() for _ in range(2))
    assert first == again
    assert data_digest(foreign) is None


def test_data_of_another_digest_are_not_mnist(
    foreign: Path, tiny_data: Dataset, tmp_path: Path, rejected: Callable[..., str]
) -> None:
    other = tmp_path / "other.keras"
    save_model(trained_on(load_model(foreign), tiny_data.digest), other)

    assert "--data" in rejected(UsageError, compressor.evaluate, other)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("said", [b"[]", b"{", b'{"data": 7}', b"{}", b"\xff"])
def test_a_damaged_note_is_no_traceback(
    foreign: Path, tmp_path: Path, said: bytes, rejected: Callable[..., str]
) -> None:
    with zipfile.ZipFile(foreign, "a") as archive:
        archive.writestr("compressor.json", said)

    outcome = command("export", foreign, "-o", tmp_path / "m.tflite")

    assert outcome.code in (0, 2)
    assert "Traceback" not in outcome.stderr
